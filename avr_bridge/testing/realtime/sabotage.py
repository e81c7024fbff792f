"""One connection's fault, obeyed: watches what the session sends, and cuts, mutes or stalls it.

The faults themselves are values in `testing/faults/model.py`. Those that hit before a session are
`server.py`'s; without a fault nothing here does anything.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Protocol

import attrs

from avr_bridge.testing.faults.model import (
    CutAfter,
    CutAfterCommit,
    CutInAnswer,
    Freeze,
    ModelFault,
    NoSession,
    NoUpdate,
    SessionLength,
    StallAfterTool,
    StopAnsweringPings,
    StopReading,
)
from avr_bridge.testing.realtime.outbox import Closing, Doing, Dropping

if TYPE_CHECKING:
    from collections.abc import Callable

    from avr_bridge.testing.realtime.options import SimulatorOptions
    from avr_bridge.testing.realtime.outbox import Outbox

__all__ = ["Breakable", "Saboteur", "options_with"]


def options_with(fault: ModelFault | None, options: SimulatorOptions) -> SimulatorOptions:
    """The options of a session that has this fault."""
    match fault:
        case NoSession():
            return attrs.evolve(options, send_session_created=False)
        case NoUpdate():
            return attrs.evolve(options, answer_session_update=False)
        case SessionLength(session_s):
            return attrs.evolve(options, session_s=session_s)
    return options


class Breakable(Protocol):
    """What can be taken away from a connection that stays up."""

    def stop_pongs(self) -> None:
        """Answer no ping from now on."""

    def stop_reading(self) -> None:
        """Read nothing from now on."""

    def freeze(self) -> None:
        """Send nothing from now on, and lose what comes."""


class Saboteur:
    """Commits the fault of one session.

    Args:
        fault: The fault; None for a healthy session.
        outbox: What the session has still to send: what happens is put behind it.
        later: Does something in so many seconds, if the session still lives.
    """

    def __init__(
        self,
        fault: ModelFault | None,
        outbox: Outbox,
        later: Callable[[float, Callable[[], None]], None],
    ) -> None:
        self._fault = fault
        self._outbox = outbox
        self._later = later
        self._link: Breakable | None = None
        self._sent: Counter[str] = Counter()
        self._answer_ms = 0.0
        self._stalled = 0

    def attach(self, link: Breakable) -> None:
        """The connection, when there is one."""
        self._link = link

    def sent(self, event_type: str) -> None:
        """A server event, by its GA name, is on its way."""
        self._sent[event_type] += 1
        match event_type, self._fault:
            case "session.updated", CutAfter() | Freeze() | StopReading() | StopAnsweringPings():
                self._later(self._fault.after_s, self._break)  # the first time counts
            case "response.created", CutInAnswer():
                self._answer_ms = 0.0
                self._cut_in_answer()
            case "input_audio_buffer.committed", CutAfterCommit(n_turn):
                if self._sent[event_type] == n_turn:
                    self._outbox.put(Dropping())

    def spoken(self, ms: float) -> None:
        """So much of an answer's sound, in ms, is on its way."""
        self._answer_ms += ms
        self._cut_in_answer()

    def stalls(self, event: dict[str, Any], *, after_tool: bool) -> bool:
        """Whether this GA client event is to be ignored; `after_tool`: a result waits."""
        match self._fault:
            case StallAfterTool(requests) if event["type"] == "response.create" and after_tool:
                self._stalled += 1
                return self._stalled <= requests
        return False

    def _cut_in_answer(self) -> None:
        match self._fault:
            case CutInAnswer(n_response, after_ms):
                reached = self._answer_ms >= after_ms
                if self._sent["response.created"] == n_response and reached:
                    self._outbox.put(Dropping())

    def _break(self) -> None:
        assert self._link is not None
        match self._fault:
            case CutAfter(close_code=None):
                self._outbox.put(Dropping())
            case CutAfter(close_code=int(code), reason=reason):
                self._outbox.put(Closing(code, reason))
            case Freeze():
                self._outbox.put(Doing(self._link.freeze))
            case StopReading():
                self._outbox.put(Doing(self._link.stop_reading))
            case StopAnsweringPings():
                self._outbox.put(Doing(self._link.stop_pongs))
