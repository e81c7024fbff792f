"""The socket side of the simulated server: WebSocket upgrades over trio-websocket.

Turns one TCP connection into a `Link`. Which session runs on it is decided in `server.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio
from trio_websocket import ConnectionClosed, WebSocketConnection

from avr_bridge.testing.realtime.session import LinkClosed

if TYPE_CHECKING:
    from avr_bridge.testing.realtime.breakable import BreakableStream

__all__ = ["MAX_MESSAGE_CHARS", "QUEUE_MESSAGES", "WireLink"]

MAX_MESSAGE_CHARS = 24 * 2**20
"""Room for an append of 15 MiB in base64, with its JSON."""

QUEUE_MESSAGES = 64
"""Client messages that may wait in the socket's reader: some 20 ms appends, so a few kB each."""

CLOSE_S = 2.0
"""How long a client may take to answer a close."""


class WireLink:
    """The server's end of one WebSocket.

    Args:
        connection: The upgraded connection; its reader runs in a nursery of the caller.
        stream: The TCP stream below it, to be able to lose it, or parts of it.
    """

    def __init__(self, connection: WebSocketConnection, stream: BreakableStream) -> None:
        self._connection = connection
        self._stream = stream

    async def send(self, text: str) -> None:
        """Send one text message. Raises: LinkClosed."""
        try:
            await self._connection.send_message(text)
        except ConnectionClosed as closed:
            raise _translated(closed) from None

    async def receive(self) -> bytes | str:
        """Wait for the client's next message. Raises: LinkClosed."""
        try:
            message: bytes | str = await self._connection.get_message()
        except ConnectionClosed as closed:
            raise _translated(closed) from None
        return message

    async def close(self, code: int, reason: str) -> None:
        """Close politely; a client that does not answer is left after two seconds."""
        with trio.move_on_after(CLOSE_S):
            await self._connection.aclose(code, reason)

    async def drop(self) -> None:
        """Close the TCP connection and nothing more."""
        await trio.aclose_forcefully(self._stream)

    def stop_pongs(self) -> None:
        """Answer no ping from now on."""
        self._stream.stop_pongs()

    def stop_reading(self) -> None:
        """Read nothing from now on."""
        self._stream.stop_reading()

    def freeze(self) -> None:
        """Send nothing from now on, and lose what comes."""
        self._stream.freeze()


def _translated(closed: ConnectionClosed) -> LinkClosed:
    if closed.reason is None:
        return LinkClosed(1006)
    return LinkClosed(closed.reason.code, closed.reason.reason or "")
