"""Off the road: measure the bridge beside a fixed yardstick, in the same minutes, and record it.

Run `make bench`, or `python -m benchmarks.calls` in the project's folder. Milliseconds are the
machine's; the ratio to the yardstick (`yardstick.py`), in brackets, is the bridge's. The job is
that of `avr-bridge soak`: each call full duplex without pause, 50 frames a second in, deltas of
100 ms out, a probe a second. With two cores the container has one and the generator another. Runs
go round by round, each second round backwards; one that is void or disturbed is repeated once. What
a set-up costs, and how it is found: `figures.py`.

It is no test and has no threshold. Our own settings in the environment (OPENAI_*, AVR_*) are not
looked at.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from functools import partial
from typing import TYPE_CHECKING

import attrs
import psutil
import trio

from avr_bridge import __version__
from avr_bridge.errors import AvrBridgeError
from avr_bridge.soak.container import ContainerFailed, free_port
from avr_bridge.soak.layout import Layout
from avr_bridge.soak.plan import SoakPlan, Thresholds
from avr_bridge.soak.run import run_soak
from avr_bridge.soak.verdict import LEAST_SECONDS
from benchmarks import figures, history
from benchmarks.contestants import YARDSTICK, Contestant, contestants, forget_settings
from benchmarks.figures import Figures, Row

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from avr_bridge.soak.results import Report

RAMP_S = 3.0
"""In which the steady calls of a run are placed."""
SETTLE_S = 3.0
SET_UP = 0
"""In the place of a number of calls: the run for set-ups."""


@attrs.frozen
class Options:
    """The command line, checked."""

    calls: tuple[int, ...]
    rounds: int
    duration_s: float
    model_port: int
    contestants: list[Contestant]
    layout: Layout
    record: bool


class Benchmark:
    """All rounds, and what they said."""

    def __init__(self, options: Options, say: Callable[[str], None]) -> None:
        self._options = options
        self._say = say
        self._found: dict[tuple[int, str], list[Figures]] = {}

    async def run(self) -> list[Row]:
        """Carry out all rounds.

        Raises:
            AvrBridgeError: A contestant or the generator did not start, in words.
        """
        options = self._options
        for number in range(options.rounds):
            for calls in (*options.calls, SET_UP):
                for contestant in in_turn(options.contestants, number):
                    run = await self._valid(contestant, calls, number)
                    self._found.setdefault((calls, contestant.name), []).append(run)
        return [
            figures.row(
                contestant.name,
                calls,
                self._found[calls, contestant.name],
                self._found.get((calls, YARDSTICK), [Figures()] * options.rounds),
            )
            for calls in (*options.calls, SET_UP)
            for contestant in options.contestants
        ]

    async def _valid(self, contestant: Contestant, calls: int, number: int) -> Figures:
        """One run. One that is void or disturbed, or whose port was taken, has a second try."""
        try:
            run = await self._one(contestant, calls, number)
        except ContainerFailed as error:
            self._say(f"{contestant.name}: {error}")
        else:
            if not run.void and not run.disturbed:
                return run
        return await self._one(contestant, calls, number)

    async def _one(self, contestant: Contestant, calls: int, number: int) -> Figures:
        plan = self._plan(contestant, calls, number)
        core = next(iter(self._options.layout.bridge_cores), None)
        stolen = Stolen(core)
        report = await run_soak(
            plan,
            Thresholds(),
            version=__version__,
            layout=self._options.layout,
            container=lambda model_url: contestant.open(model_url, _port_of(plan), core),
            stop=trio.Event(),
            watch=lambda progress: None,
        )
        run = self._figures(report, contestant, calls, number, stolen.share())
        shown = figures.table([figures.row(contestant.name, calls, [run], [Figures()])])[-1]
        self._say(f"round {number + 1}: {shown} {run.void or run.disturbed}".rstrip())
        return run

    def _figures(
        self, report: Report, contestant: Contestant, calls: int, number: int, steal: float | None
    ) -> Figures:
        if calls != SET_UP:
            return figures.steady_figures(report, steal)
        fewest = self._found[min(self._options.calls), contestant.name][number]
        return figures.set_up_figures(report, steal, fewest.cpu_ms)

    def _plan(self, contestant: Contestant, calls: int, number: int) -> SoakPlan:
        common = partial(
            SoakPlan,
            url=f"ws://127.0.0.1:{free_port()}",
            duration_s=self._options.duration_s,
            settle_s=SETTLE_S,
            codec=contestant.codec,
            model_port=self._options.model_port,
            seed=number + 1,
        )
        if calls != SET_UP:
            return common(calls=calls, ramp_per_s=calls / RAMP_S)
        return common(
            calls=figures.SET_UP_CALLS,
            ramp_per_s=figures.SET_UP_RAMP_PER_S,
            arrivals_per_s=figures.SET_UP_PER_S,
            arrival_s=figures.SET_UP_LENGTH_S,
        )


class Stolen:
    """What the machine's other guests take of a core, or of all, from here on."""

    def __init__(self, core: int | None) -> None:
        self._core = core
        self._before_s, self._begun_s = self._stolen_s(), trio.current_time()

    def share(self) -> float | None:
        """Of the time since; None: this system does not tell."""
        now_s = self._stolen_s()
        if now_s is None or self._before_s is None:
            return None
        return (now_s - self._before_s) / (trio.current_time() - self._begun_s)

    def _stolen_s(self) -> float | None:
        cores = psutil.cpu_times(percpu=True)
        counted = cores if self._core is None else cores[self._core : self._core + 1]
        stolen = [core.steal for core in counted if hasattr(core, "steal")]
        return sum(stolen) / len(stolen) if stolen else None


