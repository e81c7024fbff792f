"""Gathers what the generator's processes tell, second by second, into one `Report`.

Arithmetic only: it reads no pipe and no clock, and it judges nothing (`verdict.py` does).
"""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict, deque
from typing import TYPE_CHECKING

import attrs
import msgspec

from avr_bridge.soak.results import CallRecord, ProcessSample, Report, Spread, Tick, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from avr_bridge.soak.plan import SoakPlan, Thresholds
    from avr_bridge.soak.results import SubjectFigures

__all__ = ["Collector", "Progress"]

LEAST_TALK_S = 10.0
"""Of a call whose heard share counts, in a run that is twice as long: one of the model's deltas, of
which the last may be on its way, is 1 % of it. In a shorter run half of the measured time."""
FEW_FRAMES_S = 1.0
"""The same where all calls are shorter."""


@attrs.frozen
class Progress:
    """Where a run is, for who watches it.

    Attributes:
        phase: ``ramp``, ``settle`` or ``measure``.
        share: Of the phase that is over, 0 to 1.
        tick: The last second.
        probes_ms: Of the measured time so far; before it, of the last second.
        errors: By kind, so far.
        sample: The container's process; None: not watched.
        cpu_share: Of one core, which it used in the last second; None: not watched.
    """

    phase: str
    share: float
    tick: Tick
    probes_ms: Spread
    errors: dict[str, int]
    sample: ProcessSample | None
    cpu_share: float | None


