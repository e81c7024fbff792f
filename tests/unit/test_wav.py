"""WAV in and out: whatever comes in becomes PCM16 mono 8 kHz, and sounds the same."""

from __future__ import annotations

import struct
import wave
from typing import TYPE_CHECKING

import audioop
import numpy as np
import pytest

from avr_bridge.testing.likeness import dominant_tone_hz, likeness, tone_level_db
from avr_bridge.testing.wav import clip, read_wav, resample_pcm, write_wav

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    type Codec = Callable[[bytes, int], bytes]


def tone(freq_hz: float, rate_hz: int, n_samples: int, amplitude: float = 8_000) -> bytes:
    times = np.arange(n_samples) / rate_hz
    return (amplitude * np.sin(2 * np.pi * freq_hz * times)).astype("<i2").tobytes()


def riff(encoding: int, channels: int, rate_hz: int, bits: int, data: bytes) -> bytes:
    block = channels * bits // 8
    head = struct.pack("<HHIIHH", encoding, channels, rate_hz, rate_hz * block, block, bits)
    chunks = b"LIST" + struct.pack("<I", 3) + b"abc\x00"  # an odd chunk, padded, to be passed over
    chunks += b"fmt " + struct.pack("<I", len(head)) + head
    chunks += b"data" + struct.pack("<I", 0xFFFFFFFF) + data  # as a writer to a pipe leaves it
    return b"RIFF" + struct.pack("<I", 0xFFFFFFFF) + b"WAVE" + chunks


def test_written_wav_reads_back(tmp_path: Path) -> None:
    """What is written at 8 kHz reads back byte for byte."""
    pcm = tone(440, 8_000, 8_001)
    write_wav(tmp_path / "a.wav", pcm)
    assert read_wav(tmp_path / "a.wav") == pcm


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 22_050, 24_000, 44_100, 48_000])
@pytest.mark.parametrize("channels", [1, 2])
def test_every_rate_becomes_8_khz_mono(tmp_path: Path, rate_hz: int, channels: int) -> None:
    """A tone keeps its length, frequency and level from every common rate and channel count."""
    samples = np.frombuffer(tone(1_000, rate_hz, rate_hz), "<i2")
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setparams((channels, 2, rate_hz, 0, "NONE", ""))
        file.writeframes(np.repeat(samples, channels).tobytes())
    pcm = read_wav(tmp_path / "a.wav")
    assert len(pcm) == 16_000
    assert dominant_tone_hz(pcm) == pytest.approx(1_000, abs=0.5)
    assert tone_level_db(pcm, 1_000) == pytest.approx(
        tone_level_db(samples.tobytes(), 1_000, rate_hz), abs=0.1
    )


def test_what_8_khz_cannot_carry_is_filtered_out() -> None:
    """A tone above 4 kHz is gone after resampling, not folded down into the band."""
    pcm = resample_pcm(tone(5_000, 24_000, 24_000), 24_000, 8_000)
    assert tone_level_db(pcm[800:-800], 3_000) < -80


def test_resampling_there_and_back_is_aligned() -> None:
    """The filter adds no delay: speech taken to 44.1 kHz and back is where it was."""
    speech = read_wav(clip("question"))
    result = likeness(speech, resample_pcm(resample_pcm(speech, 8_000, 44_100), 44_100, 8_000))
    assert result.correlation > 0.99
    assert abs(result.offset_ms) < 0.1


