"""When a call is over: a goodbye that was heard, a caller who is silent, a call too long.

The part of the state machine in `conversation.py` that concerns call control. What asks for it is
a tool or the bridge itself; what does it is the call. It waits until the caller has heard
everything, is called off when the caller speaks again, and never waits longer than its limit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from avr_bridge.upstream import wording
from avr_bridge.upstream.actions import Act, Action, Say
from avr_bridge.upstream.answering import Timer
from avr_bridge.upstream.commands import function_output
from avr_bridge.upstream.control import Control, PendingControl
from avr_bridge.upstream.gate import Gate
from avr_bridge.upstream.resuming import Resuming
from avr_bridge.upstream.setup import Phase
from avr_bridge.upstream.transcripts import CUT_MARK

if TYPE_CHECKING:
    from avr_bridge.audio.format import AudioFormat
    from avr_bridge.config import TalkConfig

__all__ = ["GREETING_ITEM", "Closing"]

GREETING_ITEM = "recorded greeting"
"""Names the recording in the playout; the model has no such item, so nothing of it is truncated."""


class Closing(Resuming):
    """State and rules of the call's end.

    Args:
        from_model: The format in which answers arrive.
        talk: How the call is conducted.
    """

    def __init__(self, from_model: AudioFormat, talk: TalkConfig) -> None:
        super().__init__(from_model)
        self._talk = talk
        self._control = PendingControl()
        self._idle_asked = False
        self._spent = ""
        self._recording_plays = bool(talk.greeting_file)

    def tool_done(
        self, call_id: str, output: str, control: Control | None, now_s: float
    ) -> list[Action]:
        """A tool has ended, well or not; `output` is what the model is told."""
        finished = self._tools.done(call_id)
        if finished is None:
            return []
        actions = self._add_item(function_output(call_id, output))
        if control is not None and finished.spoken_over:
            actions += self._tell_model(wording.called_off(control))
        elif control is not None:
            self._control.put(control)
            self._timers.set(Timer.CONTROL, now_s + self._talk.control_max_wait_s)
        if not finished.last:
            return actions
        if self._control.waits and not self._tools.running:
            actions += self._sound_waiting(on=False)  # a goodbye follows, or silence
        # A goodbye that was spoken with the call of the tool needs no second one.
        if finished.wants_answer or not self._control.waits:
            self._asked_after_tool = True
            actions += self._ask(now_s)
        return actions + self._all_quiet(now_s)

    def control_failed(self, words: str, now_s: float) -> list[Action]:
        """A hangup or transfer did not work: the model is to tell the caller."""
        return self._tell_model(wording.control_failed(words)) + self._ask(now_s)

    def greeting_over(self, now_s: float, *, whole: bool = True) -> list[Action]:
        """The recorded greeting was heard, or cut by the caller."""
        if not self._recording_plays:
            return []
        self._recording_plays = False
        actions: list[Action] = []
        text = self._talk.welcome_message
        if text:
            said = Say("agent", text) if whole else Say("agent", text + CUT_MARK, cut=True)
            actions.append(said)
        if not whole:
            actions += self._tell_model(wording.GREETING_CUT)
        return actions + self._all_quiet(now_s)

    def control_done(self, now_s: float) -> list[Action]:
        """avr-ami has taken the wish; the caller is here until Asterisk has done it."""
        return self._all_quiet(now_s)

    def longest_call(self, deadline_s: float) -> None:
        """When the call has to end."""
        self._timers.set(Timer.LONGEST_CALL, deadline_s)

    def budget_spent(self, limit: str, now_s: float) -> list[Action]:
        """The call has used what it may by the setting `limit`: it ends with a goodbye.

        What is being heard was paid for: it is heard first, if that takes no longer than a goodbye
        may.
        """
        if self._control.is_final:
            return []  # it is ending, and this was its goodbye
        self._spent = limit
        self._timers.set(Timer.BUDGET, now_s + self._talk.control_max_wait_s)
        return self._all_quiet(now_s)

    def _wrap_up(self, now_s: float) -> list[Action]:
        limit, self._spent = self._spent, ""
        self._timers.clear(Timer.BUDGET)
        if self._control.is_final:
            return []
        return self._end_by_bridge(wording.BUDGET_SPENT, now_s, final=True, limit=limit)

    def _all_quiet(self, now_s: float) -> list[Action]:
        """Nothing runs and everything was heard: what waited for that may happen."""
        busy = self.gate.state is not Gate.FREE or self._tools.running or self._answers.unheard
        busy = busy or self._recording_plays
        if busy or self._caller_speaks or self.phase is not Phase.READY:
            return []
        if self._control.waits:
            return self._act()
        if self._spent:
            return self._wrap_up(now_s)
        if self._talk.idle_s:
            self._timers.set(Timer.IDLE, now_s + self._talk.idle_s)
        return []

    def _act(self) -> list[Action]:
        self._timers.clear(Timer.CONTROL)
        control = self._control.take()
        return [Act(control)] if control else []

    def _nobody_speaks(self, now_s: float) -> list[Action]:
        if self.phase is not Phase.READY:
            return []  # counted anew when there is somebody to ask
        if self._idle_asked:
            return self._end_by_bridge(wording.NOBODY_THERE, now_s, final=False)
        self._idle_asked = True
        return self._tell_model(wording.CHECK_IN) + self._ask(now_s)

    def _end_by_bridge(
        self, words: str, now_s: float, *, final: bool, limit: str = ""
    ) -> list[Action]:
        self._control.put(Control("hangup", by_bridge=True, final=final, limit=limit))
        self._timers.set(Timer.CONTROL, now_s + self._talk.control_max_wait_s)
        if self.phase is not Phase.READY:
            return []
        # Behind a long answer the goodbye would not be heard in time.
        cut = self._silence_answer() if final and self._is_answering() else []
        return cut + self._tell_model(words) + self._ask(now_s)

    def _is_answering(self) -> bool:
        return self.gate.state is not Gate.FREE or self._answers.unheard

    def _call_off(self) -> list[Action]:
        """The caller speaks again: what waited for the goodbye is not done."""
        called_off = self._control.call_off()
        if called_off is None:
            return []
        self._timers.clear(Timer.CONTROL)
        return self._tell_model(wording.called_off(called_off))
