"""One soak run: generators and container side by side, collected to the end, and judged.

The order of things only: what a second says is `collect.py`'s, what a run is worth `verdict.py`'s.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import attrs
import msgspec
import trio

from avr_bridge.masking import masked_address
from avr_bridge.soak.collect import Collector, Progress
from avr_bridge.soak.container import Container, tasks_of
from avr_bridge.soak.generators import Generator, GeneratorFailed, Ready, open_generators
from avr_bridge.soak.layout import Layout, bound, machine_words
from avr_bridge.soak.plan import SoakPlan, Thresholds
from avr_bridge.soak.results import CallRecord, Report, Tick
from avr_bridge.soak.subject import SubjectGone, WatchedProcess, subject_figures
from avr_bridge.soak.verdict import judged

__all__ = ["OpenContainer", "run_soak"]

type OpenContainer = Callable[[str | None], AbstractAsyncContextManager[Container]]
"""Given the stand-in's address, makes the container ready for calls and gives it."""

SAMPLE_S = 1.0
SETTLED_S = 3.0
"""From the last call to the figures of what is left: farewells, and the collector of garbage."""
STOP_S = 20.0
"""For the calls to end politely after a stop."""
GRACE_S = 60.0
"""Beyond the planned length; a generator that is not done by then hangs."""


async def run_soak(
    plan: SoakPlan,
    thresholds: Thresholds,
    *,
    version: str,
    layout: Layout,
    container: OpenContainer,
    stop: trio.Event,
    watch: Callable[[Progress], None],
    terminated: trio.Event | None = None,
) -> Report:
    """Place the calls, and give the judged report.

    Args:
        plan: What to do.
        thresholds: What to ask.
        version: Of avr-bridge, for the report.
        layout: How many generator processes, and which core is whose.
        container: Makes the container ready; it is left when the last call has ended.
        stop: When set, the calls end and what was measured until then is reported.
        watch: Called with each whole second.
        terminated: Set before `stop` where no person wanted it.

    Raises:
        GeneratorFailed: A generator did not start. One that fails later makes the run void.
        ContainerFailed: From `container`.
        SubjectGone: The container's process is not there at the start.
    """
    started_at = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    with bound(layout):
        async with (
            open_generators(plan, layout) as (generators, model_url),
            container(model_url) as measured,
        ):
            run = _Run(plan, thresholds, layout, generators, measured, stop, watch)
            await run.carry_out()
    report = run.collector.report(
        version=version,
        machine=machine_words(layout),
        started_at=started_at,
        subject=subject_figures(
            run.collector.samples,
            run.collector.ticks,
            plan.calls,
            run.tasks,
            ended=bool(run.findings),
        ),
        interrupted=stop.is_set(),
        terminated=terminated is not None and terminated.is_set(),
    )
    return judged(report, run.troubles, run.findings)


@attrs.define(eq=False)
class _Run:
    plan: SoakPlan
    thresholds: Thresholds
    layout: Layout
    generators: list[Generator]
    container: Container
    stop: trio.Event
    watch: Callable[[Progress], None]
    collector: Collector = attrs.field(init=False)
    troubles: list[str] = attrs.field(init=False, factory=list)
    findings: list[str] = attrs.field(init=False, factory=list)
    tasks: tuple[int | None, int | None] = attrs.field(init=False, default=(None, None))

    def __attrs_post_init__(self) -> None:
        cores = self.layout.generator_cores
        self.collector = Collector(_without_secrets(self.plan), self.thresholds, cores)

    async def carry_out(self) -> None:
        """From the idle container to the container that is idle again."""
        pid = self.container.pid
        watched = WatchedProcess(pid, self.layout.bridge_cores) if pid is not None else None
        tasks_idle = await tasks_of(self.plan.url, self.plan.headers)
        if watched:
            self.collector.samples.append(watched.sample(0.0, 0))
        begun_s = trio.current_time()
        for generator in self.generators:
            await generator.tell(b"go")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._end_when_stopped)
            if watched:
                nursery.start_soon(self._sample, watched, begun_s)
            with trio.move_on_after(self._longest_s()) as limit:
                await self._collect_all()
            nursery.cancel_scope.cancel()
        if limit.cancelled_caught:
            self.troubles.append(f"a generator hung: no end after {self._longest_s():.0f} s")
        if watched and not self.findings:
            await trio.sleep(SETTLED_S)
            self._take(watched, begun_s, calls_up=0)
            self.tasks = (tasks_idle, await tasks_of(self.plan.url, self.plan.headers))

    def _longest_s(self) -> float:
        plan = self.plan
        planned_s = plan.calls / plan.ramp_per_s + 2 * plan.settle_s + 10 + plan.duration_s
        return planned_s + GRACE_S

    async def _end_when_stopped(self) -> None:
        await self.stop.wait()
        for generator in self.generators:
            await generator.tell(b"stop")

    async def _sample(self, watched: WatchedProcess, begun_s: float) -> None:
        for second in range(1, 10**9):
            await trio.sleep_until(begun_s + second * SAMPLE_S)
            if not self._take(watched, begun_s, self.collector.calls_up):
                return

    def _take(self, watched: WatchedProcess, begun_s: float, calls_up: int) -> bool:
        """One sample; False: the process has ended, which is a finding."""
        at_s = trio.current_time() - begun_s
        try:
            sample = watched.sample(at_s, calls_up)
        except SubjectGone:
            words = self.container.last_words()
            said = f"; its last words:\n{words}" if words else ""
            self.findings.append(f"the container's process ended after {at_s:.0f} s{said}")
            return False
        self.collector.samples.append(sample)
        return True

    async def _collect_all(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._hurry, nursery.cancel_scope)
            async with trio.open_nursery() as collecting:
                for source, generator in enumerate(self.generators):
                    collecting.start_soon(self._collect, source, generator)
            nursery.cancel_scope.cancel()

    async def _hurry(self, collecting: trio.CancelScope) -> None:
        """After a stop, wait for generators only so long."""
        await self.stop.wait()
        await trio.sleep(STOP_S)
        self.troubles.append(f"a generator did not end within {STOP_S:g} s")
        collecting.cancel()

    async def _collect(self, source: int, generator: Generator) -> None:
        """Everything from one generator, to its end."""
        while True:
            try:
                line = await generator.receive()
            except GeneratorFailed as error:
                self.troubles.append(str(error))
                break
            match line:
                case Tick():
                    self._tell(self.collector.add_tick(source, line))
                case CallRecord():
                    self.collector.add_call(source, line)
                case Ready():
                    pass
                case _:
                    break
        self._tell(self.collector.ended(source))

    def _tell(self, whole: list[Tick]) -> None:
        if whole:
            self.watch(self.collector.progress())


def _without_secrets(plan: SoakPlan) -> SoakPlan:
    """As the report may show it: a token may be in a header or in the address."""
    headers = dict.fromkeys(plan.headers, "***")
    return msgspec.structs.replace(plan, headers=headers, url=masked_address(plan.url))
