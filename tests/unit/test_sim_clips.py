"""Clips and ready behaviours of the simulator: pure."""

from __future__ import annotations

import io
import wave
from typing import TYPE_CHECKING

import numpy as np
import pytest

from avr_bridge.testing.realtime import (
    Clip,
    ClipError,
    Parrot,
    Say,
    Script,
    Silence,
    SpeakFile,
    Turn,
)
from avr_bridge.testing.realtime.clips import greeting_tones, resample
from tests.sim_client import tone

if TYPE_CHECKING:
    from pathlib import Path


def wav(pcm: bytes, rate_hz: int, channels: int = 1, sample_bytes: int = 2) -> bytes:
    target = io.BytesIO()
    with wave.open(target, "wb") as writer:
        writer.setnchannels(channels)
        writer.setsampwidth(sample_bytes)
        writer.setframerate(rate_hz)
        writer.writeframes(pcm)
    return target.getvalue()


@pytest.mark.parametrize("src_hz", [8_000, 16_000, 24_000, 48_000])
@pytest.mark.parametrize("dst_hz", [8_000, 24_000])
def test_a_tone_stays_the_same_tone(src_hz: int, dst_hz: int) -> None:
    """A 300 Hz tone at another rate is the same tone: exact length, error below -40 dB."""
    out = np.frombuffer(resample(tone(500, src_hz), src_hz, dst_hz), "<i2").astype(float)
    wanted = np.frombuffer(tone(500, dst_hz), "<i2").astype(float)
    assert len(out) == len(wanted)
    middle = slice(len(out) // 10, -len(out) // 10)
    error = np.sqrt(np.mean((out - wanted)[middle] ** 2) / np.mean(wanted[middle] ** 2))
    assert error < 0.01


def test_what_does_not_fit_is_filtered_out() -> None:
    """6 kHz is gone after a change from 24 to 8 kHz; nothing of it folds back."""
    at = np.arange(12_000) / 24_000
    high = (np.sin(2 * np.pi * 6_000 * at) * 10_000).astype("<i2").tobytes()
    out = np.frombuffer(resample(high, 24_000, 8_000), "<i2").astype(float)
    assert np.sqrt(np.mean(out[400:-400] ** 2)) < 50


def test_wav_files_are_read_or_refused(tmp_path: Path) -> None:
    """Mono 16 bit comes back as it was; stereo, 8 bit, odd rates, garbage and gaps are refused."""
    path = tmp_path / "clip.wav"
    path.write_bytes(wav(tone(100, 16_000), 16_000))
    assert Clip.from_wav(path) == Clip(tone(100, 16_000), 16_000)
    for bad in (
        wav(tone(100) * 2, 24_000, channels=2),
        wav(b"\x80" * 100, 8_000, sample_bytes=1),
        wav(tone(100), 11_025),
        b"no wav at all",
        b"",
    ):
        with pytest.raises(ClipError):
            Clip.from_wav(bad)
    with pytest.raises(ClipError):
        Clip.from_wav(tmp_path / "missing.wav")


def test_the_greeting_is_short_and_gentle() -> None:
    """Two tones: 600 ms, no clipping, silent ends."""
    clip = greeting_tones()
    samples = np.frombuffer(clip.pcm, "<i2")
    assert clip.ms == 600
    assert 3_000 < np.abs(samples).max() < 12_000
    assert samples[0] == samples[-1] == 0


def test_parrot_says_the_callers_words_or_greets() -> None:
    """The very bytes come back at their own rate; without words the greeting is said."""
    words = tone(700, 8_000)
    (said,) = Parrot().answer(Turn(index=1, caller_audio=words, caller_rate_hz=8_000))
    assert said == Say(words, 8_000, "(0.7 s of speech)")
    (greeting,) = Parrot(wav(tone(50), 24_000)).answer(Turn(index=0, requested=True))
    assert greeting == Say(tone(50), 24_000, "(greeting)")


def test_speak_file_and_silence(tmp_path: Path) -> None:
    """One says its file whatever is asked, the other nothing."""
    path = tmp_path / "clip.wav"
    path.write_bytes(wav(tone(500, 48_000), 48_000))
    assert SpeakFile(path).answer(Turn(index=7)) == [
        Say(tone(500, 48_000), 48_000, "(0.5 s of recording)")
    ]
    assert Silence().answer(Turn(index=0)) == []


def test_a_script_knows_whether_it_was_followed() -> None:
    """Too few and too many questions both fail; `then` takes over where it is given."""
    say = Say(b"", 8_000, "hello")
    script = Script([[say]])
    with pytest.raises(AssertionError, match="only 0 of 1"):
        script.assert_complete()
    assert script.answer(Turn(index=0)) == [say]
    script.assert_complete()
    assert script.answer(Turn(index=1)) == []
    with pytest.raises(AssertionError, match="2 answers were asked for"):
        script.assert_complete()
    relaxed = Script([], then=Script([[say]]))
    assert relaxed.answer(Turn(index=0)) == [say]
    relaxed.assert_complete()
