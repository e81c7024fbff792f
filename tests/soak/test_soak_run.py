"""A soak run with a generator that tells stories: collected, judged, ended, and nothing left."""

from __future__ import annotations

import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import psutil
import pytest
import trio

from avr_bridge.soak import run as soak_run
from avr_bridge.soak.container import Container, free_port
from avr_bridge.soak.generators import GeneratorFailed
from avr_bridge.soak.layout import Layout
from avr_bridge.soak.limit import Step, find_limit
from avr_bridge.soak.plan import SoakPlan, Thresholds
from avr_bridge.soak.search import LimitSearch
from avr_bridge.soak.verdict import HOLDS, exit_code

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from avr_bridge.soak.collect import Progress
    from avr_bridge.soak.results import Report

LIMIT_S = 30
URL = "ws://127.0.0.1:1"


@pytest.fixture(autouse=True)
def _settled_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soak_run, "SETTLED_S", 0.0)


def no_child_is_left() -> bool:
    return not psutil.Process().children(recursive=True)


async def carry_out(
    *,
    calls: int = 4,
    generators: int = 1,
    asked: Thresholds = HOLDS,
    pid: int | None = None,
    stop: trio.Event | None = None,
    watch: Callable[[Progress], None] = lambda _: None,
) -> Report:
    @asynccontextmanager
    async def container(_model_url: str | None) -> AsyncIterator[Container]:
        yield Container(pid)

    plan = SoakPlan(
        url=URL, calls=calls, duration_s=8, model_port=0, headers={"Authorization": "Bearer geheim"}
    )
    with trio.fail_after(LIMIT_S):
        return await soak_run.run_soak(
            plan,
            asked,
            version="1.2.3",
            layout=Layout.unbound(generators),
            container=container,
            stop=trio.Event() if stop is None else stop,
            watch=watch,
        )


async def test_a_good_story_passes(story: Callable[[str], None]) -> None:
    """All ticks and calls are in the report, the container's cost too; no process is left."""
    story("good")
    seen: list[Progress] = []
    report = await carry_out(pid=os.getpid(), watch=seen.append)
    assert report.verdict.passed
    assert report.holds
    assert report.calls_held == 4
    assert len(report.ticks) == len(seen) == 12
    assert report.probes_ms.count == 8 * 3
    assert report.samples[0].rss_mb > 1
    assert report.samples[-1].threads >= 1
    assert report.plan.headers == {"Authorization": "***"}
    assert no_child_is_left()


async def test_two_processes_share_the_calls(story: Callable[[str], None]) -> None:
    """Each call is there once, with a number of its own; seconds are of both."""
    story("good")
    report = await carry_out(calls=5, generators=2)
    assert len({call.number for call in report.calls}) == 5
    assert report.ticks[0].up == 5
    assert report.probes_ms.count == 2 * 8 * 3


@pytest.mark.parametrize(
    ("name", "void", "missed"),
    [
        ("slow", "", "p99 was 150.0 ms"),
        ("busy", "97% of its core", ""),
        ("dies", "ended before its time (exit code 7): Traceback: it broke", ""),
        ("refused", "", "no call came up: refused (6 times)"),
    ],
)
async def test_a_bad_story_is_told_as_it_was(
    story: Callable[[str], None], name: str, void: str, missed: str
) -> None:
    """Void or missed, with the generator's own last words."""
    story(name)
    report = await carry_out()
    assert void in "".join(report.verdict.void)
    assert bool(report.verdict.void) == bool(void)
    assert missed in "".join(report.verdict.missed)
    assert no_child_is_left()


async def test_a_generator_that_does_not_start_is_an_error(story: Callable[[str], None]) -> None:
    """Nothing was measured: one plain exception, with its last words."""
    story("never ready")
    with pytest.raises(GeneratorFailed, match=r"exit code 4\): cannot listen"):
        await carry_out()
    assert no_child_is_left()


async def test_a_stop_is_told_to_the_generator_and_reported(story: Callable[[str], None]) -> None:
    """Calls end politely: their records are there, and what was measured counts."""
    story("endless")
    stop = trio.Event()

    def watch(progress: Progress) -> None:
        if progress.tick.at_s == 12:
            stop.set()

    report = await carry_out(stop=stop, watch=watch)
    assert report.interrupted
    assert len(report.calls) == 4
    assert report.verdict.passed


async def test_a_cancelled_run_leaves_no_process(story: Callable[[str], None]) -> None:
    """Also none that hears nothing: it is killed."""
    story("deaf")
    with trio.CancelScope() as scope:

        def watch(progress: Progress) -> None:
            if progress.tick.at_s == 12:
                scope.cancel()

        await carry_out(watch=watch)
    assert scope.cancelled_caught
    assert no_child_is_left()


async def test_a_generator_that_hears_no_stop_is_not_waited_for(
    story: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Void, with what was told until then."""
    story("deaf")
    monkeypatch.setattr(soak_run, "STOP_S", 0.0)
    stop = trio.Event()

    def watch(progress: Progress) -> None:
        if progress.tick.at_s == 12:
            stop.set()

    report = await carry_out(stop=stop, watch=watch)
    assert "did not end within" in report.verdict.void[0]
    assert len(report.ticks) == 12
    assert no_child_is_left()


async def test_a_container_that_ends_is_a_miss(
    story: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found by its process, whatever the calls said."""
    story("endless")
    monkeypatch.setattr(soak_run, "SAMPLE_S", 0.01)
    stop = trio.Event()
    process = await trio.lowlevel.open_process(["sleep", "60"])

    def watch(progress: Progress) -> None:
        if progress.tick.at_s == 1:
            process.kill()

    async def stop_when_gone() -> None:
        await process.wait()
        await trio.sleep(0.05)  # several samples
        stop.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(stop_when_gone)
        report = await carry_out(pid=process.pid, watch=watch, stop=stop)
    assert "the container's process ended" in report.verdict.facts[0]
    assert report.subject is None or report.subject.rss_after_mb is None
    assert exit_code(report.verdict) == 1


async def test_the_limit_is_closed_in_on(story: Callable[[str], None]) -> None:
    """The story's round trips grow with its calls: up to 60 of them hold 60 ms."""
    story("tearful")
    told: list[Step] = []

    async def run_at(calls: int) -> Report:
        return await carry_out(calls=calls)

    found = await find_limit(LimitSearch(20), run_at, told.append)
    assert 58 <= found.limit <= 60
    assert found.best.plan.calls == found.limit
    assert told == found.steps
    assert [step.calls for step in told[:4]] == [20, 40, 80, 80]
    assert [step.again for step in told[:4]] == [False, False, False, True]
    assert found.words.startswith(f"{found.limit} calls hold")


async def test_a_search_ends_where_the_generator_does(story: Callable[[str], None]) -> None:
    """Void twice: no limit of the container, and it says so."""
    story("busy")

    async def run_at(calls: int) -> Report:
        return await carry_out(calls=calls)

    found = await find_limit(LimitSearch(5), run_at, lambda _: None)
    assert [step.outcome for step in found.steps] == ["void", "void"]
    assert found.ended == "void"
    assert "the generator is the limit" in found.words


def test_a_free_port_is_a_port() -> None:
    """It can be listened on."""
    assert 20_000 <= free_port() < 32_000
