"""The real network toward the model: TCP, TLS, proxy, upgrade, over trio-websocket.

trio_websocket is known in this file only, and its errors leave it as ours. What goes over the
socket is `client.py`'s.
"""

from __future__ import annotations

import enum
import functools
import ssl
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, cast
from urllib.parse import urlsplit

import h11
import trio
import trio.lowlevel
import trio_websocket
import wsproto.utilities

from avr_bridge.errors import UpstreamClosed, UpstreamError, UpstreamRejected, UpstreamUnavailable
from avr_bridge.net.frames import masked_text_frame
from avr_bridge.net.quick import QuickStream
from avr_bridge.telemetry.version import USER_AGENT
from avr_bridge.upstream.proxy import open_tunnel
from avr_bridge.upstream.refusal import refusal_of
from avr_bridge.upstream.shared_stream import MESSAGE_QUEUE, SharedStream

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence

    from avr_bridge.proxies import ProxyAddress
    from avr_bridge.upstream.socket import MessageSocket

__all__ = ["CONNECT_LIMIT_S", "Stage", "dial_realtime"]

CONNECT_LIMIT_S = 10.0
"""TCP, TLS and upgrade together. Measured medians are about 1 s; a caller waits no longer."""

DISCONNECT_LIMIT_S = 1.0
"""A polite close takes milliseconds; a peer that does not answer it is dropped after this."""

MAX_MESSAGE_CHARS = 16 * 1024 * 1024
"""Audio deltas are about 16 kB; a retrieved item may hold minutes of sound."""


class Stage(enum.Enum):
    """How far a dial has come."""

    CONNECTED = "connected"
    """TCP, through the proxy if there is one."""

    SECURED = "secured"
    """TLS; not reached where the address has none."""

    UPGRADED = "upgraded"
    """A WebSocket."""


@asynccontextmanager
async def dial_realtime(
    url: str,
    headers: Sequence[tuple[str, str]],
    *,
    proxy: ProxyAddress | None = None,
    reached: Callable[[Stage], None] = lambda _stage: None,
) -> AsyncGenerator[MessageSocket]:
    """Dial over trio-websocket, through `proxy` if given; connect and close have their deadlines.

    The TCP stream is opened and closed here and not by trio-websocket 0.12, which leaves it to
    the garbage collector where the server closed first.

    Args:
        url: ``ws://`` or ``wss://``.
        headers: Of the upgrade request.
        proxy: An HTTP proxy on the way.
        reached: Told each stage as it is reached.

    Raises:
        UpstreamUnavailable: Network, TLS, deadline, or a status that may pass (429, 5xx).
        UpstreamRejected: Any other status: a wrong address, key or model; a certificate that is
            not accepted; a proxy that refuses us.
    """
    deadline_s = trio.current_time() + CONNECT_LIMIT_S
    stream = await _open_stream(url, deadline_s, proxy, reached)
    refusal: UpstreamError | None = None
    opened = False
    try:
        async with trio.open_nursery() as nursery:
            shared = SharedStream(stream)
            websocket = await _upgrade(nursery, shared, url, headers, deadline_s)
            opened = True
            reached(Stage.UPGRADED)
            try:
                yield _TrioWebSocket(websocket, shared)
            finally:
                shared.want_no_more()
                with trio.move_on_after(DISCONNECT_LIMIT_S):
                    await websocket.aclose()
            nursery.cancel_scope.cancel()
    except* trio_websocket.ConnectionRejected as group:
        # Raised in trio-websocket's reader task, so it comes as a group with our own waiting.
        refusal = _refused(group)
    except* (h11.ProtocolError, wsproto.utilities.ProtocolError):
        # Its answer to a peer that speaks no HTTP or no WebSocket may itself be illegal; so is
        # its answer to a ping that crosses our own close, which is no fault of anybody's.
        if not opened:
            refusal = refusal or UpstreamUnavailable("no WebSocket: its answer is none")
    except* UpstreamUnavailable as group:
        refusal = refusal or _only(group)
    finally:
        await trio.aclose_forcefully(stream)
    if refusal is not None:
        raise refusal


async def _open_stream(
    url: str,
    deadline_s: float,
    proxy: ProxyAddress | None,
    reached: Callable[[Stage], None],
) -> QuickStream | trio.SSLStream[QuickStream]:
    parts = urlsplit(url)
    host = parts.hostname or ""
    secure = parts.scheme == "wss"
    port = parts.port or (443 if secure else 80)
    with trio.move_on_at(deadline_s):
        try:
            if proxy is not None:
                plain = await open_tunnel(proxy, host, port)
            else:
                plain = await trio.open_tcp_stream(host, port)
            quick = QuickStream(plain)
            reached(Stage.CONNECTED)
            if not secure:
                return quick
            stream = await _secured(quick, host)
            reached(Stage.SECURED)
            return stream
        except (OSError, trio.BrokenResourceError) as error:
            cause = _cause(error)
            if isinstance(cause, ssl.SSLCertVerificationError):
                words = f"TLS: the server's certificate is not accepted: {cause.verify_message}"
                raise UpstreamRejected(words) from error
            what = "no connection: TLS" if isinstance(cause, ssl.SSLError) else "no connection"
            raise UpstreamUnavailable(f"{what}: {cause}") from error
    raise UpstreamUnavailable(_TOO_SLOW + (f" through the proxy {proxy}" if proxy else ""))


