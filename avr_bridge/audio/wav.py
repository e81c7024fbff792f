"""Recordings: WAV files in and out of PCM16 LE mono at 8 kHz.

Beside the road: greetings for the caller, and what a simulated caller says and hears. This module
works on whole files with the best filter, never on a live stream: that is `audio/resample.py`.
"""

from __future__ import annotations

import math
import struct
import wave
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import audioop
import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    type Samples = npt.NDArray[np.float64]

__all__ = ["read_wav", "resample_pcm", "write_wav"]

RATE_HZ = 8_000

_PCM, _ALAW, _ULAW, _EXTENSIBLE = 1, 6, 7, 0xFFFE
_ENCODINGS = {_PCM: (8, 16, 24, 32), _ALAW: (8,), _ULAW: (8,)}
"""WAVE format tag to the sample widths, in bits, that are read in it."""

_ZERO_CROSSINGS = 32
"""Half the length of the resampling filter in periods of the lower rate: 4 ms at 8 kHz."""
_PASSBAND = 0.94
"""Cut-off as a share of the lower rate's half: 3,760 Hz at 8 kHz; the stop band starts at 4 kHz."""
_KAISER_BETA = 9.0
"""About 90 dB of stop-band attenuation, below the noise of 16 bit."""


def read_wav(path: str | Path) -> bytes:
    """Read a WAV file as PCM16 LE mono, 8 kHz, whatever its rate and channels.

    PCM of 8, 16, 24 and 32 bit and G.711 (µ-law, A-law) are understood. Channels are averaged.

    Raises:
        ValueError: The file is no WAV file, or of an encoding that is not read here; in words.
        OSError: The file cannot be read.
    """
    try:
        head, data = _chunks(Path(path).read_bytes())
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    block = head.bits // 8 * head.channels
    data = _pcm16(data[: len(data) // block * block], head)
    if head.channels > 1:
        mixed = np.frombuffer(data, "<i2").reshape(-1, head.channels).mean(axis=1)
        data = _to_pcm(mixed)
    return resample_pcm(data, head.rate_hz, RATE_HZ)


def write_wav(path: str | Path, pcm: bytes, rate_hz: int = RATE_HZ, *, channels: int = 1) -> None:
    """Write PCM16 LE of `rate_hz` as a WAV file; several channels sample by sample in turn."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes(pcm)


def resample_pcm(pcm: bytes, from_hz: int, to_hz: int) -> bytes:
    """Convert a whole recording, PCM16 LE mono, by a Kaiser-windowed sinc; n·to/from samples.

    The result is aligned with the input: the filter's delay is taken out.
    """
    if from_hz == to_hz or not pcm:
        return pcm
    common = math.gcd(from_hz, to_hz)
    up, down = to_hz // common, from_hz // common
    samples = np.frombuffer(pcm, "<i2").astype(np.float64)
    lower_hz = min(from_hz, to_hz)
    half = math.ceil(_ZERO_CROSSINGS * from_hz / lower_hz)
    taps = _taps(up, half, lower_hz / from_hz)
    padded = np.concatenate([np.zeros(half), samples, np.zeros(half + 1)])

    # Every `up`-th output has the same taps, and its inputs lie `down` samples apart: one product
    # of matrices for each, on a view of the input.
    out = np.empty(len(samples) * up // down)
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * half + 1)
    for phase in range(min(up, len(out))):
        mine = out[phase::up]
        mine[:] = windows[phase * down // up :: down][: len(mine)] @ taps[phase * down % up]
    return _to_pcm(out)


@attrs.frozen
class _Head:
    encoding: int
    channels: int
    rate_hz: int
    bits: int


def _pcm16(data: bytes, head: _Head) -> bytes:
    """Samples of any width that is read, as 16 bit; what is finer is cut off."""
    if head.encoding == _ULAW:
        return audioop.ulaw2lin(data, 2)
    if head.encoding == _ALAW:
        return audioop.alaw2lin(data, 2)
    if head.bits == 8:
        data = audioop.bias(data, 1, -128)  # the only width without a sign: silence is 128
    return audioop.lin2lin(data, head.bits // 8, 2)


def _chunks(raw: bytes) -> tuple[_Head, bytes]:
    """The format and the sound of a RIFF file. The standard library's reader has no G.711."""
    if len(raw) < 12 or raw[:4] != b"RIFF" or raw[8:12] != b"WAVE":
        raise ValueError("not a WAV file")
    head: _Head | None = None
    at = 12
    while at + 8 <= len(raw):
        name, size = struct.unpack_from("<4sI", raw, at)
        # A writer to a pipe cannot know the size and leaves a huge one: the slice clamps it.
        body = raw[at + 8 : at + 8 + size]
        if name == b"fmt ":
            head = _head(body)
        elif name == b"data":
            if head is None:
                raise ValueError("a WAV file whose sound comes before its format")
            return head, body
        at += 8 + size + size % 2
    raise ValueError("a WAV file without sound")


def _head(body: bytes) -> _Head:
    if len(body) < 16:
        raise ValueError("a WAV file with a cut format chunk")
    encoding, channels, rate_hz, _, _, bits = struct.unpack_from("<HHIIHH", body)
    if encoding == _EXTENSIBLE and len(body) >= 26:
        (encoding,) = struct.unpack_from("<H", body, 24)
    if encoding not in _ENCODINGS or bits not in _ENCODINGS[encoding]:
        raise ValueError(
            f"WAV format {encoding} with {bits} bit is not read here: "
            "use PCM of 8, 16, 24 or 32 bit, G.711 µ-law or G.711 A-law"
        )
    if channels < 1 or rate_hz < 1_000:
        raise ValueError(f"a WAV file with {channels} channels at {rate_hz} Hz")
    return _Head(encoding, channels, rate_hz, bits)


def _taps(phases: int, half: int, ratio: float) -> Samples:
    """One filter for each fraction of an input sample: row p is centred on sample p / phases."""
    distance = np.arange(-half, half + 1)[None, :] - np.arange(phases)[:, None] / phases
    cutoff = _PASSBAND * min(1.0, ratio)
    inside = np.clip(1 - (distance / (half + 1)) ** 2, 0, None)
    taps: Samples = cutoff * np.sinc(cutoff * distance) * np.i0(_KAISER_BETA * np.sqrt(inside))
    return taps / taps.sum(axis=1, keepdims=True)


def _to_pcm(samples: Samples) -> bytes:
    """Round and clip: a value beyond 16 bit must not wrap around."""
    return np.clip(np.rint(samples), -32_768, 32_767).astype("<i2").tobytes()