def test_resampling_clips_and_does_not_wrap() -> None:
    """An overshoot of the filter stops at full scale; a wrapped sample would change its sign."""
    square = np.where(np.arange(4_800) // 240 % 2, -32_768, 32_767).astype("<i2").tobytes()
    out = np.frombuffer(resample_pcm(square, 24_000, 8_000), "<i2").astype(int)
    assert out.max() == 32_767
    middles = out.reshape(-1, 80)[:, 40]
    assert list(np.sign(middles)) == [1, -1] * (len(middles) // 2)


@pytest.mark.parametrize(
    ("encoding", "encode", "decode"),
    [(7, audioop.lin2ulaw, audioop.ulaw2lin), (6, audioop.lin2alaw, audioop.alaw2lin)],
)
def test_g711_files_are_read(tmp_path: Path, encoding: int, encode: Codec, decode: Codec) -> None:
    """µ-law and A-law WAV files, which the standard library refuses, come out decoded."""
    data = encode(tone(440, 8_000, 800), 2)
    (tmp_path / "a.wav").write_bytes(riff(encoding, 1, 8_000, 8, data))
    assert read_wav(tmp_path / "a.wav") == decode(data, 2)


@pytest.mark.parametrize("bits", [8, 24, 32])
@pytest.mark.parametrize("channels", [1, 2])
def test_every_width_of_pcm_is_read(tmp_path: Path, bits: int, channels: int) -> None:
    """The same sound as in 16 bit, within one step of the coarser; 8 bit has no sign. A cut last
    sample is dropped."""
    samples = np.frombuffer(tone(440, 8_000, 800), "<i2").astype(np.int64)
    step = max(2 ** (16 - bits), 1)
    if bits == 8:
        data = (samples // 256 + 128).astype("u1").repeat(channels).tobytes()
    else:
        wide = (samples << (bits - 16)).astype("<i4").repeat(channels)
        data = wide.view("u1").reshape(-1, 4)[:, : bits // 8].tobytes()
    cut = b"" if bits * channels == 8 else b"\x01"
    (tmp_path / "a.wav").write_bytes(riff(1, channels, 8_000, bits, data + cut))
    found = np.frombuffer(read_wav(tmp_path / "a.wav"), "<i2")
    assert len(found) == 800
    assert np.abs(found - samples).max() < step


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not a WAV file"),
        (b"ID3" + bytes(100), "not a WAV file"),
        (riff(1, 1, 8_000, 12, bytes(12)), "WAV format 1 with 12 bit"),
        (riff(7, 1, 8_000, 16, bytes(12)), "WAV format 7 with 16 bit"),
        (riff(3, 1, 8_000, 32, bytes(12)), "WAV format 3 with 32 bit"),
        (riff(1, 0, 8_000, 16, bytes(12)), "0 channels"),
        (b"RIFF\x04\x00\x00\x00WAVE", "without sound"),
        (b"RIFF\x04\x00\x00\x00WAVEdata\x00\x00\x00\x00", "before its format"),
        (b"RIFF\x04\x00\x00\x00WAVEfmt \x02\x00\x00\x00\x00\x00", "cut format"),
    ],
)
def test_what_cannot_be_read_is_refused_in_words(
    tmp_path: Path, content: bytes, words: str
) -> None:
    """A file of another kind gives a ValueError that names the file and the trouble."""
    (tmp_path / "a.wav").write_bytes(content)
    with pytest.raises(ValueError, match=words) as caught:
        read_wav(tmp_path / "a.wav")
    assert "a.wav" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "least_s", "most_s"),
    [
        ("question", 2.5, 4),
        ("greeting", 1.5, 3),
        ("hours-question", 1, 2),
        ("hours-answer", 1, 2),
        ("keys-answer", 1, 2),
        ("transfer-question", 1, 2),
        ("transfer-answer", 1, 2),
    ],
)
def test_shipped_clips(name: str, least_s: float, most_s: float) -> None:
    """The clips are there, of the promised length and level."""
    pcm = read_wav(clip(name))
    assert least_s <= len(pcm) / 16_000 <= most_s
    assert audioop.max(pcm, 2) == pytest.approx(32_768 * 10 ** (-6 / 20), rel=0.05)


def test_unknown_clip_names_the_known_ones() -> None:
    """A mistyped clip is answered with the list."""
    with pytest.raises(
        ValueError, match="greeting, hours-answer, hours-question, keys-answer, question"
    ):
        clip("parrot")
