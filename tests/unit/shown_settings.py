"""What is shown to others as settings, checked against those that there are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from avr_bridge.config import SECTIONS, BridgeConfig, settings_of

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["config_of"]

KNOWN = {
    name
    for kind in SECTIONS.values()
    for each in settings_of(kind)
    for name in (each.env, each.file_env)
    if name
}


def config_of(shown: Mapping[str, str]) -> BridgeConfig:
    """The settings that these variables make: each is one of ours, takes its value, and is not
    warned of. The test fails otherwise."""
    assert set(shown) <= KNOWN
    config = BridgeConfig.from_env(shown)
    assert config.warnings == ()
    return config
