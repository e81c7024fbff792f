"""What a soak run found: the shapes of its JSON. Values only; no arithmetic but percentiles.

`Tick` and `CallRecord` come from the generator's processes, a line of JSON each; `Report` is the
whole run, as ``--json`` writes it. Times are milliseconds where a name ends in ``_ms``, else
seconds; ``at_s`` counts from the start of the run.
"""

from __future__ import annotations

import math

import msgspec

from avr_bridge.soak.plan import SoakPlan, Thresholds

__all__ = [
    "CallRecord",
    "ProcessSample",
    "Report",
    "Spread",
    "SubjectFigures",
    "Tick",
    "Verdict",
]


class Spread(msgspec.Struct, frozen=True):
    """How values lie; zeros where there are none."""

    count: int = 0
    p50: float = 0.0
    p95: float = 0.0
    p99: float = 0.0
    most: float = 0.0

    @classmethod
    def of(cls, values: list[float]) -> Spread:
        """The spread of `values`; a percentile is the least value that so many do not exceed."""
        if not values:
            return cls()
        ordered = sorted(values)

        def at(share: float) -> float:
            return ordered[max(0, math.ceil(share * len(ordered)) - 1)]

        return cls(len(ordered), at(0.50), at(0.95), at(0.99), ordered[-1])


class Tick(msgspec.Struct, frozen=True, tag="tick"):
    """One second of one generator process.

    Attributes:
        at_s: Its end.
        up: Steady calls that are up.
        short_up: Arrivals that are up.
        probes_ms: Round trips that ended in this second, of steady calls.
        lost_probes: Probes of steady calls given up in this second.
        errors: By kind, in this second.
        lag_ms: The worst lateness of this process's own frame clock in this second.
        cpu: Share of one core that this process used.
        measured: Whether this second counts: after the ramp and the settling.
    """

    at_s: float
    up: int
    short_up: int
    probes_ms: list[float]
    lost_probes: int
    errors: dict[str, int]
    lag_ms: float
    cpu: float
    measured: bool


class CallRecord(msgspec.Struct, frozen=True, tag="call"):
    """One call at its end. All figures but the set-up are of the measured time only.

    Attributes:
        number: Of the call, unique in its process.
        kind: ``steady`` or ``arrival``.
        set_up_ms: From the dial to the accepted upgrade, or the response's head.
        first_audio_ms: From the dial to the first sound; None: none came.
        talked_s: Measured length.
        heard_share: Sound that the caller received, as a share of real time, at most 1.
        model_heard_share: Sound that the model stand-in received; None: no stand-in.
        underruns: Times when the caller's 20 ms playout ran dry.
        underrun_ms: For how long in all.
        gap_ms: Longest time without a message from the container.
        probes_ms: Round trips.
        lost_probes: Probes that did not come back within two seconds.
        barge_ins: Made; each must be answered by `interruption`.
        interruptions: Messages `interruption` that came.
        stop_ms: From the barge-in to `interruption`, each.
        tools: Function calls that the model stand-in made.
        tools_answered: Their results that came back.
        ended_by: ``run``, ``hangup`` (by plan), ``container``.
        error: What went wrong; empty: nothing.
        up_s: From the accepted call to its end, measured or not; 0: it was not accepted.
    """

    number: int
    kind: str
    set_up_ms: float | None
    first_audio_ms: float | None
    talked_s: float
    heard_share: float
    model_heard_share: float | None
    underruns: int
    underrun_ms: float
    gap_ms: float
    probes_ms: list[float]
    lost_probes: int
    barge_ins: int = 0
    interruptions: int = 0
    stop_ms: list[float] = []
    tools: int = 0
    tools_answered: int = 0
    ended_by: str = "run"
    error: str = ""
    up_s: float = 0.0


class ProcessSample(msgspec.Struct, frozen=True):
    """The container's process, its children included, at one moment.

    Attributes:
        core_busy_s: How long the cores that it is bound to were not idle, whoever used them, since
            the machine's start, summed; None: it is bound to none.
    """

    at_s: float
    cpu_s: float
    rss_mb: float
    descriptors: int
    threads: int
    calls_up: int
    core_busy_s: float | None = None


