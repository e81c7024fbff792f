"""`pump_outbound`: frames at their time to the caller, and everything else at once.

The last task on an answer's road. It holds the queue of what is still to be played, so that
`SilenceNow` empties it the moment the caller speaks. It does not know the model.
"""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING

import trio

from avr_bridge.audio.format import FRAME_MS, PCM16_8K
from avr_bridge.audio.pacing import Pacer
from avr_bridge.audio.playback import PlaybackLedger
from avr_bridge.audio.playout import Playout
from avr_bridge.call.ending import CallEnding, EndReason
from avr_bridge.call.orders import (
    FinishItemSound,
    LastWords,
    Order,
    PlaySound,
    SilenceNow,
    WaitingSound,
)
from avr_bridge.caller.transport import (
    AudioOut,
    CallerTransport,
    ErrorOut,
    Interruption,
    TranscriptOut,
)
from avr_bridge.errors import CallerGone
from avr_bridge.upstream.closing import GREETING_ITEM

if TYPE_CHECKING:
    from collections.abc import Callable

    from avr_bridge.call.stats import CallStats
    from avr_bridge.call.turn_clock import TurnClock

__all__ = ["pump_outbound"]

CHUNK_FRAMES = 4
"""Frames to a message in the steady state: a quarter of the messages. avr-core cuts them into
frames itself. What lies ahead at the peer swings between the transport's lead and 80 ms less; of a
transport with a short lead never under half of it."""

LOOP_AFTER_S = 0.4
"""A tool that is faster than this needs no sound."""

LOOP_LEAD_S = 0.04
"""How far the waiting sound is sent ahead: the model's first word waits for no more of it."""

INBOUND_IS_TOLD_S = 0.5
"""The inbound pump hears of the caller's end as well, and how it came about: it goes first."""

LAST_WORDS_ITEM = "last words"
"""Names them in the playout; the model has no such item."""

OWN_WORDS = (GREETING_ITEM, LAST_WORDS_ITEM)
"""Recordings: no answers of the model's."""

LONGEST_ANSWER_MS = 15 * 60 * 1000
"""Sound waiting to be played: 14 MB. The longest answer a model gives lasts under 4 minutes at
4,096 tokens; more than this is a model that never stops."""


async def pump_outbound(
    transport: CallerTransport,
    orders: trio.MemoryReceiveChannel[Order],
    ending: CallEnding,
    stats: CallStats,
    turns: TurnClock,
) -> None:
    """Play what is ordered, paced to real time. Runs until cancelled or the caller is gone."""
    pump = _OutboundPump(transport, stats, turns)
    try:
        while True:
            pump.begin_last_words_if_due()
            await pump.send_due_frames()
            order = None
            pump.tell_what_was_heard()
            with trio.CancelScope(deadline=pump.next_due_s()):
                order = await orders.receive()
            if order is not None:
                await pump.carry_out(order)
    except CallerGone:
        await trio.sleep(INBOUND_IS_TOLD_S)
        ending.end(EndReason.CALLER_HUNG_UP)


