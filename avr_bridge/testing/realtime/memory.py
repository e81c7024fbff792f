"""The in-memory connection to the simulated server: two channels, no sockets, virtual time.

The client's end is a `MessageSocket` like the real one; the server's end is a `Link`.
"""

from __future__ import annotations

import attrs
import trio

from avr_bridge.errors import UpstreamClosed
from avr_bridge.testing.realtime.session import LinkClosed

__all__ = ["MemoryLink", "MemorySocket", "open_memory_pair"]

QUEUE_MESSAGES = 64
"""Messages on their way in each direction, as a socket's buffers would hold: about 1 MB."""


@attrs.define(eq=False)
class _Ending:
    """How the connection ended, known to both ends; the first to say so is right."""

    code: int | None = None
    reason: str = ""

    def by(self, code: int, reason: str) -> None:
        if self.code is None:
            self.code, self.reason = code, reason


class MemorySocket:
    """The client's end."""

    def __init__(
        self,
        ending: _Ending,
        outgoing: trio.MemorySendChannel[str],
        incoming: trio.MemoryReceiveChannel[str],
    ) -> None:
        self._ending = ending
        self._outgoing = outgoing
        self._incoming = incoming

    async def send_message(self, message: bytes | str) -> None:
        """Send one text message. Raises: UpstreamClosed."""
        if self._ending.code is not None:
            await trio.lowlevel.checkpoint()
            raise self._closed()
        try:
            # every message is a text message here, as in the real client
            text = message if isinstance(message, str) else message.decode(errors="replace")
            await self._outgoing.send(text)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise self._closed() from None

    async def get_message(self) -> bytes | str:
        """Wait for the next message; what was sent before the end still comes. Raises:
        UpstreamClosed."""
        try:
            return await self._incoming.receive()
        except (trio.EndOfChannel, trio.ClosedResourceError):
            raise self._closed() from None

    async def aclose(self, code: int = 1000, reason: str = "") -> None:
        """Close politely."""
        self.close_now(code, reason)
        await trio.lowlevel.checkpoint()

    def close_now(self, code: int = 1000, reason: str = "") -> None:
        """The same without a checkpoint, for clean-up."""
        self._ending.by(code, reason)
        self._outgoing.close()
        self._incoming.close()

    def _closed(self) -> UpstreamClosed:
        return UpstreamClosed(self._ending.code or 1006, self._ending.reason)


class MemoryLink:
    """The server's end."""

    def __init__(
        self,
        ending: _Ending,
        outgoing: trio.MemorySendChannel[str],
        incoming: trio.MemoryReceiveChannel[str],
    ) -> None:
        self._ending = ending
        self._outgoing = outgoing
        self._incoming = incoming

    async def send(self, text: str) -> None:
        """Send one message. Raises: LinkClosed."""
        try:
            await self._outgoing.send(text)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise self._gone() from None

    async def receive(self) -> bytes | str:
        """Wait for the client's next message. Raises: LinkClosed."""
        try:
            return await self._incoming.receive()
        except (trio.EndOfChannel, trio.ClosedResourceError):
            raise self._gone() from None

    async def close(self, code: int, reason: str) -> None:
        """Close politely."""
        self.close_now(code, reason)
        await trio.lowlevel.checkpoint()

    async def drop(self) -> None:
        """Vanish."""
        self.close_now(1006, "")
        await trio.lowlevel.checkpoint()

    def close_now(self, code: int, reason: str) -> None:
        """Close without a checkpoint, for clean-up; does nothing the second time."""
        self._ending.by(code, reason)
        self._outgoing.close()
        self._incoming.close()

    def _gone(self) -> LinkClosed:
        return LinkClosed(self._ending.code or 1006, self._ending.reason)


def open_memory_pair() -> tuple[MemorySocket, MemoryLink]:
    """Both ends of a new connection; each side closes its own."""
    to_server, from_client = trio.open_memory_channel[str](QUEUE_MESSAGES)
    to_client, from_server = trio.open_memory_channel[str](QUEUE_MESSAGES)
    ending = _Ending()
    return (
        MemorySocket(ending, to_server, from_server),
        MemoryLink(ending, to_client, from_client),
    )
