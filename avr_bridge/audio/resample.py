"""Both directions, between the caller's 8 kHz and a model that speaks PCM16 at 24 kHz.

One resampler serves one direction of one call and keeps its state from chunk to chunk. This
module changes the rate only: it neither decodes G.711 (`codec.py`) nor cuts frames
(`framing.py`), and it does not carry half a sample over (`transcode.py` does).

How the filter works
--------------------
8 <-> 24 kHz is exactly 1:3, so one linear-phase low-pass at 24 kHz serves both ways: it removes
the images after x3 and the aliases before /3. It is a windowed sinc cut at 4 kHz, half the lower
rate, which makes it a third-band filter: every third coefficient but the middle one is zero. Of
the three phases, one is thus a plain delay, and only two need a convolution of 32 taps each. A
call that goes up to 24 kHz has its own 8 kHz samples, bit for bit, as every third sample.

Why the chunking cannot be heard, nor measured
----------------------------------------------
The coefficients are multiples of 2^-20 and the samples are integers below 2^15, so every product
and every partial sum is a multiple of 2^-20 below 2^17: 37 bits, exact in a float64 of 53.
Exact sums do not depend on the order in which a linear-algebra library adds them, hence the same
bytes come out whatever the size of the chunks.

Cost
----
`np.correlate` was the cheapest of those measured for 20 ms chunks (a windowed view times a
matrix takes twice the time), and it computes short dot products one by one, which never wakes
the threads of a linear-algebra library, however long the chunk.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

import audioop
import numpy as np

from avr_bridge.audio.polyphase import PolyphaseResampler

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "AudioopResampler",
    "FirDownsampler",
    "FirUpsampler",
    "PassThrough",
    "Resampler",
    "make_resampler",
]

type _Floats = NDArray[np.float64]

_LOW_HZ: Final = 8_000
_HIGH_HZ: Final = 24_000
_RATIO: Final = _HIGH_HZ // _LOW_HZ

_REACH_LOW: Final = 16
"""Samples at 8 kHz on either side of the filter's middle, and so its delay: 2 ms.

The transition runs from 3,400 Hz, the end of the phone band, to its image at 4,600 Hz. The Kaiser
rule gives 77 dB for this width and 97 taps. 12 (1.5 ms) gives 60 dB, which is the requirement
without any margin; 24 (3 ms) costs delay for nothing that a phone line lets through.
"""

_REACH_HIGH: Final = _REACH_LOW * _RATIO
"""The same reach in samples at 24 kHz; the filter has 2 * 48 + 1 = 97 taps."""

_BRANCH_TAPS: Final = 2 * _REACH_LOW
"""Taps of each of the two phases that are not a plain delay."""

_KAISER_BETA: Final = 7.5
"""0.1102 * (77 dB - 8.7): Kaiser's rule for the attenuation that 97 taps can give."""

_UNITS: Final = 1 << 20
"""Coefficients are integers over this. Steps this fine cost less than 16-bit rounding by 30 dB."""

_MAX: Final = 32767.0
_MIN: Final = -32768.0
_PCM16_BYTES: Final = 2


class Resampler(Protocol):
    """One direction of one call; PCM16 LE mono in and out."""

    @property
    def delay_ms(self) -> float:
        """How much later than it came in a sound comes out, chunking aside."""
        ...

    def process(self, pcm: bytes) -> bytes:
        """Convert the next chunk: PCM16 LE mono, whole samples, any number of them or none.

        Raises:
            ValueError: The chunk ends in the middle of a sample; the state is unchanged.
        """
        ...

    def flush(self) -> bytes:
        """Return what the delay still holds back; afterwards the state is as new."""
        ...

    def reset(self) -> None:
        """Forget all sound so far, as if new."""
        ...


def _check_whole_samples(pcm: bytes) -> None:
    if len(pcm) % _PCM16_BYTES:
        raise ValueError(f"PCM16 of {len(pcm)} bytes ends in the middle of a sample")


def _prototype() -> _Floats:
    """The low-pass at 24 kHz, 97 taps, sum about 1; its middle is index `_REACH_HIGH`."""
    n = np.arange(-_REACH_HIGH, _REACH_HIGH + 1)
    return np.sinc(n / _RATIO) / _RATIO * np.kaiser(2 * _REACH_HIGH + 1, _KAISER_BETA)


