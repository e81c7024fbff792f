"""Asterisk's AudioSocket port: accept, learn which call it is, let it in, carry it, hang up.

Beside the HTTP port and under the same door, drain and registry of calls; each connection is one
call. AudioSocket has no authentication, so whoever reaches the port has a call. It does not know
what the frames say: that is `caller/`'s.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

import trio

from avr_bridge.caller.audiosocket import ENCODINGS, AudioSocketTransport
from avr_bridge.caller.transport import CallerLeft, CallStarted, Leaving, Peer
from avr_bridge.server.admission import CallRefused
from avr_bridge.server.guarded_stream import GuardedStream, set_socket_options
from avr_bridge.server.lobby import Lobby
from avr_bridge.server.sockets import PatientListener, reset_at
from avr_bridge.telemetry import SeldomLog, get_logger

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from avr_bridge.server.admission import Admission
    from avr_bridge.server.workers import Worker
    from avr_bridge.telemetry.metrics import Refusal

__all__ = ["AudioSocketServer"]

UUID_LIMIT_S = 10.0
"""From the accept. Asterisk sends it in the same moment."""

SEND_BUFFER_BYTES = 16_384
"""In the kernel, which takes twice as much: two seconds of sound. With more it would be a minute
until a peer that does not read is noticed, and the caller would hear all of it, late."""

LINGER_S, LINGER_BYTES = 2.0, 1024 * 1024
"""For Asterisk to close after our hang-up, and what it may still send: data that is left unread
when a socket is closed takes the hang-up along."""


class AudioSocketServer:
    """All connections of one process.

    Args:
        carry: Carries one call from here to its end.
        door: Lets calls in, and counts them.
        codec: What legs carry: a name in `ENCODINGS`.
        refused: Told why a call was not let in.
        worker: This process' part among several that share the port.
    """

    def __init__(
        self,
        carry: Callable[[AudioSocketTransport], Awaitable[None]],
        door: Admission,
        codec: str,
        *,
        refused: Callable[[Refusal], None],
        worker: Worker | None = None,
    ) -> None:
        self._carry = carry
        self._door = door
        self._encoding = ENCODINGS[codec]
        self._refused = refused
        self._worker = worker
        self._lobby = Lobby()
        self._seldom = SeldomLog()
        self._streams: set[trio.SocketStream] = set()

    async def serve(
        self,
        listeners: list[PatientListener],
        stopped: Callable[[], Awaitable[None]],
        grace_s: float,
    ) -> None:
        """Accept calls until `stopped` returns; what is left then is cut after `grace_s`."""
        async with trio.open_nursery() as around:
            async with trio.open_nursery() as connections:
                accept = partial(
                    trio.serve_listeners, self._connection, listeners, handler_nursery=connections
                )
                async with trio.open_nursery() as accepting:
                    accepting.start_soon(accept)
                    await stopped()
                    accepting.cancel_scope.cancel()
                deadline_s = trio.current_time() + grace_s
                connections.cancel_scope.deadline = deadline_s
                around.start_soon(reset_at, deadline_s, self._streams)
            around.cancel_scope.cancel()

    async def _connection(self, stream: trio.SocketStream) -> None:
        """One connection, to its closed socket, whatever happens on it."""
        self._streams.add(stream)
        peer = Peer()
        guarded = GuardedStream(stream, peer)
        peer.drop = guarded.abort
        try:
            set_socket_options(stream.socket)
            stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
            transport = AudioSocketTransport(guarded, self._encoding, peer)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(transport.keep_flowing)
                await self._one_call(transport, peer)
                nursery.cancel_scope.cancel()
            await _linger(guarded)
        except* OSError as gone:
            get_logger().debug("connection lost", error=repr(gone.exceptions[0]))
        except* Exception as bugs:
            get_logger().error("a connection failed", exc_info=bugs)
        finally:
            self._streams.discard(stream)
            stream.socket.close()
            if self._worker is not None:
                self._worker.seat.count_connections(-1)

    async def _one_call(self, transport: AudioSocketTransport, peer: Peer) -> None:
        self._lobby.enter(peer)
        try:
            first = await transport.wait_started(UUID_LIMIT_S)
        finally:
            self._lobby.leave(peer)
        if first == CallerLeft(Leaving.HUNG_UP):
            return  # it said nothing: somebody looked whether the port is open
        if not isinstance(first, CallStarted):
            await self._carry(transport)  # over at once; the log and the counts say why
            return
        try:
            with self._door.call():
                await self._carry(transport)
        except CallRefused as refused:
            self._refused(refused.why)
            self._seldom.warning("call refused", reason=str(refused))
            await transport.close(1013, str(refused))


async def _linger(stream: GuardedStream) -> None:
    """Wait until Asterisk has closed, which it does when it has read our hang-up."""
    left_bytes = LINGER_BYTES
    with (
        trio.move_on_after(LINGER_S),
        suppress(trio.BrokenResourceError, trio.ClosedResourceError),
    ):
        while left_bytes > 0:
            data = await stream.receive_some()
            if not data:
                return
            left_bytes -= len(data)
