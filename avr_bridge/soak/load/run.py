"""A run of one generator process: when calls begin and end, and what is told of them.

Above everything else in this folder. It places the calls on the ramp, measures, draws what is
random, and writes ticks and records. It judges nothing.
"""

from __future__ import annotations

import asyncio
import gc
import time
import uuid
from contextlib import suppress
from random import Random
from typing import TYPE_CHECKING

from avr_bridge.soak.load.caller import Caller
from avr_bridge.soak.load.lines import Line, NoLine, dial
from avr_bridge.soak.load.matching import Matching
from avr_bridge.soak.results import CallRecord, Tick

if TYPE_CHECKING:
    from collections.abc import Callable

    from avr_bridge.soak.load.clock import FrameClock
    from avr_bridge.soak.load.model import StandIn
    from avr_bridge.soak.plan import SoakPlan

__all__ = ["Run"]

LAST_UP_LIMIT_S = 10.0
"""The measurement begins without a steady call that is not up by then."""

FIRST_SOUND_WAIT_S = 2.0
"""A call that is up, but hears nothing, counts from then on."""

AGAIN_S = 1.0
"""A steady call that failed, or that the container ended, is placed again after this."""

BARGE_IN_AGAIN_S = 0.1
"""A barge-in that cannot be made now waits so long."""

TIDY_EVERY_S = 30
"""Between collections of garbage, which is otherwise off: a collection is a pause."""


class _Call:
    """A call that is up."""

    def __init__(self, caller: Caller, line: Line) -> None:
        self.caller = caller
        self.line = line

    def turn(self, now_s: float) -> None:
        """Its 20 ms."""
        self.line.send(self.caller.next_frame(now_s))


