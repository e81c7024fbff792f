"""One WebSocket of the server: its frames, how much of them a peer may send, and why it ends.

Beneath the routes, above `guard.py`'s connection. Handshake and words to the application are still
Hypercorn's. It does not know what the messages say: that is `caller/`'s.
"""

from __future__ import annotations

from typing import Any

import msgspec
import trio
from hypercorn.protocol.events import Data, StreamClosed
from hypercorn.protocol.events import Request as StreamRequest
from hypercorn.protocol.ws_stream import ASGIWebsocketState, FrameTooLargeError, WSStream
from wsproto.connection import ConnectionState as WebsocketState
from wsproto.events import CloseConnection, Message, Ping, TextMessage

from avr_bridge.call.ending import BLAMED_ON_CALLER, CLOSE_CODES, REASON_OF_LEAVING
from avr_bridge.caller.budget import Budget
from avr_bridge.caller.direct import DirectLine
from avr_bridge.caller.transport import Leaving, Peer
from avr_bridge.net.frames import Foreign, FrameSplitter, binary_frame, text_frame

__all__ = ["GuardedWebsocket"]

MESSAGE_LIMIT_S = 10.0  # from a message's first byte to its last

FRAME_BURST, FRAMES_PER_S = 4_000, 1_000.0
"""WebSocket frames of any kind; the call's own limit on messages is half of it and comes first."""

BYTE_BURST, BYTES_PER_S = 3 * 1024 * 1024, 64 * 1024.0
"""On the wire, of what follows the handshake. avr-core sends 23 kB a second, so the rate is almost
three times real time, and more than the sound that a call may send. The burst is two minutes of
sound, which a call may send at once, in three of the longest messages; a network that stalled for
10 s needs 0.2 MB of it. More than this a caller cannot leave in memory, however fast it is."""


FRAMES_AT_A_TIME = 32
"""Of one read, until other calls have their turn: 1 ms of the dearest, a ping with its pong."""


class GuardedWebsocket(WSStream):
    """Hypercorn's WebSocket stream, but it says why it ends: to the peer and to the call."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        now_s = trio.current_time()
        self._frames = Budget(FRAME_BURST, FRAMES_PER_S, now_s)
        self._bytes = Budget(BYTE_BURST, BYTES_PER_S, now_s)
        self._unfinished_since_s: float | None = None
        self._decided = trio.Event()
        self._splitter = FrameSplitter()
        self._part_since_s = now_s
        self._line = DirectLine(self._send_text, self._send_binary)

    @property
    def is_open(self) -> bool:
        """Whether frames may come."""
        return self.state is ASGIWebsocketState.CONNECTED and not self.closed

    async def handle(self, event: Any) -> None:
        if isinstance(event, Data) and not self.closed:
            await self._decided.wait()  # Hypercorn would fail on what comes before the accept
            has_left = self._bytes.spend(len(event.data), trio.current_time())
            if not has_left and self.handshake.accepted and not self.closed:
                await self._refuse(Leaving.FLOODED)
                return
            if self.state is ASGIWebsocketState.CONNECTED:
                await self._read(event.data)
                return
        await super().handle(event)
        if isinstance(event, StreamClosed):
            self._line.close()
        if isinstance(event, StreamRequest) and self.closed:  # refused; it would stay open
            await self.send(StreamClosed(stream_id=self.stream_id))

    async def app_send(self, message: Any) -> None:
        if message is None or self.state is not ASGIWebsocketState.CLOSED:
            await super().app_send(message)
        if self.state is ASGIWebsocketState.CONNECTED:
            self.scope["state"][Peer.KEY].line = self._line
        else:
            self._line.close()
        if self.closed or self.state is not ASGIWebsocketState.HANDSHAKE:
            self._decided.set()

    async def _read(self, data: bytes) -> None:
        """Whole messages go to the call at once; all else goes through wsproto."""
        now_s = trio.current_time()
        for number, found in enumerate(self._splitter.push(data)):
            if number % FRAMES_AT_A_TIME == FRAMES_AT_A_TIME - 1:
                await trio.lowlevel.checkpoint()
            self._part_since_s = now_s
            if isinstance(found, Foreign):
                self.connection.receive_data(found)
                await self._handle_events()
            elif found is None:
                continue  # the bytes of that message follow
            elif self._frames.spend(1, now_s):
                await self._line.put(found)
            else:
                await self._refuse(Leaving.FLOODED)
            if self.closed:
                return
        if not self._splitter.has_part:
            self._part_since_s = now_s
        elif now_s > self._part_since_s + MESSAGE_LIMIT_S:
            await self._refuse(Leaving.TOO_SLOW)

    async def _send_text(self, text: bytes) -> None:
        if self.state is ASGIWebsocketState.CONNECTED and not self.closed:
            await self.send(Data(stream_id=self.stream_id, data=text_frame(text)))

    async def _send_binary(self, data: bytes) -> None:
        if self.state is ASGIWebsocketState.CONNECTED and not self.closed:
            await self.send(Data(stream_id=self.stream_id, data=binary_frame(data)))

    async def _handle_events(self) -> None:
        now_s = trio.current_time()
        finished = False
        for event in self.connection.events():
            if not self._frames.spend(1, now_s):
                await self._refuse(Leaving.FLOODED)
                return
            finished = finished or not isinstance(event, Message) or event.message_finished
            if not await self._handle_event(event):
                return
        if finished:
            self._unfinished_since_s = None
        elif self._unfinished_since_s is None:
            self._unfinished_since_s = now_s
        elif now_s > self._unfinished_since_s + MESSAGE_LIMIT_S:
            await self._refuse(Leaving.TOO_SLOW)

    async def _handle_event(self, event: Any) -> bool:
        if isinstance(event, Message):
            try:
                self.buffer.extend(event)
            except FrameTooLargeError:
                return await self._refuse(Leaving.MESSAGE_TOO_BIG)
            if event.message_finished:
                message = self.buffer.to_message()
                self.buffer.clear()
                text = message["text"]
                await self._line.put(message["bytes"] if text is None else text)
        elif isinstance(event, Ping):
            await self._send_wsproto_event(event.response())
        elif isinstance(event, CloseConnection):
            if self.connection.state is WebsocketState.OPEN:  # broken, and not by a close
                return await self._refuse(Leaving.BROKE_PROTOCOL, event.code)
            if self.connection.state is WebsocketState.REMOTE_CLOSING:
                await self._send_wsproto_event(event.response())
            await self.send(StreamClosed(stream_id=self.stream_id))
            return False
        return True

    async def _refuse(self, how: Leaving, code: int | None = None) -> bool:
        """Tell the peer why, close, and let the call hear of it: False, nothing may follow."""
        self.scope["state"][Peer.KEY].blame(how)
        reason = REASON_OF_LEAVING[how]
        if self.state is ASGIWebsocketState.CONNECTED:
            self.state = ASGIWebsocketState.CLOSED
            words = msgspec.json.encode({"type": "error", "message": BLAMED_ON_CALLER[reason]})
            await self._send_wsproto_event(TextMessage(data=words.decode()))
            close = CloseConnection(code=code or CLOSE_CODES[reason], reason=reason.value)
            await self._send_wsproto_event(close)
        await self.send(StreamClosed(stream_id=self.stream_id))
        return False
