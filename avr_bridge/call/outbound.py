"""`pump_outbound`: frames at their time to the caller, and everything else at once.

The last task on an answer's road. It holds the queue of what is still to be played, so that
`SilenceNow` empties it the moment the caller speaks. What the caller has heard is reckoned from
when it was sent, or asked of a transport that knows. It does not know the model.
"""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING

import trio

from avr_bridge.audio.format import FRAME_MS, PCM16_8K, AudioFormat
from avr_bridge.audio.pacing import Pacer
from avr_bridge.audio.playback import RECENT_FRAMES, Heard, PlaybackLedger
from avr_bridge.audio.playout import Playout
from avr_bridge.audio.transcode import clip_in
from avr_bridge.call.ending import CallEnding, EndReason
from avr_bridge.call.orders import (
    FinishItemSound,
    LastWords,
    LegBegan,
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
    MarkPlayed,
    SoundHeld,
    TellingTransport,
    TranscriptOut,
)
from avr_bridge.errors import CallerGone
from avr_bridge.telemetry import get_logger
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

PART_OF_LEAD = 4
"""Toward a peer that tells what it has played, a quarter of the lead to a message instead."""

MARK_LIMIT_S = 5.0
"""From the moment at which an item should have been heard until it counts as heard without the
peer's word. Asterisk's clock may run late on a busy machine, and never catches up within an answer
(asterisk issue 2115)."""

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
            await pump.begin_last_words_if_due()
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
        self._teller = transport if isinstance(transport, TellingTransport) else None
        self._begun = self._teller is None  # one that tells plays nothing before its leg begins
        # Asked so, because embedding programs' transports need not know of it.
        self._lead_is_heard = bool(getattr(transport, "lead_is_heard", False))
        self._stats = stats
        self._format = PCM16_8K
        self._turns = turns
        self._playout = Playout(PCM16_8K)
        lead_frames = transport.lead_ms // FRAME_MS
        chunk_frames = min(CHUNK_FRAMES, max(lead_frames // 2, 1))
        if self._teller is not None:
            chunk_frames = max(lead_frames // PART_OF_LEAD, 1)
        self._pacer = Pacer(transport.lead_ms, chunk_frames)
        # What the peer's clock is late by adds to the lead.
        self._ledger = PlaybackLedger(max(RECENT_FRAMES, 2 * lead_frames))
        self._finished: dict[str, Callable[[str], None]] = {}
        self._to_be_heard: deque[tuple[float, str, Callable[[str], None]]] = deque()
        self._unmarked: list[str] = []
        self._marks: dict[str, str] = {}
        self._marks_sent = 0
        self._held = self._was_held = False
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
        if self._held:
            frames_s = math.inf
        if self._last_words is not None and self._begun:
            unsure = self._answering or self._awaits_marks
            over_s = math.inf if unsure else self._pacer.plays_until_s
            frames_s = min(frames_s, over_s, self._last_words.latest_s)
        return min(frames_s, self._to_be_heard[0][0] if self._to_be_heard else math.inf)

    @property
    def _answering(self) -> bool:
        return self._playout.answer_open or self._playout.waiting_frames > 0

    @property
    def _awaits_marks(self) -> bool:
        """Whether the peer has still to say that something was heard."""
        return self._teller is not None and bool(self._to_be_heard)

    def _is_quiet(self, now_s: float) -> bool:
        """Whether the caller has heard all that was sent."""
        return self._pacer.is_dry(now_s) and not self._awaits_marks

    async def begin_last_words_if_due(self) -> None:
        """Nobody speaks any more, or they can wait no longer: from now on only the last words.

        What was sent ahead is left to the peer where it is less than a word, and they join on to
        it; a peer that has seconds of it drops them.
        """
        words, now_s = self._last_words, trio.current_time()
        if words is None or not self._begun:
            return
        if now_s < words.latest_s and (self._answering or not self._is_quiet(now_s)):
            return
        self.tell_what_was_heard()
        if self._answering or self._awaits_marks:
            unplayed_ms = 0.0
            if self._teller is not None:
                unplayed_ms, _ = await self._drop_sent(self._teller, now_s)
            heard = self._ledger.stop(unplayed_ms, self._playout.waiting_items)
            self._tell_ends_of(heard)
            words.cut(heard)
        self._last_words = None
        self._only_last_words = True
        self._loop = None
        self._playout.clear()
        self._finished.clear()
        self._turns.answer_over()
        self._playout.push(clip_in(self._format, words.pcm), LAST_WORDS_ITEM)
        self._playout.finish()
        self._finished[LAST_WORDS_ITEM] = lambda _item_id: words.heard()
        self._note_ends()
        await self._mark_ends()

    def tell_what_was_heard(self) -> None:
        """Items whose last frame the caller must have heard by now."""
        now_s = trio.current_time()
        while self._to_be_heard and self._to_be_heard[0][0] <= now_s:
            _, item_id, heard = self._to_be_heard.popleft()
            if self._teller is not None:
                get_logger().warning("no word of what was played", call=self._stats.uuid)
            heard(item_id)
            self._note_over()

    def _note_over(self) -> None:
        """An item was heard, perhaps the last one of an answer."""
        if not self._to_be_heard and not self._answering:
            self._turns.answer_over()

    def _tell_ends_of(self, stopped: list[Heard]) -> None:
        """Items that were over and played when everything stopped, before their mark came back."""
        whole = {one.item_id for one in stopped if one.whole}
        for _, item_id, heard in self._to_be_heard:
            if item_id in whole:
                heard(item_id)
        self._to_be_heard.clear()
        self._marks.clear()
        self._unmarked.clear()

    def _note_mark(self, mark: str) -> None:
        """An item was heard to its end, and so were those before it."""
        played = self._marks.pop(mark, None)
        if played not in [item_id for _, item_id, _ in self._to_be_heard]:
            return  # it was dropped, or counted as heard before its mark came
        while self._to_be_heard:
            _, item_id, heard = self._to_be_heard.popleft()
            heard(item_id)
            if item_id == played:
                break
        self._note_over()

    async def send_due_frames(self) -> None:
        """Send the frames whose time has come, in one message."""
        now_s = trio.current_time()
        if self._held:
            return
        if self._loop is not None and not self._playout.waiting_frames:
            await self._send_loop(now_s)
            return
        frames = min(self._pacer.frames_due(now_s), self._playout.waiting_frames)
        if self._teller is not None:
            frames = min(frames, self._playout.first_item_frames)  # a mark goes behind each item
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
        await self._mark_ends()

    async def _send_loop(self, now_s: float) -> None:
        """One frame of the waiting sound. It is nobody's item and counts as nothing said."""
        if self._loop is None or now_s < self.next_due_s():
            return
        end = self._loop_at + self._format.frame_bytes
        frame, self._loop_at = self._loop[self._loop_at : end], end % len(self._loop)
        self._pacer.sent(1, now_s)
        await self._transport.send(AudioOut(frame))

    async def carry_out(self, order: Order) -> None:
        """Do one order."""
        match order:
            case LegBegan(fmt=fmt):
                self._begin_leg(fmt)
            case MarkPlayed(mark=mark):
                self._note_mark(mark)
            case SoundHeld(on=on):
                self._hold(on=on)
            case LastWords():
                self._last_words = order
            case SilenceNow(report=report) if self._only_last_words:
                report([])
            case WaitingSound() | PlaySound() | FinishItemSound() if self._only_last_words:
                return
            case WaitingSound(loop=loop):
                self._loop = None if loop is None else clip_in(self._format, loop)
                self._loop_at = 0
                self._loop_from_s = trio.current_time() + LOOP_AFTER_S
            case PlaySound(pcm=pcm, item_id=item_id):
                self._loop = None
                if self._playout.waiting_bytes < self._format.bytes_of_ms(LONGEST_ANSWER_MS):
                    self._playout.push(pcm, item_id)
            case FinishItemSound(item_id=item_id, heard=heard):
                self._playout.finish()
                self._finished[item_id] = heard
                self._note_ends()
                self._in_answer = self._in_answer and self._playout.waiting_frames > 0
                await self._mark_ends()
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
            if self._teller is not None:
                at_s += MARK_LIMIT_S
                self._unmarked.append(item_id)
            self._to_be_heard.append((at_s, item_id, self._finished.pop(item_id)))

    async def _mark_ends(self) -> None:
        """Have the peer say when it has played the items that are over; behind their sound."""
        if self._teller is None:
            return
        while self._unmarked:
            self._marks_sent += 1
            mark = str(self._marks_sent)
            self._marks[mark] = self._unmarked.pop(0)
            await self._teller.mark(mark)

    def _hold(self, *, on: bool) -> None:
        """The peer takes no more sound for now. It should not come to that, so the first time is
        told."""
        if on and not self._was_held:
            get_logger().warning("the caller's side takes no more sound", call=self._stats.uuid)
        self._was_held = self._was_held or on
        self._held = on

    def _begin_leg(self, fmt: AudioFormat) -> None:
        self._begun = True
        if fmt != self._format:
            self._format = fmt
            self._playout = Playout(fmt)

    async def _drop_sent(
        self, teller: TellingTransport, now_s: float
    ) -> tuple[float, float | None]:
        """Have the peer drop what it has.

        Returns:
            How much of it was not played, in ms, and by how much the time alone would have been
            wrong about that; None if the peer did not say.
        """
        reckoned_ms = max(self._pacer.plays_until_s - now_s, 0.0) * 1000
        unplayed_ms = await teller.interrupt()
        self._held = False
        self._pacer.reset()
        if unplayed_ms is None:
            return reckoned_ms, None
        return unplayed_ms, abs(reckoned_ms - unplayed_ms)

    async def _silence(self, order: SilenceNow) -> None:
        """Stop at once. Nothing is said to a caller who was hearing nothing."""
        now_s, error_ms = trio.current_time(), None
        self.tell_what_was_heard()
        if self._teller is None:
            unplayed_ms = max(self._pacer.plays_until_s - now_s, 0.0) * 1000
            was_playing = self._playout.waiting_bytes > 0 or not self._pacer.is_dry(now_s)
            if self._lead_is_heard:
                unplayed_ms = 0.0  # it sounds to its end, whatever the caller says
            heard = self._ledger.stop(unplayed_ms, self._playout.waiting_items)
            self._to_be_heard.clear()
        else:
            unplayed_ms, error_ms = await self._drop_sent(self._teller, now_s)
            was_playing = self._playout.waiting_bytes > 0 or unplayed_ms > 0
            heard = self._ledger.stop(unplayed_ms, self._playout.waiting_items)
            self._tell_ends_of(heard)
        self._loop = None
        self._playout.clear()
        self._pacer.reset()
        self._finished.clear()
        self._in_answer = False
        order.report(heard)
        if was_playing:
            self._stats.interruptions += 1
            if self._teller is None:
                await self._transport.send(Interruption())
                now_s = trio.current_time()
            self._turns.interrupted(order.since_s, now_s, heard, error_ms)
        else:
            self._turns.answer_over()
