"""How a call is ended: once, for one reason, with what that means for the caller's side."""

from __future__ import annotations

import math

import trio

from avr_bridge.caller.transport import Leaving
from avr_bridge.errors import AvrBridgeError
from avr_bridge.telemetry.summary import CallSummary, EndReason

__all__ = ["CallEnding", "CallFailed", "CallSummary", "EndReason"]


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
    EndReason.BUDGET_REACHED: 1000,
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


class CallFailed(AvrBridgeError):
    """A bug in one of the call's tasks ended the call; the causes are chained as a group.

    Attributes:
        summary: The call up to there.
    """

    def __init__(self, summary: CallSummary) -> None:
        self.summary = summary
        super().__init__(f"call {summary.uuid or '(no id)'} was ended by a bug")
