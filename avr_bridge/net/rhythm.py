"""When callers' sockets are read: at once while there is time, together at ticks while not.

What a frame costs is mostly its wake-up: four system calls and a task switch. A busy program
therefore lets its readers sleep to ticks that they share, and each then finds what has come
meanwhile: one read, one message to the model, no call of epoll. The price is delay, up to one
period; so the period follows the load. Readers are spread over the ticks of a period: woken all at
once, a hundred of them would keep each other waiting. Knows no sockets and no calls.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["PERIODS_MS", "Rhythm", "run_rhythm", "the_rhythm"]

TICK_S = 0.020
"""From tick to tick; of a period of 40 ms, each serves half of the readers. Ticks of 5 ms cost a
quarter more at 40 calls: each is a round of the scheduler for few."""

MEASURE_EVERY_S = 0.25
"""An overload is felt within a second, and a step of the bridge itself is no overload."""

_WEIGHT = 0.25
"""Of the newest measure of the load, in a running mean: a second of memory."""

PERIODS_MS = (0, 20, 40)
"""No delay; one frame of every call to a tick; two. Half of the period is added to an answer's
delay on average. Three frames to a tick save next to nothing more."""

SLOWER_ABOVE = (0.50, 0.62)
"""Load from which the next longer period is taken, for each but the longest. Below half of a core
there is time for each frame by itself, and a round trip takes 2 ms."""

FASTER_BELOW = (0.36, 0.46)
"""Load below which the next shorter one is taken, for each but the shortest. The bounds above are
further away than what a longer period saves by itself: a quarter, then a fifth."""


class Rhythm:
    """One Trio program's. Without `run`, everything is read at once.

    Args:
        fixed_ms: A period that is kept whatever the load; None: it follows the load.
        busy_s: Processor time that this program has used so far.
        clock_s: Real time, whatever clock Trio runs on.
    """

    def __init__(
        self,
        fixed_ms: int | None = None,
        *,
        busy_s: Callable[[], float] = time.thread_time,
        clock_s: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._fixed_ms = fixed_ms
        self._busy_s = busy_s
        self._clock_s = clock_s
        longest_s = max(*PERIODS_MS, fixed_ms or 0) / 1000
        self._waiting = [trio.lowlevel.ParkingLot() for _ in range(_ticks_of(longest_s))]
        self._readers = 0
        self._step = 0
        self._period_s = 0.0
        self._load = 0.0

    @property
    def period_s(self) -> float:
        """From tick to tick; 0: read at once."""
        return self._period_s

    @property
    def load(self) -> float:
        """Share of a core that this program has used of late."""
        return self._load

    def join(self) -> int:
        """A new reader's place among the others, for `wait_tick`."""
        self._readers += 1
        return self._readers

    async def wait_tick(self, place: int) -> None:
        """Wait for the next tick of this place, or for the end of the ticks."""
        await self._waiting[place % _ticks_of(self._period_s)].park()

    async def run(self) -> None:
        """Measure, and give the ticks. Runs until cancelled."""
        try:
            if self._fixed_ms is not None:
                self._period_s = self._fixed_ms / 1000
            await self._beat()
        finally:
            self._period_s = 0.0
            self._wake_all()

    def _wake_all(self) -> None:
        for waiting in self._waiting:
            waiting.unpark_all()

    async def _beat(self) -> None:
        measured_s, busy_s = self._clock_s(), self._busy_s()
        now_s = trio.current_time()
        measure_due_s, tick_due_s = now_s + MEASURE_EVERY_S, now_s
        number, period_s = 0, 0.0
        while True:
            if self._period_s != period_s:
                period_s = self._period_s
                self._wake_all()  # their places have changed
            if period_s:
                # Absolute, so that ticks do not drift. Missed ones fall at once, but no more than
                # a period of them.
                tick_due_s = max(tick_due_s + TICK_S, trio.current_time() - period_s)
                await trio.sleep_until(tick_due_s)
                number += 1
                self._waiting[number % _ticks_of(period_s)].unpark_all()
            else:
                await trio.sleep(MEASURE_EVERY_S)
            if trio.current_time() < measure_due_s:
                continue
            measure_due_s = trio.current_time() + MEASURE_EVERY_S
            at_s, used_s = self._clock_s(), self._busy_s()
            if at_s > measured_s:
                self.note_load((used_s - busy_s) / (at_s - measured_s))
            measured_s, busy_s = at_s, used_s

    def note_load(self, load: float) -> None:
        """Take one measure of the load, and choose the period by it."""
        self._load += _WEIGHT * (load - self._load)
        if self._fixed_ms is not None:
            return
        if self._step + 1 < len(PERIODS_MS) and self._load > SLOWER_ABOVE[self._step]:
            self._step += 1
        elif self._step and self._load < FASTER_BELOW[self._step - 1]:
            self._step -= 1
        self._period_s = PERIODS_MS[self._step] / 1000


def _ticks_of(period_s: float) -> int:
    return max(round(period_s / TICK_S), 1)


_rhythm: trio.lowlevel.RunVar[Rhythm] = trio.lowlevel.RunVar("avr_bridge.rhythm")


def the_rhythm() -> Rhythm:
    """This Trio program's; until somebody runs one, it is one that reads at once."""
    try:
        return _rhythm.get()
    except LookupError:
        idle = Rhythm()
        _rhythm.set(idle)
        return idle


async def run_rhythm(fixed_ms: int | None = None) -> None:
    """Have this program's sockets read in a rhythm from now on. Runs until cancelled."""
    rhythm = Rhythm(fixed_ms)
    token = _rhythm.set(rhythm)
    try:
        await rhythm.run()
    finally:
        _rhythm.reset(token)
