"""A caller's TCP connection that cannot hold the process up: limits on it, and why it was lost.

Around a socket of either port, beneath `guard.py` and `audiosocket.py`. A peer that does not read,
or is gone without a word, is noticed here and cut off; the `Peer` is told which of the two it was.
It knows no protocol.
"""

from __future__ import annotations

import errno
import socket
import struct

import trio

from avr_bridge.caller.transport import Leaving, Peer
from avr_bridge.net.quick import QuickStream
from avr_bridge.server.sockets import reset

__all__ = ["GuardedStream", "set_socket_options"]

SEND_LIMIT_S = 5.0
"""For one message, under 10 kB; some seconds of sound fill the peer's buffers before."""

UNACKNOWLEDGED_LIMIT_S = 8.0
"""Without any acknowledgement. Over `SEND_LIMIT_S`: the kernel counts a full window as well."""

KEEPALIVE_IDLE_S, KEEPALIVE_EVERY_S, KEEPALIVE_PROBES = 5, 1, 3
"""The same for a connection on which nothing is sent."""

_VANISHED = {errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN}
_LAST_ACK_AT = 56
"""In Linux's ``struct tcp_info``: milliseconds since the last acknowledgement."""


def set_socket_options(sock: trio.socket.SocketType) -> None:
    """Have the kernel notice a peer that is gone without a word (Linux)."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (
        (socket.TCP_KEEPIDLE, KEEPALIVE_IDLE_S),
        (socket.TCP_KEEPINTVL, KEEPALIVE_EVERY_S),
        (socket.TCP_KEEPCNT, KEEPALIVE_PROBES),
        (socket.TCP_USER_TIMEOUT, round(UNACKNOWLEDGED_LIMIT_S * 1000)),
    ):
        sock.setsockopt(socket.IPPROTO_TCP, option, value)


class GuardedStream(QuickStream):
    """As `QuickStream`, read in the program's rhythm. One task sends at a time.

    Args:
        stream: Closed with this one.
        peer: Blamed for the end, where it is to blame.
    """

    def __init__(self, stream: trio.SocketStream, peer: Peer) -> None:
        super().__init__(stream, in_rhythm=True)
        self._peer = peer

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Wait for data; ``b""`` is the peer's end.

        Raises:
            trio.BrokenResourceError: The connection is lost.
            trio.ClosedResourceError: It was closed here.
        """
        try:
            return await super().receive_some(max_bytes)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            self._note_loss(error)
            raise

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send all of it, whether or not the task is cancelled: half a message would be worse.

        Raises:
            trio.BrokenResourceError: The connection is lost.
            trio.ClosedResourceError: It was closed here, also because the peer did not read.
        """
        try:
            sent = self.send_nowait(data)  # nearly always all of it: no deadline needed
            if sent < len(data):
                await self._send_rest(memoryview(data)[sent:])
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            self._note_loss(error)
            raise

    async def _send_rest(self, data: memoryview) -> None:
        with trio.CancelScope(shield=True) as sending:
            sending.deadline = trio.current_time() + SEND_LIMIT_S
            await self._stream.send_all(data)
        if sending.cancelled_caught:
            self.abort(Leaving.VANISHED if self._is_unanswered() else Leaving.STALLED)

    def abort(self, how: Leaving = Leaving.HUNG_UP) -> None:
        """Drop the connection at once, with what was not sent yet."""
        self._peer.blame(how)
        reset(self.socket)

    def _is_unanswered(self) -> bool:
        """A peer with a full buffer answers the kernel's probes; one that is gone does not."""
        info = self.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 60)
        return bool(struct.unpack_from("I", info, _LAST_ACK_AT)[0] >= SEND_LIMIT_S * 1000)

    def _note_loss(self, error: Exception) -> None:
        if isinstance(error.__cause__, OSError) and error.__cause__.errno in _VANISHED:
            self._peer.blame(Leaving.VANISHED)
