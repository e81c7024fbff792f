"""The model's answers, from the wish for one until the caller has heard it or not.

The half of the state machine in `conversation.py` that concerns responses: the gate, the sound
of items and what was heard of it, the transcript, calls of tools. It knows nothing of how a
session is set up, or of when a call ends.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any

from avr_bridge.upstream import wording
from avr_bridge.upstream.actions import (
    Abandon,
    Action,
    Alarm,
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
    Watchdog,
)
from avr_bridge.upstream.answers import Answers
from avr_bridge.upstream.commands import (
    CancelResponse,
    Command,
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
from avr_bridge.upstream.history import History
from avr_bridge.upstream.setup import Phase
from avr_bridge.upstream.timers import Timers
from avr_bridge.upstream.tool_batches import ToolBatches
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
"""Answers in a row that fail, get stuck or never begin, before the session is given up: nobody
holds the line in silence for longer. The server does not ask again by itself."""


FIRST_AUDIO_LIMIT_S = 12.0
"""From `response.created` to the first sound or call of a tool. A reasoning model at high effort
takes under 3 s; nobody on a phone waits longer than this without asking "hello?"."""


class Timer(enum.Enum):
    """What is waited for."""

    CREATED = "created"
    ASK_AGAIN = "ask again"
    STUCK = "stuck"
    FIRST_AUDIO = "first audio"
    WELCOME = "welcome"
    DIGITS = "digits"
    CONTROL = "control"
    IDLE = "idle"
    LONGEST_CALL = "longest call"
    BUDGET = "budget"
    SPEECH = "speech"


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
        self._history = History()
        self._tools = ToolBatches()
        self._waiting_sounds = False
        self._turn_unanswered = False
        self._commands_made = 0
        self._caller_speaks = False
        self._turn_item: str | None = None
        self._turn_kept = False
        self._turn_counted = False
        self._answer_due = False
        self._asked_after_tool = False

    @property
    def phase(self) -> Phase:
        """How far the session has been set up."""
        raise NotImplementedError

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
            words = self._history.cut(cut.item_id, cut.share)
            unheard = cut.audio_end_ms is None
            self._transcripts.fate(cut.item_id, Fate.UNHEARD if unheard else Fate.CUT)
            if cut.disowned:
                actions += self._tell_model(wording.heard_only(words))
            elif cut.audio_end_ms is None:
                actions += self._send(DeleteItem(cut.item_id, self._event_id()))
            else:
                end_ms, event_id = cut.audio_end_ms, self._event_id()
                actions += self._send(
                    TruncateItem(cut.item_id, cut.content_index, end_ms, event_id)
                )
        return actions + self._said()

    def _ask(self, now_s: float) -> list[Action]:
        """An answer is wanted: now, or behind the running one; to a caller who speaks the server
        answers by itself."""
        if self.phase is not Phase.READY:
            self._answer_due = True
            return []
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
        if self.gate.state is Gate.FREE and (self._caller_speaks or not self._turn_unanswered):
            return []  # when the caller stops it is waited for anew
        stalled = Watchdog.STALLED_AFTER_TOOL
        alarm = Alarm(stalled if self._asked_after_tool else Watchdog.ANSWER_MISSING)
        if self._failed_again():
            return [alarm, Abandon("the model does not answer")]
        if self.gate.state is Gate.FREE or not self.gate.give_up():
            self.gate.ask()
        return [alarm, *self._create_response(now_s)]

    def _ask_again(self, now_s: float) -> list[Action]:
        """The answer failed, or was one to another turn; nobody but us asks for the next."""
        unanswered = self._turn_unanswered and self.gate.state is Gate.FREE
        return self._ask(now_s) if unanswered else []

    def _answer_stuck(self, watchdog: Watchdog, now_s: float) -> list[Action]:
        """Nothing more comes of the running answer: give it up and ask for another."""
        if self.gate.state is not Gate.ACTIVE:
            return []
        actions: list[Action] = [Alarm(watchdog)]
        if self._failed_again():
            return [*actions, Abandon("the model's answers get stuck")]
        actions += self._silence_answer()
        made = dict.fromkeys(self._response_items)
        self._transcripts.response_over(made, self._answers.is_unheard, Fate.UNHEARD)
        if not self.gate.give_up():
            self.gate.ask()
        return [*actions, *self._create_response(now_s)]

    def _failed_again(self) -> bool:
        """Whether this was one failure too many."""
        self._failures += 1
        return self._failures >= MOST_FAILURES

    def _response_created(self, event: ResponseCreated, now_s: float) -> list[Action]:
        mark = event.response.mark
        self._marks_come_back = self._marks_come_back or mark is not None
        wanted = self.gate.state is Gate.REQUESTED
        ours = mark is not None or (wanted and not self._marks_come_back)
        self._timers.clear(Timer.CREATED)
        self._timers.clear(Timer.ASK_AGAIN)
        self._timers.set(Timer.FIRST_AUDIO, now_s + FIRST_AUDIO_LIMIT_S)
        self._asked_after_tool = False
        self.gate.created(event.response.id, ours=ours)
        self._answer_bytes = 0
        if not ours:
            self._caller_falls_silent()  # the server answers a turn when it is over
        self._turn_unanswered = self._turn_unanswered and self._caller_speaks
        cancel = self._cancel_when_created or (self._caller_speaks and self._may_be_interrupted())
        self._cancel_when_created = False
        return self._cancel() if cancel else []

    def _caller_falls_silent(self) -> None:
        self._caller_speaks = False
        self._timers.clear(Timer.SPEECH)

    def _may_be_interrupted(self) -> bool:
        """Whether the caller's speech ends an answer."""
        return True

    def _response_done(self, response: ResponseInfo, now_s: float) -> list[Action]:
        self._timers.clear(Timer.CREATED)
        self._timers.clear(Timer.FIRST_AUDIO)
        actions = self._finish_item(self._open_item)
        if self._answer_bytes and response.billed_audio_ms:
            actions.append(AnswerMeasured(self._answer_bytes, response.billed_audio_ms))
        if response.status == "failed":
            actions += self._response_failed(response.error or ErrorDetail())
        elif response.status != "cancelled":
            self._failures = 0
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
        if self._caller_speaks and self._may_be_interrupted() and self.gate.kept:
            self.gate.forget()
            self._turn_unanswered = True
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
        actions: list[Action] = []
        for item_id in unspoken:
            self._transcripts.fate(item_id, Fate.UNHEARD)
            self._history.forget(item_id)
            actions += self._send(DeleteItem(item_id, self._event_id()))
        return actions

    def _response_failed(self, error: ErrorDetail) -> list[Action]:
        words = error.message or error.code or "no reason given"
        if severity_of(error) is Severity.FATAL:
            return [GiveUp(f"the model refuses to answer: {words}")]
        actions: list[Action] = [
            Note("an answer failed", {"code": error.code}, severe=True),
            Tell(f"an answer failed: {words}"),
        ]
        self._turn_unanswered = True  # in the next session, if this one is given up
        if self._failed_again():
            actions.append(Abandon("the model's answers fail"))
        return actions

    def _run_tools(self, response: ResponseInfo) -> list[Action]:
        calls = response.function_calls
        wants_answer = self._answer_bytes == 0
        self._tools.begin([call_id for call_id, _, _ in calls], wants_answer=wants_answer)
        for call in calls:
            self._history.call(*call)
        if calls:
            return [RunTool(*call) for call in calls] + self._sound_waiting(on=True)
        return []

    def _sound_waiting(self, *, on: bool) -> list[Action]:
        """The sound that says: something is being done."""
        if self._waiting_sounds is on:
            return []
        self._waiting_sounds = on
        return [Waiting(on)]

    def _audio(self, event: AudioDelta) -> list[Action]:
        self._timers.clear(Timer.FIRST_AUDIO)
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
        self._timers.clear(Timer.FIRST_AUDIO)
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
        return self._send(CancelResponse(self._event_id(), self.gate.active_id))

    def _item_added(self, event: ItemAdded) -> list[Action]:
        # Items that we put there ourselves are complete at once; their words are known.
        own = event.item.get("status") == "completed"
        if event.role == "assistant" and not own and self.gate.state is Gate.ACTIVE:
            self._response_items.append(event.item_id)
            self._transcripts.expect(event.item_id, event.previous_item_id)
            self._history.expect(event.item_id, "assistant", event.previous_item_id)
        if event.item.get("type") == "function_call":
            self._timers.clear(Timer.FIRST_AUDIO)
        return []

    def _answer_text(self, event: TranscriptDone) -> list[Action]:
        self._history.set_text(event.item_id, event.transcript)
        self._transcripts.agent_text(event.item_id, event.transcript)
        return self._said()

    def _said(self) -> list[Action]:
        return [Say(line.role, line.text, line.cut) for line in self._transcripts.release()]

    def _tell_model(self, words: str) -> list[Action]:
        """Something for this moment only: not part of what was said."""
        return self._send(CreateItem(text_item("system", words), self._event_id()))

    def _add_item(self, item: dict[str, Any]) -> list[Action]:
        """Something that is part of the conversation, in whatever session it goes on."""
        self._history.put(item)
        return self._send(CreateItem(item, self._event_id()))

    def _send(self, command: Command) -> list[Action]:
        """Say it to the server, if there is one; what matters later stands in the history."""
        return [Send(command)] if self.phase is Phase.READY else []

    def _event_id(self) -> str:
        self._commands_made += 1
        return f"br-{self._commands_made}"
