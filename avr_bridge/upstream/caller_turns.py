"""What the caller does: speaks, falls silent, presses keys.

The part of the state machine in `conversation.py` that concerns the caller's side of a turn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from avr_bridge.upstream import wording
from avr_bridge.upstream.actions import Action, Alarm, Interrupt, KeepTurn, Say, TurnEnded, Watchdog
from avr_bridge.upstream.answering import CREATED_LIMIT_S, Timer
from avr_bridge.upstream.closing import Closing
from avr_bridge.upstream.commands import text_item
from avr_bridge.upstream.digits import DigitCollector
from avr_bridge.upstream.gate import Gate
from avr_bridge.upstream.setup import Phase

if TYPE_CHECKING:
    from avr_bridge.audio.format import AudioFormat
    from avr_bridge.config import TalkConfig
    from avr_bridge.upstream.events import Committed, SpeechStarted

__all__ = ["CallerTurns"]

TRANSCRIPT_LIMIT_S = 4.0
"""The caller's transcript usually takes under a second; the rest of the transcript waits no
longer for it than this."""

SPEECH_LIMIT_S = 120.0
"""Nobody speaks for so long without a pause that ends the turn."""


class CallerTurns(Closing):
    """State and rules of the caller's turns.

    Args:
        from_model: The format in which answers arrive.
        talk: How the call is conducted.
    """

    def __init__(self, from_model: AudioFormat, talk: TalkConfig) -> None:
        super().__init__(from_model, talk)
        terminator = "" if talk.dtmf_terminator == "none" else talk.dtmf_terminator
        self._digits = DigitCollector(terminator, talk.dtmf_most_digits)
        self._early_entries: list[str] = []
        self._protected = False

    @property
    def caller_speaks(self) -> bool:
        """Whether the server hears the caller speak, and waits for the silence after it."""
        return self._caller_speaks

    def key_pressed(self, digit: str, now_s: float) -> list[Action]:
        """A key of the caller's keypad."""
        self._timers.clear(Timer.IDLE)
        self._idle_asked = False
        self._tools.caller_spoke()
        actions = self._call_off()
        if self._talk.dtmf_interrupts and self.phase is Phase.READY and not self._protected:
            actions += self._silence_answer()
        entry = self._digits.press(digit)
        if entry is None:
            self._timers.set(Timer.DIGITS, now_s + self._talk.dtmf_timeout_ms / 1000)
            return actions
        return actions + self._keys(entry, now_s)

    def _keys(self, entry: str, now_s: float) -> list[Action]:
        self._timers.clear(Timer.DIGITS)
        if not entry:
            return []
        if self.phase is not Phase.READY:
            self._early_entries.append(entry)
            return []
        item = text_item("user", wording.keys_pressed(entry))
        return self._add_item(item) + self._ask(now_s)

    def _early_keys(self, now_s: float) -> list[Action]:
        """Entries that were made while there was no session."""
        entries, self._early_entries = self._early_entries, []
        actions: list[Action] = []
        for entry in entries:
            actions += self._keys(entry, now_s)
        return actions

    def _speech_started(self, event: SpeechStarted, now_s: float) -> list[Action]:
        self._caller_speaks = True
        self._turn_item = event.item_id
        self._timers.set(Timer.SPEECH, now_s + SPEECH_LIMIT_S)
        self._timers.clear(Timer.IDLE)
        self._idle_asked = False
        self._tools.caller_spoke()
        actions = [*self._keep_turn(on=True), *self._call_off()]
        if not self._may_be_interrupted():
            return actions
        interrupt = Interrupt(self._answers.open_items)
        self._kill_answer()
        return [interrupt, *actions]

    def _speech_stopped(self, now_s: float) -> list[Action]:
        self._caller_falls_silent()
        if self._turn_unanswered and self.gate.state is Gate.FREE:
            self._timers.set(Timer.CREATED, now_s + CREATED_LIMIT_S)
        if self._turn_counted:
            self._turn_counted = False  # the same turn, heard anew by another session
            return []
        return [TurnEnded()]

    def _speech_without_end(self, now_s: float) -> list[Action]:
        """The server lost the end of the caller's speech: what waits for it goes on."""
        self._caller_falls_silent()
        alarm = Alarm(Watchdog.SPEECH_WITHOUT_END)
        asked = self._ask(now_s) if self._turn_unanswered else []
        return [alarm, *asked, *self._all_quiet(now_s)]

    def _committed(self, event: Committed, now_s: float) -> list[Action]:
        self._caller_falls_silent()
        self._turn_unanswered = True
        if self.gate.state is Gate.FREE:
            self._timers.set(Timer.CREATED, now_s + CREATED_LIMIT_S)
        if event.item_id:
            self._turn_item = event.item_id
            self._history.expect(event.item_id, "user", event.previous_item_id)
            self._transcripts.expect(event.item_id, event.previous_item_id)
            self._timers.set(event.item_id, now_s + TRANSCRIPT_LIMIT_S)
        return []

    def _caller_text(self, item_id: str | None, text: str) -> list[Action]:
        if item_id is None:  # a server that does not say whose text it is
            return [Say("user", text)] if text else []
        self._timers.clear(item_id)
        actions: list[Action] = []
        if text:
            self._history.set_text(item_id, text)
            if item_id == self._turn_item and not self._caller_speaks:
                actions = self._keep_turn(on=False)
        self._transcripts.user_text(item_id, text)
        return actions + self._said()

    def _keep_turn(self, *, on: bool) -> list[Action]:
        """Whether the sound of the caller's turn is still needed: nobody knows its words yet."""
        if self._turn_kept is on:
            return []
        self._turn_kept = on
        self._turn_counted = self._turn_counted and on
        return [KeepTurn(on)]
