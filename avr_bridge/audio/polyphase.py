"""Both directions, between rates that are not 1:3: a linear-phase filter for any small ratio.

Beside `resample.py`, whose filter is the special case of the phone's 8 kHz and the model's 24 kHz.
Here for legs at 16 kHz (Asterisk's slin16). One serves one direction of one call.

How it works
------------
Up by L and down by M at once: each output stands at a multiple of M/L between the inputs, so its
taps are one of L branches of the same windowed sinc, cut at half of the lower rate. The reach is
that of `resample.py`: 2 ms on either side where the lower rate is 8 kHz, 1 ms at 16 kHz.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["PolyphaseResampler"]

type _Floats = NDArray[np.float64]

_REACH: Final = 16
"""Samples of the lower rate on either side of the filter's middle; see `resample.py`."""

_KAISER_BETA: Final = 7.5
_PCM16_BYTES: Final = 2
_MAX: Final = 32767.0
_MIN: Final = -32768.0


class PolyphaseResampler:
    """PCM16 LE mono from one rate to another, state carried from chunk to chunk.

    n samples in give ceil(n · L / M) out in all, late by `delay_ms`; `flush` gives what that holds
    back. The last bit of a sample may depend on the chunking.
    """

    def __init__(self, src_hz: int, dst_hz: int) -> None:
        common = math.gcd(src_hz, dst_hz)
        self._up, self._down = dst_hz // common, src_hz // common
        self._src_hz, self._dst_hz = src_hz, dst_hz
        # Input samples on either side of an output.
        self._reach = -(-_REACH * max(self._up, self._down) // self._up)
        self._branches = [self._branch(phase) for phase in range(self._up)]
        self.delay_ms: Final = self._reach * 1000 / src_hz
        self.reset()

    def _branch(self, phase: int) -> _Floats:
        """Taps over the inputs from `reach - 1` before an output to `reach` behind it."""
        at = np.arange(-self._reach + 1, self._reach + 1) - phase / self._up
        cut = min(1.0, self._up / self._down)
        inside = np.clip(1 - (at / self._reach) ** 2, 0, None)
        window = np.i0(_KAISER_BETA * np.sqrt(inside)) / np.i0(_KAISER_BETA)
        taps = np.sinc(at * cut) * window
        return np.ascontiguousarray(taps / taps.sum())

    def reset(self) -> None:
        """Forget all sound so far, as if new."""
        self._window: _Floats = np.zeros(2 * self._reach - 1)
        self._next = 0
        """Output that is due next, in 1/L of an input, from the one in the window's middle."""
        self._fresh = True

    def process(self, pcm: bytes) -> bytes:
        """Convert the next PCM16 LE mono.

        Raises:
            ValueError: `pcm` ends in the middle of a sample; the state is unchanged.
        """
        if len(pcm) % _PCM16_BYTES:
            raise ValueError(f"PCM16 of {len(pcm)} bytes ends in the middle of a sample")
        if not pcm:
            return b""
        self._fresh = False
        window = np.concatenate((self._window, np.frombuffer(pcm, "<i2").astype(np.float64)))
        taps = 2 * self._reach
        ready = (len(window) - taps + 1) * self._up  # positions whose inputs are all there
        count = max(0, -(-(ready - self._next) // self._down))
        out: _Floats = np.empty(count)
        for first in range(min(self._up, count)):
            at = self._next + first * self._down
            start, branch = at // self._up, self._branches[at % self._up]
            number = -(-(count - first) // self._up)
            part = window[start : start + (number - 1) * self._down + taps]
            out[first :: self._up] = np.correlate(part, branch)[:: self._down]
        self._next += count * self._down
        used = min(self._next // self._up, len(window))
        self._window = window[used:].copy()
        self._next -= used * self._up
        np.rint(out, out=out)
        np.clip(out, _MIN, _MAX, out=out)
        return out.astype("<i2").tobytes()

    def flush(self) -> bytes:
        """Return what the delay holds back (none if nothing came in); then as new."""
        tail = b"" if self._fresh else self.process(bytes(self._reach * _PCM16_BYTES))
        self.reset()
        return tail
