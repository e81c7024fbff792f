"""Soak runs as values, for tests: a good one, to be changed where a test wants it otherwise."""

from __future__ import annotations

from typing import Any

import msgspec

from avr_bridge.soak.collect import Collector
from avr_bridge.soak.layout import Layout
from avr_bridge.soak.plan import SoakPlan, Thresholds
from avr_bridge.soak.results import CallRecord, Report, SubjectFigures, Tick

SECONDS = 20
SUBJECT = SubjectFigures(
    cpu_ms_per_call_s=3.25,
    cpu_share=0.31,
    rss_idle_mb=60.0,
    rss_mb=72.5,
    rss_mb_per_call=1.25,
    rss_slope_mb_per_h=0.5,
    rss_after_mb=70.0,
    descriptors_idle=12,
    descriptors=34,
    descriptors_after=12,
    threads_after=3,
)


def tick(at_s: float, **changed: Any) -> Tick:
    """A good second."""
    good = Tick(at_s, 10, 0, [21.0] * 9 + [25.0], 0, {}, 1.0, 0.3, True)
    return msgspec.structs.replace(good, **changed)


def record(number: int, **changed: Any) -> CallRecord:
    """A good call."""
    good = CallRecord(
        number, "steady", 4.0, 30.0, 20.0, 0.999, 0.998, 0, 0.0, 101.0, [21.0, 25.0], 0
    )
    return msgspec.structs.replace(good, **changed)


def run(
    ticks: list[Tick] | None = None,
    calls: list[CallRecord] | None = None,
    asked: Thresholds | None = None,
    *,
    subject: SubjectFigures | None = SUBJECT,
    interrupted: bool = False,
    terminated: bool = False,
    **plan: Any,
) -> Report:
    """A run that is not judged yet; a good one but for what is given."""
    planned = {"url": "ws://127.0.0.1:1", "calls": 10, "duration_s": SECONDS, "model_port": 0}
    collector = Collector(
        SoakPlan(**{**planned, **plan}),
        asked or Thresholds(),
        Layout.unbound(1).generator_cores,
    )
    for one in ticks if ticks is not None else [tick(s) for s in range(1, SECONDS + 1)]:
        collector.add_tick(0, one)
    for call in calls if calls is not None else [record(number) for number in range(10)]:
        collector.add_call(0, call)
    return collector.report(
        version="1.2.3",
        machine="2 cores",
        started_at="2026-01-01T00:00:00+00:00",
        subject=subject,
        interrupted=interrupted,
        terminated=terminated,
    )
