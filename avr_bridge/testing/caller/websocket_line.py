"""avr-core's present transport: one WebSocket a call, JSON text messages both ways.

Thin shell over wsproto, so that every frame and close code is ours to see. No extension is
offered: avr-core's contract has none, and deflate would only cost time. The contract's words are
in `line.py`.
"""

from __future__ import annotations

import trio
import wsproto
from wsproto import events as ws_events
from wsproto.connection import ConnectionState

from avr_bridge.testing.caller.events import CallNotPlaced
from avr_bridge.testing.caller.line import (
    Closed,
    Fault,
    LineEvent,
    audio_message,
    digit_message,
    init_message,
    read_message,
)

__all__ = ["WebSocketLine"]

MAX_MESSAGE_CHARS = 16 * 1024 * 1024
"""A longer message ends the call: 13 minutes of audio in one piece is a runaway server."""
_RECEIVE_BYTES = 64 * 1024


class WebSocketLine:
    """A `CallerLine` over a stream on which nothing was sent yet; owns the stream."""

    carries_digits = True

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self._ws = wsproto.WSConnection(wsproto.ConnectionType.CLIENT)
        # The receiver sends too (pongs, the close reply); frames must not mix.
        self._send_lock = trio.Lock()
        self._parts: list[str] = []
        self._parts_chars = 0
        self._waiting: list[LineEvent] = []
        self._replies: list[ws_events.Event] = []

    async def open(self, host: str, target: str, uuid: str) -> None:
        """Shake hands and send ``init``.

        Raises:
            CallNotPlaced: The server refused, or is no WebSocket server.
        """
        await self._send(ws_events.Request(host=host, target=target))
        try:
            while True:
                data = await self._stream.receive_some(_RECEIVE_BYTES)
                if not data:
                    raise CallNotPlaced("the server hung up during the WebSocket handshake")
                self._ws.receive_data(bytes(data))
                if self._accepted():
                    break
        except wsproto.utilities.RemoteProtocolError as error:
            raise CallNotPlaced(f"the server does not speak WebSocket: {error}") from error
        except trio.BrokenResourceError as error:
            raise CallNotPlaced("the server broke off during the WebSocket handshake") from error
        await self._send_text(init_message(uuid))
        await self._reply()

    async def send_audio(self, pcm: bytes) -> None:
        """Send one audio message."""
        await self._send_text(audio_message(pcm))

    async def send_digit(self, digit: str) -> None:
        """Send one ``dtmf_digit`` message."""
        await self._send_text(digit_message(digit))

    async def receive(self) -> list[LineEvent]:
        """Wait for messages; answers pings and the close handshake on the way."""
        if self._waiting:
            await trio.lowlevel.checkpoint()
            waiting, self._waiting = self._waiting, []
            return waiting
        try:
            data = await self._stream.receive_some(_RECEIVE_BYTES)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return [Closed(1006, "the connection was lost")]
        if not data:
            return [Closed(1006, "the connection ended without a goodbye")]
        try:
            self._ws.receive_data(bytes(data))
            events = self._read_events()
        except wsproto.utilities.ProtocolError as error:
            return [Fault(f"broken WebSocket framing: {error}"), Closed(1002, "protocol error")]
        await self._reply()
        return events

    async def send_goodbye(self) -> None:
        """Send the close frame; code 1000."""
        await self._send(ws_events.CloseConnection(code=1000))

    async def aclose(self) -> None:
        """Close the TCP connection at once."""
        await trio.aclose_forcefully(self._stream)

    def _accepted(self) -> bool:
        """Whether the handshake is through. Messages may have come with its answer."""
        accepted = False
        for event in self._ws.events():
            if isinstance(event, ws_events.AcceptConnection):
                accepted = True
                break
            if isinstance(event, ws_events.RejectConnection):
                raise CallNotPlaced(
                    f"the server refused the WebSocket with HTTP {event.status_code}",
                    event.status_code,
                )
        if accepted:
            try:
                self._waiting = self._read_events()
            except wsproto.utilities.ProtocolError as error:
                self._waiting = [Fault(f"broken WebSocket framing: {error}"), Closed(1002)]
        return accepted

    def _read_events(self) -> list[LineEvent]:
        out: list[LineEvent] = []
        for event in self._ws.events():
            match event:
                case ws_events.TextMessage():
                    self._parts.append(str(event.data))
                    self._parts_chars += len(event.data)
                    if self._parts_chars > MAX_MESSAGE_CHARS:
                        return [*out, Fault("a message of over 16 MiB"), Closed(1009)]
                    if event.message_finished:
                        out += read_message("".join(self._parts))
                        self._parts.clear()
                        self._parts_chars = 0
                case ws_events.BytesMessage():
                    if event.message_finished:
                        out.append(Fault("a binary message"))
                case ws_events.Ping():
                    self._replies.append(event.response())
                case ws_events.CloseConnection():
                    if self._ws.state is ConnectionState.REMOTE_CLOSING:
                        self._replies.append(event.response())
                    return [*out, Closed(int(event.code), event.reason or "")]
        return out

    async def _reply(self) -> None:
        replies, self._replies = self._replies, []
        for event in replies:
            await self._send(event)

    async def _send_text(self, text: str) -> None:
        await self._send(ws_events.TextMessage(data=text))

    async def _send(self, event: ws_events.Event) -> None:
        async with self._send_lock:
            try:
                data = self._ws.send(event)
            except wsproto.utilities.LocalProtocolError:
                return  # closing or closed: there is nobody left to tell
            try:
                await self._stream.send_all(data)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return  # `receive` says so
