"""Each worker's numbers where the others find them, so that whichever answers tells of all.

Behind the rows of `workers_board.py`, in the same memory: no file, so a read-only root file system
is enough, and no question to another worker, which may be busy or dead. A worker writes its own
numbers every two seconds, and before it answers. Those of one that died stay, and its replacement
goes on from them: a counter never falls.

prometheus_client's own mode for several processes is not used: it needs a directory, is switched on
for a whole process before the package is loaded, and can collect nothing at the moment of asking.
"""

from __future__ import annotations

import mmap
import zlib
from typing import TYPE_CHECKING

import msgspec

from avr_bridge.server.workers_board import NUMBERS_AT_BYTES, NUMBERS_BYTES
from avr_bridge.telemetry.metrics_text import Number

if TYPE_CHECKING:
    from avr_bridge.server.workers_board import Board

__all__ = ["MetricsBoard"]

HEAD_BYTES = 64
"""Of each worker: which of its two slots is the newer one."""

SLOT_BYTES = (NUMBERS_BYTES - HEAD_BYTES) // 2
"""A bridge with 100 tools, each of which ended in each way, has 200 kB of numbers."""

SLOT_HEAD_BYTES = 8
"""Length and checksum."""

TRIES = 3
"""A slot that was overwritten while it was read: that takes two writings meanwhile."""


class MetricsBoard:
    """The shared part.

    Args:
        board: Whose memory it is in; it stays the caller's to close.
    """

    def __init__(self, board: Board) -> None:
        self._memory = mmap.mmap(board.fd, board.workers * NUMBERS_BYTES, offset=NUMBERS_AT_BYTES)
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(list[Number]).decode

    def write(self, number: int, numbers: list[Number]) -> bool:
        """Put a worker's numbers in place of its earlier ones; its own number is from 1 on.

        Returns:
            False if they are too many: the earlier ones stay.
        """
        data = self._encode(numbers)
        if len(data) > SLOT_BYTES - SLOT_HEAD_BYTES:
            return False
        # Who reads meanwhile reads the other slot; a worker that is killed here leaves that one.
        start = (number - 1) * NUMBERS_BYTES
        slot = 1 - self._memory[start]
        at = start + HEAD_BYTES + slot * SLOT_BYTES
        head = len(data).to_bytes(4, "little") + zlib.crc32(data).to_bytes(4, "little")
        self._memory[at : at + SLOT_HEAD_BYTES + len(data)] = head + data
        self._memory[start] = slot
        return True

    def read(self, number: int) -> list[Number]:
        """A worker's numbers; empty if it has written none."""
        start = (number - 1) * NUMBERS_BYTES
        for _ in range(TRIES):
            at = start + HEAD_BYTES + self._memory[start] * SLOT_BYTES
            size = int.from_bytes(self._memory[at : at + 4], "little")
            crc = int.from_bytes(self._memory[at + 4 : at + SLOT_HEAD_BYTES], "little")
            at += SLOT_HEAD_BYTES
            data = self._memory[at : at + min(size, SLOT_BYTES - SLOT_HEAD_BYTES)]
            if size and zlib.crc32(data) == crc:
                return self._decode(data)
        return []

    def close(self) -> None:
        """Let the memory go."""
        self._memory.close()
