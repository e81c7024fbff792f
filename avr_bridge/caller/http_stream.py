"""The legacy transport of avr-core: raw PCM16 in a request body, raw PCM16 in the response.

``POST /speech-to-speech-stream``, full duplex. Quart wants a response object whose body streams
*after* the handler has returned, so the body itself owns the call: its nursery lives from
`__aenter__` to `__aexit__` in one task. An async generator would break cancellation there.

There are no messages here: no interruption, no transcript, no error. What was sent cannot be
taken back, so very little is sent ahead.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, Self

import attrs
import trio
from quart.wrappers.base import ClientDisconnectedError
from quart.wrappers.response import ResponseBody
from quart_trio.datastructures import TrioQueue
from quart_trio.wrappers.request import TrioBody, TrioRequest

from avr_bridge.caller.transport import (
    AudioOut,
    CallerAudio,
    CallerEvent,
    CallerMessage,
    CallerTransport,
    CallStarted,
    Peer,
)
from avr_bridge.errors import CallerGone

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["BoundedRequest", "HttpStreamTransport", "SpeechStreamBody"]

LEAD_MS = 120
"""Six frames ahead of real time: enough for a late wake-up on a busy machine, and all that still
sounds after a barge-in, since nothing sent can be taken back."""

CHUNKS_WAITING = 8
"""Messages of 40 ms between the call and the response's writer; more waiting means that the
peer does not read, and the pump feels it."""


PIECES_WAITING = 4
"""Pieces of the body, of 64 KiB at the most, between Quart's reader and the call, which takes
them off at once. Quart-Trio's own queue has no bound."""


class _BoundedQueue(TrioQueue[bytes]):
    def __init__(self) -> None:
        self._send, self._receive = trio.open_memory_channel[bytes](PIECES_WAITING)


class _BoundedBody(TrioBody):
    def __init__(self, expected_content_length: int | None, max_content_length: int | None) -> None:
        super().__init__(expected_content_length, max_content_length)
        self._queue = _BoundedQueue()  # type: ignore[assignment] # as in Quart-Trio


class BoundedRequest(TrioRequest):
    """Quart-Trio's request with a bound on what of its body waits to be read."""

    body_class = _BoundedBody


class HttpStreamTransport:
    """One legacy call.

    Args:
        body: The request's body: PCM16 LE mono, 8 kHz, in chunks of any length.
        uuid: The call's id, from ``X-UUID`` or made up.
        metadata: Query parameters.
        peer: Says how the connection ended, once it has.
    """

    kind = "http"
    lead_ms = LEAD_MS
    lead_is_heard = True

    def __init__(
        self,
        body: AsyncIterable[bytes],
        uuid: str,
        metadata: Mapping[str, str],
        peer: Peer | None = None,
    ) -> None:
        self.metadata = metadata
        self._peer = peer or Peer()
        self._uuid: str | None = uuid
        self._body = aiter(body)
        self._odd = b""
        self._send_chunk, self.chunks = trio.open_memory_channel[bytes](CHUNKS_WAITING)

    async def receive(self) -> CallerEvent:
        """The call's start at once; then its sound; `CallerLeft` when the body ends."""
        if self._uuid is not None:
            start, self._uuid = CallStarted(self._uuid), None
            await trio.lowlevel.checkpoint()
            return start
        while True:
            try:
                chunk = await anext(self._body)
            except (StopAsyncIteration, ClientDisconnectedError):
                return self._peer.left()
            chunk = self._odd + chunk
            self._odd = chunk[len(chunk) & ~1 :]
            if len(chunk) > 1:
                return CallerAudio(chunk[: len(chunk) & ~1])

    async def send(self, message: CallerMessage) -> None:
        """Send sound; this transport has no words for anything else.

        Raises:
            CallerGone: The response is over.
        """
        if not isinstance(message, AudioOut):
            await trio.lowlevel.checkpoint()
            return
        try:
            await self._send_chunk.send(message.pcm)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as gone:
            raise CallerGone from gone

    async def close(self, code: int, reason: str) -> None:
        """End the response body; HTTP has no word for the code."""
        self._send_chunk.close()
        await trio.lowlevel.checkpoint()


@attrs.define(eq=False)
class SpeechStreamBody(ResponseBody):
    """The response's body, which owns the call: leaving it ends the call.

    Quart enters it, iterates it and leaves it in one task.
    """

    _transport: HttpStreamTransport
    _run: Callable[[CallerTransport], Awaitable[Any]]
    _nursery_manager: AbstractAsyncContextManager[trio.Nursery] | None = None
    _nursery: trio.Nursery | None = None

    async def __aenter__(self) -> Self:
        self._nursery_manager = trio.open_nursery()
        self._nursery = await self._nursery_manager.__aenter__()
        self._nursery.start_soon(self._run, self._transport)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        assert self._nursery is not None
        assert self._nursery_manager is not None
        self._nursery.cancel_scope.cancel()
        await self._nursery_manager.__aexit__(exc_type, exc_value, tb)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        try:
            return await self._transport.chunks.receive()
        except trio.EndOfChannel:
            raise StopAsyncIteration from None
