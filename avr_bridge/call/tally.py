"""`CallTally`: what a call's own moments add up to, for the summary at its end.

The first listener of every call. It keeps sums, and the times of single turns up to a bound.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from avr_bridge.telemetry.journal import (
    AnswerStarted,
    Interrupted,
    ResponseDone,
    SessionReady,
    ToolDone,
    Transcribed,
)
from avr_bridge.telemetry.usage import Usage

if TYPE_CHECKING:
    from avr_bridge.telemetry.journal import Moment

__all__ = ["CallTally"]

MOST_TIMES = 1000
"""Kept of one kind: hours of talk. Later ones are left out, which changes no median."""

MOST_TOOLS = 100
"""Names that are kept apart. The model may invent them."""

OTHER_TOOLS = "(others)"


class CallTally:
    """One call's.

    Attributes:
        model: That served last; empty if none did.
        setup_ms: Until the first session was in force; None if none was.
        turn_latencies_ms: Of each turn that was answered.
        stop_times_ms: Of each interruption.
        tool_runs: Name to outcome to number.
        usage: Of all responses.
        transcription: Of all transcripts.
        unpriced: Responses and transcripts of unknown cost.
    """

    def __init__(self) -> None:
        self.model = ""
        self.setup_ms: float | None = None
        self.turn_latencies_ms: list[float] = []
        self.stop_times_ms: list[float] = []
        self.tool_runs: dict[str, Counter[str]] = {}
        self.usage = Usage()
        self.transcription = Usage()
        self.unpriced = 0
        self._known_usd = 0.0
        self._priced_responses = 0
        self._unpriced_responses = 0

    @property
    def cost_usd(self) -> float | None:
        """The part of the cost that is known; None if there were responses and none is."""
        if self._unpriced_responses and not self._priced_responses:
            return None
        return self._known_usd

    def take(self, _uuid: str, moment: Moment) -> None:
        """A moment of the call."""
        match moment:
            case SessionReady(setup_ms=setup_ms, model=model, again=again):
                self.model = model
                if not again:
                    self.setup_ms = setup_ms
            case AnswerStarted(latency_ms=float(latency_ms)):
                _keep(self.turn_latencies_ms, latency_ms)
            case Interrupted(stop_ms=stop_ms):
                _keep(self.stop_times_ms, stop_ms)
            case ToolDone(name=name, outcome=outcome):
                if name not in self.tool_runs and len(self.tool_runs) >= MOST_TOOLS:
                    name = OTHER_TOOLS
                self.tool_runs.setdefault(name, Counter())[outcome] += 1
            case ResponseDone():
                self._add_response(moment)
            case Transcribed(usage=usage, cost_usd=cost_usd):
                self.transcription += usage or Usage()
                self._known_usd += cost_usd or 0.0
                self.unpriced += cost_usd is None

    def _add_response(self, response: ResponseDone) -> None:
        self.usage += response.usage or Usage()
        if response.cost_usd is not None:
            self._known_usd += response.cost_usd
            self._priced_responses += 1
        elif response.usage is not None or response.status != "failed":
            # One that failed and has no bill cost nothing.
            self._unpriced_responses += 1
            self.unpriced += 1


def _keep(times: list[float], time: float) -> None:
    if len(times) < MOST_TIMES:
        times.append(time)