class Run:
    """Args:
    plan: What is done.
    clock: Running.
    stand_in: The model's; None: there is none here.
    write: Takes each tick and record.
    """

    def __init__(
        self,
        plan: SoakPlan,
        clock: FrameClock,
        stand_in: StandIn | None,
        write: Callable[[Tick | CallRecord], None],
    ) -> None:
        self._plan = plan
        self._clock = clock
        self._stand_in = stand_in
        self._write = write
        self._random = Random(plan.seed)
        self._matching = Matching()
        if stand_in:
            stand_in.answered = self._matching.answered
            stand_in.ended = self._matching.gone
        self._calls: set[_Call] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._placed = 0
        self._one_more = asyncio.Event()
        self._ending = False
        self._measuring = False
        self._probes_ms: list[float] = []
        self._lost_probes = 0
        self._errors: dict[str, int] = {}

    async def run(self, stop: asyncio.Event) -> None:
        """From `go` to the last record. `stop` ends it early."""
        self._start_s = time.monotonic()
        ticks = self._begin(self._ticks())
        plan = self._begin(self._follow_plan())
        stopped = asyncio.ensure_future(stop.wait())
        try:
            await asyncio.wait((plan, stopped, ticks), return_when=asyncio.FIRST_COMPLETED)
            for task in (plan, ticks):
                if task.done():
                    task.result()
        finally:
            self._end()
            stopped.cancel()
            for task in self._tasks:
                task.cancel()
            with suppress(asyncio.CancelledError):
                await asyncio.gather(*self._tasks, stopped, return_exceptions=True)

    def _begin(self, work: object) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.ensure_future(work)  # type: ignore[call-overload]
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # -- the plan ---------------------------------------------------------------------------

    async def _follow_plan(self) -> None:
        plan = self._plan
        for number in range(plan.calls):
            await self._until(self._start_s + number / plan.ramp_per_s)
            self._begin(self._call("steady"))
        last_s = time.monotonic()
        if plan.arrivals_per_s > 0:
            self._begin(self._arrivals())
        while self._up("steady") < plan.calls and time.monotonic() < last_s + LAST_UP_LIMIT_S:
            self._one_more.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._one_more.wait(), LAST_UP_LIMIT_S)
        await asyncio.sleep(plan.settle_s)
        self._measure()
        await asyncio.sleep(plan.duration_s)

    async def _arrivals(self) -> None:
        due_s = time.monotonic()
        while True:
            due_s += self._random.expovariate(self._plan.arrivals_per_s)
            await self._until(due_s)
            self._begin(self._call("arrival"))

    async def _until(self, when_s: float) -> None:
        await asyncio.sleep(max(when_s - time.monotonic(), 0.0))

    def _measure(self) -> None:
        gc.collect()
        gc.freeze()
        now_s = time.monotonic()
        self._measuring = True
        if self._stand_in:
            self._stand_in.measure(now_s)
        for call in self._calls:
            call.caller.measure(now_s)

    def _up(self, kind: str) -> int:
        return sum(call.caller.kind == kind for call in self._calls)

    # -- one call ---------------------------------------------------------------------------

    async def _call(self, kind: str) -> None:
        self._placed += 1
        caller = Caller(self._placed, kind, self._random, self._probed, self._failed)
        caller.came_alive = lambda now_s: self._came_alive(caller, now_s)
        ended: list[str] = []
        call: _Call | None = None

        def lost(why: str) -> None:
            caller.trouble(why)
            if call is None:
                ended.append(why)
            else:
                self._finish(call, "container")

        name = str(uuid.UUID(int=self._random.getrandbits(128), version=4))
        try:
            line = await dial(self._plan, name, caller, lost)
        except NoLine as failure:
            caller.trouble(str(failure))
            self._tell(caller, "container", time.monotonic())
            return
        if ended:
            self._tell(caller, "container", time.monotonic())
            return
        call = _Call(caller, line)
        self._calls.add(call)
        self._one_more.set()
        self._clock.join(call.turn)
        now_s = time.monotonic()
        self._clock.at(now_s + FIRST_SOUND_WAIT_S, lambda now_s: self._came_alive(caller, now_s))
        if kind == "arrival":
            hang_up_s = now_s + self._plan.arrival_s
            self._clock.at(hang_up_s, lambda _: self._finish(call, "hangup"))
        else:
            self._draw(self._plan.hangups_per_min, call, self._hang_up)
            self._draw(self._plan.barge_ins_per_min, call, self._barge_in)

    def _came_alive(self, caller: Caller, now_s: float) -> None:
        if self._measuring:
            caller.measure(now_s)

    def _draw(self, per_min: float, call: _Call, act: Callable[[_Call, float], None]) -> None:
        """Do `act` at a random time, if the call is still up then."""
        if per_min > 0:
            self._later(self._random.expovariate(per_min / 60), call, act)

    def _later(self, in_s: float, call: _Call, act: Callable[[_Call, float], None]) -> None:
        def now(now_s: float) -> None:
            if call in self._calls:
                act(call, now_s)

        self._clock.at(time.monotonic() + in_s, now)

    def _hang_up(self, call: _Call, now_s: float) -> None:
        self._finish(call, "hangup")
        self._begin(self._call("steady"))

    def _barge_in(self, call: _Call, now_s: float) -> None:
        if not call.caller.barge_in(now_s):
            self._later(BARGE_IN_AGAIN_S, call, self._barge_in)
            return
        self._draw(self._plan.barge_ins_per_min, call, self._barge_in)

    def _finish(self, call: _Call, ended_by: str) -> None:
        if call not in self._calls:
            return
        self._clock.leave(call.turn)
        self._tell(call.caller, ended_by, time.monotonic())
        self._calls.discard(call)
        if ended_by != "container":
            call.line.close()

    def _tell(self, caller: Caller, ended_by: str, now_s: float) -> None:
        """The record of a call that is over; a steady one that should not be is placed again."""
        caller.ended_by = ended_by
        caller.end(now_s)
        session = self._matching.session_of(caller)
        share = self._model_share(caller, now_s)
        if session:
            caller.heard.except_for(session.silent_s)
        self._write(caller.record(share, self._matching.tools_of(session)))
        if ended_by == "container" and caller.kind == "steady" and not self._ending:
            self._begin(self._again())

    def _model_share(self, caller: Caller, now_s: float) -> float | None:
        if self._stand_in is None:
            return None
        session = self._matching.session_of(caller)
        if session:
            return session.heard.share_at(now_s)
        callers = [call.caller for call in self._calls]
        strangers = self._matching.strangers(self._stand_in.sessions, callers)
        shares = [one.heard.share_at(now_s) for one in strangers]
        return min((share for share in shares if share is not None), default=None)

    async def _again(self) -> None:
        await asyncio.sleep(AGAIN_S)
        await self._call("steady")

    def _end(self) -> None:
        self._ending = True
        now_s = time.monotonic()
        for call in sorted(self._calls, key=lambda call: call.caller.number):
            self._clock.leave(call.turn)
            self._tell(call.caller, "run", now_s)
        for call in self._calls:
            call.line.close()
        self._calls.clear()

    # -- what is told -----------------------------------------------------------------------

    def _probed(self, caller: Caller, sent_s: float, heard_s: float | None) -> None:
        if heard_s is not None:
            self._matching.heard(caller, sent_s, heard_s)
        if caller.kind != "steady":
            return
        if heard_s is None:
            self._lost_probes += 1
        else:
            self._probes_ms.append(round(1000 * (heard_s - sent_s), 2))

    def _failed(self, kind: str) -> None:
        self._errors[kind] = self._errors.get(kind, 0) + 1

    async def _ticks(self) -> None:
        wall_s, cpu_s, number = time.monotonic(), time.process_time(), 0
        while True:
            measured = self._measuring
            number += 1
            await self._until(self._start_s + number)
            now_s, used_s = time.monotonic(), time.process_time()
            self._write(
                Tick(
                    at_s=round(now_s - self._start_s, 3),
                    up=self._up("steady"),
                    short_up=self._up("arrival"),
                    probes_ms=self._probes_ms,
                    lost_probes=self._lost_probes,
                    errors=self._errors,
                    lag_ms=round(1000 * self._clock.worst_s, 2),
                    cpu=round((used_s - cpu_s) / (now_s - wall_s), 4),
                    measured=measured,
                )
            )
            self._probes_ms, self._lost_probes, self._errors = [], 0, {}
            self._clock.worst_s = 0.0
            wall_s, cpu_s = now_s, used_s
            if number % TIDY_EVERY_S == 0:
                gc.collect()
