"""Metrics of calls: what each moment counts, and that nothing of a single call becomes a label."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from avr_bridge import EndReason
from avr_bridge.telemetry.journal import (
    CallBegan,
    CallEnded,
    ResponseDone,
    ToolDone,
    Transcribed,
)
from avr_bridge.telemetry.metrics import TRANSPORTS_SHOWN, Live, Metrics
from avr_bridge.telemetry.usage import Usage
from avr_bridge.upstream.actions import Watchdog
from tests.unit.metrics_seen import USED, filled, parsed, text, value, values
from tests.unit.test_summary import ENDED


def test_each_moment_is_counted() -> None:
    """One of each kind, and every number is where it belongs."""
    page = text(filled())

    def seen(name: str, **labels: str) -> float:
        return value(page, f"avr_bridge_{name}", **labels)

    assert seen("calls_started_total", transport="websocket") == 1
    assert seen("calls_ended_total", reason="caller_hung_up") == 1
    assert seen("calls_refused_total", why="limit") == 1
    assert seen("call_duration_seconds_sum") == pytest.approx(12.34567)
    assert seen("session_setup_seconds_sum", session="first") == pytest.approx(0.2)
    assert seen("session_setup_seconds_sum", session="again") == pytest.approx(0.9)
    assert seen("first_audio_seconds_sum") == pytest.approx(0.51234)
    assert seen("turn_latency_seconds_sum") == pytest.approx(0.8)
    assert seen("barge_in_stop_seconds_count") == 2
    assert seen("barge_in_stop_seconds_sum") == pytest.approx(0.010)
    assert seen("heard_position_error_seconds_count") == 1  # the other one was not known: not 0
    assert seen("heard_position_error_seconds_sum") == pytest.approx(0.03)
    assert seen("tool_seconds_sum", tool="look_up", outcome="ok") == pytest.approx(0.12)
    assert seen("sessions_lost_total") == seen("sessions_renewed_total") == 1
    assert seen("watchdogs_total", watchdog="tool_stuck") == 1
    assert seen("responses_total", status="completed") == 2
    assert seen("cost_dollars_total", of="response") == 0.5
    assert seen("cost_dollars_total", of="transcription") == 0.25
    assert seen("unpriced_total", of="response", why="no_price") == 1
    assert seen("unpriced_total", of="response", why="no_bill") == 0
    assert seen("unpriced_total", of="transcription", why="no_price") == 0
    assert seen("underruns_total") == 2
    assert seen("dropped_frames_total") == 2
    assert seen("caller_faults_total") == 3


def test_tokens_by_where_they_go_and_what_they_are() -> None:
    """Each token in one series: their sum is what was billed."""
    page = text(filled())
    tokens = values(page, "avr_bridge_tokens_total", "of", "flow", "kind")
    assert tokens["transcription", "cached", "audio"] == 4
    assert tokens["response", "in", "text"] == 2
    assert tokens["response", "cached", "audio"] == 8
    assert tokens["response", "out", "other"] == 16
    billed = 2 * (USED.tokens_in + USED.tokens_out)
    assert sum(count for (of, *_), count in tokens.items() if of == "response") == billed
    assert value(page, "avr_bridge_transcribed_seconds_total") == 27.0


def test_what_happens_seldom_is_there_from_the_beginning() -> None:
    """At 0: of a series that begins at 1 the first rise is not seen."""
    page = text(Metrics(watchdogs=[watchdog.value for watchdog in Watchdog]))
    ended = values(page, "avr_bridge_calls_ended_total", "reason")
    assert ended == {(reason.value,): 0.0 for reason in EndReason}
    assert len(values(page, "avr_bridge_watchdogs_total", "watchdog")) == len(Watchdog)
    assert set(values(page, "avr_bridge_calls_refused_total", "why").values()) == {0.0}
    assert value(page, "avr_bridge_cost_dollars_total", of="response") == 0
    assert value(page, "avr_bridge_turn_latency_seconds_count") == 0


def test_things_as_they_are_now() -> None:
    """Asked for at each collection; what running calls counted goes on when they have ended."""
    live = Live(calls=3, calls_limit=9, lag_s=0.012, to_model_s=0.4, to_caller_orders=5)
    now = [attrs.evolve(live, underruns=2, dropped_ms=39.0, faults=1)]
    metrics = Metrics(live=lambda: now[0])
    page = text(metrics)
    assert value(page, "avr_bridge_calls") == 3
    assert value(page, "avr_bridge_calls_limit") == 9
    assert value(page, "avr_bridge_event_loop_lag_seconds", worker="1") == 0.012
    assert value(page, "avr_bridge_to_model_queue_seconds") == 0.4
    assert value(page, "avr_bridge_to_caller_queue_orders") == 5
    for name, count in (("underruns", 2), ("dropped_frames", 1), ("caller_faults", 1)):
        assert value(page, f"avr_bridge_{name}_total") == count
    now[0] = live
    summary = attrs.evolve(ENDED, underruns=2, dropped_ms=39.0, faults=1)
    metrics.take("u-1", CallEnded(9.0, summary))
    page = text(metrics)
    for name, count in (("underruns", 2), ("dropped_frames", 1), ("caller_faults", 1)):
        assert value(page, f"avr_bridge_{name}_total") == count


def test_a_model_cannot_make_up_labels() -> None:
    """Names of tools that do not exist, and odd statuses, have one series together."""
    metrics = Metrics()
    metrics.know_tools(["look_up"])
    for number in range(200):
        metrics.take("u", ToolDone(1.0, f"made_up_{number}", "error", 0.0))
        metrics.take("u", ResponseDone(1.0, f"odd{number}", None, None))
    page = text(metrics)
    assert values(page, "avr_bridge_tool_seconds_count", "tool", "outcome") == {
        ("(unknown)", "error"): 200.0
    }
    assert value(page, "avr_bridge_responses_total", status="other") == 200
    assert len(page) < 30_000


def test_a_program_cannot_either() -> None:
    """Of kinds of transports so many have a name."""
    metrics = Metrics()
    for number in range(TRANSPORTS_SHOWN + 30):
        metrics.take("u", CallBegan(0.0, "u", {}, f"t{number}"))
    started = values(text(metrics), "avr_bridge_calls_started_total", "transport")
    assert len(started) == TRANSPORTS_SHOWN + 1
    assert started["other",] == 30


def test_nothing_of_a_call_is_in_it() -> None:
    """No id, no number, no word."""
    page = text(filled())
    for planted in ("u-1", "15550100", "gone"):
        assert planted not in page


@pytest.mark.parametrize(
    ("response", "unpriced"),
    [
        (ResponseDone(1.0, "failed", None, None), {}),
        (ResponseDone(1.0, "cancelled", None, None), {("response", "no_bill"): 1}),
        (ResponseDone(1.0, "lost", None, None), {("response", "no_bill"): 1}),
        (ResponseDone(1.0, "failed", Usage(text_in=5), None), {("response", "no_price"): 1}),
        (ResponseDone(1.0, "completed", Usage(), 0.0), {}),
        (Transcribed(1.0, None, None), {("transcription", "no_bill"): 1}),
        (Transcribed(1.0, Usage(heard_s=5), None), {("transcription", "no_price"): 1}),
    ],
)
def test_an_unknown_cost_is_counted_and_not_added(
    response: Any, unpriced: dict[tuple[str, str], int]
) -> None:
    """Only an answer that failed and has no bill cost nothing; a price is missing only where there
    is a bill."""
    metrics = Metrics()
    metrics.take("u", response)
    page = text(metrics)
    counted = values(page, "avr_bridge_unpriced_total", "of", "why")
    assert {series: count for series, count in counted.items() if count} == unpriced
    assert value(page, "avr_bridge_cost_dollars_total", of="response") == 0


def test_two_bridges_in_one_process() -> None:
    """Each has its own numbers."""
    first, second = filled(), Metrics()
    assert value(text(first), "avr_bridge_turn_latency_seconds_count") == 1
    assert value(text(second), "avr_bridge_turn_latency_seconds_count") == 0


def test_the_text_is_prometheus_own() -> None:
    """Its parser finds each family with its kind and help, and no times of creation."""
    families = parsed(text(filled()))
    assert {family.type for family in families.values()} == {"counter", "gauge", "histogram"}
    assert all(family.documentation for family in families.values())
    names = {sample.name for family in families.values() for sample in family.samples}
    assert not [name for name in names if name.endswith("_created")]
