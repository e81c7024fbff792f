"""The container's process, seen from outside: what it costs, and what it leaves behind.

`WatchedProcess` reads the machine's figures through psutil; `subject_figures` is arithmetic. The
container is never touched, and whether its figures are good is `verdict.py`'s business.
"""

from __future__ import annotations

import importlib
import math
import statistics
from typing import TYPE_CHECKING, Any

from avr_bridge.errors import AvrBridgeError
from avr_bridge.soak.results import ProcessSample, SubjectFigures, Tick

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["SubjectGone", "WatchedProcess", "slope_per_h", "subject_figures"]

MB = 1_000_000
UNKNOWN = -1
"""Descriptors, where another user's process does not tell."""


class SubjectGone(AvrBridgeError):
    """The container's process is not there, or not to be looked at; in words."""


class WatchedProcess:
    """A process and its children, worker processes among them."""

    def __init__(self, pid: int, cores: frozenset[int] = frozenset()) -> None:
        """Watch the process `pid`, and the cores that it is bound to.

        Raises:
            SubjectGone: There is none.
        """
        self._psutil: Any = importlib.import_module("psutil")  # of the extra `soak`
        self._cores = cores
        try:
            self._root = self._psutil.Process(pid)
        except self._psutil.Error as error:
            raise SubjectGone(f"no process {pid} can be watched: {error}") from error

    def sample(self, at_s: float, calls_up: int) -> ProcessSample:
        """Its figures now; processor time includes children that have ended.

        Raises:
            SubjectGone: It has ended.
        """
        try:
            if self._root.status() == self._psutil.STATUS_ZOMBIE:
                raise SubjectGone(f"the process {self._root.pid} has ended")
            found = [self._figures(self._root)]
            children = self._root.children(recursive=True)
        except self._psutil.Error as error:
            raise SubjectGone(f"the process {self._root.pid} cannot be watched: {error}") from error
        for child in children:
            try:
                found.append(self._figures(child))
            except self._psutil.Error:
                continue  # ended meanwhile: its parent has its processor time
        cpu_s, rss, descriptors, threads = (sum(column) for column in zip(*found, strict=True))
        return ProcessSample(
            at_s=at_s,
            cpu_s=cpu_s,
            rss_mb=rss / MB,
            descriptors=int(descriptors) if descriptors >= 0 else UNKNOWN,
            threads=int(threads),
            calls_up=calls_up,
            core_busy_s=self._core_busy_s(),
        )

    def _core_busy_s(self) -> float | None:
        if not self._cores:
            return None
        cores = self._psutil.cpu_times(percpu=True)
        if max(self._cores) >= len(cores):
            return None  # some cores are off line, and their numbers are not in order
        # A guest's time is in the user's already; what the hypervisor took is time lost as well.
        names = ("user", "nice", "system", "irq", "softirq", "steal")
        return sum(getattr(cores[core], name, 0.0) for core in self._cores for name in names)

    def _figures(self, process: Any) -> tuple[float, float, float, float]:
        with process.oneshot():
            times = process.cpu_times()
            cpu_s = times.user + times.system + times.children_user + times.children_system
            rss, threads = process.memory_info().rss, process.num_threads()
        try:
            descriptors = float(process.num_fds())
        except self._psutil.AccessDenied:
            descriptors = float("-inf")
        return cpu_s, rss, descriptors, threads


def subject_figures(
    samples: Sequence[ProcessSample],
    ticks: Sequence[Tick],
    calls: int,
    tasks: tuple[int | None, int | None] = (None, None),
    *,
    ended: bool = False,
) -> SubjectFigures | None:
    """What the process cost; None if there is not enough to tell.

    Args:
        samples: In the order of time; the first from before the first call, the last from after
            the last.
        ticks: Of the run; the measured ones bound what counts.
        calls: Steady calls.
        tasks: Trio tasks before and after.
        ended: The process did, behind the last sample: what it cost until then is told, and what it
            left behind is not.
    """
    lived_s = samples[-1].at_s if ended and samples else math.inf
    measured = [tick for tick in ticks if tick.measured and tick.at_s <= lived_s]
    if not measured or len(samples) < 2:
        return None
    begin_s, end_s = _begin(ticks, measured[0]), measured[-1].at_s
    times = [(sample.at_s, sample.cpu_s) for sample in samples]
    inside = [sample for sample in samples if begin_s <= sample.at_s <= end_s] or [samples[-1]]
    cpu_s = _at(end_s, times) - _at(begin_s, times)
    span_s = end_s - begin_s
    busy = [(sample.at_s, sample.core_busy_s) for sample in samples if sample.core_busy_s]
    others_share = None
    if busy and span_s > 0:
        others_s = _at(end_s, busy) - _at(begin_s, busy) - cpu_s
        others_share = max(0.0, others_s / span_s)
    call_s = 0.0
    before_s = begin_s
    for tick in measured:
        call_s += (tick.up + tick.short_up) * (tick.at_s - before_s)
        before_s = tick.at_s
    first, last = samples[0], samples[-1]
    rss_mb = statistics.median(sample.rss_mb for sample in inside)
    return SubjectFigures(
        cpu_ms_per_call_s=cpu_s * 1000 / call_s if call_s else 0.0,
        cpu_share=cpu_s / span_s if span_s > 0 else 0.0,
        rss_idle_mb=first.rss_mb,
        rss_mb=rss_mb,
        rss_mb_per_call=(rss_mb - first.rss_mb) / calls,
        rss_slope_mb_per_h=slope_per_h([(sample.at_s, sample.rss_mb) for sample in inside]),
        rss_after_mb=None if ended else last.rss_mb,
        descriptors_idle=first.descriptors,
        descriptors=max(sample.descriptors for sample in samples),
        descriptors_after=None if ended else last.descriptors,
        threads_after=None if ended else last.threads,
        tasks_idle=tasks[0],
        tasks_after=tasks[1],
        others_share=others_share,
    )


def slope_per_h(points: Sequence[tuple[float, float]]) -> float:
    """How much a value grows in an hour, by least squares; `points` are (seconds, value)."""
    if len(points) < 2 or len({at_s for at_s, _ in points}) < 2:
        return 0.0
    slope, _ = statistics.linear_regression(*zip(*points, strict=True))
    return slope * 3600


def _begin(ticks: Sequence[Tick], first: Tick) -> float:
    """The start of a second is the end of the one before it."""
    ends = [tick.at_s for tick in ticks if tick.at_s < first.at_s]
    return ends[-1] if ends else max(0.0, first.at_s - 1)


def _at(at_s: float, points: Sequence[tuple[float, float]]) -> float:
    """A value at a moment, between two (seconds, value) by the straight line."""
    before_s, before = points[0]
    for now_s, now in points:
        if now_s >= at_s:
            span_s = now_s - before_s
            part = (at_s - before_s) / span_s if span_s > 0 else 1.0
            return before + (now - before) * part
        before_s, before = now_s, now
    return before
