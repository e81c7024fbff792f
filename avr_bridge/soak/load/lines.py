"""The two ways to a container: WebSocket and HTTP. Dialling, frames out, messages in.

Between a `Caller` and the socket. Every frame that can be sent is JSON, or a chunk, before the
first call is placed. It counts nothing.
"""

from __future__ import annotations

import asyncio
import binascii
import errno
from base64 import b64encode
from typing import TYPE_CHECKING, Protocol, cast
from urllib.parse import urlsplit

import msgspec
from picows import (
    WSCloseCode,
    WSError,
    WSFrame,
    WSHandshakeError,
    WSListener,
    WSMsgType,
    WSTransport,
    ws_connect,
)

from avr_bridge.soak.load.caller import Caller, Frame
from avr_bridge.soak.load.sounds import FRAME_MS, PCM_8K
from avr_bridge.soak.load.whole import WholeMessages

if TYPE_CHECKING:
    from collections.abc import Callable

    from avr_bridge.soak.plan import SoakPlan

__all__ = ["HttpLine", "Line", "NoLine", "WebSocketLine", "dial", "dial_error"]

DIAL_LIMIT_S = 10.0
HTTP_PATH = "/speech-to-speech-stream"
MOST_HEAD_BYTES = 64 * 1024
OWN_LIMITS = {
    errno.EMFILE: "too many open files",
    errno.ENFILE: "too many open files",
    errno.EADDRNOTAVAIL: "cannot assign requested address",
}
"""Errors that are this machine's and not the container's, in words that `verdict.py` knows: no
descriptor, or no local port, was left."""


class NoLine(Exception):
    """The call could not be placed; the text is the kind of error."""


class Line(Protocol):
    """A call that is up."""

    def send(self, frame: Frame) -> None:
        """Send 20 ms; speech goes on where it was."""

    def close(self) -> None:
        """Hang up politely."""


async def dial(plan: SoakPlan, uuid: str, caller: Caller, lost: Callable[[str], None]) -> Line:
    """Place a call.

    Args:
        plan: Whom to call, and how.
        uuid: Of the call.
        caller: Gets what arrives.
        lost: Called once if the line ends without `close`, with the kind of error.

    Raises:
        NoLine: It could not be placed.
    """
    try:
        async with asyncio.timeout(DIAL_LIMIT_S):
            if plan.transport == "http":
                return await _dial_http(plan, uuid, caller, lost)
            return await _dial_websocket(plan, uuid, caller, lost)
    except TimeoutError:
        raise NoLine("handshake timeout") from None
    except WSHandshakeError as refused:
        status = getattr(refused.response, "status", None)
        raise NoLine(f"refused with status {int(status)}" if status else "no WebSocket") from None
    except (OSError, WSError) as error:
        raise NoLine(dial_error(error)) from None


def dial_error(error: Exception) -> str:
    """The kind of error of a dial that failed: the container's, or a limit of our own."""
    return OWN_LIMITS.get(getattr(error, "errno", None) or 0, "dial refused")


# -- WebSocket --------------------------------------------------------------------------------


def _message(pcm: bytes) -> bytes:
    return b'{"type":"audio","audio":"%b"}' % b64encode(pcm)


_SPEECH = tuple(_message(PCM_8K.speech(ms, FRAME_MS)) for ms in range(0, 1000, FRAME_MS))
_WORDS = {Frame.PROBE: _message(PCM_8K.probe()), Frame.LOUD: _message(PCM_8K.burst())}


class WebSocketLine(WSListener):  # type: ignore[misc, unused-ignore]  # a compiled class
    """One WebSocket to the container."""

    def __init__(self, caller: Caller, uuid: str, lost: Callable[[str], None]) -> None:
        self._caller = caller
        self._uuid = uuid
        self._lost = lost
        self._frame = 0
        self._closing = False
        self._whole = WholeMessages()
        self._code = ""

    def send(self, frame: Frame) -> None:
        """Send 20 ms."""
        if frame is Frame.SPEECH:
            self._frame = (self._frame + 1) % len(_SPEECH)
            self._transport.send(WSMsgType.TEXT, _SPEECH[self._frame])
        else:
            self._transport.send(WSMsgType.TEXT, _WORDS[frame])

    def close(self) -> None:
        """Hang up as avr-core does: a close, then the end of the connection."""
        self._closing = True
        self._transport.send_close(WSCloseCode.OK)
        self._transport.disconnect()

    def on_ws_connected(self, transport: WSTransport) -> None:
        """The upgrade is done."""
        self._transport = transport
        transport.send(WSMsgType.TEXT, msgspec.json.encode({"type": "init", "uuid": self._uuid}))
        self._caller.up()

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        """The connection is gone."""
        if not self._closing:
            self._closing = True
            self._lost(f"closed by container ({self._code})" if self._code else "lost")

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """A message, or a piece of one."""
        if frame.msg_type is WSMsgType.CLOSE:
            self._code = str(_number(frame.get_close_code()))
            transport.send_close(WSCloseCode.OK)
            transport.disconnect()
            return
        if (payload := self._whole.push(frame)) is not None:
            self._message(payload)

    def _message(self, payload: bytes) -> None:
        begin = payload.find(b'"audio":', 0, 200)
        if begin >= 0:
            begin = payload.find(b'"', begin + 8) + 1
            self._caller.sound(binascii.a2b_base64(payload[begin : payload.find(b'"', begin)]))
            return
        message = msgspec.json.decode(payload)
        match message.get("type"):
            case "audio":
                self._caller.sound(binascii.a2b_base64(message["audio"]))
            case "interruption":
                self._caller.interrupted()
            case "error":
                self._caller.trouble("error message", str(message.get("message")))


