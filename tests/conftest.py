"""Fixtures and order of every folder of tests."""

from __future__ import annotations

import pytest

from avr_bridge.testing import clip, read_wav

BUSY = ("call", "unit")
"""Folders whose tests wait for no clock: they take the processor instead."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Those that wait for real time come first, many at a time: at the end nobody waits for one
    long file, and no sound in real time is played beside those that keep the processor busy."""
    items.sort(key=lambda item: item.path.parent.name in BUSY)


@pytest.fixture(name="question", scope="session")
def _question() -> bytes:
    """The shipped speech: PCM16 LE mono, 8 kHz."""
    return read_wav(clip("question"))
