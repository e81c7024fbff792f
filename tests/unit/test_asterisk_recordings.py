"""The measures of tests/asterisk on recordings that are known to the sample."""

from __future__ import annotations

import pytest

from avr_bridge.audio.format import PCM16_8K
from avr_bridge.testing import clip, read_wav
from tests.asterisk.recordings import cut_of, long_answer, onset_ms, pieces

FRAME = PCM16_8K.frame_bytes
LEAD = bytes(10 * FRAME)


def test_the_same_sound_is_all_there(question: bytes) -> None:
    """Wherever it begins."""
    found = pieces(question, LEAD + question)
    assert found.correlation > 0.999
    assert found.drift_ms == 0


@pytest.mark.parametrize("frames", [1, 3])
def test_frames_put_in_are_seen_and_what_follows_is_found(question: bytes, frames: int) -> None:
    """A late frame is no lost speech."""
    middle = len(question) // 2 // FRAME * FRAME
    heard = LEAD + question[:middle] + bytes(frames * FRAME) + question[middle:]
    found = pieces(question, heard)
    assert found.correlation > 0.9
    assert found.drift_ms == frames * 20


def test_half_of_it_is_half_of_it(question: bytes) -> None:
    """Speech that is missing counts."""
    assert pieces(question, LEAD + question[: len(question) // 2]).correlation < 0.7


def test_other_words_and_silence_are_not_it(question: bytes) -> None:
    """Two sentences of the same voice are not alike."""
    assert pieces(question, LEAD + read_wav(clip("greeting"))).correlation < 0.5
    assert pieces(question, bytes(len(question))).correlation == 0


@pytest.mark.parametrize("cut_ms", [500, 2_980, 8_020])
@pytest.mark.parametrize("late_frames", [0, 1])
def test_the_place_of_a_cut_is_found(cut_ms: int, late_frames: int) -> None:
    """To the sample, also if a late frame made a hole just before it."""
    heard = long_answer()[: PCM16_8K.bytes_of_ms(cut_ms)]
    hole = len(heard) - 12 * FRAME
    recording = LEAD + heard[:hole] + bytes(late_frames * FRAME) + heard[hole:] + bytes(40 * FRAME)
    cut = cut_of(long_answer(), recording)
    # Up to the last sample that is not zero.
    assert cut_ms - 1 <= cut.at_ms <= cut_ms
    assert cut.correlation > 0.95
    assert onset_ms(recording) >= 200
