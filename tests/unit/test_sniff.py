"""The sniffer: real G.711 is never called PCM16; speech is decided early; silence is left open."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from avr_bridge.audio.codec import encode
from avr_bridge.audio.format import Encoding
from avr_bridge.audio.sniff import looks_like_pcm16

if TYPE_CHECKING:
    from numpy.typing import NDArray

type Samples = NDArray[np.float64]

G711 = pytest.mark.parametrize("encoding", [Encoding.ULAW, Encoding.ALAW])
LEVELS_DB = [0, -12, -30, -50]
RESONANCES_HZ = ((700, 80), (1_220, 90), (2_600, 120)), ((300, 60), (2_200, 90), (2_900, 120))


def pcm16(samples: Samples, level_db: float) -> bytes:
    """Scale the peak to `level_db` below full scale; PCM16 LE."""
    peak = 32767 * 10 ** (level_db / 20)
    scaled: Samples = np.rint(samples / np.abs(samples).max() * peak)
    return scaled.astype("<i2").tobytes()


def speech(rate_hz: int, seconds: float, pitch_hz: float, seed: int) -> Samples:
    """Speech-like: glottal pulses through resonances, changing vowels, a hiss between them."""
    rng = np.random.default_rng(seed)
    n = int(rate_hz * seconds)
    t = np.arange(n) / rate_hz
    pitch = pitch_hz * (1 + 0.1 * np.sin(2 * np.pi * 3 * t))
    source = np.diff(np.floor(np.cumsum(pitch) / rate_hz), prepend=0.0)
    source += 0.01 * rng.standard_normal(n)
    voiced = np.zeros(n)
    ring = np.arange(int(0.03 * rate_hz)) / rate_hz
    for i, vowel in enumerate(RESONANCES_HZ):
        body = np.zeros_like(ring)
        for f, width in vowel:
            body += np.exp(-np.pi * width * ring) * np.sin(2 * np.pi * f * ring)
        share = 0.5 + 0.5 * np.cos(2 * np.pi * 2 * t + np.pi * i)
        voiced += share * np.convolve(source, body)[:n]
    hiss = np.convolve(rng.standard_normal(n), [1, -0.8])[:n]
    return voiced + 0.15 * hiss * (np.sin(2 * np.pi * 4 * t) > 0.9)


def voices(rate_hz: int, seconds: float) -> list[Samples]:
    """Low to high voices."""
    return [speech(rate_hz, seconds, pitch, i) for i, pitch in enumerate((95, 130, 190, 240))]


def verdicts(data: bytes, encoding: Encoding, window_bytes: int) -> set[bool | None]:
    """What is said of every window, at even and at odd offsets."""
    starts = range(0, len(data) - window_bytes + 1, window_bytes // 2 + 1)
    return {looks_like_pcm16(data[i : i + window_bytes], encoding) for i in starts}


@G711
@pytest.mark.parametrize("level_db", LEVELS_DB)
def test_g711_speech_is_never_pcm16_and_known_within_250_ms(
    encoding: Encoding, level_db: float
) -> None:
    """Windows of 60 to 120 ms: False or open; of 250 ms: False."""
    for sound in voices(8_000, 1.5):
        data = encode(pcm16(sound, level_db), encoding)
        for window_bytes in (480, 960):
            assert verdicts(data, encoding, window_bytes) <= {False, None}
        assert verdicts(data, encoding, 2_000) == {False}


@G711
@pytest.mark.parametrize("level_db", LEVELS_DB)
@pytest.mark.parametrize("skip_bytes", [0, 1])
def test_pcm16_speech_is_known_within_250_ms(
    encoding: Encoding, level_db: float, skip_bytes: int
) -> None:
    """Even quiet, and even from the middle of a sample on; never False on the way."""
    for sound in voices(24_000, 0.25):
        data = pcm16(sound, level_db)[skip_bytes:]
        so_far = [looks_like_pcm16(data[:n], encoding) for n in range(480, len(data) + 1, 480)]
        assert so_far[-1] is True
        assert False not in so_far


@G711
@pytest.mark.parametrize("level_db", LEVELS_DB)
def test_g711_tones_noise_and_digits_are_never_pcm16(encoding: Encoding, level_db: float) -> None:
    """Single tones up to the very edge, pairs, noise, pulses and squares of any period."""
    t = np.arange(2_400) / 8_000
    rng = np.random.default_rng(5)
    n = np.arange(2_400)
    sounds = [np.sin(2 * np.pi * f * t + 0.3) for f in (*range(25, 4_000, 53), 1_000, 2_000, 3_999)]
    sounds += [
        np.sin(2 * np.pi * a * t) + np.sin(2 * np.pi * b * t)
        for a in (697, 770, 852, 941)
        for b in (1_209, 1_336, 1_477)
    ]
    sounds += [rng.standard_normal(2_400) for _ in range(10)]
    sounds += [(n % period == 0) * 1.0 for period in range(2, 60)]
    sounds += [(n % period == 0) * rng.standard_normal(2_400) for period in range(3, 60)]
    sounds += [np.where(n // period % 2, 1.0, -1.0) for period in range(1, 60)]
    for sound in sounds:
        data = encode(pcm16(sound, level_db), encoding)
        for window_bytes in (480, 1_600):
            assert True not in verdicts(data, encoding, window_bytes)


@G711
def test_pcm16_tones_and_noise_are_never_g711(encoding: Encoding) -> None:
    """Where PCM16 cannot be told for sure, it is left open."""
    t = np.arange(4_800) / 24_000
    rng = np.random.default_rng(6)
    sounds = [np.sin(2 * np.pi * f * t) for f in range(50, 8_000, 101)]
    sounds += [rng.standard_normal(4_800) for _ in range(10)]
    for level_db in LEVELS_DB:
        for sound in sounds:
            assert looks_like_pcm16(pcm16(sound, level_db), encoding) is not False


@G711
def test_pcm16_dither_is_not_g711(encoding: Encoding) -> None:
    """Noise of one step around zero steps alike at both parities; it is left open."""
    noise = np.random.default_rng(8).integers(-1, 2, 4_800).astype("<i2").tobytes()
    assert looks_like_pcm16(noise, encoding) is None
    assert looks_like_pcm16(noise[1:], encoding) is None


@G711
def test_leading_silence_is_skipped(encoding: Encoding) -> None:
    """A second of silence before the speech changes no verdict."""
    quiet_pcm = bytes(48_000)
    assert looks_like_pcm16(quiet_pcm + pcm16(voices(24_000, 0.25)[1], -12), encoding) is True
    idle = encode(bytes(16_000), encoding)
    spoken = encode(pcm16(voices(8_000, 0.5)[1], -12), encoding)
    assert looks_like_pcm16(idle + spoken, encoding) is False


@pytest.mark.parametrize(
    ("data", "encoding", "verdict"),
    [
        (b"", Encoding.ULAW, None),
        (bytes(800), Encoding.ULAW, None),
        (bytes(960), Encoding.ULAW, True),
        (bytes(960), Encoding.ALAW, True),
        (b"\xff" * 8_000, Encoding.ULAW, None),
        (b"\xff\x7f" * 100, Encoding.ULAW, False),
        (b"\x7f" * 160, Encoding.ULAW, False),
        (b"\xd5" * 160, Encoding.ALAW, False),
        (b"\xd5\x55\x55" * 100, Encoding.ALAW, False),
        (b"\xd5" * 100, Encoding.ALAW, None),
        (b"\xff" * 160, Encoding.ALAW, None),
        (b"\xff\x00" * 500, Encoding.ULAW, None),
        (b"\x12" * 400, Encoding.ULAW, None),
    ],
)
def test_silence_and_too_little(data: bytes, encoding: Encoding, verdict: bool | None) -> None:
    """Long zeros are PCM16, 0xFF alone fits both, other G.711 silence is G.711."""
    assert looks_like_pcm16(data, encoding) is verdict


@G711
def test_clicks_in_silence_are_not_pcm16(encoding: Encoding) -> None:
    """Single loud samples at places of one parity do not make low bytes."""
    clicks = np.zeros(2_400)
    clicks[7::100] = np.random.default_rng(9).standard_normal(24)
    data = encode(pcm16(clicks, -3), encoding)
    assert True not in verdicts(data, encoding, 960)


def test_only_g711_can_be_doubted() -> None:
    """Bytes announced as PCM16 are not judged."""
    with pytest.raises(ValueError, match=r"G\.711"):
        looks_like_pcm16(b"", Encoding.PCM16)
