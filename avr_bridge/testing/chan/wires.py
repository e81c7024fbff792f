"""What a simulated leg runs on: a WebSocket on a real socket, or the direct line in memory.

The leg's messages are `driver.py`'s. The real one asks for the subprotocol ``media`` and masks its
frames, as Asterisk's client does.
"""

from __future__ import annotations

import math
import ssl
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

import trio
import wsproto
from wsproto import events as ws_events
from wsproto.connection import ConnectionState

from avr_bridge.caller.chan_websocket import ChanWebsocketTransport
from avr_bridge.caller.direct import DirectLine
from avr_bridge.caller.transport import Leaving, Peer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["LegNotPlaced", "LegWire", "MemoryWire", "SocketWire", "WireClosed"]

_RECEIVE_BYTES = 64 * 1024
_PORTS = {"ws": 80, "wss": 443}


class LegNotPlaced(Exception):
    """No connection came about.

    Attributes:
        status: The HTTP status that refused it, if one did.
    """

    def __init__(self, message: str, status: int | None = None) -> None:
        self.status = status
        super().__init__(message)


class WireClosed(Exception):
    """The bridge closed, or the connection is lost (1006)."""

    def __init__(self, code: int, reason: str = "") -> None:
        self.code = code
        self.reason = reason
        super().__init__(f"closed with {code} {reason}".strip())


class LegWire:
    """Whole messages both ways. The base of both wires; raises nothing of the network's."""

    async def send(self, message: str | bytes) -> None:
        """Send a text or a binary message; nothing, where the bridge is gone."""
        raise NotImplementedError

    async def receive(self) -> list[str | bytes]:
        """Wait for messages.

        Raises:
            WireClosed: None follow.
        """
        raise NotImplementedError

    async def close(self, code: int = 1000) -> None:
        """Say goodbye, as Asterisk does when the channel is hung up."""
        raise NotImplementedError

    async def aclose(self) -> None:
        """Drop the connection at once."""
        raise NotImplementedError


