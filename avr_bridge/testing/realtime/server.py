"""The simulated Realtime API as a whole: a WebSocket server, and its in-memory twin.

Both transports run the same sessions. Nothing here knows the API's events.
"""

from __future__ import annotations

import socket
import struct
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

import structlog
import trio
from trio_websocket import ConnectionClosed, wrap_server_stream
from wsproto.utilities import LocalProtocolError

from avr_bridge.errors import UpstreamError, UpstreamUnavailable
from avr_bridge.testing.faults.model import (
    HangConnect,
    ModelFault,
    ModelFaults,
    Refuse,
    RefuseAfterUpgrade,
    Unreachable,
)
from avr_bridge.testing.realtime.admission import (
    Admitted,
    RefusedAfterUpgrade,
    RefusedByHttp,
    admit,
    refused_after_upgrade,
)
from avr_bridge.testing.realtime.behaviours import Parrot
from avr_bridge.testing.realtime.breakable import BreakableStream
from avr_bridge.testing.realtime.memory import MemoryLink, open_memory_pair
from avr_bridge.testing.realtime.options import SimulatorOptions
from avr_bridge.testing.realtime.session import Link, LinkClosed, SimulatedSession
from avr_bridge.testing.realtime.wire import MAX_MESSAGE_CHARS, QUEUE_MESSAGES, WireLink
from avr_bridge.upstream import dial as real_client
from avr_bridge.upstream.refusal import refusal_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from avr_bridge.testing.realtime.behaviour import Behaviour, Turn
    from avr_bridge.upstream.socket import MessageSocket

__all__ = ["SimulatedRealtime"]

MAX_SESSIONS_KEPT = 1000
"""Sessions that are remembered after their end, each with its record."""

UPGRADE_S = 10.0
"""How long a connection may take to send its upgrade request."""

LEAVE_S = 1.0
"""How long an in-memory session may take to notice that its client has left."""

RESET = struct.pack("ii", 1, 0)
"""SO_LINGER, on, 0 s: closing the socket resets the connection."""

_log = structlog.get_logger(__name__)


def _tell_nobody(session: SimulatedSession) -> None:
    """No observer."""


