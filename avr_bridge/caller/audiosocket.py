"""Asterisk's AudioSocket, as a `CallerTransport`: the call comes without avr-core between.

A thin adapter over a stream, with what avr-core would do otherwise: sound leaves in time, frame by
frame, and never stops. Asterisk passes each frame on the moment it comes; what was sent cannot be
taken back, so little is sent ahead. The frames are `audiosocket_protocol.py`'s, the connection's
limits `server/audiosocket.py`'s.
"""

from __future__ import annotations

import math
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING

import trio

from avr_bridge.audio.format import FRAME_MS, PCM16_8K, Encoding
from avr_bridge.caller.audiosocket_protocol import (
    HANG_UP_FRAME,
    AudioSocketProtocol,
    sound_frames,
)
from avr_bridge.caller.transport import (
    AudioOut,
    CallerEvent,
    CallerLeft,
    CallerMessage,
    CallStarted,
    Leaving,
    Peer,
)
from avr_bridge.errors import CallerGone

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ENCODINGS", "AudioSocketTransport"]

ENCODINGS = {
    "auto": None,
    "slin": Encoding.PCM16,
    "ulaw": Encoding.ULAW,
    "alaw": Encoding.ALAW,
}
"""What a leg carries, by the words of AVR_AUDIOSOCKET_CODEC, which are Asterisk's; None: to be
found out."""

LEAD_MS = 120
"""Ahead of real time, as over HTTP: six frames, three at a time, and so never under three while an
answer plays: a wake-up may be 60 ms late on a busy machine. The telephone's own jitter buffer takes
them; they are all that still sounds after a barge-in."""

FRAME_LIMIT_S = 10.0
"""From a frame's first byte to its last; Asterisk writes each in one piece."""

READ_BYTES = 16_384

AHEAD_S = 0.01
"""Half a frame of silence, so that no gap comes of sound that arrives a little early or late."""

UNASKED_S = 0.06
"""Silence goes out as sound comes in. If none comes it is sent all the same, by the clock:
Asterisk ends a call in which nothing moves for 2 s, and a channel that waits for us to speak first
would wait for ever (Asterisk issue 2089)."""

MOST_SILENT_FRAMES = 5
"""At once. What a late program owes beyond that is left out: nobody hears its absence."""

_FRAME_S = FRAME_MS / 1000
_SILENCE = [sound_frames(bytes(PCM16_8K.frame_bytes * n)) for n in range(MOST_SILENT_FRAMES + 1)]


