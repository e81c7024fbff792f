"""The edge to the model: what a connection to a Realtime server can do, in four methods.

`dial.py` implements it over trio-websocket, `avr_bridge.testing` in memory. No JSON is known
here: a message is one text frame.
"""

from __future__ import annotations

from typing import Protocol

__all__ = ["MessageSocket"]


class MessageSocket(Protocol):
    """One open connection that carries whole text messages in both directions.

    `send_message`, `get_message` and `ping` raise `avr_bridge.errors.UpstreamClosed` once the peer
    has closed or the connection is lost. One task may send while another receives.
    """

    async def send_message(self, message: bytes | str) -> None:
        """Send one text message. Cancelling this may leave the connection unusable."""

    async def get_message(self) -> bytes | str:
        """Wait for the next text message."""

    async def ping(self) -> None:
        """Send a WebSocket ping and wait for its pong, for ever if none comes.

        A pong, and the end of the connection, are noticed only while another task is in
        `get_message`. Cancelling this may leave the connection unusable.
        """

    async def aclose(self, code: int = 1000, reason: str = "") -> None:
        """Close politely; the peer sees `code` and `reason`. May be called twice.

        Waits for the peer's answer, so give it a deadline.
        """