class Collector:
    """Ticks and records of all generator processes, by source (0, 1, ...)."""

    def __init__(self, plan: SoakPlan, thresholds: Thresholds, cores: Sequence[int | None]) -> None:
        """`cores` has one entry for each source: the core that it is bound to.

        Sources on one core share it, so that their shares are added; else the busiest counts.
        """
        self.plan = plan
        self.ticks: list[Tick] = []
        self.calls: list[CallRecord] = []
        self.samples: list[ProcessSample] = []
        self._thresholds = thresholds
        self._cores = cores
        self._waiting: list[deque[Tick]] = [deque() for _ in cores]
        self._going = set(range(len(cores)))
        self._errors: Counter[str] = Counter()
        self._probes_ms: list[float] = []

    @property
    def calls_up(self) -> int:
        """By the last second that is whole."""
        return self.ticks[-1].up + self.ticks[-1].short_up if self.ticks else 0

    def add_call(self, source: int, record: CallRecord) -> None:
        """A call that ended. Its number is made unique over all sources."""
        number = record.number * len(self._cores) + source
        self.calls.append(msgspec.structs.replace(record, number=number))

    def add_tick(self, source: int, tick: Tick) -> list[Tick]:
        """A second of one source; the seconds that are whole by it."""
        self._waiting[source].append(tick)
        return self._merge()

    def ended(self, source: int) -> list[Tick]:
        """No more comes from this source; the others' seconds no longer wait for it."""
        self._going.discard(source)
        return self._merge()

    def progress(self) -> Progress:
        """Where the run is, after at least one whole second."""
        tick, plan = self.ticks[-1], self.plan
        ramp_s = plan.calls / plan.ramp_per_s
        if tick.measured:
            done = sum(each.measured for each in self.ticks)
            phase, share = "measure", done / plan.duration_s
        elif tick.at_s <= ramp_s:
            phase, share = "ramp", tick.at_s / ramp_s
        else:
            phase, share = "settle", (tick.at_s - ramp_s) / max(plan.settle_s, 1.0)
        probes = self._probes_ms if tick.measured else tick.probes_ms
        sample = self.samples[-1] if self.samples else None
        cpu_share = None
        if len(self.samples) > 1:
            before, now = self.samples[-2:]
            span_s = now.at_s - before.at_s
            cpu_share = (now.cpu_s - before.cpu_s) / span_s if span_s > 0 else None
        return Progress(
            phase, min(share, 1.0), tick, Spread.of(probes), dict(self._errors), sample, cpu_share
        )

    def report(
        self,
        *,
        version: str,
        machine: str,
        started_at: str,
        subject: SubjectFigures | None,
        interrupted: bool,
        terminated: bool = False,
    ) -> Report:
        """The run so far, not judged yet."""
        measured = [tick for tick in self.ticks if tick.measured]
        steady = [call for call in self.calls if call.kind == "steady"]
        arrivals = [call for call in self.calls if call.kind == "arrival"]
        least_s = min(LEAST_TALK_S, len(measured) / 2)
        heard = _shares(steady, "heard_share", least_s)
        model_heard = _shares(steady, "model_heard_share", least_s)
        return Report(
            plan=self.plan,
            thresholds=self._thresholds,
            version=version,
            machine=machine,
            started_at=started_at,
            calls_held=_held(steady, self.plan.calls),
            set_up_ms=_spread(call.set_up_ms for call in self.calls),
            first_audio_ms=_spread(call.first_audio_ms for call in self.calls),
            probes_ms=Spread.of([ms for tick in measured for ms in tick.probes_ms]),
            heard_share_least=min(heard, default=0.0),
            model_heard_share_least=min(model_heard, default=None),
            underruns=sum(call.underruns for call in steady),
            underrun_ms=sum(call.underrun_ms for call in steady),
            gap_ms=Spread.of([call.gap_ms for call in steady if call.talked_s >= least_s]),
            lost_probes=sum(tick.lost_probes for tick in measured),
            stop_ms=Spread.of([ms for call in self.calls for ms in call.stop_ms]),
            arrivals=len(arrivals),
            arrivals_failed=sum(bool(call.error) for call in arrivals),
            errors=self._all_errors(),
            generator_cpu=statistics.median(tick.cpu for tick in measured) if measured else 0.0,
            generator_lag_ms=Spread.of([tick.lag_ms for tick in measured]),
            subject=subject,
            ticks=self.ticks,
            samples=self.samples,
            calls=sorted(self.calls, key=lambda call: call.number),
            verdict=Verdict(),
            interrupted=interrupted,
            terminated=terminated,
        )

    def _all_errors(self) -> dict[str, int]:
        """By kind. Calls that fail behind the last tick are in their records only, as
        ``kind: words``."""
        of_calls = Counter(call.error.partition(":")[0] for call in self.calls if call.error)
        return dict(self._errors if self._errors.total() >= of_calls.total() else of_calls)

    def _merge(self) -> list[Tick]:
        whole = []
        while any(self._waiting) and all(self._waiting[source] for source in self._going):
            together = {
                source: waiting.popleft() for source, waiting in enumerate(self._waiting) if waiting
            }
            tick = self._together(together)
            self.ticks.append(tick)
            self._errors.update(tick.errors)
            if tick.measured:
                self._probes_ms += tick.probes_ms
            whole.append(tick)
        return whole

    def _together(self, by_source: dict[int, Tick]) -> Tick:
        ticks = list(by_source.values())
        errors: Counter[str] = Counter()
        cpu: defaultdict[tuple[str, int], float] = defaultdict(float)
        for source, tick in by_source.items():
            errors.update(tick.errors)
            core = self._cores[source]
            cpu[("process", source) if core is None else ("core", core)] += tick.cpu
        return Tick(
            at_s=max(tick.at_s for tick in ticks),
            up=sum(tick.up for tick in ticks),
            short_up=sum(tick.short_up for tick in ticks),
            probes_ms=[ms for tick in ticks for ms in tick.probes_ms],
            lost_probes=sum(tick.lost_probes for tick in ticks),
            errors=dict(errors),
            lag_ms=max(tick.lag_ms for tick in ticks),
            cpu=max(cpu.values()),
            measured=all(tick.measured for tick in ticks),
        )


def _spread(values: Iterable[float | None]) -> Spread:
    return Spread.of([value for value in values if value is not None])


def _held(steady: list[CallRecord], planned: int) -> int:
    """Those that were up to the end; one that was placed again for one that failed is none."""
    to_the_end = sum(call.ended_by == "run" and not call.error for call in steady)
    failed = sum(bool(call.error) for call in steady)
    return max(min(to_the_end, planned - failed), 0)


def _shares(calls: list[CallRecord], name: str, least_s: float) -> list[float]:
    """What each call heard. One that failed before it could talk heard nothing; one that was hung
    up by plan so soon does not count, unless all were."""
    talked = [call for call in calls if call.talked_s >= FEW_FRAMES_S]
    counted = [call for call in talked if call.talked_s >= least_s or call.error] or talked
    shares = [share for call in counted if (share := getattr(call, name)) is not None]
    deaf = [call for call in calls if call.error and call.talked_s < FEW_FRAMES_S]
    return shares + [0.0] * len(deaf) if name == "heard_share" else shares
