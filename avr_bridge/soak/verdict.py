"""Judges a soak run: void, missed or passed, in words with figures.

Arithmetic over a finished `Report` only. Nothing is measured here, and no thresholds are invented:
what was not asked for is not judged, but for a container that took no call at all or ended, and for
calls that heard nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from avr_bridge.soak.plan import Thresholds
from avr_bridge.soak.results import Report, Spread, Tick, Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "BUSIEST_OF_TEN",
    "BUSY_SHARE",
    "EXIT_MISSED",
    "EXIT_PASSED",
    "EXIT_VOID",
    "HOLDS",
    "LEAST_SECONDS",
    "exit_code",
    "judge",
    "judged",
    "late_limit_ms",
    "outcomes",
]

HOLDS = Thresholds(max_p99_ms=60.0, min_heard=0.99, max_errors=0, max_lost_probes=0)
"""The common measure. 60 ms is three frames: the road alone costs one frame each way for the
20 ms clock, and one is left for trouble; a listener hears nothing of it."""

EXIT_PASSED, EXIT_MISSED, EXIT_VOID = 0, 1, 3

BUSY_SHARE = 0.85
"""Of a core, in the median second. Above it a process waits for itself: its queue doubles the
time of its own work, and that time would be charged to the container."""
BUSIEST_OF_TEN = 0.95
"""Of a core, in the 95th of 100 seconds: the generator was full now and then, if not always."""
FRAME_MS = 20.0
"""Lateness below one frame is hidden by the frame clock of both ends."""
LATE_PART = 1 / 3
"""Of the asked round trip. The generator's own lateness counts once in a round trip, where it
reads the answer; a third leaves two for what is measured."""
OTHERS_SHARE = 0.15
"""Of the container's core. The kernel's work for its sockets is a few per cent of this; the rest is
taken by other programs, or other guests of the machine."""
LEAST_SECONDS = 5
"""Measured seconds; fewer say nothing about a percentile."""
LEAST_SHARE = 0.8
"""Of the planned seconds, in a run that no person interrupted: a CI job's time was up."""
OWN_LIMITS = (
    "too many open files",
    "emfile",
    "enfile",
    "descriptor",
    "cannot assign requested address",
    "eaddrnotavail",
)
"""Kinds of errors that are the generator's: its descriptors or its local ports ran out."""


def judged(report: Report, troubles: Sequence[str] = (), findings: Sequence[str] = ()) -> Report:
    """The report with its verdict, and with whether it holds."""
    verdict = judge(report, troubles, findings)
    common = judge(msgspec.structs.replace(report, thresholds=HOLDS), troubles, findings)
    holds = common.passed and not verdict.void
    return msgspec.structs.replace(report, verdict=verdict, holds=holds)


def judge(report: Report, troubles: Sequence[str] = (), findings: Sequence[str] = ()) -> Verdict:
    """The verdict on a run.

    Args:
        report: The run; its own `verdict` is not looked at.
        troubles: What befell the generator, in words: each makes the run void.
        findings: What befell the container, in words: each is a miss, asked for or not, and a fact
            whatever the generator did.
    """
    missed = [*findings, *_no_call(report), *_deaf(report), *_missed(report)]
    others = _others(report) if missed and missed == _missed(_of_times(report)) else []
    return Verdict(void=[*troubles, *_void(report), *others], missed=missed, facts=[*findings])


def _of_times(report: Report) -> Report:
    """The report, asked only for what others on its core can spoil: cost and errors are its own."""
    asked = msgspec.structs.replace(
        report.thresholds, max_errors=None, max_cpu_ms=None, max_rss_mb_per_call=None
    )
    return msgspec.structs.replace(report, thresholds=asked)


def exit_code(verdict: Verdict) -> int:
    """Of the command. Void goes before missed figures, which mean nothing then; facts before it."""
    if verdict.facts:
        return EXIT_MISSED
    if verdict.void:
        return EXIT_VOID
    return EXIT_MISSED if verdict.missed else EXIT_PASSED


def late_limit_ms(thresholds: Thresholds) -> float:
    """How late the generator's own clock may be, for round trips asked to be within a limit."""
    asked = thresholds.max_p99_ms or HOLDS.max_p99_ms or 0.0
    return max(FRAME_MS, asked * LATE_PART)


def _void(report: Report) -> list[str]:
    measured = [tick for tick in report.ticks if tick.measured]
    if not any(tick.up for tick in report.ticks):
        return _own_limits(report)
    return [
        *_too_short(report, measured),
        *_busy(report, measured),
        *_late(report, measured),
        *_own_limits(report),
        *_no_probes(report),
        *_no_process(report),
    ]


def _too_short(report: Report, measured: list[Tick]) -> list[str]:
    count, planned = len(measured), report.plan.duration_s
    if count < LEAST_SECONDS:
        return [f"only {count} s were measured; {LEAST_SECONDS} s are the least"]
    if count < planned * LEAST_SHARE and (report.terminated or not report.interrupted):
        why = ": SIGTERM ended the run" if report.terminated else ""
        return [f"only {count} of {planned:g} s were measured{why}"]
    return []