def _cause(error: BaseException) -> BaseException:
    """What lies behind it; of several addresses that were tried, what the first one met."""
    cause = error.__cause__ or error
    while isinstance(cause, BaseExceptionGroup):
        cause = cause.exceptions[0]
    return cause


async def _secured(plain: QuickStream, host: str) -> trio.SSLStream[QuickStream]:
    stream = trio.SSLStream(plain, _tls_context(), server_hostname=host, https_compatible=True)
    try:
        await stream.do_handshake()
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise
    return stream


async def _upgrade(
    nursery: trio.Nursery,
    stream: SharedStream,
    url: str,
    headers: Sequence[tuple[str, str]],
    deadline_s: float,
) -> trio_websocket.WebSocketConnection:
    parts = urlsplit(url)
    with trio.move_on_at(deadline_s) as waiting:
        nursery.start_soon(_end_waiting, stream, waiting)
        return await trio_websocket.wrap_client_stream(
            nursery,
            cast("trio.SocketStream", stream),  # any stream will do
            parts.netloc.rpartition("@")[2],
            parts.path + (f"?{parts.query}" if parts.query else ""),
            extra_headers=[
                (name.encode(), value.encode())
                for name, value in (("User-Agent", USER_AGENT), *headers)
            ],
            message_queue_size=MESSAGE_QUEUE,
            max_message_size=MAX_MESSAGE_CHARS,
            receive_buffer_size=None,
        )
    if stream.ended.is_set():
        raise UpstreamUnavailable("the connection was closed before the upgrade")
    raise UpstreamUnavailable(_TOO_SLOW)


async def _end_waiting(stream: SharedStream, waiting: trio.CancelScope) -> None:
    """trio-websocket 0.12 waits for the upgrade on, also where its reader has seen the end."""
    await stream.ended.wait()
    await trio.lowlevel.checkpoint()  # a refusal that the reader is about to raise goes first
    waiting.cancel()


_TOO_SLOW = f"no connection within {CONNECT_LIMIT_S:.0f} s"


def _only(group: BaseExceptionGroup[UpstreamError]) -> UpstreamError:
    inner = group.exceptions[0]
    return _only(inner) if isinstance(inner, BaseExceptionGroup) else inner


def _refused(group: BaseExceptionGroup[trio_websocket.ConnectionRejected]) -> UpstreamError:
    inner = group.exceptions[0]
    if isinstance(inner, BaseExceptionGroup):
        return _refused(inner)
    return refusal_of(inner.status_code, inner.headers or (), inner.body or b"")


@functools.cache
def _tls_context() -> ssl.SSLContext:
    """One verifying context for all calls: loading the certificates takes tens of ms."""
    return ssl.create_default_context()


class _TrioWebSocket:
    """`MessageSocket` over trio-websocket: the one place that maps its errors.

    Messages are written beneath trio-websocket, as whole frames on the stream that it writes its
    pongs and its close on. By way of its `send_message` each costs 25 us more. The usual ones are
    read beneath it too.
    """

    def __init__(self, websocket: trio_websocket.WebSocketConnection, stream: SharedStream) -> None:
        self._websocket = websocket
        self._stream = stream
        self._pings: set[trio.CancelScope] = set()

    async def send_message(self, message: bytes | str) -> None:
        if self._websocket.closed:
            raise _closed(trio_websocket.ConnectionClosed(self._websocket.closed))
        text = message.encode() if isinstance(message, str) else message
        try:
            await self._stream.send_all(masked_text_frame(text))
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise UpstreamClosed(1006) from error

    async def get_message(self) -> bytes | str:
        try:
            text = await self._stream.receive_text()
            if text is not None:
                return text
            message: bytes | str = await self._websocket.get_message()
            self._stream.took_other()
        except trio_websocket.ConnectionClosed as closed:
            for waiting in self._pings:
                waiting.cancel()
            raise _closed(closed) from closed
        return message

    async def ping(self) -> None:
        # trio-websocket 0.12 forgets whoever waits for a pong when the connection ends.
        with trio.CancelScope() as waiting:
            self._pings.add(waiting)
            try:
                await self._websocket.ping()
            except trio_websocket.ConnectionClosed as closed:
                raise _closed(closed) from closed
            finally:
                self._pings.discard(waiting)
        if waiting.cancelled_caught:
            raise _closed(trio_websocket.ConnectionClosed(self._websocket.closed))

    async def aclose(self, code: int = 1000, reason: str = "") -> None:
        self._stream.want_no_more()
        await self._websocket.aclose(code, reason or None)


def _closed(closed: trio_websocket.ConnectionClosed) -> UpstreamClosed:
    reason = closed.reason
    if reason is None:
        return UpstreamClosed(1006)
    return UpstreamClosed(reason.code, reason.reason or "")