def _number(code: object) -> object:
    """A close code's number, of a known one and of any other."""
    return getattr(code, "value", code)


async def _dial_websocket(
    plan: SoakPlan, uuid: str, caller: Caller, lost: Callable[[str], None]
) -> Line:
    _, line = await ws_connect(
        lambda: WebSocketLine(caller, uuid, lost),
        plan.url,
        websocket_handshake_timeout=DIAL_LIMIT_S,
        extra_headers=plan.headers,
        max_redirects=0,
    )
    assert isinstance(line, WebSocketLine)
    return line


# -- HTTP -------------------------------------------------------------------------------------


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


_SPEECH_CHUNKS = tuple(_chunk(PCM_8K.speech(ms, FRAME_MS)) for ms in range(0, 1000, FRAME_MS))
_CHUNKS = {Frame.PROBE: _chunk(PCM_8K.probe()), Frame.LOUD: _chunk(PCM_8K.burst())}


class HttpLine(asyncio.Protocol):
    """One POST with sound both ways; the answer is chunked, or raw until it ends."""

    def __init__(self, caller: Caller, head: bytes, lost: Callable[[str], None]) -> None:
        self._caller = caller
        self._head = head
        self._lost = lost
        self._closing = False
        self._frame = 0
        self._buffer = b""
        self._chunked = False
        self._left = 0
        self._odd = b""
        self.answered: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._reading_head = True

    def send(self, frame: Frame) -> None:
        """Send 20 ms."""
        if frame is Frame.SPEECH:
            self._frame = (self._frame + 1) % len(_SPEECH_CHUNKS)
            self._transport.write(_SPEECH_CHUNKS[self._frame])
        else:
            self._transport.write(_CHUNKS[frame])

    def close(self) -> None:
        """End the request, and with it the connection."""
        self._closing = True
        self._transport.write(b"0\r\n\r\n")
        self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask, and begin to talk: some servers answer when the first sound has come."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are not of that class
        self._transport.write(self._head + _SPEECH_CHUNKS[0])

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        if not self.answered.done():
            self.answered.set_exception(ConnectionResetError())
        elif not self._closing:
            self._lost("lost" if exc else "closed by container (end of stream)")
        self._closing = True

    def data_received(self, data: bytes) -> None:
        """The answer's head, then sound."""
        self._buffer += data
        if self._reading_head:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                if len(self._buffer) > MOST_HEAD_BYTES:
                    self._transport.abort()
                return
            head, self._buffer = self._buffer[:end].lower(), self._buffer[end + 4 :]
            self._reading_head = False
            self._chunked = b"\r\ntransfer-encoding: chunked" in head
            status = int(head.split(b" ", 2)[1])
            if status == 200:
                self._caller.up()
            self.answered.set_result(status)
        if not self._chunked:
            sound, self._buffer = self._buffer, b""
            self._sound(sound)
            return
        while self._next_chunk():
            pass

    def _next_chunk(self) -> bool:
        end = self._buffer.find(b"\r\n")
        if end < 0:
            return False
        size = int(self._buffer[:end].split(b";")[0], 16)
        if len(self._buffer) < end + 4 + size:
            return False
        self._sound(self._buffer[end + 2 : end + 2 + size])
        self._buffer = self._buffer[end + 4 + size :]
        if size == 0:
            self._transport.close()
        return size > 0

    def _sound(self, data: bytes) -> None:
        data = self._odd + data
        whole = len(data) & ~1
        self._odd = data[whole:]
        if whole:
            self._caller.sound(data[:whole])


async def _dial_http(
    plan: SoakPlan, uuid: str, caller: Caller, lost: Callable[[str], None]
) -> Line:
    url = urlsplit(plan.url)
    host, secure = url.hostname or "", url.scheme in ("https", "wss")
    path = url.path if url.path not in ("", "/") else HTTP_PATH
    fields = {
        "Host": url.netloc.rpartition("@")[2],
        "X-UUID": uuid,
        "Content-Type": "audio/x-raw",
        "Transfer-Encoding": "chunked",
    } | plan.headers
    lines = [f"POST {path}{'?' + url.query if url.query else ''} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in fields.items()]
    head = ("\r\n".join(lines) + "\r\n\r\n").encode()
    _, line = await asyncio.get_running_loop().create_connection(
        lambda: HttpLine(caller, head, lost),
        host,
        url.port or (443 if secure else 80),
        ssl=secure or None,
    )
    try:
        status = await line.answered
    except BaseException:
        line.close()
        raise
    if status != 200:
        line.close()
        raise NoLine(f"refused with status {status}")
    return line
