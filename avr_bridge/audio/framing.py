"""On the road to the caller, after the resampler: any chunks in, whole 20 ms frames out.

avr-core works in whole frames, while deltas and resamplers give chunks of any length. This module
keeps the remainder until its frame is full; it neither paces (`pacing.py`) nor converts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from avr_bridge.audio.format import AudioFormat

__all__ = ["Framer"]


class Framer:
    """Collects bytes of one format and gives them out in whole 20 ms frames, in order.

    Never holds more than one frame less a byte. One framer serves one direction of one call.
    """

    def __init__(self, fmt: AudioFormat) -> None:
        self._fmt = fmt
        self._rest = b""

    @property
    def pending_bytes(self) -> int:
        """Bytes that wait for the rest of their frame: 0 to `frame_bytes` - 1."""
        return len(self._rest)

    def push(self, data: bytes) -> bytes:
        """Take any number of bytes, even half a sample, and return all frames that are whole.

        Returns:
            One bytes object, a multiple of the format's `frame_bytes` long; b"" if none is whole.
        """
        joined = self._rest + data if self._rest else data
        whole_bytes = len(joined) - len(joined) % self._fmt.frame_bytes
        self._rest = joined[whole_bytes:]
        return joined[:whole_bytes]

    def flush(self) -> bytes:
        """Return the last partial frame, filled up with silence, or b""; then nothing is pending.

        Half a sample at the very end is not sound and becomes silence too.
        """
        rest, self._rest = self._rest, b""
        if not rest:
            return b""
        n_samples = self._fmt.samples(len(rest))
        sound = rest[: n_samples * self._fmt.sample_bytes]
        return sound + self._fmt.silence(self._fmt.frame_samples - n_samples)

    def clear(self) -> None:
        """Forget the remainder, as after an interruption."""
        self._rest = b""