class SimulatedRealtime:
    """A simulated Realtime API; its dialect is one of its options.

    Use `serve` for a real WebSocket server, or `dial` for connections in memory, which also run
    under a virtual clock. One server can do both at once.

    Args:
        behaviour: What the model does; default: a parrot.
        options: Speeds, delays, keys, faults.
        outages: Which connection has which fault, counted over both transports.

    Attributes:
        outages: As given; may be replaced at any time, for connections yet to come.
        dialled_at_s: When each connection was attempted, on Trio's clock (the newest 1000).
        sessions: Every session that was opened, oldest first (the newest 1000).
        faults: Exceptions that ended sessions: a bug here, or in a behaviour.
        on_opened: Called with each new session.
        on_turn: Called with the session and the turn that a response is to answer.
        on_closed: Called with each ended session.
    """

    def __init__(
        self,
        behaviour: Behaviour | None = None,
        options: SimulatorOptions = SimulatorOptions(),  # noqa: B008 - frozen
        outages: ModelFaults = ModelFaults(),  # noqa: B008 - frozen
    ) -> None:
        self.behaviour: Behaviour = behaviour or Parrot()
        self.options = options
        self.outages = outages
        self.dialled_at_s: list[float] = []
        self.sessions: list[SimulatedSession] = []
        self.faults: list[Exception] = []
        self.on_opened: Callable[[SimulatedSession], None] = _tell_nobody
        self.on_turn: Callable[[SimulatedSession, Turn], None] | None = None
        self.on_closed: Callable[[SimulatedSession], None] = _tell_nobody
        self._opened = 0
        self._dialled = 0
        self._changed = trio.Event()

    @property
    def open_sessions(self) -> int:
        """How many sessions run now."""
        return sum(not session.closed for session in self.sessions)

    async def wait_session(self, count: int = 1) -> SimulatedSession:
        """Wait until `count` sessions were opened in all, and return the newest."""
        await trio.lowlevel.checkpoint()
        while self._opened < count:
            await self._changed.wait()
        return self.sessions[-1]

    async def wait_dialled(self, count: int = 1) -> None:
        """Wait until `count` connections were attempted in all, whatever became of them."""
        await trio.lowlevel.checkpoint()
        while self._dialled < count:
            await self._changed.wait()

    # --- in memory

    @asynccontextmanager
    async def dial(
        self, url: str, headers: Sequence[tuple[str, str]] = ()
    ) -> AsyncIterator[MessageSocket]:
        """Connect in memory, as a client would to `url` with `headers`.

        Leaving the block closes the connection (code 1000) and waits until its session has ended;
        a server that does not answer the close is left after a second, as by the real dial.
        The block's own exception comes out as it is, never in a group.

        Raises:
            UpstreamRejected: The server refuses the upgrade.
            UpstreamUnavailable: The same, with a status that may pass; or a fault prevents it.
        """
        fault = self._next_fault()
        if isinstance(fault, Unreachable):
            await trio.lowlevel.checkpoint()
            raise UpstreamUnavailable("no connection: unreachable by an outage's pattern")
        if isinstance(fault, HangConnect):
            await trio.sleep(real_client.CONNECT_LIMIT_S)
            raise UpstreamUnavailable(f"no connection within {real_client.CONNECT_LIMIT_S:.0f} s")
        await trio.sleep(self.options.connect_delay_s)
        verdict = self._verdict(fault, url, headers)
        if isinstance(verdict, RefusedByHttp):
            raise _dial_error(verdict)
        client, link = open_memory_pair()
        failure: BaseException | None = None
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._serve_memory, verdict, link, fault)
                try:
                    yield client
                except BaseException as error:
                    failure = error
                with trio.move_on_after(real_client.DISCONNECT_LIMIT_S):
                    await client.aclose()
                nursery.cancel_scope.deadline = trio.current_time() + LEAVE_S
        finally:
            if failure is not None:
                raise failure

    async def _serve_memory(
        self,
        verdict: Admitted | RefusedAfterUpgrade,
        link: MemoryLink,
        fault: ModelFault | None,
    ) -> None:
        try:
            await self._serve_link(verdict, link, fault)
        finally:
            link.close_now(1011, "")

    # --- over sockets

    async def serve(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serve WebSocket clients; runs until cancelled.

        Args:
            host: The address to listen on.
            port: The port; 0 for any free one.
            task_status: Told the base URL, such as `ws://127.0.0.1:43210/v1`.
        """
        listeners = await trio.open_tcp_listeners(port, host=host)
        bound = listeners[0].socket.getsockname()
        shown = f"[{bound[0]}]" if ":" in bound[0] else bound[0]
        async with trio.open_nursery() as nursery:
            await nursery.start(partial(trio.serve_listeners, self._serve_stream, listeners))
            task_status.started(f"ws://{shown}:{bound[1]}/v1")

    async def _serve_stream(self, stream: trio.SocketStream) -> None:
        """Serve one TCP connection. Nothing that a client does, and no bug, ends the server."""
        try:
            async with trio.open_nursery() as nursery:
                try:
                    await self._upgrade(stream, nursery)
                finally:
                    nursery.cancel_scope.cancel()
        except* LocalProtocolError:
            pass  # trio-websocket 0.12 answers a ping that crosses our own close, which is illegal
        except* Exception as group:  # the one place where a connection's failures are gathered
            for fault in group.exceptions:
                self._note(fault)
        finally:
            await trio.aclose_forcefully(stream)

    async def _upgrade(self, stream: trio.SocketStream, nursery: trio.Nursery) -> None:
        fault = self._next_fault()
        if isinstance(fault, Unreachable):
            stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            return
        if isinstance(fault, HangConnect):
            await _read_to_the_end(stream)
            return
        below = BreakableStream(stream)
        with trio.move_on_after(UPGRADE_S) as waiting:
            request = await wrap_server_stream(
                nursery,
                below,
                message_queue_size=QUEUE_MESSAGES,
                max_message_size=MAX_MESSAGE_CHARS,
                receive_buffer_size=None,
            )
        if waiting.cancelled_caught:
            return
        await trio.sleep(self.options.connect_delay_s)
        headers = [
            (name.decode("latin-1"), value.decode("latin-1")) for name, value in request.headers
        ]
        verdict = self._verdict(fault, request.path, headers)
        try:
            if isinstance(verdict, RefusedByHttp):
                await request.reject(
                    verdict.status,
                    extra_headers=_refusal_headers(verdict),
                    body=verdict.body,
                )
                return
            connection = await request.accept()
        except ConnectionClosed:
            return  # gone before the answer
        await self._serve_link(verdict, WireLink(connection, below), fault)

    # --- both

    def _next_fault(self) -> ModelFault | None:
        """Count a connection; its fault."""
        self._dialled += 1
        self.dialled_at_s.append(trio.current_time())
        del self.dialled_at_s[:-MAX_SESSIONS_KEPT]
        self._tell()
        return self.outages.of(self._dialled)

    def _verdict(
        self, fault: ModelFault | None, target: str, headers: Sequence[tuple[str, str]]
    ) -> Admitted | RefusedByHttp | RefusedAfterUpgrade:
        match fault:
            case Refuse(status, retry_after_s, body):
                return RefusedByHttp(status, body, retry_after_s)
            case RefuseAfterUpgrade(code, kind, close_code, message):
                return refused_after_upgrade(code, message, close_code, kind)
        return admit(target, headers, self.options)

    async def _serve_link(
        self, verdict: Admitted | RefusedAfterUpgrade, link: Link, fault: ModelFault | None
    ) -> None:
        if isinstance(verdict, RefusedAfterUpgrade):
            try:
                await link.send(verdict.error)
                await link.close(verdict.close_code, verdict.close_reason)
            except LinkClosed:
                pass
            return
        self._opened += 1
        session = SimulatedSession(
            self._opened, verdict.model, self.behaviour, self.options, self.on_turn, fault
        )
        self.sessions.append(session)
        del self.sessions[:-MAX_SESSIONS_KEPT]
        self._tell()
        self.on_opened(session)
        try:
            await session.run(link)
        except Exception as fault:
            self._note(fault)
            await link.close(1011, "server_error")
        finally:
            self.on_closed(session)

    def _tell(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    def _note(self, fault: Exception) -> None:
        while isinstance(fault, ExceptionGroup) and len(fault.exceptions) == 1:
            (fault,) = fault.exceptions
        self.faults.append(fault)
        _log.warning("simulated_session_failed", error=type(fault).__name__, exc_info=fault)


async def _read_to_the_end(stream: trio.SocketStream) -> None:
    try:
        while await stream.receive_some():
            pass
    except trio.BrokenResourceError:
        return


def _refusal_headers(refusal: RefusedByHttp) -> list[tuple[bytes, bytes]]:
    headers = [(b"Content-Type", b"application/json")]
    if refusal.retry_after_s is not None:
        headers.append((b"Retry-After", f"{refusal.retry_after_s:g}".encode()))
    return headers


def _dial_error(refusal: RefusedByHttp) -> UpstreamError:
    """What the real dial raises for this answer."""
    return refusal_of(refusal.status, _refusal_headers(refusal), refusal.body)
