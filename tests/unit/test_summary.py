"""The line at a call's end: plain values, and nothing in it that the settings do not allow."""

from __future__ import annotations

import json
from typing import Any

import attrs

from avr_bridge import CallSummary, EndReason
from avr_bridge.call.tally import MOST_TIMES, MOST_TOOLS, OTHER_TOOLS, CallTally
from avr_bridge.telemetry.journal import (
    AnswerStarted,
    Interrupted,
    Moment,
    ResponseDone,
    SessionReady,
    ToolDone,
    Transcribed,
)
from avr_bridge.telemetry.summary import summary_fields
from avr_bridge.telemetry.usage import Usage

ENDED = CallSummary(
    uuid="u-1",
    end_reason=EndReason.CALLER_HUNG_UP,
    detail="",
    metadata={"from": "+15550100", "tenant": "a"},
    duration_s=12.34567,
    answered_after_s=0.51234,
    caller_audio_ms=12_000.0,
    played_ms=4_000.0,
    dropped_ms=0.0,
    turns=3,
    interruptions=1,
    underruns=0,
    tools=2,
    digits=4,
    faults=0,
    turn_latencies_ms=(100.0, 900.0, 200.0),
    stop_times_ms=(3.4,),
    tool_runs={"look_up": {"ok": 1, "error": 1}},
    usage=Usage(text_in=10, audio_out=20),
    cost_usd=0.00123456789,
)
BILL = Usage(text_in=1, audio_out=2)


def fields(**changes: Any) -> dict[str, Any]:
    values: dict[str, Any] = summary_fields(attrs.evolve(ENDED, **changes), metadata_values=False)
    return values


def test_it_is_one_line_of_json() -> None:
    """Whole milliseconds, and the spread of what came more than once."""
    line = json.loads(json.dumps(fields()))
    assert line["call"] == "u-1"
    assert (line["duration_s"], line["answered_ms"]) == (12.346, 512)
    assert line["turn_latency_ms"] == {"median": 200, "p95": 830, "max": 900}
    assert line["stop_ms"] == {"median": 3.4, "p95": 3.4, "max": 3.4}
    assert line["tools"] == {"look_up": {"ok": 1, "error": 1}}
    assert line["tokens"] == {"text_in": 10, "audio_out": 20}
    assert line["cost_usd"] == 0.001235


def test_who_called_is_told_on_wish_only() -> None:
    """Names of the call's data always, values where AVR_LOG_CONTENT allows it."""
    assert "15550100" not in json.dumps(fields())
    assert fields()["metadata_keys"] == ["from", "tenant"]
    shown = summary_fields(ENDED, metadata_values=True)
    assert shown["metadata"] == {"from": "+15550100", "tenant": "a"}


def test_what_is_not_known_is_null() -> None:
    """A call that never came to a sound, of a model without a price."""
    line = fields(answered_after_s=None, setup_ms=None, turn_latencies_ms=(), cost_usd=None)
    assert line["answered_ms"] is line["setup_ms"] is line["cost_usd"] is None
    assert line["turn_latency_ms"] is None


def tally(*moments: Moment) -> CallTally:
    counted = CallTally()
    for moment in moments:
        counted.take("u-1", moment)
    return counted


def response(cost_usd: float | None, usage: Usage | None = BILL, status: str = "completed") -> Any:
    return ResponseDone(1.0, status, usage, cost_usd)


def test_moments_add_up() -> None:
    """Tokens and dollars are summed, times kept, tools counted by how they ended."""
    counted = tally(
        SessionReady(0.2, 200.0, "gpt-realtime", again=False),
        SessionReady(9.0, 900.0, "gpt-realtime-2", again=True),
        AnswerStarted(1.0, None),
        AnswerStarted(2.0, 350.0),
        Interrupted(3.0, 4.0, 1200.0),
        ToolDone(4.0, "look_up", "ok", 12.0),
        ToolDone(5.0, "look_up", "timeout", 15_000.0),
        response(0.5),
        response(0.25, status="cancelled"),
        Transcribed(6.0, Usage(heard_s=2.0), 0.125),
    )
    assert (counted.setup_ms, counted.model) == (200.0, "gpt-realtime-2")
    assert counted.turn_latencies_ms == [350.0]
    assert counted.stop_times_ms == [4.0]
    assert counted.tool_runs == {"look_up": {"ok": 1, "timeout": 1}}
    assert counted.usage == BILL + BILL
    assert counted.transcription == Usage(heard_s=2.0)
    assert (counted.cost_usd, counted.unpriced) == (0.875, 0)


def test_a_cost_that_nobody_knows_is_none() -> None:
    """No price for the model, or no bill at all: however cheap the transcripts were."""
    for unknown in (response(None), response(None, usage=None)):
        counted = tally(unknown, Transcribed(1.0, Usage(heard_s=2.0), 0.1))
        assert (counted.cost_usd, counted.unpriced) == (None, 1)


def test_a_part_that_is_not_known_is_counted() -> None:
    """One answer without a bill among others: the sum is a part, and says of what."""
    counted = tally(response(0.5), response(None, usage=None, status="cancelled"))
    counted.take("u-1", Transcribed(1.0, None, None))
    assert (counted.cost_usd, counted.unpriced) == (0.5, 2)


def test_nothing_costs_nothing() -> None:
    """A call without an answer, and answers that failed before they took a token."""
    assert tally().cost_usd == 0.0
    failed = tally(response(None, usage=None, status="failed"))
    assert (failed.cost_usd, failed.unpriced) == (0.0, 0)


def test_a_call_without_end_is_kept_within_bounds() -> None:
    """Of days of talk and of a model that makes up tools."""
    many = [AnswerStarted(1.0, float(n)) for n in range(MOST_TIMES + 10)]
    invented = [ToolDone(1.0, f"tool{n}", "error", 0.0) for n in range(MOST_TOOLS + 10)]
    counted = tally(*many, *invented)
    assert len(counted.turn_latencies_ms) == MOST_TIMES
    assert len(counted.tool_runs) == MOST_TOOLS + 1
    assert counted.tool_runs[OTHER_TOOLS] == {"error": 10}
