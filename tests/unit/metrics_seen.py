"""The metrics with a number in every series, and as Prometheus' own parser reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
from prometheus_client.parser import text_string_to_metric_families

from avr_bridge.telemetry.journal import (
    AnswerStarted,
    CallBegan,
    CallEnded,
    FirstSound,
    Interrupted,
    Moment,
    ResponseDone,
    SessionLost,
    SessionReady,
    SessionRenewed,
    ToolDone,
    Transcribed,
    WaitedTooLong,
)
from avr_bridge.telemetry.metrics import Live, Metrics
from avr_bridge.telemetry.metrics_text import families_of, numbers_of, text_of
from avr_bridge.telemetry.usage import Usage
from tests.unit.test_summary import ENDED

if TYPE_CHECKING:
    from collections.abc import Callable

    from prometheus_client import Metric

USED = Usage(
    text_in=1,
    audio_in=2,
    cached_text_in=3,
    cached_audio_in=4,
    other_in=5,
    text_out=6,
    audio_out=7,
    other_out=8,
    heard_s=9.0,
)
ALL_MOMENTS: list[Moment] = [
    CallBegan(0.0, "u-1", {}, "websocket"),
    SessionReady(0.2, 200.0, "m", again=False),
    FirstSound(0.5, 512.34),
    AnswerStarted(1.0, 800.0),
    Interrupted(2.0, 4.0, None),
    Interrupted(2.5, 6.0, 900.0, 30.0),
    ToolDone(3.0, "look_up", "ok", 120.0),
    ResponseDone(4.0, "completed", USED, 0.5),
    ResponseDone(4.0, "completed", USED, None),
    Transcribed(5.0, USED, 0.25),
    SessionLost(6.0, "gone"),
    SessionReady(7.0, 900.0, "m", again=True),
    SessionRenewed(8.0),
    WaitedTooLong(9.0, "tool_stuck"),
    CallEnded(10.0, attrs.evolve(ENDED, underruns=2, dropped_ms=40.0, faults=3)),
]


def filled(live: Callable[[], Live] = Live) -> Metrics:
    """Metrics of a bridge in which everything has happened once."""
    metrics = Metrics(watchdogs=["tool_stuck"], live=live)
    metrics.know_tools(["look_up"])
    metrics.refuse("limit")
    for moment in ALL_MOMENTS:
        metrics.take("u-1", moment)
    return metrics


def text(metrics: Metrics) -> str:
    """As it is sent."""
    families = families_of(metrics.registry)
    return text_of(families, numbers_of(families)).decode()


def parsed(page: str) -> dict[str, Metric]:
    """By Prometheus' own parser, each family by its name as in the text."""
    return {family.name: family for family in text_string_to_metric_families(page)}


def values(page: str, name: str, *by: str) -> dict[tuple[str, ...], float]:
    """The samples of this name: values of these labels, in this order, to number."""
    return {
        tuple(sample.labels[label] for label in by): sample.value
        for family in parsed(page).values()
        for sample in family.samples
        if sample.name == name
    }


def value(page: str, name: str, **labels: str) -> float:
    """The one number of this name with these labels, and no others."""
    (found,) = [
        sample.value
        for family in parsed(page).values()
        for sample in family.samples
        if sample.name == name and sample.labels == labels
    ]
    return found
