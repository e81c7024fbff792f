"""Off the road: the arithmetic of `benchmarks.calls`: figures of a run, medians, ratios, set-up.

It starts nothing and reads no clock. The shapes are those of `results.jsonl`.

What a call's set-up costs cannot be seen while calls talk, so it has a run of its own: two steady
calls, and ten calls a second that hang up after 0.3 s. The container's processor time is taken from
the second sample, when the first call has warmed everything up and nobody else has called yet, to
the last, 3 s after the last call, so that each set-up is in it from dial to farewell. What the
talking cost is taken off, at the price of a steady call of the same contestant in the same round;
the rest is divided by the calls. Talking can be half of it. Its price falls as a container has more
to do, so it is taken at the fewest calls: ten of them load a bridge about as much as this run.
"""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

import msgspec

from avr_bridge.soak.verdict import HOLDS, judge

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from avr_bridge.soak.results import Report

SET_UP_CALLS = 2
SET_UP_RAMP_PER_S = 0.4
"""The second steady call, and with it the short ones, 2.5 s after the first."""
SET_UP_WARM_S = 2.0
SET_UP_PER_S = 10.0
SET_UP_LENGTH_S = 0.3

FIGURES = ("cpu_ms", "p50_ms", "p99_ms", "heard", "mb_per_call", "set_up_ms")
"""Names of what is measured, and compared."""
TIMES = ("p50_ms", "p99_ms", "heard")
"""Those that others on the container's core make worse; processor time is the container's own."""


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """One run, or the medians of several.

    Attributes:
        cpu_ms: Processor time for a second of a call; None: the container was not there to the end.
        p50_ms: Of the probes' round trips.
        p99_ms: The same.
        heard: Least share of real time that an end of a call heard.
        mb_per_call: What the container's memory grew by, divided by the calls.
        set_up_ms: Processor time of a call's set-up and end; only in runs for that.
        others: What others used of the container's core, the machine's other guests among them.
        steal: What those other guests alone took of it.
        generator: Share of its core that the generator used.
        held: Whether the run holds by the soak's common measure.
        void: Why its figures say nothing; empty: they do.
        disturbed: Why its times say nothing, though its processor time does: others used the
            container's core, or the machine stood still; empty: they do.
    """

    cpu_ms: float | None = None
    p50_ms: float | None = None
    p99_ms: float | None = None
    heard: float | None = None
    mb_per_call: float | None = None
    set_up_ms: float | None = None
    others: float | None = None
    steal: float | None = None
    generator: float | None = None
    held: bool = False
    void: str = ""
    disturbed: str = ""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One contestant at one number of calls, over all rounds.

    Attributes:
        calls: Steady calls; 0: the run for set-ups.
        runs: Valid ones, which the medians are of; 0: all were void, and they are of those.
        disturbed: So many of them were; their times are in no median unless all were.
        held: How many of the runs held.
        medians: Of each figure.
        ratios: To the yardstick, by the figure's name: the median of the rounds' ratios.
    """

    name: str
    calls: int
    runs: int
    disturbed: int = 0
    held: int
    medians: Figures
    ratios: dict[str, float]


def steady_figures(report: Report, steal: float | None) -> Figures:
    """What a run of steady calls says."""
    subject, probes = report.subject, report.probes_ms
    ends = (report.heard_share_least, report.model_heard_share_least)
    return Figures(
        cpu_ms=subject.cpu_ms_per_call_s if subject else None,
        p50_ms=probes.p50 if probes.count else None,
        p99_ms=probes.p99 if probes.count else None,
        heard=min(share for share in ends if share is not None),
        mb_per_call=subject.rss_mb_per_call if subject else None,
        others=subject.others_share if subject else None,
        steal=steal,
        generator=report.generator_cpu,
        held=report.holds,
        void=void_words(report),
        disturbed=disturbance(report),
    )


def set_up_figures(report: Report, steal: float | None, cpu_ms: float | None) -> Figures:
    """What a run for set-ups says; `cpu_ms` is the same contestant's price of a call-second."""
    subject = report.subject
    return Figures(
        set_up_ms=None if cpu_ms is None else set_up_ms(report, cpu_ms),
        others=subject.others_share if subject else None,
        steal=steal,
        generator=report.generator_cpu,
        held=report.holds,
        void=void_words(report),
        disturbed=disturbance(report),
    )


