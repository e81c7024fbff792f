"""What `conversation.py` decides is to be done; `call/conversation.py` does it.

Values only.
"""

from __future__ import annotations

import enum
from typing import Any

import attrs

from avr_bridge.audio.format import AudioFormat
from avr_bridge.upstream.commands import Command
from avr_bridge.upstream.control import Control

__all__ = [
    "Abandon",
    "Act",
    "Action",
    "Alarm",
    "AnswerMeasured",
    "FinishItem",
    "FormatsAgreed",
    "GiveUp",
    "Interrupt",
    "KeepTurn",
    "Note",
    "Play",
    "RunTool",
    "Say",
    "Send",
    "Tell",
    "TurnEnded",
    "Waiting",
    "Watchdog",
]


@attrs.frozen
class Send:
    """Send this command to the model."""

    command: Command


@attrs.frozen
class FormatsAgreed:
    """The session is in force: audio to the model and from it is in these formats from now."""

    to_model: AudioFormat
    from_model: AudioFormat
    as_requested: bool


@attrs.frozen
class Play:
    """Sound of an answer, in the session's output format, for the caller."""

    item_id: str
    data: bytes


@attrs.frozen
class AnswerMeasured:
    """How much sound an answer had, by its bytes and, by its bill, in time.

    Generated audio is billed at one token for 50 ms, so the two tell the true format.
    """

    audio_bytes: int
    billed_ms: int


@attrs.frozen
class FinishItem:
    """No more sound for this item: pad and flush what is left of it."""

    item_id: str


@attrs.frozen
class Interrupt:
    """The caller speaks: drop what is queued, silence what was sent ahead.

    Attributes:
        items: Those of which the caller has still to hear something; to be handed back with
            what was heard, because others may have begun by then.
    """

    items: frozenset[str] = frozenset()


@attrs.frozen
class RunTool:
    """Run this tool; then tell the conversation by `tool_done`."""

    call_id: str
    name: str
    arguments: str


@attrs.frozen
class KeepTurn:
    """Keep the sound of the caller's turn (or, False, no longer): if the session is lost now,
    it is the only thing that knows what they said."""

    on: bool


class Watchdog(enum.Enum):
    """A wait that took too long. The value is the name in logs and metrics."""

    SESSION_SETUP = "session_setup"
    ANSWER_MISSING = "answer_missing"
    ANSWER_STUCK = "answer_stuck"
    NO_FIRST_AUDIO = "no_first_audio"
    STALLED_AFTER_TOOL = "stalled_after_tool"
    SPEECH_WITHOUT_END = "speech_without_end"
    TOOL_STUCK = "tool_stuck"
    PINGS_UNANSWERED = "pings_unanswered"


@attrs.frozen
class Alarm:
    """A watchdog has barked: for the log and the count. What is done about it follows."""

    watchdog: Watchdog


@attrs.frozen
class Waiting:
    """Tools run, or (False) no longer: the caller may hear a sound meanwhile."""

    on: bool


@attrs.frozen
class Act:
    """Hang up or transfer now: the goodbye was heard, or waited for long enough."""

    control: Control


@attrs.frozen
class TurnEnded:
    """The caller stopped speaking, as the server hears it; an answer is due."""


@attrs.frozen
class Say:
    """A finished piece of transcript; `role` is ``user`` or ``agent``.

    Attributes:
        cut: Only the beginning of it was heard; `text` says so at its end.
    """

    role: str
    text: str
    cut: bool = False


@attrs.frozen
class Tell:
    """Tell avr-core of an error that the call survives."""

    message: str


@attrs.frozen
class Note:
    """Something for the log only. `fields` hold no content of the conversation."""

    event: str
    fields: dict[str, Any] = attrs.field(factory=dict)
    severe: bool = False


@attrs.frozen
class Abandon:
    """This session is of no use any more; a new one may be."""

    message: str


@attrs.frozen
class GiveUp:
    """The session cannot serve this call; trying again with these settings cannot help."""

    message: str


Action = (
    Send
    | FormatsAgreed
    | Play
    | AnswerMeasured
    | FinishItem
    | Interrupt
    | TurnEnded
    | RunTool
    | Waiting
    | Act
    | Say
    | Tell
    | Note
    | Abandon
    | Alarm
    | KeepTurn
    | GiveUp
)
