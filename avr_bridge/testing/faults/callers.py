"""Callers that misbehave: raw bytes on either transport. The simulated caller keeps the rules.

`open_faulty_caller` connects and does what avr-core would do first; what is wrong afterwards the
test does itself, by `send_bytes`, by not reading, or by not going on. Nothing here is left to
chance or to timing.
"""

from __future__ import annotations

import base64
import socket
import struct
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

import attrs
import h11
import msgspec
import trio
import wsproto
from wsproto.events import AcceptConnection, CloseConnection, Request, TextMessage

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

__all__ = [
    "MASK",
    "UPGRADE_REQUEST",
    "FaultyCaller",
    "Seen",
    "Transport",
    "connect",
    "frame",
    "open_faulty_caller",
]

UPGRADE_REQUEST = (
    b"GET / HTTP/1.1\r\nHost: bridge\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
"""A sound WebSocket handshake, to be sent whole, in part, or with something behind it."""

MASK = b"\x01\x02\x03\x04"

Transport = Literal["ws", "http"]


@attrs.frozen
class Seen:
    """What a caller saw of the end of its connection.

    Attributes:
        how: ``"closed"`` by a WebSocket close or the end of a response, ``"eof"`` by a FIN
            without either, ``"reset"`` by an RST.
        code: The WebSocket close code; over HTTP the status.
        reason: The close reason.
        errors: Texts of the ``error`` messages.
        received_bytes: Everything that came, on the wire.
    """

    how: str
    code: int | None = None
    reason: str = ""
    errors: tuple[str, ...] = ()
    received_bytes: int = 0


def frame(payload: bytes, *, opcode: int = 1, fin: bool = True) -> bytes:
    """One masked WebSocket frame (RFC 6455 §5.2): whole; cut it to send a part of it."""
    first = (0x80 if fin else 0) | opcode
    if len(payload) < 126:
        head = bytes([first, 0x80 | len(payload)])
    elif len(payload) < 1 << 16:
        head = bytes([first, 0x80 | 126]) + struct.pack(">H", len(payload))
    else:
        head = bytes([first, 0x80 | 127]) + struct.pack(">Q", len(payload))
    repeated = MASK * (len(payload) // 4 + 1)
    number = int.from_bytes(payload) ^ int.from_bytes(repeated[: len(payload)])
    return head + MASK + number.to_bytes(len(payload))


async def connect(
    url: str, *, receive_buffer_bytes: int | None = None, from_host: str | None = None
) -> trio.SocketStream:
    """A TCP connection to the bridge at `url`, with nothing said yet.

    Args:
        receive_buffer_bytes: How much the kernel takes for a caller that does not read.
        from_host: The caller's own address.
    """
    parts = urlsplit(url)
    sock = trio.socket.socket()
    if receive_buffer_bytes is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
    if from_host is not None:
        await sock.bind((from_host, 0))
    await sock.connect((parts.hostname, parts.port))
    return trio.SocketStream(sock)


class FaultyCaller:
    """One connection on which a call may have begun; made by `open_faulty_caller`.

    Attributes:
        stream: The connection itself.
        extensions: What the bridge agreed to in the WebSocket handshake.
    """

    def __init__(self, stream: trio.SocketStream, transport: Transport) -> None:
        self.stream = stream
        self.transport = transport
        self.extensions: list[str] = []
        self._ws = wsproto.WSConnection(wsproto.ConnectionType.CLIENT)
        self._http = h11.Connection(h11.CLIENT)
        self._received_bytes = 0

    async def shake_hands(self, uuid: str, *, offer_deflate: bool = False) -> None:
        """WebSocket handshake, or the head of the POST."""
        if self.transport == "http":
            head = h11.Request(
                method="POST",
                target="/speech-to-speech-stream",
                headers=[("Host", "b"), ("X-UUID", uuid), ("Transfer-Encoding", "chunked")],
            )
            await self.stream.send_all(self._http.send(head))
            return
        offered = [wsproto.extensions.PerMessageDeflate()] if offer_deflate else []
        request = Request(host="bridge", target="/", extensions=list(offered))
        await self.stream.send_all(self._ws.send(request))
        while True:
            self._ws.receive_data(await self._receive())
            for event in self._ws.events():
                if isinstance(event, AcceptConnection):
                    self.extensions = [str(one) for one in event.extensions]
                    return

    async def send_init(self, uuid: str) -> None:
        """The first message; over HTTP it is in the head."""
        if self.transport == "ws":
            await self.send_text(f'{{"type":"init","uuid":"{uuid}"}}')

    async def send_text(self, text: str) -> None:
        """One message."""
        await self.stream.send_all(self.encode(text.encode()))

    async def send_audio(self, pcm: bytes) -> None:
        """Sound, in one message or chunk."""
        await self.stream.send_all(self.encode_audio(pcm))

    async def send_bytes(self, raw: bytes) -> None:
        """Anything, as it is."""
        await self.stream.send_all(raw)

    def encode_audio(self, pcm: bytes) -> bytes:
        """The bytes on the wire of one message or chunk of sound."""
        if self.transport == "http":
            return self.encode(pcm)
        encoded = base64.b64encode(pcm).decode()
        return self.encode(msgspec.json.encode({"type": "audio", "audio": encoded}))

    def encode(self, payload: bytes) -> bytes:
        """The bytes on the wire of one message or chunk."""
        if self.transport == "http":
            return b"%x\r\n%b\r\n" % (len(payload), payload)
        return frame(payload)

    async def read_to_end(self) -> Seen:
        """Read until the bridge has ended the connection, and say how it did."""
        return await (self._read_http() if self.transport == "http" else self._read_ws())

    async def _receive(self) -> bytes:
        data = bytes(await self.stream.receive_some())
        self._received_bytes += len(data)
        return data

    async def _read_ws(self) -> Seen:
        errors: list[str] = []
        text = ""
        while True:
            for event in self._ws.events():  # some may have come with the handshake
                if isinstance(event, TextMessage):
                    text += event.data
                    if event.message_finished:
                        message, text = msgspec.json.decode(text), ""
                        errors += [message["message"]] if message["type"] == "error" else []
                elif isinstance(event, CloseConnection):
                    return self._seen("closed", errors, int(event.code), event.reason or "")
            try:
                data = await self._receive()
            except trio.BrokenResourceError:
                return self._seen("reset", errors)
            if not data:
                return self._seen("eof", errors)
            self._ws.receive_data(data)

    def _seen(self, how: str, errors: list[str], code: int | None = None, reason: str = "") -> Seen:
        return Seen(how, code, reason, tuple(errors), self._received_bytes)

    async def _read_http(self) -> Seen:
        status: int | None = None
        while True:
            try:
                event = self._http.next_event()
                if event is h11.NEED_DATA:
                    self._http.receive_data(await self._receive())
            except trio.BrokenResourceError:
                return Seen("reset", status, received_bytes=self._received_bytes)
            except h11.RemoteProtocolError:
                return Seen("eof", status, received_bytes=self._received_bytes)
            if isinstance(event, h11.Response):
                status = event.status_code
            elif isinstance(event, h11.ConnectionClosed | h11.EndOfMessage):
                return Seen("closed", status, received_bytes=self._received_bytes)


@asynccontextmanager
async def open_faulty_caller(
    url: str,
    *,
    transport: Transport,
    uuid: str = "faulty",
    init: bool = True,
    offer_deflate: bool = False,
    receive_buffer_bytes: int | None = None,
    from_host: str | None = None,
) -> AsyncGenerator[FaultyCaller]:
    """Connect to a bridge and begin a call; the connection is dropped on leaving the block.

    Args:
        url: ``http://host:port``, for both transports.
        transport: ``"ws"`` or ``"http"``.
        uuid: The call's id.
        init: False: the WebSocket's first message is not sent.
        offer_deflate: Offer permessage-deflate, as Node's ``ws`` does.
        receive_buffer_bytes: As `connect`.
        from_host: As `connect`.
    """
    stream = await connect(url, receive_buffer_bytes=receive_buffer_bytes, from_host=from_host)
    async with stream:
        caller = FaultyCaller(stream, transport)
        await caller.shake_hands(uuid, offer_deflate=offer_deflate)
        if init:
            await caller.send_init(uuid)
        yield caller
