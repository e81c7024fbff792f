"""The WebSocket of avr-core's present generation, as a `CallerTransport`.

A thin adapter over Quart-Trio's websocket. The messages themselves are `protocol.py`'s.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

import attrs
import trio
from quart.wrappers.base import ClientDisconnectedError
from quart_trio.wrappers import TrioWebsocket

from avr_bridge.caller.protocol import CallerProtocol
from avr_bridge.caller.transport import CallerEvent, CallerFault, CallerLeft, CallerMessage
from avr_bridge.errors import CallerGone, CallerProtocolError

__all__ = ["WebsocketTransport"]

MAX_MESSAGE_CHARS = 1024 * 1024
"""A frame of avr-core has 450; a whole minute in one message still passes."""

LINGER_S = 2.0
"""How long the peer may take to leave after our close."""

LEAD_MS = 200
"""Sent ahead of real time: covers avr-core's scheduling, and little enough that what the caller
has heard is known without marks."""


@attrs.define(eq=False)
class WebsocketTransport:
    """One avr-core connection. Quart's hangup exception becomes `CallerLeft`."""

    _websocket: TrioWebsocket
    metadata: Mapping[str, str]
    lead_ms: int = LEAD_MS
    _protocol: CallerProtocol = attrs.field(factory=CallerProtocol, init=False)
    _events: deque[CallerEvent] = attrs.field(factory=deque, init=False)

    async def receive(self) -> CallerEvent:
        """Wait for the next event."""
        if not self._events:
            try:
                message = await self._websocket.receive()
            except ClientDisconnectedError:
                return CallerLeft()
            if message is not None and len(message) > MAX_MESSAGE_CHARS:
                return CallerFault(f"message of over {MAX_MESSAGE_CHARS} characters")
            try:
                self._events.extend(self._protocol.receive(message))
            except CallerProtocolError as fault:
                return CallerFault(str(fault))
        return self._events.popleft()

    async def send(self, message: CallerMessage) -> None:
        """Send one message as JSON text.

        Raises:
            CallerGone: avr-core hung up.
        """
        try:
            await self._websocket.send(self._protocol.encode(message))
        except ClientDisconnectedError as gone:
            raise CallerGone from gone

    async def linger(self) -> None:
        """Take off what the peer still sends after our close, until it has left.

        Hypercorn's reader would wait for ever to hand it over, and never see the peer leave:
        its task, socket and descriptor would stay.
        """
        with trio.move_on_after(LINGER_S):
            while not isinstance(await self.receive(), CallerLeft):
                pass

    async def close(self, code: int, reason: str) -> None:
        """Close with a code; a connection that is gone already stays so."""
        try:
            await self._websocket.close(code, reason)
        except ClientDisconnectedError:
            return
