"""Why a call ended, and what is left of it afterwards."""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping

import attrs
import trio

from avr_bridge.caller.transport import Leaving
from avr_bridge.errors import AvrBridgeError

__all__ = ["CallEnding", "CallFailed", "CallSummary", "EndReason"]


class EndReason(enum.Enum):
    """Exactly one of these ends each call. The value is the name used in logs."""

    CALLER_HUNG_UP = "caller_hung_up"
    """The usual end: avr-core or Asterisk closed its connection."""

    CALLER_STALLED = "caller_stalled"
    """The caller's side no longer reads what it is sent."""

    CALLER_VANISHED = "caller_vanished"
    """The caller's machine or network is gone: nothing that was sent is acknowledged."""

    CALLER_SENT_NO_INIT = "caller_sent_no_init"
    """The caller connected and never said which call this is."""

    CALLER_SENT_NO_AUDIO = "caller_sent_no_audio"
    """No sound of the caller for ``AVR_NO_AUDIO_S``. Silence is sound; this is nothing at all."""

    CALLER_TOO_SLOW = "caller_too_slow"
    """The caller's sound came in drips, far below real time, or a message was never finished."""

    CALLER_FLOODED = "caller_flooded"
    """The caller sent messages or sound far faster than real time."""

    CALLER_MESSAGE_TOO_BIG = "caller_message_too_big"
    """The caller sent one message of over 1 MiB, or a frame of over a second of sound."""

    CALLER_BROKE_PROTOCOL = "caller_broke_protocol"
    """The caller sent what is no WebSocket frame, no UTF-8, or no AudioSocket."""

    CALLER_FORMAT_UNKNOWN = "caller_format_unknown"
    """The caller's leg has a codec, or a way of sending it, that the bridge cannot do."""

    MODEL_UNAVAILABLE = "model_unavailable"
    """The model could not be reached, or did not set the session up in time."""

    MODEL_REJECTED = "model_rejected"
    """The model refused the key, the model or the session: no retry helps."""

    MODEL_CLOSED = "model_closed"
    """The model's connection ended during the call."""

    MODEL_FAILED = "model_failed"
    """The model no longer answered, or only with failures, in a second session as well."""

    BRIDGE_HUNG_UP = "bridge_hung_up"
    """The bridge ended it: the longest time was reached, or nobody was there."""

    BRIDGE_STOPPED = "bridge_stopped"
    """The bridge itself is being stopped, and the call outlived the time for that."""

    CANCELLED = "cancelled"
    """The program around the call cancelled it."""

    INTERNAL_ERROR = "internal_error"
    """A bug in one of the call's tasks."""


CLOSE_CODES = {
    EndReason.CALLER_HUNG_UP: 1000,
    EndReason.CALLER_STALLED: 1008,
    EndReason.CALLER_VANISHED: 1008,
    EndReason.CALLER_SENT_NO_INIT: 1008,
    EndReason.CALLER_SENT_NO_AUDIO: 1008,
    EndReason.CALLER_TOO_SLOW: 1008,
    EndReason.CALLER_FLOODED: 1008,
    EndReason.CALLER_MESSAGE_TOO_BIG: 1009,
    EndReason.CALLER_BROKE_PROTOCOL: 1002,
    EndReason.CALLER_FORMAT_UNKNOWN: 1003,
    EndReason.MODEL_UNAVAILABLE: 1011,
    EndReason.MODEL_REJECTED: 1011,
    EndReason.MODEL_CLOSED: 1011,
    EndReason.MODEL_FAILED: 1011,
    EndReason.BRIDGE_HUNG_UP: 1000,
    EndReason.BRIDGE_STOPPED: 1001,
    EndReason.CANCELLED: 1001,
    EndReason.INTERNAL_ERROR: 1011,
}
"""WebSocket close code toward the caller, by reason (RFC 6455 §7.4.1). One that stalled or vanished
is cut off and sees none."""

BLAMED_ON_CALLER = {
    EndReason.CALLER_SENT_NO_INIT: "no init was received",
    EndReason.CALLER_SENT_NO_AUDIO: "no audio was received",
    EndReason.CALLER_TOO_SLOW: "audio came far slower than real time",
    EndReason.CALLER_FLOODED: "messages or audio came far faster than real time",
    EndReason.CALLER_MESSAGE_TOO_BIG: "a message of over 1 MiB was received",
    EndReason.CALLER_BROKE_PROTOCOL: "what was received is no WebSocket frame",
    EndReason.CALLER_FORMAT_UNKNOWN: "the leg's codec cannot be used",
}
"""What the caller's side is told before the close, where it still reads."""

REASON_OF_LEAVING = {
    Leaving.HUNG_UP: EndReason.CALLER_HUNG_UP,
    Leaving.SENT_NO_INIT: EndReason.CALLER_SENT_NO_INIT,
    Leaving.STALLED: EndReason.CALLER_STALLED,
    Leaving.VANISHED: EndReason.CALLER_VANISHED,
    Leaving.TOO_SLOW: EndReason.CALLER_TOO_SLOW,
    Leaving.FLOODED: EndReason.CALLER_FLOODED,
    Leaving.MESSAGE_TOO_BIG: EndReason.CALLER_MESSAGE_TOO_BIG,
    Leaving.BROKE_PROTOCOL: EndReason.CALLER_BROKE_PROTOCOL,
    Leaving.FORMAT_UNKNOWN: EndReason.CALLER_FORMAT_UNKNOWN,
}
"""Why a call ends whose caller's connection came to its end in one of these ways."""


