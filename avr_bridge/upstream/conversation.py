"""The conversation with the model as a state machine without I/O, clock or log.

Server events in, actions out. Every rule about the state of turns and responses stands here:

- **Phase**: a session is `OPENING` until `session.created`, `CONFIGURING` until the one complete
  `session.update` is answered by `session.updated`, then `READY`. Audio sent before that would
  be heard as 24 kHz PCM by a model with a default prompt, and would lock the voice.
- **Gate**: the default conversation has at most one active response, and its creator may be the
  server's turn detection. We ask only while the gate is `FREE`; requests made meanwhile are kept
  as one and sent when `response.done` frees it (or when the error `already has active response`
  arrives after that response is already done).
- **Barge-in**: `speech_started` makes the running response dead. What was queued of it is to be
  dropped, and deltas of it that are still in flight are ignored by id.

It does not convert audio, pace it, or know whether the caller has heard it.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any

from avr_bridge.audio.format import ALAW_8K, PCM16_24K, ULAW_8K, AudioFormat, Encoding
from avr_bridge.upstream.actions import (
    Action,
    AnswerMeasured,
    FinishItem,
    FormatsAgreed,
    GiveUp,
    Interrupt,
    Note,
    Play,
    Say,
    Send,
    Tell,
    TurnEnded,
)
from avr_bridge.upstream.commands import (
    CreateItem,
    CreateResponse,
    UpdateSession,
    audio_formats_only,
    function_output,
    session_object,
)
from avr_bridge.upstream.error_codes import Severity, severity_of
from avr_bridge.upstream.events import (
    AudioDelta,
    AudioDone,
    CallerTranscript,
    ErrorDetail,
    ErrorEvent,
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

if TYPE_CHECKING:
    from avr_bridge.config import ModelConfig

__all__ = ["Conversation", "Phase", "requested_format"]

_REQUESTED = {"pcmu": ULAW_8K, "pcma": ALAW_8K, "pcm": PCM16_24K}
_BY_NAME = {
    Encoding.ULAW.value: ULAW_8K,
    Encoding.ALAW.value: ALAW_8K,
    Encoding.PCM16.value: PCM16_24K,
}


class Phase(enum.Enum):
    """How far the session has been set up."""

    OPENING = "opening"
    CONFIGURING = "configuring"
    READY = "ready"


class Gate(enum.Enum):
    """State of the one response that the default conversation may have."""

    FREE = "free"
    REQUESTED = "requested"
    ACTIVE = "active"


def requested_format(config: ModelConfig) -> AudioFormat:
    """The format that the settings ask for, in both directions."""
    return _REQUESTED[config.audio_format]


class Conversation:
    """One session with the model. Feed it every server event; carry out what it returns.

    Args:
        config: The model's settings.
        instructions: The system prompt of this call.
        model_speaks_first: Ask for a greeting once the session is ready.
    """

    def __init__(
        self, config: ModelConfig, instructions: str, *, model_speaks_first: bool = True
    ) -> None:
        self._config = config
        self._instructions = instructions
        self._requested = requested_format(config)
        self._greeting_due = model_speaks_first
        self.phase = Phase.OPENING
        self.gate = Gate.FREE
        self.expires_at_s: float | None = None
        self._request_pending = False
        self._active_response: str | None = None
        self._dead_response: str | None = None
        self._open_item: str | None = None
        self._answer_bytes = 0
        self._commands_made = 0
        self._setup_event_id = ""

    # -- what may happen ------------------------------------------------------------------

    def handle(self, event: ServerEvent | Unknown) -> list[Action]:
        """Take one server event; return what is to be done, in order."""
        match event:
            case AudioDelta():
                return self._audio(event)
            case SessionCreated():
                return self._created(event)
            case SessionUpdated():
                return self._updated(event)
            case SpeechStarted():
                return self._barge_in()
            case SpeechStopped():
                return [TurnEnded()]
            case CallerTranscript():
                return [Say("user", event.transcript)] if event.transcript else []
            case TranscriptDone():
                return [Say("agent", event.transcript)] if event.transcript else []
            case AudioDone():
                return self._finish_item(event.item_id)
            case ResponseCreated():
                return self._response_created(event)
            case ResponseDone():
                return self._response_done(event)
            case ErrorEvent():
                return self._error(event.error)
            case Unknown(type=kind, fault=str(fault)):
                return [Note("model sent a misshapen event", {"type": kind, "fault": fault})]
            case Unknown():
                return []

    def request_response(self) -> list[Action]:
        """Ask for an answer: now, or as soon as the running one is done."""
        if self.gate is not Gate.FREE:
            self._request_pending = True
            return []
        self._request_pending = False
        self.gate = Gate.REQUESTED
        return [Send(CreateResponse(self._event_id()))]

    def fall_back_to_pcm(self) -> list[Action]:
        """The model ignores G.711 although it agreed to it: ask for PCM in both directions."""
        session = audio_formats_only(PCM16_24K)
        self._requested = PCM16_24K
        return [Send(UpdateSession(session, self._event_id()))]

    # -- session --------------------------------------------------------------------------

    def _created(self, event: SessionCreated) -> list[Action]:
        if self.phase is not Phase.OPENING:
            return []
        self.phase = Phase.CONFIGURING
        self._note_expiry(event.session)
        self._setup_event_id = self._event_id()
        session = session_object(self._config, self._instructions, self._requested)
        return [Send(UpdateSession(session, self._setup_event_id))]

    def _updated(self, event: SessionUpdated) -> list[Action]:
        if self.phase is Phase.OPENING:
            return []
        self._note_expiry(event.session)
        to_model = _format_in(event.session, "input", self._requested)
        from_model = _format_in(event.session, "output", self._requested)
        if to_model is None or from_model is None:
            return [GiveUp("the model asks for an audio format that the bridge does not speak")]
        as_requested = to_model == from_model == self._requested
        self.phase = Phase.READY
        actions: list[Action] = [FormatsAgreed(to_model, from_model, as_requested)]
        if self._greeting_due:
            self._greeting_due = False
            actions += self.request_response()
        return actions

    def _note_expiry(self, session: dict[str, Any]) -> None:
        expires_at = session.get("expires_at")
        if isinstance(expires_at, int | float):
            self.expires_at_s = float(expires_at)

    # -- answers --------------------------------------------------------------------------

    def _response_created(self, event: ResponseCreated) -> list[Action]:
        self.gate = Gate.ACTIVE
        self._active_response = event.response.id
        self._answer_bytes = 0
        return []

    def _response_done(self, event: ResponseDone) -> list[Action]:
        self.gate = Gate.FREE
        self._active_response = None
        self._dead_response = None
        actions = self._finish_item(self._open_item)
        response = event.response
        if self._answer_bytes and response.billed_audio_ms:
            actions.append(AnswerMeasured(self._answer_bytes, response.billed_audio_ms))
        if response.status == "failed":
            actions += self._response_failed(response.error or ErrorDetail())
        actions += self._refuse_tools(response.output or [])
        if self._request_pending:
            actions += self.request_response()
        return actions

    def _response_failed(self, error: ErrorDetail) -> list[Action]:
        words = error.message or error.code or "no reason given"
        if severity_of(error) is Severity.FATAL:
            return [GiveUp(f"the model refuses to answer: {words}")]
        note = Note("an answer failed", {"code": error.code}, severe=True)
        return [note, Tell(f"an answer failed: {words}")]

    def _refuse_tools(self, output: list[dict[str, Any]]) -> list[Action]:
        """No tool is offered, but models have called some all the same: answer in words."""
        refused: list[Action] = []
        for item in output:
            if item.get("type") == "function_call" and item.get("status") == "completed":
                name, call_id = item.get("name"), str(item.get("call_id"))
                refused.append(Note("model called a tool that does not exist", severe=True))
                answer = function_output(call_id, f"There is no tool named {name}.")
                refused.append(Send(CreateItem(answer, self._event_id())))
        if refused:
            self._request_pending = True
        return refused

    def _audio(self, event: AudioDelta) -> list[Action]:
        self._answer_bytes += len(event.delta)
        if event.response_id is not None and event.response_id == self._dead_response:
            return []
        actions: list[Action] = []
        if self._open_item not in (None, event.item_id):
            actions += self._finish_item(self._open_item)
        self._open_item = event.item_id
        if event.delta:
            actions.append(Play(event.item_id, event.delta))
        return actions

    def _finish_item(self, item_id: str | None) -> list[Action]:
        if item_id is None or item_id != self._open_item:
            return []
        self._open_item = None
        return [FinishItem(item_id)]

    def _barge_in(self) -> list[Action]:
        if self.gate is Gate.ACTIVE:
            self._dead_response = self._active_response
        self._open_item = None
        return [Interrupt()]

    # -- errors ---------------------------------------------------------------------------

    def _error(self, error: ErrorDetail) -> list[Action]:
        words = error.message or error.code or "no reason given"
        if self._refuses_setup(error):
            return [GiveUp(f"the model refuses the session: {words}")]
        if error.code == "conversation_already_has_active_response":
            return self._lost_the_race()
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

    def _lost_the_race(self) -> list[Action]:
        """Our request met another answer. That one may even be done already."""
        if self.gate is Gate.FREE:
            return self.request_response()
        self.gate = Gate.ACTIVE
        self._request_pending = True
        return []

    def _event_id(self) -> str:
        self._commands_made += 1
        return f"br-{self._commands_made}"


def _format_in(session: dict[str, Any], side: str, requested: AudioFormat) -> AudioFormat | None:
    """The format that a `session.updated` shows; `requested` if it shows none, None if unknown."""
    found = session
    for key in ("audio", side, "format"):
        inner = found.get(key)
        if not isinstance(inner, dict):
            return requested
        found = inner
    fmt = _BY_NAME.get(str(found.get("type")))
    if fmt is PCM16_24K and found.get("rate", 24_000) != 24_000:
        return None
    return fmt
