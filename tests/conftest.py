"""Fixtures for every folder of tests."""

from __future__ import annotations

import pytest

from avr_bridge.testing import clip, read_wav


@pytest.fixture(name="question", scope="session")
def _question() -> bytes:
    """The shipped speech: PCM16 LE mono, 8 kHz."""
    return read_wav(clip("question"))