class AudioSocketTransport:
    """One connection of Asterisk's.

    Args:
        stream: Fresh from the accept. Closed by whoever gave it; `close` says goodbye on it.
        encoding: What the leg carries; None: to be found out.
        peer: Says how the connection ended, once it has.

    Attributes:
        uuid: The call's id, once it is known.
    """

    kind = "audiosocket"
    lead_ms = LEAD_MS
    lead_is_heard = True

    def __init__(
        self, stream: trio.abc.Stream, encoding: Encoding | None = None, peer: Peer | None = None
    ) -> None:
        self.metadata: Mapping[str, str] = {}
        self.uuid = ""
        self._stream = stream
        self._peer = peer or Peer()
        self._protocol = AudioSocketProtocol(encoding)
        self._events: deque[CallerEvent] = deque()
        self._part_since_s: float | None = None
        self._sending = trio.Lock()
        self._started = trio.Event()
        self._plays_until_s = -math.inf
        self._after_words = False
        self._hung_up = False
        self._lost = False

    @property
    def encoding(self) -> Encoding | None:
        """What the leg's sound is taken for; None before the first of it."""
        return self._protocol.decoder.encoding

    async def wait_started(self, limit_s: float) -> CallerEvent:
        """Wait for the first event, which stays to be received: the call's id, or its end. One that
        says nothing for so long has left, as `Leaving.SENT_NO_INIT`."""
        with trio.move_on_after(limit_s):
            await self._read()
        if not self._events:
            self._events.append(CallerLeft(Leaving.SENT_NO_INIT))
        return self._events[0]

    async def receive(self) -> CallerEvent:
        """Wait for the next event. Sound that came together is one."""
        if not self._events:
            await self._read()
        return self._events.popleft()

    async def _read(self) -> None:
        while not self._events:
            try:
                data = await self._stream.receive_some(READ_BYTES)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                self._events.append(self._peer.left())
                return
            self._events.extend(self._take(data))
            if self._started.is_set():
                await self._fill(0.0)
            elif self._events and isinstance(first := self._events[0], CallStarted):
                self.uuid = first.uuid
                self._plays_until_s = trio.current_time()
                self._started.set()
                await self._fill(0.0)

    def _take(self, data: bytes | bytearray) -> list[CallerEvent]:
        if not data:
            # A reset that a send met first looks like an end here.
            ended = self._peer.how is Leaving.HUNG_UP and not self._lost
            if ended and self._protocol.has_part:
                return [CallerLeft(Leaving.BROKE_PROTOCOL, "the connection ended within a frame")]
            return [self._peer.left()]
        events = self._protocol.receive(bytes(data))
        now_s = trio.current_time()
        if events or not self._protocol.has_part:
            self._part_since_s = now_s if self._protocol.has_part else None
        elif self._part_since_s is None:
            self._part_since_s = now_s
        elif now_s > self._part_since_s + FRAME_LIMIT_S:
            return [CallerLeft(Leaving.TOO_SLOW, "a frame that is never finished")]
        return events

    async def keep_flowing(self) -> None:
        """Send silence where nothing else is sent and nothing comes. Runs until cancelled."""
        await self._started.wait()
        while not self._hung_up:
            # Not from the past, also where a send does not get through: it would not sleep at all.
            await trio.sleep_until(max(self._plays_until_s, trio.current_time()) + UNASKED_S)
            await self._fill(UNASKED_S)

    async def _fill(self, late_s: float) -> None:
        """Send the silence that is due, if it is at least so late."""
        frames = self._silent_frames_due(late_s)
        if frames and self._after_words:
            # The program may have been held up: words that are due as well go first.
            await trio.lowlevel.checkpoint()
            frames = min(self._silent_frames_due(late_s), 1)
        if not frames:
            return
        self._after_words = False
        make_up_s = frames * _FRAME_S - AHEAD_S
        self._plays_until_s = max(self._plays_until_s, trio.current_time() - make_up_s)
        with suppress(CallerGone):  # the reader is told
            await self._send(_SILENCE[frames], frames)

    def _silent_frames_due(self, late_s: float) -> int:
        owed_s = trio.current_time() + AHEAD_S - self._plays_until_s
        if owed_s < late_s or self._sending.locked() or self._hung_up:
            return 0
        return min(int(owed_s / _FRAME_S) + 1, MOST_SILENT_FRAMES)

    async def send(self, message: CallerMessage) -> None:
        """Send sound; this transport has no words for anything else.

        Raises:
            CallerGone: The connection ended.
        """
        if not isinstance(message, AudioOut) or self._hung_up:
            await trio.lowlevel.checkpoint()
            return
        self._after_words = True
        self._plays_until_s = max(self._plays_until_s, trio.current_time())
        await self._send(sound_frames(message.pcm), len(message.pcm) // PCM16_8K.frame_bytes)

    async def hang_up(self) -> None:
        """Have Asterisk go on in its dialplan, which ends the call if nothing more stands there.
        It closes the connection then; nothing is sent any more.

        Raises:
            CallerGone: The connection ended.
        """
        if self._hung_up:
            await trio.lowlevel.checkpoint()
            return
        self._hung_up = True
        await self._send(HANG_UP_FRAME, 0)

    async def close(self, code: int, reason: str) -> None:
        """Hang up and send no more. AudioSocket has no words for code and reason."""
        with suppress(CallerGone):
            await self.hang_up()
        if isinstance(self._stream, trio.abc.HalfCloseableStream):
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                await self._stream.send_eof()

    async def _send(self, data: bytes, frames: int) -> None:
        """Send so many frames of 20 ms; what is on its way is heard until `_plays_until_s`."""
        self._plays_until_s += frames * _FRAME_S
        try:
            self._sending.acquire_nowait()
        except trio.WouldBlock:
            await self._sending.acquire()
        try:
            await self._stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as gone:
            self._lost = True
            raise CallerGone from gone
        finally:
            self._sending.release()
