"""The stream beneath trio-websocket: several tasks send on it, and texts are read past it.

Between `net/` and `dial.py`. trio-websocket keeps the handshake, pings, closes, fragments and all
that is unusual, and gets the very bytes of these. The usual message of a model, one ASCII text in
one frame, goes straight to whoever waits for it: by way of wsproto, trio-websocket's task and its
queue each cost 60 us more, and a call has ten of them a second.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import trio

from avr_bridge.net.frames import FrameSplitter

if TYPE_CHECKING:
    from avr_bridge.net.quick import QuickStream

__all__ = ["MESSAGE_QUEUE", "SharedStream"]

MESSAGE_QUEUE = 64
"""Messages read ahead. While so many wait nothing more is read, pings included; our reader never
waits, so this covers one long scheduling pause."""

LONGEST_HEAD_BYTES = 64 * 1024
"""Of the answer to the upgrade. h11, which reads it, refuses 16 KiB and more."""

_SWITCHES = b"HTTP/1.1 101"
_END_OF_HEAD = b"\r\n\r\n"


class SharedStream(trio.abc.Stream):
    """As the stream that it is made of, with these differences.

    `send_all` may be called by several tasks; `receive_some` keeps text messages back, for
    `receive_text`.

    Attributes:
        ended: Nothing more comes.
    """

    def __init__(self, stream: QuickStream | trio.SSLStream[QuickStream]) -> None:
        self._stream = stream
        self._sending = trio.Lock()
        self.ended = trio.Event()
        self._head = bytearray()
        self._splitter: FrameSplitter | None = None
        self._switches = True
        self._wanted = True
        self._texts: deque[str | None] = deque()
        self._reader = trio.lowlevel.ParkingLot()
        self._room = trio.lowlevel.ParkingLot()

    async def receive_text(self) -> str | None:
        """Wait for the next message.

        Returns:
            None if trio-websocket has it, or will know of the end. Then `took_other` is to be
            called when the message has been taken from there; until then it is None again.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        while self._switches and not self._texts and not self.ended.is_set():
            await self._reader.park()
        if not self._texts or self._texts[0] is None:
            return None
        return self._take()

    def took_other(self) -> None:
        """The message that `receive_text` had not was taken from trio-websocket."""
        if self._texts and self._texts[0] is None:
            self._take()

    def _take(self) -> str | None:
        self._room.unpark_all()
        return self._texts.popleft()

    def want_no_more(self) -> None:
        """Nobody will call `receive_text` again: what waits, and what comes, is dropped."""
        self._wanted = False
        self._texts.clear()
        self._room.unpark_all()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """For trio-websocket: what is not for `receive_text`."""
        while True:
            while len(self._texts) >= MESSAGE_QUEUE:
                await self._room.park()
            try:
                data = await self._stream.receive_some(max_bytes)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                self._end()
                raise
            if not data:
                self._end()
                return data
            foreign = self._without_texts(bytes(data))
            if foreign:
                return foreign

    def _without_texts(self, data: bytes) -> bytes:
        if self._splitter is None:
            data, frames = self._split_head(data)
        else:
            data, frames = b"", data
        if self._splitter is None or not frames:
            return data
        foreign = [data] if data else []
        for found in self._splitter.push(frames):
            if isinstance(found, bytes):
                foreign.append(found)
            elif self._wanted:
                self._texts.append(found)
        if self._texts:
            self._reader.unpark()
        return b"".join(foreign)

    def _split_head(self, data: bytes) -> tuple[bytes, bytes]:
        """The answer to the upgrade is trio-websocket's, and if it refuses, all behind it."""
        if not self._switches:
            return data, b""
        seen = len(self._head)
        self._head += data
        end = self._head.find(_END_OF_HEAD, max(seen - len(_END_OF_HEAD) + 1, 0))
        if end < 0:
            self._switches = len(self._head) < LONGEST_HEAD_BYTES
            return data, b""
        self._switches = self._head.startswith(_SWITCHES)
        if not self._switches:
            return data, b""
        self._splitter = FrameSplitter(of_client=False)
        own = end + len(_END_OF_HEAD) - seen
        self._head.clear()
        return data[:own], data[own:]

    def _end(self) -> None:
        self.ended.set()
        self._reader.unpark_all()

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send all of it, behind what another task is sending."""
        try:
            self._sending.acquire_nowait()  # a lock that is free costs no round of the scheduler
        except trio.WouldBlock:
            await self._sending.acquire()
        try:
            await self._stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self._end()
            raise
        finally:
            self._sending.release()

    async def wait_send_all_might_not_block(self) -> None:
        """As the stream."""
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        """Close the stream; `receive_text` then waits for nothing more."""
        self._end()
        await self._stream.aclose()
