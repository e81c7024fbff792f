"""The WebSocket of avr-core's present generation, as a `CallerTransport`.

A thin adapter over Quart-Trio's websocket; under our own server the messages themselves take the
short way of `direct.py`. Their meaning is `protocol.py`'s.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import ClassVar

import attrs
import trio
from quart.wrappers.base import ClientDisconnectedError
from quart_trio.datastructures import TrioQueue
from quart_trio.wrappers.websocket import TrioBuffer, TrioWebsocket

from avr_bridge.caller.protocol import CallerProtocol
from avr_bridge.caller.transport import (
    CallerAudio,
    CallerEvent,
    CallerFault,
    CallerMessage,
    CallStarted,
    Peer,
)
from avr_bridge.errors import CallerGone, CallerProtocolError

__all__ = ["MAX_MESSAGE_CHARS", "BoundedWebsocket", "WebsocketTransport"]

MAX_MESSAGE_CHARS = 1024 * 1024
"""A frame of avr-core has 450; 49 seconds in one message still pass. Our server closes with 1009
beyond it; under another one it is a fault that is told."""

MESSAGES_WAITING = 4
"""Between Quart's reader and the call, which takes them off at once; with the longest messages
4 MiB. Quart-Trio's own queue has no bound. A full one makes the peer wait, by way of TCP."""

LEAD_MS = 200
"""Sent ahead of real time: covers avr-core's scheduling, and little enough that what the caller
has heard is known without marks."""


class _BoundedQueue(TrioQueue[str | bytes]):
    def __init__(self) -> None:
        self._send, self._receive = trio.open_memory_channel[str | bytes](MESSAGES_WAITING)


class _BoundedBuffer(TrioBuffer):
    def __init__(self) -> None:
        self._queue = _BoundedQueue()  # type: ignore[assignment] # as in Quart-Trio


class BoundedWebsocket(TrioWebsocket):
    """Quart-Trio's websocket with a bound on what waits to be received."""

    buffer_class = _BoundedBuffer


@attrs.define(eq=False)
class WebsocketTransport:
    """One avr-core connection. Quart's hangup exception becomes `CallerLeft`."""

    kind: ClassVar[str] = "websocket"

    _websocket: TrioWebsocket
    metadata: Mapping[str, str]
    _peer: Peer = attrs.field(factory=Peer)
    _on_started: Callable[[], None] | None = None
    lead_ms: int = LEAD_MS
    _protocol: CallerProtocol = attrs.field(factory=CallerProtocol, init=False)
    _events: deque[CallerEvent] = attrs.field(factory=deque, init=False)

    async def receive(self) -> CallerEvent:
        """Wait for the next event. Sound that came together is one."""
        if not self._events:
            messages = await self._receive()
            if not messages:
                return self._peer.left()
            for message in messages:
                self._read(message)
        return self._events.popleft()

    async def _receive(self) -> list[str | bytes]:
        if self._peer.line is not None:
            return await self._peer.line.receive()
        try:
            return [await self._websocket.receive()]
        except ClientDisconnectedError:
            return []

    def _read(self, message: str | bytes) -> None:
        if message is not None and len(message) > MAX_MESSAGE_CHARS:
            self._events.append(CallerFault(f"message of over {MAX_MESSAGE_CHARS} characters"))
            return
        try:
            events = self._protocol.receive(message)
        except CallerProtocolError as fault:
            self._events.append(CallerFault(str(fault)))
            return
        first = events[0]
        if self._on_started and isinstance(first, CallStarted):
            self._on_started()
            self._on_started = None
        if self._events and isinstance(first, CallerAudio):
            last = self._events[-1]
            if isinstance(last, CallerAudio):
                events[0] = CallerAudio(last.pcm + first.pcm, last.messages + 1)
                self._events.pop()
        self._events.extend(events)

    async def send(self, message: CallerMessage) -> None:
        """Send one message as JSON text.

        Raises:
            CallerGone: avr-core hung up.
        """
        encoded = self._protocol.encode(message)
        if self._peer.line is not None:
            await self._peer.line.send(encoded)
            return
        try:
            await self._websocket.send(encoded.decode())
        except ClientDisconnectedError as gone:
            raise CallerGone from gone

    async def close(self, code: int, reason: str) -> None:
        """Close with a code; a connection that is gone already stays so."""
        try:
            await self._websocket.close(code, reason)
        except ClientDisconnectedError:
            return
