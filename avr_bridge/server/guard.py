"""Everything that we change around Hypercorn 0.18's Trio worker, so that no caller harms another.

Beneath the routes. Hypercorn still parses HTTP and speaks ASGI; here are its loop over connections,
its reads and its writes. Its WebSocket stream is `guarded_websocket.py`'s. It knows no calls. The
reasons for both:

- Hypercorn issue 225 (also 329, 354): an exception in one connection, such as that after a byte
  behind an upgrade request, ends the server. Here it ends its connection; the byte is read.
- Issue 106: sends are shielded and have no limit. Here a peer that does not read is cut off.
- Its reader waits for ever for an application that has ended, and its socket stays open.
- A message that is too long, or broken, is not told to the application, or not to the peer.
- permessage-deflate is always accepted: 7 ms of processor time for a second of a call.
- There is no bound on connections that never send a request.

`tests/faults/test_callers_hypercorn.py` fails when Hypercorn has mended the first.
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from http.client import responses
from math import inf
from typing import TYPE_CHECKING, Any, cast

import h11
import trio
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.protocol.events import Data
from hypercorn.protocol.events import Request as StreamRequest
from hypercorn.protocol.h11 import STREAM_ID, H11Protocol, H11WSConnection
from hypercorn.protocol.http_stream import HTTPStream
from hypercorn.trio.lifespan import Lifespan
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState
from hypercorn.utils import wrap_app

from avr_bridge.caller.transport import Leaving, Peer
from avr_bridge.net.quick import READ_BYTES
from avr_bridge.server.guarded_stream import GuardedStream, set_socket_options
from avr_bridge.server.guarded_websocket import GuardedWebsocket
from avr_bridge.server.sockets import listen, reset_at
from avr_bridge.telemetry import get_logger

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from hypercorn.config import Config
    from hypercorn.protocol.ws_stream import WSStream

    from avr_bridge.server.workers import Worker

__all__ = ["serve_guarded"]

HEAD_LIMIT_S = 5.0  # from the accept, or from the last answer, to the end of a request's head

MOST_WITHOUT_HEAD = 256
"""Connections without a request; of more the oldest is dropped. 1,024 descriptors are usual."""

LINGER_S, LINGER_BYTES = 2.0, 16 * 1024 * 1024
"""For a peer to leave after our close, and what it may still send: it has to read our code."""


async def serve_guarded(
    app: Any,
    config: Config,
    *,
    shutdown_trigger: Callable[[], Awaitable[None]] | None = None,
    task_status: trio.TaskStatus[list[str]] = trio.TASK_STATUS_IGNORED,
    worker: Worker | None = None,
) -> None:
    """`hypercorn.trio.serve` for HTTP/1.1 and WebSocket, with guarded connections. `worker`
    is given where several processes share the port."""
    wrapped = wrap_app(app, config.wsgi_max_body_size, "asgi")
    lifespan = Lifespan(wrapped, config, {})
    context = WorkerContext(None)
    waiting: dict[_Connection, None] = {}
    streams: set[trio.SocketStream] = set()

    async def handle(stream: trio.SocketStream) -> None:
        streams.add(stream)
        await _Connection(wrapped, config, context, waiting, stream).run()
        streams.discard(stream)
        if worker is not None:
            worker.seat.count_connections(-1)

    async with trio.open_nursery() as lifespan_nursery:
        await lifespan_nursery.start(lifespan.handle_lifespan)
        await lifespan.wait_for_startup()
        async with trio.open_nursery() as connections:
            listeners, addresses = listen(config) if worker is None else worker.listen()
            accept = partial(trio.serve_listeners, handle, listeners, handler_nursery=connections)
            try:
                async with trio.open_nursery() as accepting:
                    accepting.start_soon(accept)
                    task_status.started(addresses)
                    await (shutdown_trigger or trio.sleep_forever)()
                    accepting.cancel_scope.cancel()
            finally:
                await context.terminated.set()
                deadline_s = trio.current_time() + config.graceful_timeout
                connections.cancel_scope.deadline = deadline_s
                lifespan_nursery.start_soon(reset_at, deadline_s, streams)
        await lifespan.wait_for_shutdown()
        lifespan_nursery.cancel_scope.cancel()


class _Connection:
    """One connection from its accept to its closed socket; in place of Hypercorn's TCPServer."""

    def __init__(
        self,
        app: Any,
        config: Config,
        context: WorkerContext,
        waiting: dict[_Connection, None],
        stream: trio.SocketStream,
    ) -> None:
        self._app = app
        self._config = config
        self._context = context
        self._waiting = waiting
        self._peer = Peer(drop=self.abort)
        self._stream = GuardedStream(stream, self._peer)
        self._send_lock = trio.Lock()
        self._reading = trio.CancelScope()
        self._due_s = inf
        self._leaving = False
        self._protocol: _Http11

    async def run(self) -> None:
        """Carry the connection to its end, whatever happens on it."""
        try:
            set_socket_options(self._stream.socket)
            peer, own = self._stream.socket.getpeername()[:2], self._stream.socket.getsockname()[:2]
            async with trio.open_nursery() as nursery:
                tasks: Any = _Tasks(nursery)
                state = ConnectionState({Peer.KEY: self._peer})
                args = (self._app, self._config, self._context, tasks, state, False)
                self._protocol = _Http11(*args, peer, own, self._send)
                self._wait_for_head()
                await self._read()
                await self._protocol.handle(Closed())
        except* OSError as gone:
            get_logger().debug("connection lost", error=repr(gone.exceptions[0]))
        except* Exception as bugs:
            get_logger().error("a connection failed", exc_info=bugs)
        finally:
            self._waiting.pop(self, None)
            self._stream.socket.close()

    async def _read(self) -> None:
        # One scope for many reads, whose deadline moves: a new one for each read costs 10 us.
        while True:
            with trio.CancelScope(deadline=self._due_s) as self._reading:
                await self._read_to_end()
            if self._leaving or not self._reading.cancelled_caught:
                return
            await self._protocol.refuse_late_head()

    async def _read_to_end(self) -> None:
        left_bytes = LINGER_BYTES
        while left_bytes > 0:
            try:
                data = await self._stream.receive_some(READ_BYTES)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return
            if self._leaving:
                left_bytes -= len(data)
            else:
                await self._protocol.handle(RawData(data))
            if not data:
                return

    async def _send(self, event: Event) -> None:
        if isinstance(event, RawData):
            await self._send_bytes(event.data)
        elif isinstance(event, Closed):
            await self._leave()
            await self._protocol.handle(Closed())
        elif isinstance(event, Updated) and event.idle:
            self._wait_for_head()
        elif isinstance(event, Updated):
            self._waiting.pop(self, None)
            self._set_due(inf)

    async def _send_bytes(self, data: bytes) -> None:
        try:
            self._send_lock.acquire_nowait()
        except trio.WouldBlock:
            await self._send_lock.acquire()
        try:
            await self._stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return  # the reader says so
        finally:
            self._send_lock.release()

    async def _leave(self) -> None:
        """Say that nothing more comes; the reader waits until the peer has left, or too long."""
        if self._leaving:
            return
        self._leaving = True
        self._waiting.pop(self, None)
        self._set_due(trio.current_time() + LINGER_S)
        # It is the application's own task that says the last word, and Quart-Trio cancels it for
        # its answer's end: the peer would not be told, and both wait for each other.
        with trio.move_on_after(LINGER_S, shield=True):
            async with self._send_lock:
                with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                    await self._stream.send_eof()

    def abort(self, how: Leaving = Leaving.HUNG_UP) -> None:
        """Drop the connection at once, with what was not sent yet."""
        self._stream.abort(how)

    def _wait_for_head(self) -> None:
        if len(self._waiting) >= MOST_WITHOUT_HEAD:
            oldest = next(iter(self._waiting))
            del self._waiting[oldest]
            oldest.abort()
        self._waiting[self] = None
        self._set_due(trio.current_time() + HEAD_LIMIT_S)

    def _set_due(self, due_s: float) -> None:
        self._due_s = self._reading.deadline = due_s