def _busy(report: Report, measured: list[Tick]) -> list[str]:
    highest = Spread.of([tick.cpu for tick in measured]).p95
    if report.generator_cpu > BUSY_SHARE:
        return [
            f"the generator was the bottleneck: it used {report.generator_cpu:.0%} of its core in "
            f"the median second, and above {BUSY_SHARE:.0%} it measures itself"
        ]
    if highest > BUSIEST_OF_TEN:
        return [
            f"the generator was the bottleneck now and then: in one second of twenty it used "
            f"{highest:.0%} of its core or more"
        ]
    return []


def _late(report: Report, measured: list[Tick]) -> list[str]:
    limit, worst = late_limit_ms(report.thresholds), report.generator_lag_ms.p95
    if worst > limit:
        return [
            f"the generator was late: in one second of twenty its own clock was behind by "
            f"{worst:.0f} ms or more, and {limit:.0f} ms are the most that leave round trips true"
        ]
    asked = report.thresholds.max_p99_ms
    if asked is None or report.probes_ms.p99 <= asked:
        return []
    late, kept = 0, list[float]()
    stalled_before = False
    for tick in measured:
        stalled = tick.lag_ms > limit
        late += stalled
        if not (stalled or stalled_before):  # a round trip ends a second after it began at most
            kept += tick.probes_ms
        stalled_before = stalled
    if late and kept and Spread.of(kept).p99 <= asked:
        return [
            f"the round trips were slow only around {_count(late, 'second')} in which the "
            "generator, or the machine, was late itself"
        ]
    return []


def _others(report: Report) -> list[str]:
    """Only where nothing but times and sound was missed: who has less than a core and reaches all
    is no worse, and what a container costs, or fails in, is nobody else's."""
    share = report.subject.others_share if report.subject else None
    if share is None or share <= OTHERS_SHARE:
        return []
    return [
        f"others used {share:.0%} of the container's core, so that what it missed may be theirs: "
        "run on a quiet machine"
    ]


def _own_limits(report: Report) -> list[str]:
    own = {
        kind: count
        for kind, count in report.errors.items()
        if any(limit in kind.lower() for limit in OWN_LIMITS)
    }
    if not own:
        return []
    kinds = ", ".join(own)
    return [
        f"the generator could not place {_count(sum(own.values()), 'call')} for want of its own "
        f"descriptors or ports ({kinds}): raise `ulimit -n`, or use --generators"
    ]


def _no_probes(report: Report) -> list[str]:
    if report.probes_ms.count or not any(tick.measured for tick in report.ticks):
        return []
    if report.plan.model_port is not None and report.calls_held:
        return [
            "calls were up, but no probe came back: does the container use the stand-in as its "
            "model?"
        ]
    asked = report.thresholds
    wanted = asked.max_p99_ms is not None or asked.max_lost_probes is not None
    if wanted and report.calls_held:
        return ["no probe came back, so that round trips and lost probes cannot be judged"]
    return []


def _no_process(report: Report) -> list[str]:
    asked = report.thresholds
    if report.subject or (asked.max_cpu_ms is None and asked.max_rss_mb_per_call is None):
        return []
    return ["the container's process could not be watched, so that its cost cannot be judged"]


def _no_call(report: Report) -> list[str]:
    if any(tick.up for tick in report.ticks) or not report.errors:
        return []
    kind = max(report.errors, key=report.errors.__getitem__)
    return [f"no call came up: {kind} ({_count(report.errors[kind], 'time')})"]


def _deaf(report: Report) -> list[str]:
    """The stand-in speaks without pause; another model may be silent when it has greeted."""
    speaks_on = report.plan.model_port is not None
    deaf = [
        call
        for call in report.calls
        if (call.first_audio_ms is None and call.up_s >= LEAST_SECONDS)
        or (speaks_on and call.heard_share == 0 and call.talked_s >= LEAST_SECONDS)
    ]
    return [f"{_count(len(deaf), 'call')} heard nothing at all"] if deaf else []


def _missed(report: Report) -> list[str]:
    return [words for _, words in outcomes(report) if words]


def outcomes(report: Report) -> list[tuple[str, str]]:
    """Each threshold that was asked, in words, and how it was missed; empty: it was reached."""
    asked, subject = report.thresholds, report.subject
    found: list[tuple[str, str]] = []

    def most(name: str, unit: str, value: float, limit: float | None, figure: str = ".1f") -> None:
        if limit is not None:
            wish = f"{name} at most {limit:g}{unit}"
            words = f"{name} was {value:{figure}}{unit}, asked for at most {limit:g}{unit}"
            found.append((wish, words if value > limit else ""))

    most("round trip p99", " ms", report.probes_ms.p99, asked.max_p99_ms)
    if asked.min_heard is not None and report.calls:
        ends = {"caller": report.heard_share_least, "model": report.model_heard_share_least}
        for end, share in ends.items():
            if share is not None:
                wish = f"heard by each {end} at least {asked.min_heard:g} of real time"
                words = f"a {end} heard {share:.4f} of real time, asked for {asked.min_heard:g}"
                found.append((wish, words if share < asked.min_heard else ""))
    most("errors", "", sum(report.errors.values()), asked.max_errors, "g")
    most("lost probes", "", report.lost_probes, asked.max_lost_probes, "g")
    if subject:
        cost, grown = subject.cpu_ms_per_call_s, subject.rss_mb_per_call
        most("processor time per call-second", " ms", cost, asked.max_cpu_ms, ".2f")
        most("memory per call", " MB", grown, asked.max_rss_mb_per_call, ".3f")
    return found


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
