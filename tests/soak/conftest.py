"""Fixtures of the soak tests: a generator that tells stories instead of placing calls."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from avr_bridge.soak import generators

if TYPE_CHECKING:
    from collections.abc import Callable

FAKE = Path(__file__).with_name("fake_generator.py")


@pytest.fixture
def story(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Choose what the generator's processes tell from now on."""

    def choose(name: str) -> None:
        monkeypatch.setattr(generators, "COMMAND", (sys.executable, str(FAKE), name))

    return choose
