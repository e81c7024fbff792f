"""The conversation with the model as a state machine without I/O, clock or log.

Server events and what the call tells in, actions out; every method takes the present time in
seconds, and `next_deadline_s` says when `tick` is due. Every rule about turns stands here:

- **Phase**: a session is `OPENING` until `session.created`, `CONFIGURING` until the one complete
  `session.update` is answered by `session.updated`, then `READY`. Audio sent before that would
  be heard as 24 kHz PCM by a model with a default prompt, and would lock the voice.
- **Gate** (`gate.py`): one response at a time; our requests wait behind the running one.
- **Barge-in**: `speech_started` makes the running response dead. What was queued of it is to be
  dropped, deltas of it that are still in flight are ignored by id, and when the call reports
  what was heard, the model is told to forget the rest (`answers.py`). The server cancels the
  response itself; we cancel only where it cannot know (a key, not a voice, interrupts).
- **Welcome**: words that must be heard are protected: until then the session does not let the
  caller interrupt, and a turn that was taken meanwhile is answered afterwards.
- **Tools**: calls of a completed response run together; their outputs go back when all of them
  are done, then one response is asked for.
- **Call control** (`control.py`): acts when the goodbye was heard.
- **Transcript** (`transcripts.py`): in conversation order; an answer's text leaves when it was
  heard, or cut.

It does not convert audio, pace it, or run a tool.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from avr_bridge.audio.format import PCM16_24K
from avr_bridge.upstream import wording
from avr_bridge.upstream.actions import (
    Action,
    FormatsAgreed,
    GiveUp,
    Interrupt,
    Note,
    Say,
    Send,
    Tell,
    TurnEnded,
)
from avr_bridge.upstream.answering import CREATED_LIMIT_S, STUCK_LIMIT_S, Timer
from avr_bridge.upstream.closing import Closing, Phase
from avr_bridge.upstream.commands import (
    CreateItem,
    SpeakWords,
    UpdateSession,
    audio_formats_only,
    session_object,
    text_item,
    turn_detection_only,
)
from avr_bridge.upstream.digits import DigitCollector
from avr_bridge.upstream.error_codes import Severity, severity_of
from avr_bridge.upstream.events import (
    AudioDelta,
    AudioDone,
    CallerTranscript,
    CallerTranscriptFailed,
    Committed,
    ErrorDetail,
    ErrorEvent,
    ItemAdded,
    ResponseCreated,
    ResponseDone,
    ServerEvent,
    SessionCreated,
    SessionUpdated,
    SpeechStarted,
    SpeechStopped,
    TranscriptDone,
    Unknown,
)
from avr_bridge.upstream.formats import format_in, requested_format
from avr_bridge.upstream.gate import Gate
from avr_bridge.upstream.transcripts import Fate

if TYPE_CHECKING:
    from avr_bridge.audio.playback import Heard
    from avr_bridge.config import ModelConfig, TalkConfig
    from avr_bridge.upstream.events import ResponseInfo

__all__ = ["Conversation", "Phase"]

UNANSWERED_S = 2.0
"""How long the server may take to answer, by itself, a turn that it could not answer before."""

TRANSCRIPT_LIMIT_S = 4.0
"""The caller's transcript usually takes under a second; the rest of the transcript waits no
longer for it than this."""

WELCOME_LIMIT_S = 30.0
"""A welcome that was not heard by then no longer keeps the caller from speaking."""


class Conversation(Closing):
    """One session with the model. Feed it what happens; carry out what it returns.

    Args:
        config: The model's settings.
        talk: How the call is conducted.
        instructions: The system prompt of this call.
        tools: Entries for the session's tools.
    """

    def __init__(
        self,
        config: ModelConfig,
        talk: TalkConfig,
        instructions: str,
        *,
        tools: list[dict[str, Any]] | None = None,
    ) -> None:
        super().__init__(requested_format(config), talk)
        self._config = config
        self._instructions = instructions
        self._tools = tools or []
        self._requested = requested_format(config)
        self._greeting_due = True
        self._protected = bool(talk.welcome_message) and not talk.greeting_file
        terminator = "" if talk.dtmf_terminator == "none" else talk.dtmf_terminator
        self._digits = DigitCollector(terminator, talk.dtmf_most_digits)
        self._welcome_due = ""
        self._early_entries: list[str] = []
        self._setup_event_id = ""

    @property
    def next_deadline_s(self) -> float:
        """When `tick` is due; infinity if nothing is waited for."""
        return self._timers.next_s

    # -- what happens -----------------------------------------------------------------------

    @property
    def caller_speaks(self) -> bool:
        """Whether the server hears the caller speak, and waits for the silence after it."""
        return self._caller_speaks

    def handle(self, event: ServerEvent | Unknown, now_s: float) -> list[Action]:
        """Take one server event; return what is to be done, in order."""
        actions = self._handled(event, now_s)
        if self.gate.state is Gate.ACTIVE:
            self._timers.set(Timer.STUCK, now_s + STUCK_LIMIT_S)
        else:
            self._timers.clear(Timer.STUCK)
        return actions

    def _handled(self, event: ServerEvent | Unknown, now_s: float) -> list[Action]:
        match event:
            case AudioDelta():
                return self._audio(event)
            case SessionCreated():
                return self._created(event)
            case SessionUpdated():
                return self._updated(event, now_s)
            case SpeechStarted():
                return self._speech_started()
            case SpeechStopped():
                self._caller_speaks = False
                if self._turn_unanswered and self.gate.state is Gate.FREE:
                    self._timers.set(Timer.CREATED, now_s + CREATED_LIMIT_S)
                return [TurnEnded()]
            case Committed():
                return self._committed(event, now_s)
            case ItemAdded():
                return self._item_added(event)
            case CallerTranscript():
                return self._caller_text(event.item_id, event.transcript)
            case CallerTranscriptFailed():
                return self._caller_text(event.item_id, "")
            case TranscriptDone():
                return self._answer_text(event)
            case AudioDone():
                return self._finish_item(event.item_id)
            case ResponseCreated():
                self._timers.clear(Timer.IDLE)
                self._welcome_due = ""
                return self._response_created(event, now_s)
            case ResponseDone():
                return self._response_over(event.response, now_s)
            case ErrorEvent():
                return self._error(event.error, now_s)
            case Unknown(type=kind, fault=str(fault)):
                return [Note("model sent a misshapen event", {"type": kind, "fault": fault})]
            case Unknown():
                return []

    def tick(self, now_s: float) -> list[Action]:
        """Deadlines have passed."""
        actions: list[Action] = []
        for timer in self._timers.due(now_s):
            match timer:
                case Timer.CREATED:
                    actions += self._answer_missing(now_s)
                case Timer.STUCK:
                    actions += self._answer_stuck(now_s)
                case Timer.WELCOME:
                    actions += self._welcome_over(now_s)
                case Timer.DIGITS:
                    actions += self._keys(self._digits.take(), now_s)
                case Timer.CONTROL:
                    actions += self._act()
                case Timer.IDLE:
                    actions += self._nobody_speaks(now_s)
                case Timer.LONGEST_CALL:
                    actions += self._end_by_bridge(wording.TIME_IS_UP, now_s, final=True)
                case str(item_id):
                    actions += self._caller_text(item_id, "")
        return actions

    def silenced(
        self, heard: list[Heard], now_s: float, items: frozenset[str] | None = None
    ) -> list[Action]:
        """Playback was stopped; this is what the caller had heard of each item."""
        return super().silenced(heard, now_s, items) + self._welcome_over(now_s)

    def item_heard(self, item_id: str, now_s: float) -> list[Action]:
        """The caller has heard this item to its end."""
        self._answers.heard(item_id)
        self._transcripts.fate(item_id, Fate.HEARD)
        return self._said() + self._welcome_over(now_s) + self._all_quiet(now_s)

    def key_pressed(self, digit: str, now_s: float) -> list[Action]:
        """A key of the caller's keypad."""
        actions: list[Action] = []
        self._timers.clear(Timer.IDLE)
        self._idle_asked = False
        if self._talk.dtmf_interrupts and self.phase is Phase.READY:
            actions += self._silence_answer()
        entry = self._digits.press(digit)
        if entry is None:
            self._timers.set(Timer.DIGITS, now_s + self._talk.dtmf_timeout_ms / 1000)
            return actions
        return actions + self._keys(entry, now_s)

    def fall_back_to_pcm(self) -> list[Action]:
        """The model ignores G.711 although it agreed to it: ask for PCM in both directions."""
        self._requested = self._from_model = PCM16_24K
        return [Send(UpdateSession(audio_formats_only(PCM16_24K), self._event_id()))]

    # -- session ----------------------------------------------------------------------------

    def _created(self, event: SessionCreated) -> list[Action]:
        if self.phase is not Phase.OPENING:
            return []
        self.phase = Phase.CONFIGURING
        self._setup_event_id = self._event_id()
        session = session_object(
            self._config,
            self._instructions,
            self._requested,
            tools=self._tools,
            interruptible=not self._protected,
        )
        return [Send(UpdateSession(session, self._setup_event_id))]

    def _updated(self, event: SessionUpdated, now_s: float) -> list[Action]:
        if self.phase is Phase.OPENING:
            return []
        to_model = format_in(event.session, "input", self._requested)
        from_model = format_in(event.session, "output", self._requested)
        if to_model is None or from_model is None:
            return [GiveUp("the model asks for an audio format that the bridge does not speak")]
        as_requested = to_model == from_model == self._requested
        if self._from_model is self._requested:
            self._from_model = from_model
        self.phase = Phase.READY
        actions: list[Action] = [FormatsAgreed(to_model, from_model, as_requested)]
        if self._greeting_due:
            self._greeting_due = False
            actions += self._greet(now_s)
            for entry in self._early_entries:
                actions += self._keys(entry, now_s)
        return actions

    def _greet(self, now_s: float) -> list[Action]:
        text = self._talk.welcome_message
        if self._talk.greeting_file:
            if text:
                said = text_item("assistant", text)
                return [Say("agent", text), Send(CreateItem(said, self._event_id()))]
            return [self._tell_model(wording.GREETING_PLAYED)]
        if not text:
            return self._ask(now_s)
        self._timers.set(Timer.WELCOME, now_s + WELCOME_LIMIT_S)
        self._welcome_due = text
        return self._ask(now_s)

    def _create_response(self, now_s: float) -> list[Action]:
        if not self._welcome_due:
            return super()._create_response(now_s)
        self._timers.set(Timer.CREATED, now_s + CREATED_LIMIT_S)
        words = wording.welcome(self._instructions, self._welcome_due)
        return [Send(SpeakWords(self._welcome_due, words, self._event_id()))]

    def _welcome_over(self, now_s: float) -> list[Action]:
        """The welcome was heard, or will not be: the caller may interrupt from now on."""
        if not self._protected:
            return []
        self._protected = False
        self._timers.clear(Timer.WELCOME)
        partial = turn_detection_only(self._config)
        actions: list[Action] = [Send(UpdateSession(partial, self._event_id()))]
        if self._turn_unanswered:
            actions += self._ask(now_s)
        return actions

    # -- the caller's turns -----------------------------------------------------------------

    def _speech_started(self) -> list[Action]:
        self._caller_speaks = True
        self._timers.clear(Timer.IDLE)
        self._idle_asked = False
        if not self._may_be_interrupted():
            return []
        actions = self._call_off()
        interrupt = Interrupt(self._answers.open_items)
        self._kill_answer()
        return [interrupt, *actions]

    def _may_be_interrupted(self) -> bool:
        return self._config.interruptible and not self._protected

    def _committed(self, event: Committed, now_s: float) -> list[Action]:
        self._caller_speaks = False
        self._turn_unanswered = True
        if self.gate.state is Gate.FREE:
            self._timers.set(Timer.CREATED, now_s + CREATED_LIMIT_S)
        if event.item_id:
            self._transcripts.expect(event.item_id, event.previous_item_id)
            self._timers.set(event.item_id, now_s + TRANSCRIPT_LIMIT_S)
        return []

    def _caller_text(self, item_id: str | None, text: str) -> list[Action]:
        if item_id is None:  # a server that does not say whose text it is
            return [Say("user", text)] if text else []
        self._timers.clear(item_id)
        self._transcripts.user_text(item_id, text)
        return self._said()

    def _keys(self, entry: str, now_s: float) -> list[Action]:
        self._timers.clear(Timer.DIGITS)
        if not entry:
            return []
        if self.phase is not Phase.READY:
            self._early_entries.append(entry)
            return []
        item = text_item("user", wording.keys_pressed(entry))
        return [Send(CreateItem(item, self._event_id())), *self._ask(now_s)]

    def _response_over(self, response: ResponseInfo, now_s: float) -> list[Action]:
        actions = self._response_done(response, now_s)
        if self._turn_unanswered and self.gate.state is Gate.FREE and not self._caller_speaks:
            # Taken while an answer ran that it may not interrupt, or its answer failed.
            self._timers.set(Timer.CREATED, now_s + UNANSWERED_S)
        if self._protected and not self._answers.unheard:
            actions += self._welcome_over(now_s)  # a welcome without sound
        return actions + self._all_quiet(now_s)

    # -- errors -----------------------------------------------------------------------------

    def _error(self, error: ErrorDetail, now_s: float) -> list[Action]:
        words = error.message or error.code or "no reason given"
        if self._refuses_setup(error):
            return [GiveUp(f"the model refuses the session: {words}")]
        if error.code == "conversation_already_has_active_response":
            return self._create_response(now_s) if self.gate.lost_the_race() else []
        fields = {"code": error.code, "param": error.param}
        match severity_of(error):
            case Severity.NOISE:
                return [Note("harmless error from the model", fields)]
            case Severity.REPORT:
                return [Note("error from the model", fields, severe=True), Tell(words)]
            case Severity.FATAL:
                return [GiveUp(f"the model refuses the call: {words}")]

    def _refuses_setup(self, error: ErrorDetail) -> bool:
        """Whether this answers our `session.update`; some rejections do not echo its id."""
        if self.phase is not Phase.CONFIGURING:
            return False
        if error.event_id:
            return error.event_id == self._setup_event_id
        return error.type == "invalid_request_error"
