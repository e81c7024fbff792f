"""`pump_inbound`: everything the caller's side sends, taken off its socket at once.

The first task on the road of the caller's sound. It waits for nothing but the caller, and for
that no longer than a sound caller can take: one that never begins, sends nothing, sends in drips
or floods ends its call. It knows no transport.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import trio

from avr_bridge.audio.format import PCM16_8K
from avr_bridge.call.ending import REASON_OF_LEAVING, EndReason
from avr_bridge.call.orders import LegBegan
from avr_bridge.caller.budget import Budget
from avr_bridge.caller.metadata import cleaned
from avr_bridge.caller.transport import (
    CallerAudio,
    CallerFault,
    CallerLeft,
    CallerTransport,
    CallStarted,
    DtmfDigit,
    ErrorOut,
    MarkPlayed,
    SoundHeld,
    kind_of,
)
from avr_bridge.telemetry.journal import CallBegan, KeyPressed

if TYPE_CHECKING:
    from avr_bridge.call.line import CallLine
    from avr_bridge.caller.transport import CallerEvent


__all__ = ["pump_inbound"]

INIT_LIMIT_S = 10.0
"""For avr-core's first message, which it sends at once."""

LEAST_PART_OF_REAL_TIME = 0.1
"""avr-core sends its sound continuously; a caller with less than this for a whole
``AVR_NO_AUDIO_S`` is none."""

MESSAGE_BURST = 2_000
MESSAGES_PER_S = 500.0
"""avr-core sends 50 a second. The burst is half a minute of a network that stalled; the rate is
ten times real time, and costs a twentieth of a processor."""

AUDIO_BURST_S = 120.0
AUDIO_PER_S = 2.0
"""Seconds of sound at once, and in each second. The two longest messages pass."""


MOST_FAULTS_TOLD = 500
"""Of a call. Answers to a flood must not fill the queue of a caller that reads none of them: what
ends it then is that it floods."""


async def pump_inbound(
    transport: CallerTransport,
    starts: trio.MemorySendChannel[CallStarted],
    line: CallLine,
    no_audio_s: float = 0.0,
) -> None:
    """Carry the caller's events on until the caller leaves or the call is cancelled.

    Args:
        starts: Capacity 1; gets the one `CallStarted`.
        no_audio_s: The call ends after so long without sound; 0: never.
    """
    pump = _InboundPump(transport, starts, line, no_audio_s)
    # One deadline that moves with what comes: to set one for each event costs 10 us.
    with trio.CancelScope(deadline=pump.due_s) as pump.waiting:
        while line.ending.reason is None:
            pump.carry(await transport.receive())
    if pump.waiting.cancelled_caught:
        line.ending.end(pump.what_is_missing(), pump.what_was_wrong)


class _InboundPump:
    def __init__(
        self,
        transport: CallerTransport,
        starts: trio.MemorySendChannel[CallStarted],
        line: CallLine,
        no_audio_s: float,
    ) -> None:
        now_s = trio.current_time()
        self._transport = transport
        self._starts = starts
        self._line = line
        self._no_audio_s = no_audio_s or math.inf
        self._enough_ms = no_audio_s * 1000 * LEAST_PART_OF_REAL_TIME
        self._messages = Budget(MESSAGE_BURST, MESSAGES_PER_S, now_s)
        self._audio_s = Budget(AUDIO_BURST_S, AUDIO_PER_S, now_s)
        self._started = False
        self._format = PCM16_8K
        self._recent_ms = 0.0
        self.what_was_wrong = ""
        self.due_s = now_s + INIT_LIMIT_S
        self.waiting = trio.CancelScope()

    def what_is_missing(self) -> EndReason:
        """Why nobody waits beyond `due_s`."""
        if not self._started:
            return EndReason.CALLER_SENT_NO_INIT
        return EndReason.CALLER_TOO_SLOW if self._recent_ms else EndReason.CALLER_SENT_NO_AUDIO

    def carry(self, event: CallerEvent) -> None:
        """One event to where it belongs."""
        line, stats = self._line, self._line.stats
        now_s = trio.current_time()
        messages = event.messages if isinstance(event, CallerAudio) else 1
        if not self._messages.spend(messages, now_s):
            line.ending.end(EndReason.CALLER_FLOODED, "messages")
            return
        match event:
            case CallerAudio(pcm=pcm):
                audio_ms = self._format.ms(len(pcm))
                stats.caller_audio_ms += audio_ms
                self._note_audio(audio_ms, now_s)
                line.uplink.push(pcm)
            case CallStarted() as start:
                self._started = True
                self.what_was_wrong = ""
                self._format = start.fmt
                line.uplink.begin(start.fmt)
                line.orders.give(LegBegan(start.fmt))
                self._expect_audio_until(now_s + self._no_audio_s)
                self._identify(start.uuid, now_s)
                self._starts.send_nowait(start)
            case DtmfDigit(digit=digit):
                stats.digits += 1
                if self._started:
                    line.journal.tell(KeyPressed(now_s, digit))
                line.keypad.press(digit)
            case MarkPlayed() | SoundHeld():
                line.orders.give(event)
            case CallerFault(message=message):
                stats.faults += 1
                if not self._started:
                    self.what_was_wrong = f"the last that came: {cleaned(message)}"
                if stats.faults <= MOST_FAULTS_TOLD:
                    line.orders.give(ErrorOut(message))
            case CallerLeft(how=how, detail=detail, uuid=uuid):
                if uuid and not self._started:
                    self._identify(uuid, now_s)
                line.ending.end(REASON_OF_LEAVING[how], detail)

    def _identify(self, uuid: str, now_s: float) -> None:
        self._line.stats.uuid = uuid
        metadata = dict(self._transport.metadata)
        self._line.journal.tell(CallBegan(now_s, uuid, metadata, kind_of(self._transport)))

    def _note_audio(self, audio_ms: float, now_s: float) -> None:
        if not self._audio_s.spend(audio_ms / 1000, now_s):
            self._line.ending.end(EndReason.CALLER_FLOODED, "audio")
        self._recent_ms += audio_ms
        if self._started and self._recent_ms >= self._enough_ms:
            self._expect_audio_until(now_s + self._no_audio_s)

    def _expect_audio_until(self, due_s: float) -> None:
        self._recent_ms = 0.0
        self.due_s = self.waiting.deadline = due_s
