"""Asterisk's chan_websocket, as a `TellingTransport`: one WebSocket, one leg, one call.

Asterisk dials us (``Dial(WebSocket/name/c(ulaw))``), sends the caller's sound in the leg's codec,
and keeps the clock of ours: it cuts it into frames, plays them at their time, drops them at once
when told, and says to a frame what it has played. A thin adapter; what the messages say is
`chan_protocol.py`'s, and the socket is the server's, over the short way of `direct.py`.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import trio
from quart.wrappers.base import ClientDisconnectedError

from avr_bridge.caller.chan_protocol import (
    ChanProtocol,
    FormatUnknown,
    MediaStarted,
    Status,
)
from avr_bridge.caller.metadata import bounded
from avr_bridge.caller.protocol import call_id_of
from avr_bridge.caller.transport import (
    AudioOut,
    CallerAudio,
    CallerEvent,
    CallerFault,
    CallerLeft,
    CallerMessage,
    CallStarted,
    Leaving,
    Peer,
)
from avr_bridge.errors import CallerGone
from avr_bridge.telemetry import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from quart_trio.wrappers.websocket import TrioWebsocket

    from avr_bridge.audio.format import AudioFormat

__all__ = ["SUBPROTOCOL", "UUID_PARAMETER", "ChanWebsocketTransport"]

SUBPROTOCOL = "media"
"""Asked for by ``protocols=media`` of ``websocket_client.conf``."""

UUID_PARAMETER = "uuid"
"""Query parameter with the call's id, as in ``v(uuid=${UUID})``; else it is the channel's."""

LEAD_MS = 5_000
"""Sent ahead of real time. Asterisk drops it at once when told and says what was heard, so being
ahead costs nothing; it carries an answer over a stall of the bridge or of the network. A quarter of
the 18 s at which Asterisk says MEDIA_XOFF, and of µ-law 40 kB: little enough that a FLUSH_MEDIA
behind it is not late on any network that carries a call."""

LONGEST_MESSAGE_BYTES = 32_000
"""Asterisk's buffer for one message has 32 kB in its older releases."""

STATUS_LIMIT_S = 0.5
"""For the answer to GET_STATUS, which Asterisk gives within milliseconds and we read within a
tick of 40 ms; the model waits for it with what it is told of the interruption."""

MOST_EARLY_BYTES = 32_000
"""Sound that came before MEDIA_START (asterisk issue 1712: some ten frames). Its format is not
known yet; of more the newest is kept."""


