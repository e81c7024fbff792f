"""One place where a call tells what happens: moments, each with its time, to whoever listens.

Told by the tasks of `call/`; listened to by metrics, by the summary at the call's end, and by what
a program brings along. Values and one small class: no clock, no queue, no trio. It tells nothing of
single frames of sound, of which there are fifty a second.

A listener is called at once, in the task that tells, so it must neither block nor raise.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import attrs

from avr_bridge.telemetry.logs import get_logger
from avr_bridge.telemetry.summary import CallSummary
from avr_bridge.telemetry.usage import Usage

__all__ = [
    "AnswerOver",
    "AnswerStarted",
    "CallBegan",
    "CallEnded",
    "FirstSound",
    "Interrupted",
    "Journal",
    "KeyPressed",
    "Listener",
    "Moment",
    "ResponseDone",
    "SessionLost",
    "SessionReady",
    "SessionRenewed",
    "SpeechStarted",
    "SpeechStopped",
    "ToolDone",
    "ToolOutcome",
    "ToolStarted",
    "Transcribed",
    "Transcript",
    "WaitedTooLong",
]

type ToolOutcome = Literal["ok", "error", "timeout", "cancelled"]


@attrs.frozen
class Moment:
    """Something that happened in a call, at `at_s` by Trio's clock."""

    at_s: float


@attrs.frozen
class CallBegan(Moment):
    """The caller has said which call this is. The first moment of a call, but for those that never
    say so: of them only `CallEnded` is told.

    Attributes:
        metadata: What is known of the call from outside; values such as the caller's number.
        transport: How the caller came: ``websocket``, ``http``, or the `kind` of another transport;
            ``embedded`` for one that has none.
    """

    uuid: str
    metadata: Mapping[str, str]
    transport: str


@attrs.frozen
class SessionReady(Moment):
    """A session with the model is in force.

    Attributes:
        setup_ms: Since it was wanted, all attempts together. For the first one since the call
            began, for a lost one since the loss; for one that was renewed the call did not wait.
        model: As the server calls it; as we asked for it where the server does not say.
        again: It is not the call's first.
    """

    setup_ms: float
    model: str
    again: bool


@attrs.frozen
class FirstSound(Moment):
    """The first sound of the call leaves for the caller: a recording or an answer. `after_ms` is
    since the caller's side connected."""

    after_ms: float


@attrs.frozen
class SpeechStarted(Moment):
    """The model hears the caller speak."""


@attrs.frozen
class SpeechStopped(Moment):
    """The model hears that the caller has stopped; the pause it waited for is over by then."""


@attrs.frozen
class AnswerStarted(Moment):
    """The first sound of an answer leaves for the caller.

    Attributes:
        latency_ms: Since `SpeechStopped`; None if the caller had not spoken since the last answer:
            a greeting, an answer to keys, what follows a tool.
    """

    latency_ms: float | None


@attrs.frozen
class AnswerOver(Moment):
    """The caller has heard to its end what was being said, and nothing waits behind it. Of what is
    stopped before that, `Interrupted` tells in its place."""


@attrs.frozen
class Interrupted(Moment):
    """What the caller was hearing was stopped: they spoke, or pressed a key, or it was of no use.

    Attributes:
        stop_ms: From the model's word, or the key, until the caller's side was told.
        heard_ms: How much of the answer that was cut they had heard; None if all of it.
        position_error_ms: By how much the time alone would have been wrong about what was played
            by then; None where nobody tells what was.
    """

    stop_ms: float
    heard_ms: float | None
    position_error_ms: float | None = None


@attrs.frozen
class Transcript(Moment):
    """A finished piece of what was said, in the order of the conversation; `role` is ``user`` or
    ``agent``. `cut`: only the beginning of it was heard."""

    role: str
    text: str
    cut: bool = False


@attrs.frozen
class KeyPressed(Moment):
    """A key of the caller's keypad."""

    digit: str


@attrs.frozen
class ToolStarted(Moment):
    """A tool begins to run. `name` is the model's word: there may be no such tool."""

    name: str


@attrs.frozen
class ToolDone(Moment):
    """A tool came to its end; ``cancelled``: the call did before."""

    name: str
    outcome: ToolOutcome
    took_ms: float


@attrs.frozen
class ResponseDone(Moment):
    """The model has generated an answer; its sound may play on for long.

    Attributes:
        status: ``completed``, ``cancelled``, ``failed`` or ``incomplete``; ``lost`` if the session
            ended before the answer did, so that its bill will not be known.
        usage: Tokens, of one that was cut off too; None if the server says nothing of them.
        cost_usd: What they cost by the list of prices; None if that is not known.
    """

    status: str
    usage: Usage | None
    cost_usd: float | None


@attrs.frozen
class Transcribed(Moment):
    """The caller's words were transcribed, which is billed apart. `usage` and `cost_usd` are as of
    `ResponseDone`."""

    usage: Usage | None
    cost_usd: float | None


@attrs.frozen
class SessionLost(Moment):
    """The session with the model broke; another one is tried."""

    reason: str


@attrs.frozen
class SessionRenewed(Moment):
    """The call changed over to another session, before the server ended the old one."""


@attrs.frozen
class WaitedTooLong(Moment):
    """A watchdog barked; `watchdog` is its name in logs and metrics."""

    watchdog: str


@attrs.frozen
class CallEnded(Moment):
    """The call is over and its transport closed. The last moment."""

    summary: CallSummary


type Listener = Callable[[str, Moment], None]
"""Told the call's uuid and what happened."""


class Journal:
    """One call's.

    Args:
        listeners: Each is told every moment, in this order. One that raises is logged, and told
            nothing more of this call.

    Attributes:
        uuid: The call's; empty until `CallBegan`.
    """

    def __init__(self, listeners: Sequence[Listener] = ()) -> None:
        self.uuid = ""
        self._listeners = tuple(listeners)

    def tell(self, moment: Moment) -> None:
        """Something has happened. Never raises."""
        if isinstance(moment, CallBegan):
            self.uuid = moment.uuid
        for listener in self._listeners:
            try:
                listener(self.uuid, moment)
            except Exception as error:
                self._listeners = tuple(one for one in self._listeners if one is not listener)
                self._log(listener, error)

    def _log(self, listener: Listener, error: Exception) -> None:
        """Where it raised and what, but not its words: they may be the call's content."""
        frame = traceback.extract_tb(error.__traceback__)[-1]
        get_logger().error(
            "a listener raised and is told no more of this call",
            call=self.uuid,
            listener=getattr(listener, "__qualname__", type(listener).__qualname__),
            error=type(error).__name__,
            at=f"{frame.filename}:{frame.lineno}",
        )