def _branch(phase: int, total_units: int) -> _Floats:
    """Taps `phase`, `phase` + 3, ... of the filter, oldest sample first, as exact fractions.

    They sum to exactly `total_units` / `_UNITS`. Equal sums in all phases keep a constant input
    constant; otherwise it would hum at 8 kHz.
    """
    taps = _prototype()[phase::_RATIO][::-1]
    units = np.rint(taps * (total_units / float(taps.sum())))
    units[np.argmax(units)] += total_units - units.sum()
    return np.ascontiguousarray(units / _UNITS)


_UP_1: Final = _branch(1, _UNITS)
_UP_2: Final = _branch(2, _UNITS)

_THIRD: Final = _UNITS // _RATIO
_DOWN_1: Final = _branch(1, _THIRD)
_DOWN_2: Final = _branch(2, _THIRD)
_DOWN_MIDDLE: Final = (_UNITS - 2 * _THIRD) / _UNITS


def _to_pcm16(samples: _Floats) -> bytes:
    """Round to the nearest integer and saturate; a sum beyond 16 bits must not wrap."""
    np.rint(samples, out=samples)
    np.minimum(samples, _MAX, out=samples)
    np.maximum(samples, _MIN, out=samples)
    return samples.astype("<i2").tobytes()


class FirUpsampler:
    """8 -> 24 kHz, delay 2 ms.

    n samples in give exactly 3 n samples out at once. The stream is late by 48 samples
    (at 24 kHz), and `flush` returns those 48, so a whole run is 3 n + 48 samples: drop the first
    48 and output k * 3 stands exactly on input k.
    """

    delay_ms: Final = _REACH_HIGH * 1000 / _HIGH_HZ

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget all sound so far, as if new."""
        self._past: _Floats = np.zeros(_BRANCH_TAPS - 1)
        self._fresh = True

    def process(self, pcm: bytes) -> bytes:
        """Convert PCM16 LE mono at 8 kHz to three times as many samples at 24 kHz.

        Raises:
            ValueError: `pcm` ends in the middle of a sample; the state is unchanged.
        """
        _check_whole_samples(pcm)
        if not pcm:
            return b""
        n = len(pcm) // _PCM16_BYTES
        window: _Floats = np.empty(_BRANCH_TAPS - 1 + n)
        window[: _BRANCH_TAPS - 1] = self._past
        window[_BRANCH_TAPS - 1 :] = np.frombuffer(pcm, "<i2")
        out: _Floats = np.empty((n, _RATIO))
        out[:, 0] = window[_REACH_LOW - 1 : _REACH_LOW - 1 + n]
        out[:, 1] = np.correlate(window, _UP_1)
        out[:, 2] = np.correlate(window, _UP_2)
        self._past = window[n:].copy()
        self._fresh = False
        return _to_pcm16(out)

    def flush(self) -> bytes:
        """Return the last 48 samples at 24 kHz (none if nothing came in); then as new."""
        tail = b"" if self._fresh else self.process(bytes(_REACH_LOW * _PCM16_BYTES))
        self.reset()
        return tail


class FirDownsampler:
    """24 -> 8 kHz, delay 2 ms.

    n samples in, in whatever chunks, give ceil(n / 3) samples out at once. The stream is late by
    16 samples (at 8 kHz), and `flush` returns those 16, so a whole run is ceil(n / 3) + 16
    samples: drop the first 16 and output k stands exactly on input k * 3.
    """

    delay_ms: Final = _REACH_LOW * 1000 / _LOW_HZ

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget all sound so far, as if new."""
        # From 96 samples before the input that the next output waits for, up to the newest one.
        self._window: _Floats = np.zeros(2 * _REACH_HIGH)
        self._fresh = True

    def process(self, pcm: bytes) -> bytes:
        """Convert PCM16 LE mono at 24 kHz to a third of the samples at 8 kHz.

        Raises:
            ValueError: `pcm` ends in the middle of a sample; the state is unchanged.
        """
        _check_whole_samples(pcm)
        if not pcm:
            return b""
        old = len(self._window)
        window: _Floats = np.empty(old + len(pcm) // _PCM16_BYTES)
        window[:old] = self._window
        window[old:] = np.frombuffer(pcm, "<i2")
        self._fresh = False
        n_out = (len(window) - 2 * _REACH_HIGH + _RATIO - 1) // _RATIO
        if n_out <= 0:
            self._window = window
            return b""
        end = _RATIO * (n_out + _BRANCH_TAPS - 1)
        out: _Floats = np.correlate(window[2 : end + 2 : _RATIO], _DOWN_1)
        out += np.correlate(window[1 : end + 1 : _RATIO], _DOWN_2)
        out += window[_REACH_HIGH : _REACH_HIGH + _RATIO * n_out : _RATIO] * _DOWN_MIDDLE
        self._window = window[_RATIO * n_out :].copy()
        return _to_pcm16(out)

    def flush(self) -> bytes:
        """Return the last 16 samples at 8 kHz (none if nothing came in); then as new."""
        tail = b"" if self._fresh else self.process(bytes(_REACH_HIGH * _PCM16_BYTES))
        self.reset()
        return tail


class AudioopResampler:
    """Any rates by linear interpolation (`audioop.ratecv`), state carried from chunk to chunk.

    Cheap and without delay, but it dulls the band above 2 kHz and has no filter against aliases.
    Output stands between the samples that are known, so the first chunk is short by a sample or
    two at the higher rate (478 instead of 480), nothing waits inside, and `flush` is empty.
    """

    delay_ms: Final = 0.0

    def __init__(self, src_hz: int, dst_hz: int) -> None:
        self._src_hz = src_hz
        self._dst_hz = dst_hz
        self.reset()

    def reset(self) -> None:
        """Forget all sound so far, as if new."""
        self._state: tuple[int, tuple[tuple[int, int], ...]] | None = None

    def process(self, pcm: bytes) -> bytes:
        """Convert the next chunk of PCM16 LE mono from the source to the target rate.

        Raises:
            ValueError: `pcm` ends in the middle of a sample; the state is unchanged.
        """
        _check_whole_samples(pcm)
        if not pcm:
            return b""
        out, self._state = audioop.ratecv(
            pcm, _PCM16_BYTES, 1, self._src_hz, self._dst_hz, self._state
        )
        return out

    def flush(self) -> bytes:
        """Return nothing, for nothing is held back; then as new."""
        self.reset()
        return b""


class PassThrough:
    """Equal rates: every chunk goes through as it is."""

    delay_ms: Final = 0.0

    def process(self, pcm: bytes) -> bytes:
        """Return `pcm`.

        Raises:
            ValueError: `pcm` ends in the middle of a sample.
        """
        _check_whole_samples(pcm)
        return pcm

    def flush(self) -> bytes:
        """Return nothing, for nothing is held back."""
        return b""

    def reset(self) -> None:
        """Do nothing, for there is no state."""


def make_resampler(kind: str, src_hz: int, dst_hz: int) -> Resampler:
    """Build a resampler for one direction of one call.

    Args:
        kind: "fir" (between 8, 16 and 24 kHz) or "audioop" (any rates).
        src_hz: Rate of what goes in.
        dst_hz: Rate of what comes out; if equal, the chunks pass through whatever the kind.

    Raises:
        ValueError: The kind is unknown, a rate is not positive, or "fir" cannot do this pair.
    """
    if kind not in ("fir", "audioop"):
        raise ValueError(f"unknown resampler {kind!r}, expected 'fir' or 'audioop'")
    if src_hz <= 0 or dst_hz <= 0:
        raise ValueError(f"rates must be positive, not {src_hz} and {dst_hz} Hz")
    if src_hz == dst_hz:
        return PassThrough()
    if kind == "audioop":
        return AudioopResampler(src_hz, dst_hz)
    match src_hz, dst_hz:
        case (8_000, 24_000):
            return FirUpsampler()
        case (24_000, 8_000):
            return FirDownsampler()
        case (8_000 | 16_000 | 24_000, 8_000 | 16_000 | 24_000):
            return PolyphaseResampler(src_hz, dst_hz)
        case _:
            raise ValueError(f"'fir' converts 8, 16 and 24 kHz, not {src_hz} Hz to {dst_hz} Hz")