class _OutboundPump:
    def __init__(self, transport: CallerTransport, stats: CallStats, turns: TurnClock) -> None:
        self._transport = transport
        self._stats = stats
        self._turns = turns
        self._playout = Playout(PCM16_8K)
        chunk_frames = min(CHUNK_FRAMES, max(transport.lead_ms // FRAME_MS // 2, 1))
        self._pacer = Pacer(transport.lead_ms, chunk_frames)
        self._ledger = PlaybackLedger()
        self._finished: dict[str, Callable[[str], None]] = {}
        self._to_be_heard: deque[tuple[float, str, Callable[[str], None]]] = deque()
        self._in_answer = False
        self._loop: bytes | None = None
        self._loop_at = 0
        self._loop_from_s = 0.0
        self._last_words: LastWords | None = None
        self._only_last_words = False

    def next_due_s(self) -> float:
        """When there is something to do next without an order: send, or tell what was heard."""
        frames_s = self._pacer.next_due_s() if self._playout.waiting_frames else math.inf
        if self._loop is not None and not self._playout.waiting_frames:
            frames_s = max(self._loop_from_s, self._pacer.plays_until_s - LOOP_LEAD_S)
        if self._last_words is not None:
            over_s = math.inf if self._answering else self._pacer.plays_until_s
            frames_s = min(frames_s, over_s, self._last_words.latest_s)
        return min(frames_s, self._to_be_heard[0][0] if self._to_be_heard else math.inf)

    @property
    def _answering(self) -> bool:
        return self._playout.answer_open or self._playout.waiting_frames > 0

    def begin_last_words_if_due(self) -> None:
        """Nobody speaks any more, or they can wait no longer: from now on only the last words.

        What was sent ahead is left to the peer: it is less than a word, and they join on to it.
        """
        words, now_s = self._last_words, trio.current_time()
        if words is None:
            return
        if now_s < words.latest_s and (self._answering or not self._pacer.is_dry(now_s)):
            return
        self._last_words = None
        self._only_last_words = True
        self.tell_what_was_heard()
        if self._answering:
            words.cut(self._ledger.stop(0.0, self._playout.waiting_items))
        self._playout.clear()
        self._finished.clear()
        self._loop = None
        self._playout.push(words.pcm, LAST_WORDS_ITEM)
        self._playout.finish()
        self._finished[LAST_WORDS_ITEM] = lambda _item_id: words.heard()
        self._note_ends()

    def tell_what_was_heard(self) -> None:
        """Items whose last frame the caller has heard by now."""
        now_s = trio.current_time()
        while self._to_be_heard and self._to_be_heard[0][0] <= now_s:
            _, item_id, heard = self._to_be_heard.popleft()
            heard(item_id)

    async def send_due_frames(self) -> None:
        """Send the frames whose time has come, in one message."""
        now_s = trio.current_time()
        if self._loop is not None and not self._playout.waiting_frames:
            await self._send_loop(now_s)
            return
        frames = min(self._pacer.frames_due(now_s), self._playout.waiting_frames)
        if frames == 0:
            return
        if self._in_answer and self._pacer.is_dry(now_s):
            self._stats.underruns += 1
        if self._stats.first_sound_s is None:
            self._stats.first_sound_s = now_s
            self._turns.sound_started(self._stats.started_s)
        pcm, pieces = self._playout.take(frames)
        if not self._in_answer and pieces[0][0] not in OWN_WORDS:
            self._turns.answer_started()
        self._pacer.sent(frames, now_s)
        self._ledger.sent(pieces)
        self._note_ends()
        self._stats.played_frames += frames
        self._in_answer = self._playout.answer_open or self._playout.waiting_frames > 0
        await self._transport.send(AudioOut(pcm))

    async def _send_loop(self, now_s: float) -> None:
        """One frame of the waiting sound. It is nobody's item and counts as nothing said."""
        if self._loop is None or now_s < self.next_due_s():
            return
        end = self._loop_at + PCM16_8K.frame_bytes
        frame, self._loop_at = self._loop[self._loop_at : end], end % len(self._loop)
        self._pacer.sent(1, now_s)
        await self._transport.send(AudioOut(frame))

    async def carry_out(self, order: Order) -> None:
        """Do one order."""
        match order:
            case LastWords():
                self._last_words = order
            case SilenceNow(report=report) if self._only_last_words:
                report([])
            case WaitingSound() | PlaySound() | FinishItemSound() if self._only_last_words:
                return
            case WaitingSound(loop=loop):
                self._loop, self._loop_at = loop, 0
                self._loop_from_s = trio.current_time() + LOOP_AFTER_S
            case PlaySound(pcm=pcm, item_id=item_id):
                self._loop = None
                if self._playout.waiting_bytes < PCM16_8K.bytes_of_ms(LONGEST_ANSWER_MS):
                    self._playout.push(pcm, item_id)
            case FinishItemSound(item_id=item_id, heard=heard):
                self._playout.finish()
                self._finished[item_id] = heard
                self._note_ends()
                self._in_answer = self._in_answer and self._playout.waiting_frames > 0
            case SilenceNow():
                await self._silence(order)
            case TranscriptOut() | ErrorOut():
                await self._transport.send(order)

    def _note_ends(self) -> None:
        """Finished items that no longer wait are heard when the peer has played all it has."""
        if not self._finished:
            return
        waiting = set(self._playout.waiting_items)
        for item_id in [item for item in self._finished if item not in waiting]:
            at_s = self._pacer.plays_until_s
            self._to_be_heard.append((at_s, item_id, self._finished.pop(item_id)))

    async def _silence(self, order: SilenceNow) -> None:
        """Stop at once. Nothing is said to a caller who was hearing nothing."""
        now_s = trio.current_time()
        self.tell_what_was_heard()
        unplayed_s = max(self._pacer.plays_until_s - now_s, 0.0)
        was_playing = self._playout.waiting_bytes or not self._pacer.is_dry(now_s)
        heard = self._ledger.stop(unplayed_s * 1000, self._playout.waiting_items)
        self._loop = None
        self._playout.clear()
        self._pacer.reset()
        self._finished.clear()
        self._to_be_heard.clear()
        self._in_answer = False
        order.report(heard)
        if was_playing:
            self._stats.interruptions += 1
            await self._transport.send(Interruption())
            self._turns.interrupted(order.since_s, heard)
