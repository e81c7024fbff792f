"""Messages out of a WebSocket's frames, for both ends of the generator. It reads none of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from picows import WSMsgType

if TYPE_CHECKING:
    from picows import WSFrame

__all__ = ["WholeMessages"]


class WholeMessages:
    """One connection's; what is no text is passed over."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def push(self, frame: WSFrame) -> bytes | None:
        """Take a frame that is no control frame; the message, if it ends with this one."""
        if frame.msg_type not in (WSMsgType.TEXT, WSMsgType.CONTINUATION):
            return None
        payload = frame.get_payload_as_bytes()
        if not frame.fin or self._pieces:
            self._pieces.append(payload)
            if not frame.fin:
                return None
            payload = b"".join(self._pieces)
            self._pieces.clear()
        return payload
