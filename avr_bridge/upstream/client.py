"""The connection to the model: dial it over trio-websocket, write without blocking, read.

A thin shell. trio_websocket is known in this file only, and its errors leave it as ours. What
to say to the model is decided in `conversation.py`; JSON is `translation.py`'s.
"""

from __future__ import annotations

import functools
import ssl
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import h11
import trio
import trio_websocket
import wsproto.utilities

from avr_bridge.errors import UpstreamClosed, UpstreamError, UpstreamRejected, UpstreamUnavailable
from avr_bridge.settings import mask_of
from avr_bridge.upstream.commands import AppendAudio, Command
from avr_bridge.upstream.dialect import DialectName, dialect_of_url, headers_for
from avr_bridge.upstream.endpoint import realtime_url
from avr_bridge.upstream.masked import MaskedSocket
from avr_bridge.upstream.proxy import open_tunnel, proxy_of
from avr_bridge.upstream.socket import MessageSocket
from avr_bridge.upstream.translation import Translator

if TYPE_CHECKING:
    from avr_bridge.audio.format import AudioFormat
    from avr_bridge.config import ModelConfig
    from avr_bridge.proxies import ProxyAddress
    from avr_bridge.upstream.events import ServerEvent, Unknown

__all__ = ["Dial", "RealtimeConnection", "dial_realtime", "open_realtime"]

Dial = Callable[[str, Sequence[tuple[str, str]]], AbstractAsyncContextManager[MessageSocket]]
"""How to get a socket to an address with headers; `dial_realtime` is the real one."""

CONNECT_LIMIT_S = 10.0
"""TCP, TLS and upgrade together. Measured medians are about 1 s; a caller waits no longer."""

DISCONNECT_LIMIT_S = 1.0
"""A polite close takes milliseconds; a peer that does not answer it is dropped after this."""

MESSAGE_QUEUE = 64
"""Messages read ahead. A full queue stops trio-websocket's reader and with it the answers to
pings; our reader never waits, so this covers one long scheduling pause."""

MAX_MESSAGE_CHARS = 16 * 1024 * 1024
"""Audio deltas are about 16 kB; a retrieved item may hold minutes of sound."""

COMMANDS_WAITING = 256
"""Commands not yet written. They are small and rare; this many waiting means a dead peer."""

AUDIO_BACKLOG_MS = 500
"""Caller audio not yet written. Older sound is worth less than newer: the oldest is dropped."""


class RealtimeConnection:
    """An open session's wire. `receive` waits; everything sent is queued and never waits.

    A writer task, hidden in `open_realtime`, sends what is queued: commands first, then audio,
    as much of it as has gathered in one message.
    """

    def __init__(self, socket: MessageSocket, translator: Translator) -> None:
        self._socket = socket
        self._translator = translator
        self._events: deque[ServerEvent | Unknown] = deque()
        self._commands: deque[Command] = deque()
        self._audio = bytearray()
        self._audio_bound_bytes = 0
        # Capacity 1: it says that there is something to write, not how much.
        self._bell, self._rung = trio.open_memory_channel[None](1)
        self.dropped_audio_bytes = 0

    def send_nowait(self, command: Command) -> None:
        """Queue a command.

        Raises:
            UpstreamClosed: Too many wait already: the model no longer reads.
        """
        if len(self._commands) >= COMMANDS_WAITING:
            raise UpstreamClosed(1006, "the model does not read what is sent to it")
        self._commands.append(command)
        self._ring()

    def set_audio_format(self, fmt: AudioFormat) -> None:
        """Bound the audio backlog for this format; what waits in an older format is dropped."""
        self._audio_bound_bytes = fmt.bytes_of_ms(AUDIO_BACKLOG_MS)
        self._audio.clear()

    def append_audio_nowait(self, data: bytes) -> None:
        """Queue caller audio in the session's format. Newest wins; the loss is counted."""
        self._audio += data
        excess = len(self._audio) - self._audio_bound_bytes
        if excess > 0:
            del self._audio[:excess]
            self.dropped_audio_bytes += excess
        self._ring()

    async def receive(self) -> ServerEvent | Unknown:
        """Wait for the next server event.

        Raises:
            UpstreamClosed: The model closed, or the connection was lost.
        """
        while not self._events:
            self._events.extend(self._translator.read(await self._socket.get_message()))
        return self._events.popleft()

    async def _write(self) -> None:
        """Send what is queued, until cancelled or until the connection is gone."""
        try:
            async for _ in self._rung:
                while self._commands:
                    await self._send(self._commands.popleft())
                if self._audio:
                    append = AppendAudio(bytes(self._audio))
                    self._audio.clear()
                    await self._send(append)
        except UpstreamClosed:
            return  # the reader sees the same and tells why

    async def _send(self, command: Command) -> None:
        for message in self._translator.write(command):
            await self._socket.send_message(message)

    def _ring(self) -> None:
        try:
            self._bell.send_nowait(None)
        except trio.WouldBlock:
            return


@asynccontextmanager
async def open_realtime(
    config: ModelConfig, *, dial: Dial | None = None
) -> AsyncGenerator[RealtimeConnection]:
    """Connect to the model; close politely on the way out, within 1 s.

    Args:
        config: Address and key.
        dial: Replaces the real network, for tests and other transports.

    Raises:
        UpstreamUnavailable: It could not be reached; another try may help.
        UpstreamRejected: It refused us; another try cannot help.
    """
    url = realtime_url(config)
    dial = dial or functools.partial(dial_realtime, proxy=proxy_of(config, url))
    auto = config.dialect == "auto"
    name = dialect_of_url(url) if auto else DialectName(config.dialect)
    key = config.api_key.reveal() if config.api_key else None
    async with dial(url, headers_for(url, key, name)) as socket:
        masked = MaskedSocket(socket, mask_of(config))
        connection = RealtimeConnection(masked, Translator(name, verify=auto))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(connection._write)
            yield connection
            nursery.cancel_scope.cancel()