class ChanWebsocketTransport:
    """One leg.

    Args:
        websocket: The accepted connection.
        parameters: Query parameters of the address.
        peer: What our server has beside ASGI.
        on_started: Called when the leg has said who it is.

    Attributes:
        metadata: Query parameters, and the channel's variables where Asterisk tells them (JSON).
            A parameter wins over a variable of its name.
        leg: What MEDIA_START said; None before it.
    """

    kind = "chan_websocket"
    lead_ms = LEAD_MS

    def __init__(
        self,
        websocket: TrioWebsocket,
        parameters: Mapping[str, str],
        peer: Peer,
        on_started: Callable[[], None] | None = None,
    ) -> None:
        self.metadata: Mapping[str, str] = dict(parameters)
        self.leg: MediaStarted | None = None
        self._websocket = websocket
        self._peer = peer
        self._on_started = on_started
        self._protocol = ChanProtocol()
        self._events: deque[CallerEvent] = deque()
        self._early = bytearray()
        self._statuses_due = 0
        self._unplayed_ms: float | None = None
        self._told = trio.Event()

    @property
    def channel_id(self) -> str:
        """Unique id of the leg's own channel in Asterisk; empty before MEDIA_START."""
        return self.leg.channel_id if self.leg is not None else ""

    async def receive(self) -> CallerEvent:
        """Wait for the next event. Sound that came together is one."""
        while not self._events:
            messages = await self._receive()
            if not messages:
                return self._peer.left()
            first = messages[0]
            if len(messages) == 1 and isinstance(first, bytes) and self._is_sound(first):
                return CallerAudio(first)  # nearly always
            was_there = self.leg is not None
            self._read(messages)
            if self.leg is not None and not was_there:
                await self._answer()
        return self._events.popleft()

    async def _receive(self) -> list[str | bytes]:
        if self._peer.line is not None:
            return await self._peer.line.receive()
        try:
            return [await self._websocket.receive()]
        except ClientDisconnectedError:
            return []

    def _is_sound(self, data: bytes) -> bool:
        return self.leg is not None and len(data) > 0 and len(data) % self.leg.fmt.frame_bytes == 0

    def _read(self, messages: list[str | bytes]) -> None:
        sound: list[bytes] = []
        for message in messages:
            if isinstance(message, bytes):
                sound.append(message)
            elif message:
                self._take_sound(sound)
                self._read_control(message)
        self._take_sound(sound)

    def _take_sound(self, sound: list[bytes]) -> None:
        if not sound:
            return
        data, messages = b"".join(sound), len(sound)
        sound.clear()
        if self.leg is None:
            self._early += data
            del self._early[:-MOST_EARLY_BYTES]
            return
        if cut_bytes := len(data) % self.leg.fmt.sample_bytes:
            data = data[:-cut_bytes]
            self._events.append(CallerFault("sound that is no whole number of samples"))
        if data:
            self._events.append(CallerAudio(data, messages))

    def _read_control(self, message: str) -> None:
        match self._protocol.receive(message):
            case None:
                return
            case MediaStarted() | FormatUnknown(at_start=True) if self.leg is not None:
                self._events.append(CallerFault("MEDIA_START came twice"))
            case MediaStarted() as leg:
                self._begin(leg)
            case Status(queue_frames=frames):
                self._note_status(frames)
            case FormatUnknown(message=words) as refused:
                uuid = self._identify(refused) if self.leg is None else ""
                self._events.append(CallerLeft(Leaving.FORMAT_UNKNOWN, words, uuid))
            case CallerFault() as fault:
                get_logger().debug("fault of the caller's side", fault=fault.message)
                self._events.append(fault)
            case event:
                self._events.append(event)

    def _begin(self, leg: MediaStarted) -> None:
        self.leg = leg
        self._events.append(CallStarted(self._identify(leg), leg.fmt))
        early, self._early = bytes(self._early), bytearray()
        self._take_sound([early] if early else [])
        if self._on_started is not None:
            self._on_started()
            self._on_started = None

    def _identify(self, leg: MediaStarted | FormatUnknown) -> str:
        """Take what is said of the channel; the call's id."""
        variables = {k: v for k, v in leg.variables.items() if k not in self.metadata}
        self.metadata = bounded({**self.metadata, **variables})
        names = (self.metadata.get(UUID_PARAMETER, ""), leg.channel_id, leg.connection_id)
        return next(filter(None, map(call_id_of, names)), "")

    async def _answer(self) -> None:
        """For a dial string with ``n``; elsewhere Asterisk has answered by itself."""
        try:
            await self._command("ANSWER")
        except CallerGone:
            return  # `receive` says so

    def _note_status(self, frames: int) -> None:
        if self._statuses_due == 0:
            return
        self._statuses_due -= 1
        if self._statuses_due == 0 and self.leg is not None:  # an older one was given up
            self._unplayed_ms = float(frames * self.leg.frame_ms)
            self._told.set()

    async def send(self, message: CallerMessage) -> None:
        """Send sound; Asterisk has no words for anything else.

        Raises:
            CallerGone: Asterisk hung up.
        """
        if not isinstance(message, AudioOut) or self.leg is None:
            await trio.lowlevel.checkpoint()
            return
        step = _longest_message(self.leg.fmt)
        for at in range(0, len(message.pcm), step):
            await self._send_sound(message.pcm[at : at + step])

    async def mark(self, mark: str) -> None:
        """Have `MarkPlayed` come when all that was sent so far was played; never if dropped.

        Raises:
            CallerGone: Asterisk hung up.
        """
        await self._command("MARK_MEDIA", mark)

    async def interrupt(self) -> float | None:
        """Have Asterisk drop what it has not played yet.

        Returns:
            How much of what was sent that is, in ms; None if it did not say so in time.

        Raises:
            CallerGone: Asterisk hung up.
        """
        if self.leg is None:
            await trio.lowlevel.checkpoint()
            return None
        self._unplayed_ms, self._told = None, trio.Event()
        self._statuses_due += 1
        await self._command("GET_STATUS")
        await self._command("FLUSH_MEDIA")
        with trio.move_on_after(STATUS_LIMIT_S):
            await self._told.wait()
        return self._unplayed_ms

    async def hang_up(self) -> None:
        """Have Asterisk end the leg, and with it the call, unless the dialplan goes on.

        Raises:
            CallerGone: Asterisk hung up.
        """
        await self._command("HANGUP")

    async def close(self, code: int, reason: str) -> None:
        """Close with a code; Asterisk then hangs the leg up."""
        try:
            await self._websocket.close(code, reason)
        except ClientDisconnectedError:
            return

    async def _command(self, name: str, correlation_id: str = "") -> None:
        text = self._protocol.command(name, correlation_id)
        if self._peer.line is not None:
            await self._peer.line.send(text)
            return
        try:
            await self._websocket.send(text.decode())
        except ClientDisconnectedError as gone:
            raise CallerGone from gone

    async def _send_sound(self, data: bytes) -> None:
        if self._peer.line is not None:
            await self._peer.line.send_binary(data)
            return
        try:
            await self._websocket.send(data)
        except ClientDisconnectedError as gone:
            raise CallerGone from gone


def _longest_message(fmt: AudioFormat) -> int:
    return LONGEST_MESSAGE_BYTES // fmt.frame_bytes * fmt.frame_bytes
