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
class _Wire:
    """What both ends know: how the connection ended, and what the server no longer does."""

    code: int | None = None
    reason: str = ""
    ended: trio.Event = attrs.field(factory=trio.Event)
    answers_pings: bool = True
    reads: bool = True
    frozen: bool = False

    @property
    def answers_close(self) -> bool:
        """Whether the server would take part in a polite close."""
        return self.reads and not self.frozen

    def end(self, code: int, reason: str) -> None:
        """The connection is over; the first to say so is right."""
        if self.code is None:
            self.code, self.reason = code, reason
            self.ended.set()


class MemorySocket:
    """The client's end."""

    def __init__(
        self,
        wire: _Wire,
        outgoing: trio.MemorySendChannel[str],
        incoming: trio.MemoryReceiveChannel[str],
    ) -> None:
        self._wire = wire
        self._outgoing = outgoing
        self._incoming = incoming

    async def send_message(self, message: bytes | str) -> None:
        """Send one text message. Raises: UpstreamClosed."""
        if self._wire.code is not None:
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

    async def ping(self) -> None:
        """Wait for the server's pong, which comes at once or never. Raises: UpstreamClosed."""
        await trio.lowlevel.checkpoint()
        if not (self._wire.answers_pings and self._wire.answers_close):
            await self._wire.ended.wait()
        if self._wire.code is not None:
            raise self._closed()

    async def aclose(self, code: int = 1000, reason: str = "") -> None:
        """Close politely; as over a real socket, for ever if the server does not answer that."""
        answered = self._wire.answers_close or self._wire.code is not None
        self.close_now(code, reason)
        if answered:
            await trio.lowlevel.checkpoint()
        else:
            await trio.sleep_forever()

    def close_now(self, code: int = 1000, reason: str = "") -> None:
        """The same without a checkpoint, for clean-up."""
        self._wire.end(code, reason)
        self._outgoing.close()
        self._incoming.close()

    def _closed(self) -> UpstreamClosed:
        return UpstreamClosed(self._wire.code or 1006, self._wire.reason)


class MemoryLink:
    """The server's end."""

    def __init__(
        self,
        wire: _Wire,
        outgoing: trio.MemorySendChannel[str],
        incoming: trio.MemoryReceiveChannel[str],
    ) -> None:
        self._wire = wire
        self._outgoing = outgoing
        self._incoming = incoming

    async def send(self, text: str) -> None:
        """Send one message. Raises: LinkClosed."""
        if self._wire.frozen:
            await trio.lowlevel.checkpoint()
            return
        try:
            await self._outgoing.send(text)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise self._gone() from None

    async def receive(self) -> bytes | str:
        """Wait for the client's next message. Raises: LinkClosed."""
        while True:
            try:
                message = await self._incoming.receive()
            except (trio.EndOfChannel, trio.ClosedResourceError):
                raise self._gone() from None
            if not self._wire.reads:
                await self._wire.ended.wait()
                raise self._gone()
            if not self._wire.frozen:
                return message

    async def close(self, code: int, reason: str) -> None:
        """Close politely."""
        self.close_now(code, reason)
        await trio.lowlevel.checkpoint()

    async def drop(self) -> None:
        """Vanish."""
        self.close_now(1006, "")
        await trio.lowlevel.checkpoint()

    def stop_pongs(self) -> None:
        """Answer no ping from now on."""
        self._wire.answers_pings = False

    def stop_reading(self) -> None:
        """Read nothing from now on; the client's sends wait once the queue is full."""
        self._wire.reads = False

    def freeze(self) -> None:
        """Send nothing from now on, and lose what comes."""
        self._wire.frozen = True

    def close_now(self, code: int, reason: str) -> None:
        """Close without a checkpoint, for clean-up; does nothing the second time."""
        self._wire.end(code, reason)
        self._outgoing.close()
        self._incoming.close()

    def _gone(self) -> LinkClosed:
        return LinkClosed(self._wire.code or 1006, self._wire.reason)


def open_memory_pair() -> tuple[MemorySocket, MemoryLink]:
    """Both ends of a new connection; each side closes its own."""
    to_server, from_client = trio.open_memory_channel[str](QUEUE_MESSAGES)
    to_client, from_server = trio.open_memory_channel[str](QUEUE_MESSAGES)
    wire = _Wire()
    return (
        MemorySocket(wire, to_server, from_server),
        MemoryLink(wire, to_client, from_client),
    )
