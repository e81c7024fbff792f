"""The short way between our server's WebSocket and its call: whole messages, in one step each way.

Between `server/guarded_websocket.py` and `websocket.py`. The way through ASGI, with two tasks and
two queues between the socket and the call, costs more than all else that is done with a frame; the
endpoint, its handshake and its end go that way still. Knows neither frames nor JSON.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import trio

from avr_bridge.errors import CallerGone

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["DirectLine"]

MOST_WAITING_CHARS = 256 * 1024
"""The call takes messages off at once. If more than this wait, the socket is read no further until
it has: with one message of the greatest length on top, 1.3 MB."""


class DirectLine:
    """One WebSocket's. The server puts what came and closes; the call takes and sends.

    Args:
        send: Sends one text message, UTF-8; returns without an error where the peer is gone.
        send_binary: The same for a binary message.
    """

    def __init__(
        self,
        send: Callable[[bytes], Awaitable[None]],
        send_binary: Callable[[bytes], Awaitable[None]],
    ) -> None:
        self._send = send
        self._send_binary = send_binary
        self._messages: deque[str | bytes] = deque()
        self._waiting_chars = 0
        self._call = trio.lowlevel.ParkingLot()
        self._server = trio.lowlevel.ParkingLot()
        self._closed = False

    async def put(self, message: str | bytes) -> None:
        """What the peer sent. Waits if the call does not keep up; dropped behind the end."""
        if self._closed:
            return
        self._messages.append(message)
        self._waiting_chars += len(message)
        self._call.unpark()
        if self._waiting_chars > MOST_WAITING_CHARS:
            await self._server.park()

    def close(self) -> None:
        """Nothing more comes, and nothing can be sent. May be called twice."""
        self._closed = True
        self._call.unpark_all()
        self._server.unpark_all()

    async def receive(self) -> list[str | bytes]:
        """Wait for what the peer sent: all that is there, text or binary; nothing at the end."""
        if self._messages:
            await trio.lowlevel.checkpoint_if_cancelled()
        while not self._messages and not self._closed:
            await self._call.park()
        messages = list(self._messages)
        self._messages.clear()
        self._waiting_chars = 0
        self._server.unpark_all()
        return messages

    async def send(self, text: bytes) -> None:
        """Send one text message.

        Raises:
            CallerGone: The connection has ended.
        """
        if self._closed:
            raise CallerGone
        await self._send(text)

    async def send_binary(self, data: bytes) -> None:
        """Send one binary message.

        Raises:
            CallerGone: The connection has ended.
        """
        if self._closed:
            raise CallerGone
        await self._send_binary(data)
