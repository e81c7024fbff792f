"""Setting a session up: `session.created`, our one complete update, `session.updated`.

Audio sent before the last of these would be heard as 24 kHz PCM by a model with a default prompt,
and would lock the voice. Knows nothing of turns; `conversation.py` owns the setup in force, and
one more while the next session is prepared.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any

import attrs

from avr_bridge.audio.format import AudioFormat
from avr_bridge.upstream.commands import UpdateSession, session_object
from avr_bridge.upstream.formats import format_in

if TYPE_CHECKING:
    from avr_bridge.config import ModelConfig
    from avr_bridge.upstream.events import ErrorDetail, SessionCreated, SessionUpdated

__all__ = ["Agreed", "Phase", "SessionSetup"]


class Phase(enum.Enum):
    """How far a session has been set up."""

    OPENING = "opening"
    CONFIGURING = "configuring"
    READY = "ready"


@attrs.frozen
class Agreed:
    """The audio formats in force."""

    to_model: AudioFormat
    from_model: AudioFormat
    as_requested: bool


class SessionSetup:
    """One session's.

    Args:
        config: The model's settings.
        instructions: The system prompt of this call.
        requested: The format asked for, in both directions.
        tools: Entries for the session's tools.
        interruptible: Whether the caller's speech ends an answer, to begin with.

    Attributes:
        interruptible: As it was asked for.
        expires_at_s: When the server will end the session, in unix seconds; None if unknown.
        model: That serves, as the server calls it; empty if it does not say.
    """

    def __init__(
        self,
        config: ModelConfig,
        instructions: str,
        requested: AudioFormat,
        *,
        tools: list[dict[str, Any]],
        interruptible: bool,
    ) -> None:
        self.phase = Phase.OPENING
        self.expires_at_s: float | None = None
        self.model = ""
        self.interruptible = interruptible
        self._requested = requested
        self._session = session_object(
            config, instructions, requested, tools=tools, interruptible=interruptible
        )
        self._event_id = ""
        self._agreed: Agreed | None = None

    def created(self, event: SessionCreated, event_id: str) -> UpdateSession | None:
        """The server is there: what to ask of it. None if it was asked before."""
        if self.phase is not Phase.OPENING:
            return None
        self.phase = Phase.CONFIGURING
        self._note(event.session)
        self._event_id = event_id
        return UpdateSession(self._session, event_id)

    def updated(self, event: SessionUpdated) -> Agreed | None:
        """What is in force; None for a format that the bridge does not speak."""
        self._note(event.session)
        before = self._agreed or Agreed(self._requested, self._requested, as_requested=True)
        to_model = format_in(event.session, "input", before.to_model)
        from_model = format_in(event.session, "output", before.from_model)
        if to_model is None or from_model is None:
            return None
        self.phase = Phase.READY
        as_requested = to_model == from_model == self._requested
        self._agreed = Agreed(to_model, from_model, as_requested)
        return self._agreed

    def is_refused_by(self, error: ErrorDetail) -> bool:
        """Whether this answers our `session.update`; some rejections do not echo its id."""
        if self.phase is not Phase.CONFIGURING:
            return False
        if error.event_id:
            return error.event_id == self._event_id
        return error.type == "invalid_request_error"

    def _note(self, session: dict[str, Any]) -> None:
        model = session.get("model")
        if isinstance(model, str) and model:
            self.model = model
        expires_at = session.get("expires_at")
        if isinstance(expires_at, int | float) and expires_at > 0:
            self.expires_at_s = float(expires_at)
