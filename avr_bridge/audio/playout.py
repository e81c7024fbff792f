"""What is still to be played to the caller: whole frames, in order, dropped at once on demand.

Between the decoder and the pacer on an answer's road. Answers arrive faster than they are
spoken, so this holds seconds to minutes of sound. It knows no clock.
"""

from __future__ import annotations

from avr_bridge.audio.format import PCM16_8K, AudioFormat
from avr_bridge.audio.framing import Framer

__all__ = ["Playout"]

_COMPACT_BYTES = 65_536
"""Played bytes are cut off the front in pieces of this size: one move of memory per 4 s."""


class Playout:
    """A queue of sound in the caller's format (PCM16 LE mono, 8 kHz), taken out in frames."""

    def __init__(self, fmt: AudioFormat = PCM16_8K) -> None:
        self._format = fmt
        self._framer = Framer(fmt)
        self._waiting = bytearray()
        self._taken_bytes = 0
        self.answer_open = False
        """Whether more of the present answer is to come."""

    @property
    def waiting_bytes(self) -> int:
        """Whole frames that wait, in bytes."""
        return len(self._waiting) - self._taken_bytes

    @property
    def waiting_frames(self) -> int:
        """Whole frames that wait."""
        return self.waiting_bytes // self._format.frame_bytes

    def push(self, pcm: bytes) -> None:
        """Add sound of the present answer, of any length."""
        self._waiting += self._framer.push(pcm)
        self.answer_open = True

    def finish(self) -> None:
        """The answer is complete: its last partial frame is padded with silence."""
        self._waiting += self._framer.flush()
        self.answer_open = False

    def take(self, frames: int) -> bytes:
        """Take up to `frames` whole frames off the front."""
        start = self._taken_bytes
        end = min(start + frames * self._format.frame_bytes, len(self._waiting))
        taken = bytes(self._waiting[start:end])
        self._taken_bytes = end
        if end == len(self._waiting):
            self._waiting.clear()
            self._taken_bytes = 0
        elif end >= _COMPACT_BYTES:
            del self._waiting[:end]
            self._taken_bytes = 0
        return taken

    def clear(self) -> None:
        """Drop all that waits, and the started frame with it."""
        self._waiting.clear()
        self._taken_bytes = 0
        self._framer.clear()
        self.answer_open = False
