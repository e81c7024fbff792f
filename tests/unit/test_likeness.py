"""The measures that other tests trust: they must accept the same speech and nothing else."""

from __future__ import annotations

import audioop
import numpy as np
import pytest

from avr_bridge.testing.likeness import (
    FLOOR_DB,
    dominant_tone_hz,
    is_audible,
    likeness,
    speech_ms,
    tone_level_db,
)
from avr_bridge.testing.wav import clip, read_wav

QUESTION = read_wav(clip("question"))
GREETING = read_wav(clip("greeting"))
HALF = len(QUESTION) // 4 * 2


def tone(freq_hz: float, n_samples: int = 8_000, amplitude: float = 8_000) -> bytes:
    times = np.arange(n_samples) / 8_000
    return (amplitude * np.sin(2 * np.pi * freq_hz * times)).astype("<i2").tobytes()


def silence(ms: int) -> bytes:
    return bytes(ms * 16)


def ulaw(pcm: bytes) -> bytes:
    return audioop.ulaw2lin(audioop.lin2ulaw(pcm, 2), 2)


def alaw(pcm: bytes) -> bytes:
    return audioop.alaw2lin(audioop.lin2alaw(pcm, 2), 2)


@pytest.mark.parametrize(
    ("heard", "offset_ms"),
    [
        (QUESTION, 0),
        (silence(1_234) + QUESTION + silence(5_000), 1_234),
        (silence(20) + ulaw(QUESTION), 20),
        (alaw(QUESTION), 0),
        (audioop.mul(QUESTION, 2, 0.1), 0),
        (ulaw(GREETING) + silence(500) + ulaw(QUESTION), len(GREETING) / 16 + 500),
    ],
    ids=["same", "delayed", "mu-law", "a-law", "quieter", "after other speech"],
)
def test_same_speech_is_found(heard: bytes, offset_ms: float) -> None:
    """Delay, level, G.711 and other speech around it leave the likeness above 0.98."""
    result = likeness(QUESTION, heard)
    assert result.correlation > 0.98
    assert result.offset_ms == pytest.approx(offset_ms, abs=0.1)


@pytest.mark.parametrize(
    "heard",
    [
        GREETING,
        QUESTION[::-1],
        tone(440, 24_000),
        np.random.default_rng(1).normal(0, 2_000, 80_000).astype("<i2").tobytes(),
        silence(3_000),
        b"",
    ],
    ids=["other words of the same voice", "garbled", "tone", "noise", "silence", "nothing"],
)
def test_other_sound_is_not_the_speech(heard: bytes) -> None:
    """What is not the speech scores below 0.3, even when it is longer and louder."""
    assert likeness(QUESTION, heard).correlation < 0.3


@pytest.mark.parametrize(
    ("heard", "offset_ms"),
    [
        (QUESTION[:HALF], 0),
        (QUESTION[:HALF] + silence(3_000), 0),
        (QUESTION[:HALF] + GREETING, 0),
        (QUESTION[HALF:], -HALF / 16),
    ],
    ids=["first half", "then silence", "then other speech", "second half"],
)
def test_half_of_the_speech_counts_half(heard: bytes, offset_ms: float) -> None:
    """Cut speech scores what its part of the energy is, and is aligned all the same."""
    result = likeness(QUESTION, heard)
    assert 0.4 < result.correlation < 0.65
    assert result.offset_ms == pytest.approx(offset_ms, abs=0.1)


def test_silence_around_the_original_does_not_matter() -> None:
    """The original may come with silence; the offset still tells where its beginning lies."""
    result = likeness(silence(700) + QUESTION + silence(900), QUESTION)
    assert result.correlation > 0.98
    assert result.offset_ms == pytest.approx(-700, abs=0.1)


def test_a_fraction_of_a_sample_costs_nothing() -> None:
    """Speech moved by half a sample, as resamplers do, is still the same speech."""
    samples = np.frombuffer(QUESTION, "<i2").astype(float)
    turns = np.exp(-1j * np.pi * np.arange(len(samples) // 2 + 1) / len(samples))
    moved = np.fft.irfft(np.fft.rfft(samples) * turns, len(samples))
    assert likeness(QUESTION, moved.astype("<i2").tobytes()).correlation > 0.98


def test_silence_as_the_original_is_like_nothing() -> None:
    """There is nothing to find: 0, and no division by zero."""
    assert likeness(silence(500), QUESTION).correlation == 0


@pytest.mark.parametrize("freq_hz", [300, 440.5, 1_000, 3_300])
def test_tone_is_measured(freq_hz: float) -> None:
    """A tone is found by frequency and level; elsewhere there is 60 dB less."""
    pcm = tone(freq_hz)
    assert dominant_tone_hz(pcm) == pytest.approx(freq_hz, abs=0.2)
    assert tone_level_db(pcm, freq_hz) == pytest.approx(-12.25, abs=0.1)
    assert tone_level_db(pcm, 2_000) < -72


def test_two_tones_are_told_apart() -> None:
    """A tone 40 dB below another one is still measured: what a leak between calls would be."""
    pcm = audioop.add(tone(500), tone(1_500, amplitude=80), 2)
    assert dominant_tone_hz(pcm) == pytest.approx(500, abs=0.2)
    assert tone_level_db(pcm, 1_500) == pytest.approx(-52.2, abs=0.5)


def test_silence_has_no_tone() -> None:
    """Silence and nothing have the floor's level and no frequency."""
    assert tone_level_db(silence(100), 440) == FLOOR_DB
    assert tone_level_db(b"", 440) == FLOOR_DB
    assert dominant_tone_hz(silence(100)) is None
    assert dominant_tone_hz(b"") is None


def test_speech_length_counts_what_is_audible() -> None:
    """Pauses, G.711's idle noise and an odd byte at the end do not count as speech."""
    assert speech_ms(silence(500) + tone(440, 3_200) + silence(500)) == 400
    assert speech_ms(alaw(silence(500))) == 0
    assert speech_ms(tone(440, 160) + b"\x00") == 20
    assert speech_ms(b"") == 0
    assert not is_audible(ulaw(silence(20)))
