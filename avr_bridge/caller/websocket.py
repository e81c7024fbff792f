"""The WebSocket of avr-core's present generation, as a `CallerTransport`.

A thin adapter over Quart-Trio's websocket. The messages themselves are `protocol.py`'s.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

import attrs
from quart.wrappers.base import ClientDisconnectedError
from quart_trio.wrappers import TrioWebsocket

from avr_bridge.caller.protocol import CallerProtocol
from avr_bridge.caller.transport import CallerEvent, CallerFault, CallerLeft, CallerMessage
from avr_bridge.errors import CallerGone, CallerProtocolError

__all__ = ["WebsocketTransport"]

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

    async def close(self, code: int, reason: str) -> None:
        """Close with a code; a connection that is gone already stays so."""
        try:
            await self._websocket.close(code, reason)
        except ClientDisconnectedError:
            return