_OF_THE_MODEL = (
    EndReason.MODEL_UNAVAILABLE,
    EndReason.MODEL_REJECTED,
    EndReason.MODEL_CLOSED,
    EndReason.MODEL_FAILED,
)


class CallEnding:
    """Ends a call once: the first reason stands. Holds the scope that ending cancels."""

    def __init__(self) -> None:
        self.reason: EndReason | None = None
        self.detail = ""
        self._scopes: list[trio.CancelScope] = []
        self._planned: tuple[EndReason, str] | None = None
        self._latest_s = math.inf

    @property
    def closing(self) -> bool:
        """Whether the end is planned: only words of the bridge's own are still to come."""
        return self._planned is not None

    def end(self, reason: EndReason, detail: str = "") -> None:
        """Record why the call ends and stop its work. Later calls change nothing.

        Once the end is planned the model can no longer end the call: its conversation alone is
        left.
        """
        if self.reason is not None:
            return
        if self.closing and reason in _OF_THE_MODEL:
            if len(self._scopes) > 1:
                self._scopes[-1].cancel()
            return
        self._end(reason, detail)

    def plan(self, latest_s: float, reason: EndReason, detail: str = "") -> bool:
        """Have the call end with `reason` at `latest_s` (Trio's clock), whatever it does then.

        Returns:
            False if the call is over or its end was planned before; that changes nothing.
        """
        if self.reason is not None or self.closing:
            return False
        self._planned = (reason, detail)
        self.end_planned_by(latest_s)
        return True

    def end_planned_by(self, latest_s: float) -> None:
        """Move the moment at which a planned end comes."""
        self._latest_s = latest_s
        if self._scopes:
            self._scopes[-1].deadline = latest_s

    def end_as_planned(self) -> None:
        """Nothing more is to come: end now."""
        if self._planned is not None and self.reason is None:
            self._end(*self._planned)

    def _end(self, reason: EndReason, detail: str) -> None:
        self.reason = reason
        self.detail = detail
        if self._scopes:
            self._scopes[-1].cancel()

    def scope(self) -> _EndingScope:
        """A block that `end` leaves. Of nested ones only the innermost is cancelled, so that
        the blocks around it can close politely."""
        return _EndingScope(self)

    def enter(self, scope: trio.CancelScope) -> None:
        """`scope` is the innermost one from now on."""
        if self._scopes:
            self._scopes[-1].deadline = math.inf
        self._scopes.append(scope)
        scope.deadline = self._latest_s
        if self.reason is not None:
            scope.cancel()

    def leave(self, scope: trio.CancelScope) -> None:
        """The innermost scope is over, perhaps because the time had come."""
        self._scopes.remove(scope)
        if self._planned and self.reason is None and trio.current_time() >= self._latest_s:
            self.reason, self.detail = self._planned
        if self._scopes and self.reason is None:
            self._scopes[-1].deadline = self._latest_s


class _EndingScope:
    def __init__(self, ending: CallEnding) -> None:
        self._ending = ending
        self._scope = trio.CancelScope()

    def __enter__(self) -> trio.CancelScope:
        self._ending.enter(self._scope)
        return self._scope.__enter__()

    def __exit__(self, *error: object) -> bool | None:
        self._ending.leave(self._scope)
        swallowed: bool | None = self._scope.__exit__(*error)  # type: ignore[arg-type]
        return swallowed


@attrs.frozen
class CallSummary:
    """What a call was, once it is over. Times in seconds, sound in milliseconds.

    Attributes:
        answered_after_s: From the call's start until the first sound left for the caller;
            None if none did.
        caller_audio_ms: Sound received from the caller.
        played_ms: Sound sent to the caller.
        underruns: Times the caller's playback ran dry in the middle of an answer.
        dropped_ms: Sound of the caller that the model did not get because it was too slow.
        reconnects: Sessions that were lost and replaced.
        renewals: Sessions that were replaced before the server ended them.
        watchdogs: How often each wait took too long, by `Watchdog` value.
    """

    uuid: str
    end_reason: EndReason
    detail: str
    metadata: Mapping[str, str]
    duration_s: float
    answered_after_s: float | None
    caller_audio_ms: float
    played_ms: float
    dropped_ms: float
    turns: int
    interruptions: int
    underruns: int
    tools: int
    digits: int
    faults: int
    reconnects: int = 0
    renewals: int = 0
    watchdogs: Mapping[str, int] = attrs.field(factory=dict)


class CallFailed(AvrBridgeError):
    """A bug in one of the call's tasks ended the call; the causes are chained as a group.

    Attributes:
        summary: The call up to there.
    """

    def __init__(self, summary: CallSummary) -> None:
        self.summary = summary
        super().__init__(f"call {summary.uuid or '(no id)'} was ended by a bug")
