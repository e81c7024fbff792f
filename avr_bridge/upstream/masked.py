"""What the model's server says, without our key: the outermost layer of the connection.

A server may quote the key in its error message or close reason. It is taken out of the frame
itself, so that no part behind it, log and caller included, ever has it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from avr_bridge.errors import UpstreamClosed

if TYPE_CHECKING:
    from avr_bridge.masking import Mask
    from avr_bridge.upstream.socket import MessageSocket

__all__ = ["MaskedSocket"]


class MaskedSocket:
    """A `MessageSocket` whose incoming text goes through a mask."""

    def __init__(self, socket: MessageSocket, mask: Mask) -> None:
        self._socket = socket
        self._mask = mask

    async def send_message(self, message: bytes | str) -> None:
        """Send, unchanged."""
        await self._socket.send_message(message)

    async def get_message(self) -> bytes | str:
        """Wait for the next message; secrets in it are ``***``."""
        try:
            message = await self._socket.get_message()
        except UpstreamClosed as closed:
            # Not chained: the original holds what is masked here.
            raise UpstreamClosed(closed.code, self._mask(closed.reason)) from None
        if isinstance(message, bytes):
            message = message.decode("utf-8", "replace")
        return self._mask(message)

    async def ping(self) -> None:
        """Ping, as the socket does."""
        try:
            await self._socket.ping()
        except UpstreamClosed as closed:
            raise UpstreamClosed(closed.code, self._mask(closed.reason)) from None

    async def aclose(self, code: int = 1000, reason: str = "") -> None:
        """Close, as the socket does."""
        await self._socket.aclose(code, reason)
