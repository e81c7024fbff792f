"""The clips that ship: they are there, short, of one form, and loud enough for a telephone."""

from __future__ import annotations

import audioop
import pytest

from avr_bridge.audio.format import PCM16_8K
from avr_bridge.audio.sounds import read_clip
from avr_bridge.testing.likeness import speech_ms

FULL_SCALE = 32_768


@pytest.mark.parametrize("name", ["fallback", "farewell"])
def test_a_clip_is_short_loud_speech(name: str) -> None:
    """Whole frames, under 5 s and nearly all of it speech, peak at -3 dBFS, quiet at both ends."""
    pcm = read_clip(name)
    assert len(pcm) % PCM16_8K.frame_bytes == 0
    length_ms = PCM16_8K.ms(len(pcm))
    assert 3_000 < length_ms < 5_000
    assert speech_ms(pcm) > length_ms / 2
    assert audioop.max(pcm, 2) == pytest.approx(FULL_SCALE * 10 ** (-3 / 20), rel=0.01)
    edge = PCM16_8K.bytes_of_ms(80)
    assert max(audioop.max(pcm[:edge], 2), audioop.max(pcm[-edge:], 2)) < FULL_SCALE // 100


def test_the_clips_differ() -> None:
    """Two sentences, two sounds."""
    assert read_clip("fallback") != read_clip("farewell")


def test_an_unknown_clip_is_named_with_those_there_are() -> None:
    """A ValueError that helps."""
    with pytest.raises(ValueError, match="no clip is called 'x'; there are: fallback, farewell"):
        read_clip("x")