def in_turn(all_of_them: Sequence[Contestant], number: int) -> list[Contestant]:
    """The order of a round: forwards, then backwards, so that nobody is always behind another."""
    return list(all_of_them) if number % 2 == 0 else list(reversed(all_of_them))


def _port_of(plan: SoakPlan) -> int:
    return int(plan.url.rpartition(":")[2])


def options_of(arguments: Sequence[str]) -> Options:
    """The command line; says what is wrong with it, and exits."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.calls", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--calls", default="10,25,40", help="steady calls [%(default)s]")
    parser.add_argument("--rounds", type=int, default=3, help="[%(default)s]")
    parser.add_argument("--duration", type=float, default=8.0, help="s measured [%(default)s]")
    parser.add_argument("--only", default="", help="names, with commas between")
    parser.add_argument(
        "--also",
        action="append",
        default=[],
        metavar="NAME=COMMAND",
        help="another container, started by this; {port} and {model}, the stand-in's address, are "
        "filled in; the stand-in speaks 24 kHz PCM to it; repeatable",
    )
    parser.add_argument("--model-port", type=int, default=0, help="of the stand-in [any]")
    parser.add_argument("--record", action=argparse.BooleanOptionalAction, default=True)
    given = parser.parse_args(arguments)
    try:
        calls = tuple(sorted({int(number) for number in given.calls.split(",")}))
        everybody = contestants(given.also)
        names = [name.strip() for name in given.only.split(",") if name.strip()]
        if unknown := set(names) - {one.name for one in everybody}:
            raise ValueError(f"--only: {', '.join(sorted(unknown))} is none of them")
        if calls[0] < 1 or given.rounds < 1 or given.duration <= LEAST_SECONDS:
            raise ValueError(
                f"calls and rounds begin at 1, and more than {LEAST_SECONDS} s are measured"
            )
    except ValueError as error:
        parser.error(str(error))
    return Options(
        calls=calls,
        rounds=given.rounds,
        duration_s=given.duration,
        model_port=given.model_port,
        contestants=[one for one in everybody if not names or one.name in names],
        layout=Layout.bound(1) or Layout.unbound(1),
        record=given.record,
    )


async def bench(options: Options) -> list[Row]:
    """Carry out all rounds; progress goes to standard error. No rows: a signal ended it."""
    rows: list[Row] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_end_by_signal, nursery.cancel_scope)
        rows += await Benchmark(options, partial(print, file=sys.stderr, flush=True)).run()
        nursery.cancel_scope.cancel()
    return rows


async def _end_by_signal(whole: trio.CancelScope) -> None:
    """The processes have sessions of their own: they are ended by us or not at all."""
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for _ in signals:
            whole.cancel()


def main() -> None:
    """Measure, print the table, and record it."""
    options = options_of(sys.argv[1:])
    forget_settings(os.environ)
    try:
        rows = trio.run(bench, options)
    except* AvrBridgeError as errors:
        sys.exit("; ".join(str(error) for error in errors.exceptions))
    if not rows:
        sys.exit("ended by a signal: nothing is recorded")
    print("\n".join(figures.table(rows)))
    if options.record:
        bound = bool(options.layout.bridge_cores)
        history.append(
            history.new_result(
                rows, rounds=options.rounds, duration_s=options.duration_s, bound=bound
            )
        )


if __name__ == "__main__":
    main()