class _Tasks:
    """Hypercorn's TaskGroup. The queue of an application ends with it: nobody waits on it."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery

    async def spawn_app(
        self, app: Any, config: Config, scope: Any, send: Callable[[Any], Awaitable[None]]
    ) -> Callable[[Any], Awaitable[None]]:
        give, take = trio.open_memory_channel[Any](config.max_app_queue_size)

        async def run() -> None:
            try:
                with take:
                    await app(
                        scope, take.receive, send, trio.to_thread.run_sync, trio.from_thread.run
                    )
            except* Exception as bugs:
                get_logger().error("bug in a request", exc_info=bugs)
            finally:
                await send(None)

        async def wait_and_put(event: Any) -> None:
            with suppress(trio.BrokenResourceError):
                await give.send(event)

        async def put(event: Any) -> None:
            if event["type"].endswith(".disconnect"):  # it may be its own, at its answer's end
                self._nursery.start_soon(wait_and_put, event)
            else:
                await wait_and_put(event)

        self._nursery.start_soon(run)
        return put


class _Http11(H11Protocol):
    """Without HTTP/2, which nobody needs, and with our WebSocket stream."""

    async def refuse_late_head(self) -> None:
        """No whole request within the limit: say so, if one was begun, and close."""
        if self.connection.our_state is h11.IDLE and self.connection.trailing_data[0]:
            await self._send_error_response(408)
        await self.send(Closed())

    async def _send_h11_event(self, event: Any) -> None:
        if type(event) is h11.Response and not event.reason:  # some clients show nothing else
            code = event.status_code
            reason = responses.get(code, "").encode()
            event = h11.Response(headers=event.headers, status_code=code, reason=reason)
        await super()._send_h11_event(event)

    async def handle(self, event: Event) -> None:
        """An accepted WebSocket reads its frames itself, past h11."""
        stream = self.stream
        if isinstance(event, RawData) and isinstance(stream, GuardedWebsocket) and stream.is_open:
            await stream.handle(Data(STREAM_ID, event.data))
        else:
            await super().handle(event)

    async def _check_protocol(self, event: h11.Request) -> None:
        pass  # Hypercorn would change to HTTP/2 here

    async def _create_stream(self, request: h11.Request) -> None:
        headers = [pair for pair in request.headers if pair[0] != b"sec-websocket-extensions"]
        kind: type[WSStream | HTTPStream] = HTTPStream
        upgrade = dict(request.headers).get(b"upgrade", b"").lower()
        if upgrade == b"websocket" and request.method == b"GET":
            kind = GuardedWebsocket
            self.connection = H11WSConnection(cast("h11.Connection", self.connection))
        around = (self.app, self.config, self.context, self.task_group, self.ssl)
        self.stream = kind(*around, self.client, self.server, self.stream_send, STREAM_ID)
        version, method = request.http_version.decode(), request.method.decode().upper()
        path, state = request.target, self.connection_state
        try:
            await self.stream.handle(
                StreamRequest(STREAM_ID, headers, version, method, path, state)
            )
        except UnicodeDecodeError:  # a header that is not ASCII where it has to be
            self.stream = None
            await self._send_error_response(400)
            await self.send(Closed())
