"""Where a call goes: from an STS address, as avr-core's STS_URL has it, to a connected line.

An address of ours stands beside them for calls straight from Asterisk, which knows a host and a
port only: ``audiosocket://host:port``, with ``?codec=ulaw`` or ``alaw`` for a leg that is not slin.
The path ``/asterisk/media`` of a WebSocket is that of the bridge's for Asterisk's chan_websocket.

Reads the address and maps every failure to connect to `CallNotPlaced`. What travels on the line
is none of its business.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal
from urllib.parse import parse_qs, quote, urlencode, urlsplit

import attrs
import trio

from avr_bridge.testing.caller.audiosocket_line import AudioSocketLine, Codec
from avr_bridge.testing.caller.events import CallNotPlaced
from avr_bridge.testing.caller.http_line import HttpLine
from avr_bridge.testing.caller.media_line import MediaLine
from avr_bridge.testing.caller.websocket_line import WebSocketLine

if TYPE_CHECKING:
    from collections.abc import Mapping

    from avr_bridge.testing.caller.line import CallerLine

__all__ = ["Address", "Transport", "connect_line", "read_address"]

type Transport = Literal["auto", "ws", "http"]

LEGACY_PATH = "/speech-to-speech-stream"
"""avr-core chooses the legacy transport by this path."""

MEDIA_PATH = "/asterisk/media"
"""The bridge speaks chan_websocket's subprotocol there, and nothing of avr-core's."""

CODECS: dict[str, Codec] = {"slin": "slin", "ulaw": "ulaw", "alaw": "alaw"}

_AS_THEY_ARE = "%/:@!$&'()*+,;=~[]|"
"""In a path; all else that is no letter or digit is encoded, as Node does for avr-core."""


@attrs.frozen
class Address:
    """A server, the request target, and the transport to use.

    Attributes:
        codec: What a leg of AudioSocket carries; nothing to the other transports.
    """

    host: str
    port: int
    target: str
    transport: Literal["ws", "http", "audiosocket", "media"]
    codec: Codec = "slin"

    @property
    def netloc(self) -> str:
        """Host and port as in a Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def read_address(
    url: str, query: Mapping[str, str] | None = None, transport: Transport = "auto"
) -> Address:
    """Read an STS address; ``"auto"`` goes by its scheme, and a legacy path may be left out.

    Raises:
        ValueError: The address or the transport cannot be; in words.
    """
    if transport not in ("auto", "ws", "http"):
        raise ValueError(f"transport must be auto, ws or http, not {transport!r}")
    parts = urlsplit(url)
    if parts.scheme == "audiosocket":
        if query:
            raise ValueError("AudioSocket carries no data of the call but its UUID")
        return _audiosocket_address(url)
    if parts.scheme not in ("ws", "http"):
        raise ValueError(
            f"{url!r} must begin with ws://, http:// (avr-core speaks no TLS) or audiosocket://"
        )
    if not parts.hostname:
        raise ValueError(f"{url!r} names no host")
    try:
        port = parts.port or 80
    except ValueError as error:
        raise ValueError(f"{url!r}: {error}") from None
    spoken: Literal["ws", "http", "media"]
    by_scheme: Literal["ws", "http"] = "http" if parts.scheme == "http" else "ws"
    chosen = by_scheme if transport == "auto" else transport
    path = quote(parts.path, safe=_AS_THEY_ARE) or "/"
    if chosen == "http":
        if path == "/":
            path = LEGACY_PATH
        elif not path.endswith(LEGACY_PATH):
            raise ValueError(f"the path of {url!r} must end with {LEGACY_PATH} for HTTP")
    ours = urlencode(query, quote_via=quote, safe="") if query else ""
    theirs = quote(parts.query, safe=_AS_THEY_ARE + "?")
    joined = "&".join(part for part in (theirs, ours) if part)
    target = f"{path}?{joined}" if joined else path
    spoken = "media" if chosen == "ws" and path == MEDIA_PATH else chosen
    return Address(_host(url, parts.hostname), port, target, spoken)


def _audiosocket_address(url: str) -> Address:
    parts = urlsplit(url)
    codec = CODECS.get(parse_qs(parts.query).get("codec", ["slin"])[-1])
    if not parts.hostname or not parts.port:
        raise ValueError(f"{url!r} must name a host and a port")
    if codec is None:
        raise ValueError(f"the codec in {url!r} must be slin, ulaw or alaw")
    return Address(_host(url, parts.hostname), parts.port, "", "audiosocket", codec)


def _host(url: str, name: str) -> str:
    try:
        host = name.encode("idna").decode("ascii")
    except UnicodeError:
        host = ""
    if not host or re.search(r"[^!-~]", host):
        raise ValueError(f"{url!r}: {name!r} cannot be a host's name")
    return host


async def connect_line(address: Address, uuid: str, connect_s: float) -> CallerLine:
    """Connect, shake hands and begin the call; the line is the caller's to close.

    Raises:
        CallNotPlaced: In words: refused, unknown host, no answer, handshake rejected.
    """
    with trio.move_on_after(connect_s) as deadline:
        try:
            stream = await trio.open_tcp_stream(address.host, address.port)
        except OSError as error:
            raise CallNotPlaced(f"cannot reach {address.netloc}: {_reason(error)}") from error
        stream.setsockopt(trio.socket.IPPROTO_TCP, trio.socket.TCP_NODELAY, 1)
        line = _line(address, stream)
        try:
            await line.open(address.netloc, address.target, uuid)
        except BaseException:
            await line.aclose()
            raise
        return line
    assert deadline.cancelled_caught
    raise CallNotPlaced(f"{address.netloc} did not answer within {connect_s:g} s")


def _line(
    address: Address, stream: trio.SocketStream
) -> WebSocketLine | HttpLine | AudioSocketLine | MediaLine:
    match address.transport:
        case "ws":
            return WebSocketLine(stream)
        case "http":
            return HttpLine(stream)
        case "audiosocket":
            return AudioSocketLine(stream, address.codec)
        case "media":
            return MediaLine(stream)


def _reason(error: OSError) -> str:
    """The root of trio's connection errors, which bundle one for each address tried."""
    cause: BaseException = error.__cause__ or error
    while isinstance(cause, BaseExceptionGroup):
        cause = cause.exceptions[0]
    return getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