def void_words(report: Report) -> str:
    """Why its figures say nothing; empty: they do.

    Nothing was asked of the run, so that all it can miss is a container that takes calls to its
    end; and a short call that failed is no set-up.
    """
    words = [*report.verdict.void, *report.verdict.missed]
    if report.arrivals_failed:
        words.append(f"{report.arrivals_failed} of {report.arrivals} short calls failed")
    return "; ".join(words)


def disturbance(report: Report) -> str:
    """What would make it void if the soak's common measure were asked; empty: nothing more."""
    if void_words(report):
        return ""
    return "; ".join(judge(msgspec.structs.replace(report, thresholds=HOLDS)).void)


def set_up_ms(report: Report, cpu_ms: float) -> float | None:
    """Processor time of one set-up; None: the run is no run for that, or was cut short."""
    warm = [sample for sample in report.samples if sample.at_s >= SET_UP_WARM_S]
    if len(warm) < 2 or not report.ticks or not report.arrivals:
        return None
    first, last = warm[0], warm[-1]
    ended_s = report.ticks[-1].at_s
    steady = [number / report.plan.ramp_per_s for number in range(report.plan.calls)]
    talked_s = sum(ended_s - max(begun_s, first.at_s) for begun_s in steady)
    talked_s += report.arrivals * report.plan.arrival_s
    set_up = report.arrivals + sum(begun_s > first.at_s for begun_s in steady)
    return ((last.cpu_s - first.cpu_s) * 1000 - talked_s * cpu_ms) / set_up


def row(name: str, calls: int, rounds: Sequence[Figures], yardstick: Sequence[Figures]) -> Row:
    """All rounds of a contestant; `yardstick` are the same rounds of the yardstick.

    A ratio is taken in each round and their median is told: what the machine does from one round
    to the next is in both, and drops out.
    """
    valid = [run for run in rounds if not run.void]
    counted = valid or list(rounds)
    medians = {}
    ratios = {}
    for field in _NUMBERS:
        medians[field] = _median(getattr(run, field) for run in _telling(counted, field))
    for field in FIGURES:
        mine, theirs = _telling(valid, field), _telling(yardstick, field)
        pairs = [
            (getattr(run, field), getattr(other, field))
            for run, other in zip(rounds, yardstick, strict=True)
            if run in mine and other in theirs and not other.void
        ]
        ratio = _median(value / other for value, other in pairs if value is not None and other)
        if ratio is not None:
            ratios[field] = ratio
    return Row(
        name=name,
        calls=calls,
        runs=len(valid),
        disturbed=sum(bool(run.disturbed) for run in valid),
        held=sum(run.held for run in counted),
        medians=msgspec.structs.replace(Figures(), **medians),
        ratios=ratios,
    )


def _telling(runs: Sequence[Figures], field: str) -> Sequence[Figures]:
    """Those whose figure counts: of a time the undisturbed ones, if there are any."""
    calm = [run for run in runs if not run.disturbed]
    return calm if calm and field in TIMES else runs


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(statistics.median(known), 5) if known else None


_NUMBERS = (*FIGURES, "others", "steal", "generator")


def table(rows: Sequence[Row]) -> list[str]:
    """The rows in Markdown; behind each figure, in brackets, its ratio to the yardstick."""
    lines = [_line(HEAD), _line(["---"] * len(HEAD))]
    return lines + [_line(_cells(each)) for each in rows]


HEAD = (
    "calls",
    "what",
    "CPU ms per call-second",
    "p50 ms",
    "p99 ms",
    "heard",
    "MB per call",
    "CPU ms per set-up",
    "others, steal",
    "runs",
)


def _cells(each: Row) -> list[str]:
    medians = each.medians
    shares = [medians.others, medians.steal]
    void = "" if each.runs else " (all void)"
    return [
        str(each.calls or "set-up"),
        each.name,
        _cell(each, "cpu_ms", "{:.2f}"),
        _cell(each, "p50_ms", "{:.1f}"),
        _cell(each, "p99_ms", "{:.1f}"),
        "" if medians.heard is None else f"{medians.heard:.2%}",
        _cell(each, "mb_per_call", "{:.3f}"),
        _cell(each, "set_up_ms", "{:.1f}"),
        ", ".join("?" if share is None else f"{share:.0%}" for share in shares),
        f"{each.runs} valid, {each.disturbed} disturbed, {each.held} held{void}",
    ]


def _cell(each: Row, field: str, form: str) -> str:
    value = getattr(each.medians, field)
    if value is None:
        return ""
    ratio = each.ratios.get(field)
    return form.format(value) + (f" ({ratio:.2f})" if ratio is not None else "")


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"
