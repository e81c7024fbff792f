"""Whole recordings for the simulated model: reading WAV, changing the rate offline, tones.

For complete clips only; audio that arrives piece by piece is no business of this module.
"""

from __future__ import annotations

import io
import wave
from functools import lru_cache
from math import gcd
from typing import TYPE_CHECKING

import attrs
import numpy as np

from avr_bridge.errors import AvrBridgeError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Clip", "ClipError", "greeting_tones", "murmur", "resample"]

CLIP_RATES_HZ = (8_000, 16_000, 24_000, 48_000)
"""The rates that a WAV file may have."""

MURMUR_MS_A_CHARACTER = 60
"""About the speed of a calm speaker."""

_EDGE_MS = 20
"""Silence put around a clip while its rate is changed, so that its ends do not meet."""


class ClipError(AvrBridgeError):
    """A WAV file that cannot be used; the text says why."""


@attrs.frozen
class Clip:
    """A recording: PCM16 LE mono at `rate_hz`."""

    pcm: bytes = attrs.field(repr=False)
    rate_hz: int

    @property
    def ms(self) -> float:
        """Length in ms."""
        return len(self.pcm) // 2 * 1000 / self.rate_hz

    @classmethod
    def from_wav(cls, source: Path | bytes) -> Clip:
        """Read a WAV file, or the bytes of one: mono, 16 bit, 8, 16, 24 or 48 kHz.

        Raises:
            ClipError: It cannot be read or has another format.
        """
        try:
            data = source if isinstance(source, bytes) else source.read_bytes()
            with wave.open(io.BytesIO(data)) as reader:
                shape = reader.getnchannels(), reader.getsampwidth() * 8, reader.getframerate()
                pcm = reader.readframes(reader.getnframes())
        except (OSError, EOFError, wave.Error) as error:
            raise ClipError(f"not a readable WAV file: {error}") from error
        channels, bits, rate_hz = shape
        if channels != 1 or bits != 16 or rate_hz not in CLIP_RATES_HZ:
            raise ClipError(
                f"expected mono, 16 bit, 8, 16, 24 or 48 kHz; "
                f"found {channels} channel(s), {bits} bit, {rate_hz} Hz"
            )
        return cls(pcm[: len(pcm) // 2 * 2], rate_hz)


@lru_cache(maxsize=16)  # a spoken file is converted once, not once a call; at most some MB
def resample(pcm: bytes, src_hz: int, dst_hz: int) -> bytes:
    """A whole clip at another rate, band-limited, PCM16 LE mono in and out."""
    if src_hz == dst_hz or not pcm:
        return pcm
    step_in, step_out = src_hz // gcd(src_hz, dst_hz), dst_hz // gcd(src_hz, dst_hz)
    samples = np.frombuffer(pcm, dtype="<i2").astype(np.float64)
    edge = -(-src_hz * _EDGE_MS // 1000 // step_in) * step_in
    whole = -(-len(samples) // step_in) * step_in
    padded = np.zeros(edge + whole + edge)
    padded[edge : edge + len(samples)] = samples
    n_out = len(padded) // step_in * step_out
    spectrum = np.fft.rfft(padded)
    keep = min(len(spectrum), n_out // 2 + 1)
    kept = np.zeros(n_out // 2 + 1, dtype=np.complex128)
    kept[:keep] = spectrum[:keep]
    fade = keep // 32  # a soft upper edge rings less than a hard one
    if fade:
        kept[keep - fade : keep] *= np.linspace(1.0, 0.0, fade)
    out = np.fft.irfft(kept, n_out) * (n_out / len(padded))
    first = edge // step_in * step_out
    wanted = out[first : first + -(-len(samples) * step_out // step_in)]
    return np.clip(np.rint(wanted), -32768, 32767).astype("<i2").tobytes()


@lru_cache(maxsize=1)
def greeting_tones() -> Clip:
    """Two gentle rising tones, 600 ms in all, PCM16 LE mono at 24 kHz."""
    rate_hz, tone_ms = 24_000, 280
    seconds = np.arange(rate_hz * tone_ms // 1000) / rate_hz
    swell = np.sin(np.pi * seconds / seconds[-1]) ** 2
    pause = np.zeros(rate_hz * 40 // 1000)
    low, high = (np.sin(2 * np.pi * hz * seconds) * swell * 7_000 for hz in (440.0, 587.33))
    return Clip(np.concatenate([low, pause, high]).astype("<i2").tobytes(), rate_hz)


def murmur(text: str) -> Clip:
    """What stands in for a text that is spoken: a tone as long as its words would take."""
    rate_hz = 24_000
    seconds = np.arange(rate_hz * MURMUR_MS_A_CHARACTER * len(text) // 1000) / rate_hz
    return Clip((np.sin(2 * np.pi * 220 * seconds) * 7_000).astype("<i2").tobytes(), rate_hz)
