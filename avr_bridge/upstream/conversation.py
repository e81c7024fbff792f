"""The conversation with the model as a state machine without I/O, clock or log.

Server events and what the call tells in, actions out; every method takes the present time in
seconds, and `next_deadline_s` says when `tick` is due. Every rule about turns stands here:

- **Set-up** (`setup.py`): one complete update; nothing is said or asked before it is in force.
- **Gate** (`gate.py`): one response at a time; our requests wait behind the running one.
- **Barge-in**: `speech_started` makes the running response dead. What was queued of it is to be
  dropped, deltas of it that are still in flight are ignored by id, and when the call reports
  what was heard, the model is told to forget the rest (`answers.py`). The server cancels the
  response itself; we cancel only where it cannot know (a key, not a voice, interrupts).
- **Welcome** (`welcome.py`): until it was heard the caller may not interrupt; their turn is
  answered afterwards.
- **Tools**: calls of a completed response run together; their outputs go back when all of them
  are done, then one response is asked for.
- **Call control** (`control.py`): acts when the goodbye was heard.
- **Transcript** (`transcripts.py`): in conversation order, an answer's when it was heard or cut.
- **Sessions** (`resuming.py`): one is lost, the conversation goes on in another.

It does not convert audio, pace it, or run a tool.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import attrs

from avr_bridge.audio.format import PCM16_24K
from avr_bridge.upstream import wording
from avr_bridge.upstream.actions import (
    Action,
    FormatsAgreed,
    GiveUp,
    Note,
    Send,
    Tell,
    Watchdog,
)
from avr_bridge.upstream.answering import STUCK_LIMIT_S, Timer
from avr_bridge.upstream.closing import GREETING_ITEM
from avr_bridge.upstream.commands import (
    UpdateSession,
    audio_formats_only,
)
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
    TranscriptDelta,
    TranscriptDone,
    Unknown,
)
from avr_bridge.upstream.formats import requested_format
from avr_bridge.upstream.gate import Gate
from avr_bridge.upstream.setup import Agreed, Phase, SessionSetup
from avr_bridge.upstream.transcripts import Fate
from avr_bridge.upstream.welcome import Welcome

if TYPE_CHECKING:
    from avr_bridge.audio.playback import Heard
    from avr_bridge.config import ModelConfig, TalkConfig
    from avr_bridge.upstream.events import ResponseInfo

__all__ = ["Conversation", "Phase"]

NO_COMMON_FORMAT = "the model asks for an audio format that the bridge does not speak"

UNANSWERED_S = 2.0
"""How long the server may take to answer, by itself, a turn that it could not answer before."""


class Conversation(Welcome):
    """One conversation with the model, in one session after another. Feed it what happens; carry
    out what it returns.

    Args:
        config: The model's settings.
        talk: How the call is conducted.
        instructions: The system prompt of this call.
        tools: Entries for the session's tools.
        spare_voice: Asked for where the server refuses the voice of `config`.
    """

    def __init__(
        self,
        config: ModelConfig,
        talk: TalkConfig,
        instructions: str,
        *,
        tools: list[dict[str, Any]] | None = None,
        spare_voice: str | None = None,
    ) -> None:
        super().__init__(config, talk, instructions)
        self._tool_entries = tools or []
        self._spare_voice = spare_voice
        self._requested = requested_format(config)
        self._pcm_forced = False
        self._greeting_due = True
        self._setup = self.new_setup()

    def new_setup(self) -> SessionSetup:
        """Another session for the same conversation."""
        return SessionSetup(
            self._config,
            self._instructions,
            self._requested,
            tools=self._tool_entries,
            interruptible=not self._protected,
        )

    @property
    def expires_at_s(self) -> float | None:
        """When the server ends this session, in unix seconds; None if it does not say."""
        return self._setup.expires_at_s

    @property
    def model(self) -> str:
        """The model that serves, as the server calls it; as we do where it does not say."""
        return self._setup.model or self._config.model

    @property
    def answers(self) -> bool:
        """An answer is being generated."""
        return self.gate.state is Gate.ACTIVE

    @property
    def rests(self) -> bool:
        """Nothing is said, asked or waited for: a moment to change sessions unnoticed."""
        busy = self.gate.state is not Gate.FREE or self._turn_unanswered or self._turn_kept
        return not (busy or self._caller_speaks or self._tools.running or self._answers.unheard)

    @property
    def phase(self) -> Phase:
        """How far the session has been set up."""
        return self._setup.phase

    @property
    def next_deadline_s(self) -> float:
        """When `tick` is due; infinity if nothing is waited for."""
        return self._timers.next_s

    # -- what happens -----------------------------------------------------------------------

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
                self._welcome_due = ""
                played = self._audio(event)
                return self._keep_turn(on=self._caller_speaks) + played if played else []
            case SessionCreated():
                return self._created(event)
            case SessionUpdated():
                return self._updated(event, now_s)
            case SpeechStarted():
                return self._speech_started(event, now_s)
            case SpeechStopped():
                return self._speech_stopped(now_s)
            case Committed():
                return self._committed(event, now_s)
            case ItemAdded():
                return self._item_added(event)
            case CallerTranscript():
                return self._caller_text(event.item_id, event.transcript)
            case CallerTranscriptFailed():
                return self._caller_text(event.item_id, "")
            case TranscriptDelta(delta=words, item_id=item_id):
                self._history.add_text(item_id, words)
                return []
            case TranscriptDone():
                return self._answer_text(event)
            case AudioDone():
                return self._finish_item(event.item_id)
            case ResponseCreated():
                self._timers.clear(Timer.IDLE)
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
                case Timer.ASK_AGAIN:
                    actions += self._ask_again(now_s)
                case Timer.STUCK:
                    actions += self._answer_stuck(Watchdog.ANSWER_STUCK, now_s)
                case Timer.FIRST_AUDIO:
                    actions += self._answer_stuck(Watchdog.NO_FIRST_AUDIO, now_s)
                case Timer.WELCOME:
                    actions += self._welcome_over(now_s)
                case Timer.DIGITS:
                    actions += self._keys(self._digits.take(), now_s)
                case Timer.CONTROL:
                    actions += self._act()
                case Timer.IDLE:
                    actions += self._nobody_speaks(now_s)
                case Timer.SPEECH:
                    actions += self._speech_without_end(now_s)
                case Timer.LONGEST_CALL:
                    actions += self._end_by_bridge(wording.TIME_IS_UP, now_s, final=True)
                case Timer.BUDGET:
                    actions += self._wrap_up(now_s)
                case str(item_id):
                    actions += self._caller_text(item_id, "")
        return actions

    def silenced(
        self, heard: list[Heard], now_s: float, items: frozenset[str] | None = None
    ) -> list[Action]:
        """Playback was stopped; this is what the caller had heard of each item."""
        for position in heard:
            if position.item_id == GREETING_ITEM:
                return [
                    *self.greeting_over(now_s, whole=position.whole),
                    *super().silenced(heard, now_s, items),
                ]
        return super().silenced(heard, now_s, items) + self._welcome_over(now_s)

    def item_heard(self, item_id: str, now_s: float) -> list[Action]:
        """The caller has heard this item to its end."""
        self._answers.heard(item_id)
        self._transcripts.fate(item_id, Fate.HEARD)
        return self._said() + self._welcome_over(now_s) + self._all_quiet(now_s)

    def fall_back_to_pcm(self) -> list[Action]:
        """The model ignores G.711 although it agreed to it: ask for PCM in both directions."""
        self._requested = self._from_model = PCM16_24K
        self._pcm_forced = True
        return [Send(UpdateSession(audio_formats_only(PCM16_24K), self._event_id()))]

    # -- session ----------------------------------------------------------------------------

    def _created(self, event: SessionCreated) -> list[Action]:
        command = self._setup.created(event, self._event_id())
        return [Send(command)] if command else []

    def _updated(self, event: SessionUpdated, now_s: float) -> list[Action]:
        if self.phase is Phase.OPENING:
            return []
        in_force_before = self.phase is Phase.READY  # of a partial update, or of nobody's
        agreed = self._setup.updated(event)
        if agreed is None:
            return [GiveUp(NO_COMMON_FORMAT)]
        return self._agreed(agreed, now_s, in_force_before=in_force_before)

    def go_on_in(self, setup: SessionSetup, agreed: Agreed, now_s: float) -> list[Action]:
        """Another session was set up meanwhile; call `session_lost` before."""
        self._setup = setup
        return self._agreed(agreed, now_s, in_force_before=False)

    def _agreed(self, agreed: Agreed, now_s: float, *, in_force_before: bool) -> list[Action]:
        if not self._pcm_forced:
            self._from_model = agreed.from_model
        actions: list[Action] = [
            FormatsAgreed(agreed.to_model, agreed.from_model, agreed.as_requested)
        ]
        if in_force_before:
            return actions
        if not self._protected and not self._setup.interruptible:
            actions += self._send(self._interruptible_session())  # the welcome was heard meanwhile
        if not self._greeting_due:
            actions = self._replayed() + actions + self._take_up(now_s) + self._early_keys(now_s)
            counts = self._timers.is_set(Timer.IDLE)
            return actions if counts else actions + self._all_quiet(now_s)
        self._greeting_due = False
        return actions + self._greet(now_s) + self._early_keys(now_s)

    def session_lost(self, now_s: float) -> list[Action]:
        """The session is gone or given up. Feed the events of another one from now on."""
        if self.phase is not Phase.READY:
            self._setup = self.new_setup()
            return []
        actions = self._lose_session()
        if self._turn_kept and self._turn_item:
            self._history.forget(self._turn_item)  # its sound goes over instead
        self._setup = self.new_setup()
        if self._answer_due or self._tools.running:
            actions += self._sound_waiting(on=True)
        return actions

    def _response_over(self, response: ResponseInfo, now_s: float) -> list[Action]:
        actions = self._response_done(response, now_s)
        if self._turn_unanswered and self.gate.state is Gate.FREE and not self._caller_speaks:
            # Taken while an answer ran that it may not interrupt, or its answer failed.
            self._timers.set(Timer.ASK_AGAIN, now_s + UNANSWERED_S)
        if response.status != "failed" and not self._asked_again:
            self._welcome_due = ""
        if response.status in ("completed", "incomplete"):
            actions += self._keep_turn(on=self._caller_speaks)
        if self.gate.state is Gate.FREE and not self._tools.running:
            actions += self._sound_waiting(on=False)
        if self._protected and not self._answers.unheard and not self._welcome_due:
            actions += self._welcome_over(now_s)  # a welcome without sound
        return actions + self._all_quiet(now_s)

    # -- errors -----------------------------------------------------------------------------

    def _refused(self, error: ErrorDetail, words: str) -> list[Action]:
        """The session is not set up: no harm if it is only for a call's own voice."""
        if self._spare_voice and (error.param or "").endswith("voice"):
            note = Note("the call's own voice was refused", {"param": error.param}, severe=True)
            self._config = attrs.evolve(cast("Any", self._config), voice=self._spare_voice)
            self._spare_voice = None
            self._setup = self.new_setup()
            return [note, *self._created(SessionCreated({}))]
        hint = "" if self._config.dialect == "auto" else "; OPENAI_DIALECT=auto finds out by itself"
        return [GiveUp(f"the model refuses the session: {words}{hint}")]

    def _error(self, error: ErrorDetail, now_s: float) -> list[Action]:
        words = error.message or error.code or "no reason given"
        if self._setup.is_refused_by(error):
            return self._refused(error, words)
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
