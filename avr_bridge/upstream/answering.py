"""The model's answers, from the wish for one until the caller has heard it or not.

The half of the state machine in `conversation.py` that concerns responses: the gate, the sound
of items and what was heard of it, the transcript, calls of tools. It knows nothing of how a
session is set up, or of when a call ends.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

from avr_bridge.upstream.actions import (
    Action,
    AnswerMeasured,
    FinishItem,
    GiveUp,
    Interrupt,
    Note,
    Play,
    RunTool,
    Say,
    Send,
    Tell,
    Waiting,
)
from avr_bridge.upstream.answers import Answers
from avr_bridge.upstream.commands import (
    CancelResponse,
    CreateItem,
    CreateResponse,
    DeleteItem,
    TruncateItem,
    text_item,
)
from avr_bridge.upstream.error_codes import Severity, severity_of
from avr_bridge.upstream.events import (
    AudioDelta,
    ErrorDetail,
    ItemAdded,
    ResponseCreated,
    ResponseInfo,
    TranscriptDone,
)
from avr_bridge.upstream.gate import Gate, ResponseGate
from avr_bridge.upstream.timers import Timers
from avr_bridge.upstream.transcripts import Fate, TranscriptOrder

if TYPE_CHECKING:
    from avr_bridge.audio.format import AudioFormat
    from avr_bridge.audio.playback import Heard

__all__ = ["Answering", "Timer"]

CREATED_LIMIT_S = 8.0
"""From our request to `response.created`; a request that nobody answers must not bar the gate."""


STUCK_LIMIT_S = 30.0
"""An active response of which nothing has come for so long has been lost."""


MOST_FAILURES = 3
"""Answers that fail in a row before we stop asking for another; the server does not retry."""


class Timer(enum.Enum):
    """What is waited for."""

    CREATED = "created"
    STUCK = "stuck"
    WELCOME = "welcome"
    DIGITS = "digits"
    CONTROL = "control"
    IDLE = "idle"
    LONGEST_CALL = "longest call"


class Answering:
    """State and rules of the answers of one session.

    Args:
        from_model: The format in which answers arrive.
    """

    def __init__(self, from_model: AudioFormat) -> None:
        self.gate = ResponseGate()
        self._from_model = from_model
        self._timers: Timers[Timer | str] = Timers()
        self._answers = Answers()
        self._transcripts = TranscriptOrder()
        self._dead_response: str | None = None
        self._cancel_when_created = False
        self._open_item: str | None = None
        self._answer_bytes = 0
        self._failures = 0
        self._response_items: list[str] = []
        self._sounded: set[str] = set()
        self._marks_come_back = False
        self._asked_again = False
        self._tools_running: set[str] = set()
        self._tools_want_answer = False
        self._turn_unanswered = False
        self._commands_made = 0
        self._caller_speaks = False

    def silenced(
        self, heard: list[Heard], now_s: float, items: frozenset[str] | None = None
    ) -> list[Action]:
        """Playback was stopped; this is what the caller had heard of each item.

        Args:
            items: What the `Interrupt` named; None: everything that is not heard yet.
        """
        actions: list[Action] = []
        for position in heard:
            if position.whole and not self._answers.is_open(position.item_id):
                self._transcripts.fate(position.item_id, Fate.HEARD)
        for cut in self._answers.stopped(heard, self._from_model, items):
            command: TruncateItem | DeleteItem
            if cut.audio_end_ms is None:
                command = DeleteItem(cut.item_id, self._event_id())
                self._transcripts.fate(cut.item_id, Fate.UNHEARD)
            else:
                command = TruncateItem(
                    cut.item_id, cut.content_index, cut.audio_end_ms, self._event_id()
                )
                self._transcripts.fate(cut.item_id, Fate.CUT)
            actions.append(Send(command))
        return actions + self._said()

    def _ask(self, now_s: float) -> list[Action]:
        """An answer is wanted: now, or behind the running one; to a caller who speaks the server
        answers by itself."""
        if self._caller_speaks and self._may_be_interrupted():
            self._turn_unanswered = True
            return []
        return self._create_response(now_s) if self.gate.ask() else []

    def _create_response(self, now_s: float) -> list[Action]:
        self._timers.set(Timer.CREATED, now_s + CREATED_LIMIT_S)
        return [Send(CreateResponse(self._event_id()))]

    def _answer_missing(self, now_s: float) -> list[Action]:
        """Neither our request nor the caller's turn was answered: ask again."""
        if self.gate.state is Gate.ACTIVE:
            return []
        if self.gate.state is Gate.FREE and not self._turn_unanswered:
            return []
        note = Note("no answer to a request for one", severe=True)
        if self.gate.state is Gate.FREE or not self.gate.give_up():
            self.gate.ask()
        return [note, *self._create_response(now_s)]

    def _answer_stuck(self, now_s: float) -> list[Action]:
        """Nothing more comes of the running answer: give it up and ask for another."""
        if self.gate.state is not Gate.ACTIVE:
            return []
        actions: list[Action] = [Note("an answer got stuck", severe=True), *self._cancel()]
        if not self.gate.give_up():
            self.gate.ask()
        return [*actions, *self._create_response(now_s)]

    def _response_created(self, event: ResponseCreated, now_s: float) -> list[Action]:
        mark = event.response.mark
        self._marks_come_back = self._marks_come_back or mark is not None
        wanted = self.gate.state is Gate.REQUESTED
        ours = mark is not None or (wanted and not self._marks_come_back)
        self._timers.clear(Timer.CREATED)
        self.gate.created(event.response.id, ours=ours)
        self._answer_bytes = 0
        if not ours:
            self._caller_speaks = False  # the server answers a turn when it is over
        self._turn_unanswered = self._turn_unanswered and self._caller_speaks
        cancel = self._cancel_when_created or (self._caller_speaks and self._may_be_interrupted())
        self._cancel_when_created = False
        return self._cancel() if cancel else []

    def _may_be_interrupted(self) -> bool:
        """Whether the caller's speech ends an answer."""
        return True

    def _response_done(self, response: ResponseInfo, now_s: float) -> list[Action]:
        self._timers.clear(Timer.CREATED)
        actions = self._finish_item(self._open_item)
        if self._answer_bytes and response.billed_audio_ms:
            actions.append(AnswerMeasured(self._answer_bytes, response.billed_audio_ms))
        if response.status != "failed":
            self._failures = 0
        else:
            actions += self._response_failed(response.error or ErrorDetail())
        actions += self._run_tools(response)
        made = dict.fromkeys([*self._response_items, *response.item_ids])
        if response.status == "cancelled":
            actions += self._forget_unspoken()
        silent = Fate.HEARD if response.status in ("completed", "incomplete") else Fate.UNHEARD
        self._transcripts.response_over(made, self._answers.is_unheard, silent)
        actions += self._said()
        ask_again = self._is_empty(response) and not self._asked_again
        self._asked_again = ask_again
        self._response_items.clear()
        self._sounded.clear()
        self._answer_bytes = 0
        self._dead_response = None
        if ask_again:
            actions.append(Note("an answer without words or calls: asking again"))
            self.gate.kept = True
        if self.gate.done():
            actions += self._create_response(now_s)
        elif self.gate.state is Gate.REQUESTED:
            self._timers.set(Timer.CREATED, now_s + CREATED_LIMIT_S)
        return actions

    def _is_empty(self, response: ResponseInfo) -> bool:
        """Whether the model had nothing to say at all, which happens and is silence. A server
        that leaves `output` out says nothing about it."""
        return response.status == "completed" and response.output == [] and not self._sounded

    def _forget_unspoken(self) -> list[Action]:
        """Items of a cut answer that never came to sound: the caller knows nothing of them."""
        unspoken = [item for item in self._response_items if item not in self._sounded]
        for item_id in unspoken:
            self._transcripts.fate(item_id, Fate.UNHEARD)
        return [Send(DeleteItem(item_id, self._event_id())) for item_id in unspoken]

    def _response_failed(self, error: ErrorDetail) -> list[Action]:
        words = error.message or error.code or "no reason given"
        if severity_of(error) is Severity.FATAL:
            return [GiveUp(f"the model refuses to answer: {words}")]
        note = Note("an answer failed", {"code": error.code}, severe=True)
        self._failures += 1
        self._turn_unanswered = self._failures < MOST_FAILURES
        return [note, Tell(f"an answer failed: {words}")]

    def _run_tools(self, response: ResponseInfo) -> list[Action]:
        calls = response.function_calls
        self._tools_running |= {call_id for call_id, _, _ in calls}
        self._tools_want_answer = bool(calls) and self._answer_bytes == 0
        waiting: list[Action] = [Waiting(True)] if calls else []
        return [RunTool(*call) for call in calls] + waiting

    def _audio(self, event: AudioDelta) -> list[Action]:
        self._answer_bytes += len(event.delta)
        if event.response_id is not None and event.response_id == self._dead_response:
            return []
        actions: list[Action] = []
        if self._open_item not in (None, event.item_id):
            actions += self._finish_item(self._open_item)
        self._open_item = event.item_id
        if event.delta:
            self._sounded.add(event.item_id)
            self._answers.received(event.item_id, event.content_index, len(event.delta))
            actions.append(Play(event.item_id, event.delta))
        return actions

    def _finish_item(self, item_id: str | None) -> list[Action]:
        if item_id is None or item_id != self._open_item:
            return []
        self._open_item = None
        self._answers.complete(item_id)
        return [FinishItem(item_id)]

    def _kill_answer(self) -> None:
        if self.gate.state is Gate.ACTIVE:
            self._dead_response = self.gate.active_id
        self._open_item = None

    def _silence_answer(self) -> list[Action]:
        """Stop the answer for a reason that the server does not know of."""
        actions: list[Action] = [Interrupt(self._answers.open_items)]
        if self.gate.state is Gate.ACTIVE:
            actions += self._cancel()
        self._cancel_when_created = self.gate.state is Gate.REQUESTED
        self._kill_answer()
        return actions

    def _cancel(self) -> list[Action]:
        self._kill_answer()
        return [Send(CancelResponse(self._event_id(), self.gate.active_id))]

    def _item_added(self, event: ItemAdded) -> list[Action]:
        # Items that we put there ourselves are complete at once; their words are known.
        own = event.item.get("status") == "completed"
        if event.role == "assistant" and not own and self.gate.state is Gate.ACTIVE:
            self._response_items.append(event.item_id)
            self._transcripts.expect(event.item_id, event.previous_item_id)
        return []

    def _answer_text(self, event: TranscriptDone) -> list[Action]:
        self._transcripts.agent_text(event.item_id, event.transcript)
        return self._said()

    def _said(self) -> list[Action]:
        return [Say(line.role, line.text) for line in self._transcripts.release()]

    def _tell_model(self, words: str) -> Action:
        return Send(CreateItem(text_item("system", words), self._event_id()))

    def _event_id(self) -> str:
        self._commands_made += 1
        return f"br-{self._commands_made}"