class MemoryWire(LegWire):
    """Both ends in memory; hand `transport` to `run_call`.

    Args:
        parameters: Query parameters of the address.
    """

    def __init__(self, parameters: Mapping[str, str] | None = None) -> None:
        self._give, self._take = trio.open_memory_channel[str | bytes | WireClosed](math.inf)
        self.peer = Peer(line=DirectLine(self._from_bridge_text, self._from_bridge))
        self.transport = ChanWebsocketTransport(
            cast("Any", self), dict(parameters or {}), self.peer
        )
        self._closing = False

    async def send(self, message: str | bytes) -> None:
        """Send a message to the bridge."""
        assert self.peer.line is not None
        await self.peer.line.put(message)
        await trio.lowlevel.checkpoint()

    async def receive(self) -> list[str | bytes]:
        """Wait for a message of the bridge."""
        message = await self._take.receive()
        if isinstance(message, WireClosed):
            raise message
        return [message]

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Either side's close: the bridge calls it too, in place of a WebSocket's."""
        await trio.lowlevel.checkpoint()
        assert self.peer.line is not None
        self.peer.line.close()
        if not self._closing:
            self._closing = True
            self._give.send_nowait(WireClosed(code, reason))

    async def aclose(self) -> None:
        """Drop it."""
        self.peer.blame(Leaving.HUNG_UP)
        await self.close(1006)

    async def _from_bridge(self, data: bytes) -> None:
        await trio.lowlevel.checkpoint()
        self._give.send_nowait(data)

    async def _from_bridge_text(self, text: bytes) -> None:
        await trio.lowlevel.checkpoint()
        self._give.send_nowait(text.decode())


class SocketWire(LegWire):
    """A WebSocket over a stream on which nothing was sent yet; owns the stream."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self._ws = wsproto.WSConnection(wsproto.ConnectionType.CLIENT)
        self._send_lock = trio.Lock()  # the receiver sends too
        self._part: str | bytes | None = None
        self._waiting: list[str | bytes] = []
        self._closed: WireClosed | None = None
        self.subprotocol: str | None = None

    @classmethod
    async def open(
        cls,
        url: str,
        *,
        headers: Sequence[tuple[bytes, bytes]] = (),
        subprotocols: Sequence[str] = ("media",),
        tls: ssl.SSLContext | None = None,
    ) -> SocketWire:
        """Connect and shake hands.

        Raises:
            LegNotPlaced: The server refused, or is no WebSocket server.
        """
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or _PORTS[parts.scheme]
        stream: trio.abc.Stream = await trio.open_tcp_stream(host, port)
        if parts.scheme == "wss":
            context = tls or ssl.create_default_context()
            stream = trio.SSLStream(stream, context, server_hostname=host)
        wire = cls(stream)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        try:
            await wire.shake_hands(f"{host}:{port}", target, headers, subprotocols)
        except BaseException:
            await trio.aclose_forcefully(stream)
            raise
        return wire

    async def shake_hands(
        self,
        host: str,
        target: str,
        headers: Sequence[tuple[bytes, bytes]] = (),
        subprotocols: Sequence[str] = ("media",),
    ) -> None:
        """Ask for the WebSocket; `open` has done so.

        Raises:
            LegNotPlaced: The server refused, or hung up.
        """
        request = ws_events.Request(
            host=host, target=target, subprotocols=list(subprotocols), extra_headers=list(headers)
        )
        await self._send(request)
        while True:
            data = await self._stream.receive_some(_RECEIVE_BYTES)
            if not data:
                raise LegNotPlaced("the server hung up during the handshake")
            self._ws.receive_data(bytes(data))
            for event in self._ws.events():
                if isinstance(event, ws_events.AcceptConnection):
                    self.subprotocol = event.subprotocol
                    self._waiting = await self._read()
                    return
                if isinstance(event, ws_events.RejectConnection):
                    status = event.status_code
                    raise LegNotPlaced(f"refused with HTTP {status}", status)

    async def send(self, message: str | bytes) -> None:
        """Send a text or a binary message."""
        if isinstance(message, str):
            await self._send(ws_events.TextMessage(data=message))
        else:
            await self._send(ws_events.BytesMessage(data=message))

    async def receive(self) -> list[str | bytes]:
        """Wait for messages; answers pings on the way."""
        while not self._waiting:
            if self._closed is not None:
                raise self._closed
            try:
                data = await self._stream.receive_some(_RECEIVE_BYTES)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                data = b""
            if not data:
                raise WireClosed(1006)
            self._ws.receive_data(bytes(data))
            self._waiting = await self._read()
        found, self._waiting = self._waiting, []
        return found

    async def close(self, code: int = 1000) -> None:
        """Send the close frame."""
        await self._send(ws_events.CloseConnection(code=code))

    async def aclose(self) -> None:
        """Drop the connection at once."""
        await trio.aclose_forcefully(self._stream)

    async def _read(self) -> list[str | bytes]:
        found: list[str | bytes] = []
        for event in self._ws.events():
            if isinstance(event, ws_events.TextMessage | ws_events.BytesMessage):
                data = event.data if isinstance(event.data, str) else bytes(event.data)
                self._part = data if self._part is None else self._part + cast("Any", data)
                if event.message_finished:
                    found.append(self._part)
                    self._part = None
            elif isinstance(event, ws_events.Ping):
                await self._send(event.response())
            elif isinstance(event, ws_events.CloseConnection):
                if self._ws.state is ConnectionState.REMOTE_CLOSING:
                    await self._send(event.response())
                self._closed = WireClosed(int(event.code), event.reason or "")
        return found

    async def _send(self, event: ws_events.Event) -> None:
        async with self._send_lock:
            try:
                data = self._ws.send(event)
                await self._stream.send_all(data)
            except (
                wsproto.utilities.LocalProtocolError,
                trio.BrokenResourceError,
                trio.ClosedResourceError,
            ):
                return  # closing or closed: `receive` says so
