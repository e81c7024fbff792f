"""One session ends, the conversation goes on in another.

The part of the state machine in `conversation.py` that knows what is owed when the server is gone
in the middle of something: no server resumes a session, so the next one is told what was said
(`history.py`), and asked for the answer that did not come.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from avr_bridge.upstream import wording
from avr_bridge.upstream.actions import Action, Send
from avr_bridge.upstream.answering import CREATED_LIMIT_S, Answering, Timer
from avr_bridge.upstream.commands import CreateItem
from avr_bridge.upstream.gate import Gate, ResponseGate
from avr_bridge.upstream.transcripts import Fate

if TYPE_CHECKING:
    from avr_bridge.audio.format import AudioFormat

__all__ = ["Resuming"]


class Resuming(Answering):
    """State and rules of the change from one session to the next.

    Args:
        from_model: The format in which answers arrive.
    """

    def __init__(self, from_model: AudioFormat) -> None:
        super().__init__(from_model)
        self._answer_torn = False

    def _lose_session(self) -> list[Action]:
        """The server is gone: what it had begun will not come, what it sent is still heard."""
        actions = self._finish_item(self._open_item)
        dead = self._dead_response is not None and self._dead_response == self.gate.active_id
        running = self.gate.state is Gate.ACTIVE and not dead
        asked = self.gate.state is Gate.REQUESTED or self.gate.kept
        self._answer_torn = running and bool(self._sounded)
        self._answer_due = self._answer_due or running or asked or self._turn_unanswered
        made = dict.fromkeys(self._response_items)
        self._transcripts.response_over(made, self._answers.is_unheard, Fate.UNHEARD)
        self._answers.disown()
        self.gate = ResponseGate()
        self._dead_response = None
        self._cancel_when_created = self._marks_come_back = False
        self._turn_unanswered = self._asked_after_tool = False
        self._response_items.clear()
        self._sounded.clear()
        self._answer_bytes = self._failures = 0
        gone = (Timer.CREATED, Timer.ASK_AGAIN, Timer.STUCK, Timer.FIRST_AUDIO)
        for timer in gone:
            self._timers.clear(timer)
        self._turn_counted = self._turn_kept and not self._caller_speaks
        self._caller_falls_silent()
        return actions + self._said()

    def _take_up(self, now_s: float) -> list[Action]:
        """A new session that knows the history: ask for the answer that is still owed."""
        torn, due = self._answer_torn, self._answer_due
        self._answer_torn = self._answer_due = False
        if self._turn_kept:
            # Its sound is sent anew, and the server answers it by itself.
            self._turn_unanswered = True
            self._timers.set(Timer.CREATED, now_s + CREATED_LIMIT_S)
            return []
        told = self._tell_model(wording.ANSWER_TORN) if torn else []
        return told + (self._ask(now_s) if due else [])

    def _replayed(self) -> list[Action]:
        return [Send(CreateItem(item, self._event_id())) for item in self._history.items()]
