"""A TCP stream below a WebSocket from which pongs, reading or everything can be taken away.

Stands between trio-websocket and the socket, because the library answers pings by itself.
"""

from __future__ import annotations

import select

import trio

__all__ = ["BreakableStream"]

PONG = 0x8A
"""First byte of a server's pong: whole message, opcode 10. A frame is written in one piece."""


class BreakableStream(trio.abc.Stream):
    """The stream; it does everything until it is told otherwise."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._pongs = True
        self._reads = True
        self._frozen = False

    def stop_pongs(self) -> None:
        """Lose every pong from now on."""
        self._pongs = False

    def stop_reading(self) -> None:
        """Read nothing from now on."""
        self._reads = False

    def freeze(self) -> None:
        """Write nothing from now on, and lose what comes."""
        self._frozen = True

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send, or lose it."""
        is_pong = len(data) > 0 and data[0] == PONG
        if self._frozen or (is_pong and not self._pongs):
            await trio.lowlevel.checkpoint()
            return
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        """As the socket's."""
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """Receive; once broken, only the end is told of."""
        while True:
            data = await self._stream.receive_some(max_bytes)
            if not data:
                return data
            if not self._reads:
                await self._wait_left()
                return b""
            if not self._frozen:
                return data

    async def _wait_left(self) -> None:
        """Wait until the peer has closed, without reading. The peer of a full buffer is never seen
        to leave: its FIN stands behind what nobody reads."""
        with select.epoll() as watch:
            watch.register(self._stream.socket.fileno(), select.EPOLLRDHUP)
            await trio.lowlevel.wait_readable(watch.fileno())

    async def aclose(self) -> None:
        """Close the socket."""
        await self._stream.aclose()
