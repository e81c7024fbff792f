"""The settings in force, fit to be shown: names, values without secrets, defaults, meanings. Pure.

What they are and may be is declared in `sections.py`; this only writes them down.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from avr_bridge.config import SECTIONS
from avr_bridge.explaining import TITLES
from avr_bridge.masking import masked_address
from avr_bridge.settings import Setting

if TYPE_CHECKING:
    from avr_bridge.config import BridgeConfig
    from avr_bridge.masking import Mask

__all__ = ["settings_shown"]


def settings_shown(config: BridgeConfig) -> list[dict[str, Any]]:
    """Every section with its settings, as JSON-ready values.

    A secret is ``***`` where it is set, and so is what an address has of a user, a password and a
    query. `value` is None for what is not set.
    """
    mask = config.mask()
    return [
        {
            "title": TITLES[name],
            "settings": [
                _shown(field.converter, getattr(getattr(config, name), field.name), mask)
                for field in attrs.fields(kind)
                if isinstance(field.converter, Setting)
            ],
        }
        for name, kind in SECTIONS.items()
    ]


def _shown(known: Setting, value: Any, mask: Mask) -> dict[str, Any]:
    return {
        "name": known.env,
        "value": _written(known, value, mask),
        "default": _written(known, known.default, mask),
        "changed": value != known.default,
        "help": known.help,
    }


def _written(known: Setting, value: Any, mask: Mask) -> str | None:
    text = known.written(value)
    if ("@" in text or "://" in text) and not any(sign.isspace() for sign in text):
        text = masked_address(text)
    return mask(text) or None
