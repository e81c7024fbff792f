"""What is still to be played to the caller: whole frames, in order, dropped at once on demand.

Between the decoder and the pacer on an answer's road. Answers arrive faster than they are
spoken, so this holds seconds to minutes of sound. Each frame belongs to one item of the
conversation. It knows no clock.
"""

from __future__ import annotations

from collections import deque

from avr_bridge.audio.format import PCM16_8K, AudioFormat
from avr_bridge.audio.framing import Framer

__all__ = ["Playout"]

_COMPACT_BYTES = 65_536
"""Played bytes are cut off the front in pieces of this size: one move of memory per 4 s."""


class Playout:
    """A queue of sound in the format of the caller's leg, taken out in frames."""

    def __init__(self, fmt: AudioFormat = PCM16_8K) -> None:
        self._format = fmt
        self._framer = Framer(fmt)
        self._waiting = bytearray()
        self._taken_bytes = 0
        self._items: deque[tuple[str, int]] = deque()
        self._open_item: str | None = None

    @property
    def answer_open(self) -> bool:
        """Whether more of the present item is to come."""
        return self._open_item is not None

    @property
    def waiting_bytes(self) -> int:
        """Whole frames that wait, in bytes."""
        return len(self._waiting) - self._taken_bytes

    @property
    def waiting_frames(self) -> int:
        """Whole frames that wait."""
        return self.waiting_bytes // self._format.frame_bytes

    @property
    def first_item_frames(self) -> int:
        """Whole frames that wait of the item that is first."""
        return self._items[0][1] if self._items else 0

    @property
    def waiting_items(self) -> list[str]:
        """Items of which sound waits, in order; a started frame counts."""
        items = [item_id for item_id, _ in self._items]
        if self._open_item is not None and self._framer.pending_bytes:
            items.append(self._open_item)
        return list(dict.fromkeys(items))

    def push(self, pcm: bytes, item_id: str = "") -> None:
        """Add sound of an item, of any length. Another item's last frame is padded first."""
        if self._open_item not in (None, item_id):
            self.finish()
        self._open_item = item_id
        self._add(self._framer.push(pcm), item_id)

    def finish(self) -> None:
        """The item is complete: its last partial frame is padded with silence."""
        if self._open_item is not None:
            self._add(self._framer.flush(), self._open_item)
        self._open_item = None

    def take(self, frames: int) -> tuple[bytes, list[tuple[str, int]]]:
        """Take up to `frames` whole frames off the front.

        Returns:
            The sound, and the items that it belongs to with their frames, in order.
        """
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
        return taken, self._take_items(len(taken) // self._format.frame_bytes)

    def clear(self) -> None:
        """Drop all that waits, and the started frame with it."""
        self._waiting.clear()
        self._taken_bytes = 0
        self._items.clear()
        self._framer.clear()
        self._open_item = None

    def _add(self, whole: bytes, item_id: str) -> None:
        if not whole:
            return
        self._waiting += whole
        frames = len(whole) // self._format.frame_bytes
        if self._items and self._items[-1][0] == item_id:
            frames += self._items.pop()[1]
        self._items.append((item_id, frames))

    def _take_items(self, frames: int) -> list[tuple[str, int]]:
        taken = []
        while frames:
            item_id, waiting = self._items.popleft()
            part = min(waiting, frames)
            taken.append((item_id, part))
            frames -= part
            if part < waiting:
                self._items.appendleft((item_id, waiting - part))
        return taken