class SubjectFigures(msgspec.Struct, frozen=True):
    """What the container's process cost. Given its pid, or started by ``--self``.

    Attributes:
        cpu_ms_per_call_s: Processor time for a second of a call, over the measured time, or as
            much of it as the process lived.
        cpu_share: Of one core, over the same time.
        rss_idle_mb: Before the first call.
        rss_mb: Median of the measured time.
        rss_mb_per_call: Their difference by the steady calls.
        rss_slope_mb_per_h: Of the measured time, by least squares.
        rss_after_mb: After the last call; None, as the next: the process had ended.
        descriptors_idle: Before the first call.
        descriptors: Most.
        descriptors_after: After the last call.
        threads_after: After the last call.
        tasks_idle: Trio tasks before the first call, if the container tells; else None.
        tasks_after: After the last call.
        others_share: What others used of the cores that it is bound to, the hypervisor's other
            guests among them, as a share of one core; None: it is bound to none.
    """

    cpu_ms_per_call_s: float
    cpu_share: float
    rss_idle_mb: float
    rss_mb: float
    rss_mb_per_call: float
    rss_slope_mb_per_h: float
    rss_after_mb: float | None
    descriptors_idle: int
    descriptors: int
    descriptors_after: int | None
    threads_after: int | None
    tasks_idle: int | None = None
    tasks_after: int | None = None
    others_share: float | None = None


class Verdict(msgspec.Struct, frozen=True):
    """What is to be made of a run.

    Attributes:
        void: Why its figures say nothing about the container; empty: they do.
        missed: Thresholds that were missed, in words.
        facts: Those of `missed` that are so whatever the generator did, in a void run too: the
            container's process ended.
    """

    void: list[str] = []
    missed: list[str] = []
    facts: list[str] = []

    @property
    def passed(self) -> bool:
        """Valid, and nothing missed."""
        return not self.void and not self.missed


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """A whole run.

    Attributes:
        plan: What was done.
        thresholds: What was asked.
        version: Of avr-bridge.
        machine: Such as ``2 cores, Linux 6.1, Python 3.13.0``.
        started_at: ISO 8601, UTC.
        calls_held: Steady calls that were up from their start to the end without error.
        set_up_ms: Of all calls.
        first_audio_ms: Of all calls.
        probes_ms: Steady calls, measured time.
        heard_share_least: The worst steady call.
        model_heard_share_least: The worst steady call; None: no stand-in.
        underruns: In all steady calls.
        underrun_ms: In all steady calls.
        gap_ms: Longest gap of each steady call.
        lost_probes: In steady calls.
        stop_ms: From a barge-in to `interruption`.
        arrivals: Short calls made.
        arrivals_failed: Of them with an error.
        errors: By kind, all calls, the whole run.
        generator_cpu: Busiest generator process, share of a core, median of the measured seconds.
        generator_lag_ms: Spread of the worst lateness in each measured second.
        subject: The container's process; None: its pid was not given.
        ticks: Second by second, all generator processes together.
        samples: The container's process, second by second.
        calls: Every call.
        verdict: What is to be made of it.
        holds: Valid, and good by the common measure, whatever was asked: see `verdict.HOLDS`.
        interrupted: Ended before its time, by Ctrl-C or SIGTERM.
        terminated: By SIGTERM: most likely nobody looked, and its time was up.
    """

    plan: SoakPlan
    thresholds: Thresholds
    version: str
    machine: str
    started_at: str
    calls_held: int
    set_up_ms: Spread
    first_audio_ms: Spread
    probes_ms: Spread
    heard_share_least: float
    model_heard_share_least: float | None
    underruns: int
    underrun_ms: float
    gap_ms: Spread
    lost_probes: int
    stop_ms: Spread
    arrivals: int
    arrivals_failed: int
    errors: dict[str, int]
    generator_cpu: float
    generator_lag_ms: Spread
    subject: SubjectFigures | None
    ticks: list[Tick]
    samples: list[ProcessSample]
    calls: list[CallRecord]
    verdict: Verdict
    holds: bool = False
    interrupted: bool = False
    terminated: bool = False
