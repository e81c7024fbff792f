"""When sockets are read, in virtual time: the period follows the load, and nobody is forgotten."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
import trio

from avr_bridge.net.rhythm import PERIODS_MS, Rhythm
from avr_bridge.sections import LONGEST_BATCH_MS

if TYPE_CHECKING:
    from trio.testing import MockClock


class Meter:
    """A program whose load is what a test says, on the virtual clock."""

    def __init__(self) -> None:
        self.load = 0.0
        self._busy_s = 0.0
        self._at_s = trio.current_time()

    def busy_s(self) -> float:
        now_s = trio.current_time()
        self._busy_s += (now_s - self._at_s) * self.load
        self._at_s = now_s
        return self._busy_s

    def rhythm(self, fixed_ms: int | None = None) -> Rhythm:
        return Rhythm(fixed_ms, busy_s=self.busy_s, clock_s=trio.current_time)


async def test_the_period_follows_the_load(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    """Rest, strain and rest again: from reading at once to the longest period and back."""
    meter = Meter()
    rhythm = meter.rhythm()
    nursery.start_soon(rhythm.run)
    await trio.sleep(5)
    assert rhythm.period_s == 0
    meter.load = 0.95
    await trio.sleep(5)
    assert rhythm.period_s * 1000 == max(PERIODS_MS)
    assert rhythm.load == pytest.approx(0.95, abs=0.01)
    meter.load = 0.05
    await trio.sleep(5)
    assert rhythm.period_s == 0


@pytest.mark.parametrize("unbatched_load", [0.1, 0.3, 0.4, 0.48, 0.52, 0.6, 0.7, 0.85, 1.0, 1.3])
async def test_the_period_settles(
    unbatched_load: float, autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    """A longer period lowers the load by itself: at no load does the period swing to and fro."""
    saved = {0: 0.0, 20: 0.25, 40: 0.4}
    meter = Meter()
    rhythm = meter.rhythm()
    nursery.start_soon(rhythm.run)
    periods = []
    for _ in range(200):
        now_ms = round(rhythm.period_s * 1000)
        meter.load = min(unbatched_load * (1 - saved[now_ms]), 1.0)
        periods.append(now_ms)
        await trio.sleep(0.1)
    assert len(set(periods[50:])) == 1


async def test_readers_share_ticks(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    """Spread over the period, half of them to a tick, each on an absolute beat."""
    rhythm = Meter().rhythm(40)
    woken: dict[int, list[float]] = {}

    async def read(place: int) -> None:
        woken[place] = []
        while True:
            await rhythm.wait_tick(place)
            woken[place].append(trio.current_time())

    nursery.start_soon(rhythm.run)
    await trio.sleep(0.011)
    for _ in range(16):
        nursery.start_soon(read, rhythm.join())
    await trio.sleep(10)
    nursery.cancel_scope.cancel()
    for times in woken.values():
        assert [b - a for a, b in pairwise(times)] == pytest.approx([0.04] * (len(times) - 1))
    firsts = sorted(round(times[0], 6) for times in woken.values())
    assert len(set(firsts)) == 2
    assert firsts[:8] == firsts[:1] * 8


async def test_missed_ticks_fall_at_once(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    """A program that was held up for a minute: no reader is left out, none is woken time and again
    for what it missed."""
    rhythm = Meter().rhythm(20)
    woken = 0

    async def read(place: int) -> None:
        nonlocal woken
        while True:
            await rhythm.wait_tick(place)
            woken += 1

    nursery.start_soon(rhythm.run)
    for _ in range(4):
        nursery.start_soon(read, rhythm.join())
    await trio.sleep(1)
    woken = 0
    autojump_clock.jump(60)
    await trio.sleep(0.001)
    assert 4 <= woken <= 12
    nursery.cancel_scope.cancel()


async def test_nobody_is_left_waiting_when_the_ticks_end(autojump_clock: MockClock) -> None:
    """The program's rhythm is cancelled: readers are let go, and read at once from then on."""
    rhythm = Meter().rhythm(60)
    async with trio.open_nursery() as readers, trio.open_nursery() as beating:
        beating.start_soon(rhythm.run)
        await trio.sleep(0.1)
        readers.start_soon(rhythm.wait_tick, 3)
        await trio.testing.wait_all_tasks_blocked()
        beating.cancel_scope.cancel()
    assert rhythm.period_s == 0


def test_no_period_is_longer_than_is_promised() -> None:
    """Sixty milliseconds of added delay, at the most, by itself or by a setting."""
    assert max(PERIODS_MS) <= LONGEST_BATCH_MS == 60