@asynccontextmanager
async def dial_realtime(
    url: str, headers: Sequence[tuple[str, str]], *, proxy: ProxyAddress | None = None
) -> AsyncGenerator[MessageSocket]:
    """Dial over trio-websocket, through `proxy` if given; connect and close have their deadlines.

    The TCP stream is opened and closed here and not by trio-websocket 0.12, which leaves it to
    the garbage collector where the server closed first.

    Raises:
        UpstreamUnavailable: Network, TLS, deadline, or a status that may pass (429, 5xx).
        UpstreamRejected: Any other status: a wrong address, key or model; a certificate that is
            not accepted; a proxy that refuses us.
    """
    deadline_s = trio.current_time() + CONNECT_LIMIT_S
    stream = await _open_stream(url, deadline_s, proxy)
    refusal: UpstreamError | None = None
    try:
        async with trio.open_nursery() as nursery:
            websocket = await _upgrade(nursery, stream, url, headers, deadline_s)
            try:
                yield _TrioWebSocket(websocket)
            finally:
                with trio.move_on_after(DISCONNECT_LIMIT_S):
                    await websocket.aclose()
            nursery.cancel_scope.cancel()
    except* trio_websocket.ConnectionRejected as group:
        # Raised in trio-websocket's reader task, so it comes as a group with our own waiting.
        refusal = _refused(group)
    except* (h11.ProtocolError, wsproto.utilities.ProtocolError):
        # Its answer to a peer that speaks no HTTP or no WebSocket may itself be illegal.
        refusal = refusal or UpstreamUnavailable("no WebSocket: its answer is none")
    except* UpstreamUnavailable as group:
        refusal = refusal or _only(group)
    finally:
        await trio.aclose_forcefully(stream)
    if refusal is not None:
        raise refusal


async def _open_stream(
    url: str, deadline_s: float, proxy: ProxyAddress | None = None
) -> trio.SocketStream | trio.SSLStream[trio.SocketStream]:
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
            return await _secured(plain, host) if secure else plain
        except (OSError, trio.BrokenResourceError) as error:
            cause = error.__cause__ or error
            if isinstance(cause, ssl.SSLCertVerificationError):
                words = f"TLS: the server's certificate is not accepted: {cause.verify_message}"
                raise UpstreamRejected(words) from error
            what = "no connection: TLS" if isinstance(cause, ssl.SSLError) else "no connection"
            raise UpstreamUnavailable(f"{what}: {cause}") from error
    raise UpstreamUnavailable(_TOO_SLOW + (f" through the proxy {proxy}" if proxy else ""))


async def _secured(plain: trio.SocketStream, host: str) -> trio.SSLStream[trio.SocketStream]:
    stream = trio.SSLStream(plain, _tls_context(), server_hostname=host, https_compatible=True)
    try:
        await stream.do_handshake()
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise
    return stream


async def _upgrade(
    nursery: trio.Nursery,
    stream: trio.SocketStream | trio.SSLStream[trio.SocketStream],
    url: str,
    headers: Sequence[tuple[str, str]],
    deadline_s: float,
) -> trio_websocket.WebSocketConnection:
    parts = urlsplit(url)
    with trio.move_on_at(deadline_s):
        return await trio_websocket.wrap_client_stream(
            nursery,
            stream,
            parts.netloc.rpartition("@")[2],
            parts.path + (f"?{parts.query}" if parts.query else ""),
            extra_headers=[(name.encode(), value.encode()) for name, value in headers],
            message_queue_size=MESSAGE_QUEUE,
            max_message_size=MAX_MESSAGE_CHARS,
            receive_buffer_size=None,
        )
    raise UpstreamUnavailable(_TOO_SLOW)


_TOO_SLOW = f"no connection within {CONNECT_LIMIT_S:.0f} s"


def _only(group: BaseExceptionGroup[UpstreamError]) -> UpstreamError:
    inner = group.exceptions[0]
    return _only(inner) if isinstance(inner, BaseExceptionGroup) else inner


def _refused(group: BaseExceptionGroup[trio_websocket.ConnectionRejected]) -> UpstreamError:
    inner = group.exceptions[0]
    if isinstance(inner, BaseExceptionGroup):
        return _refused(inner)
    words = f"the model's server answered HTTP {inner.status_code}"
    transient = inner.status_code == 429 or inner.status_code >= 500
    return UpstreamUnavailable(words) if transient else UpstreamRejected(words)


@functools.cache
def _tls_context() -> ssl.SSLContext:
    """One verifying context for all calls: loading the certificates takes tens of ms."""
    return ssl.create_default_context()


class _TrioWebSocket:
    """`MessageSocket` over trio-websocket: the one place that maps its errors."""

    def __init__(self, websocket: trio_websocket.WebSocketConnection) -> None:
        self._websocket = websocket
        self._pings: set[trio.CancelScope] = set()

    async def send_message(self, message: bytes | str) -> None:
        text = message if isinstance(message, str) else message.decode()
        try:
            await self._websocket.send_message(text)
        except trio_websocket.ConnectionClosed as closed:
            raise _closed(closed) from closed

    async def get_message(self) -> bytes | str:
        try:
            message: bytes | str = await self._websocket.get_message()
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
        await self._websocket.aclose(code, reason or None)


def _closed(closed: trio_websocket.ConnectionClosed) -> UpstreamClosed:
    reason = closed.reason
    if reason is None:
        return UpstreamClosed(1006)
    return UpstreamClosed(reason.code, reason.reason or "")
