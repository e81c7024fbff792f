"""``GET /metrics``: the numbers of all calls, of all workers whichever answers.

What the numbers are is `telemetry/metrics.py`'s. Here is what they are asked of: the door, the
calls that run, and the other workers by way of `workers_metrics.py`.
"""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

import trio

from avr_bridge.server.workers_metrics import MetricsBoard
from avr_bridge.telemetry import get_logger
from avr_bridge.telemetry.metrics import Live, Metrics
from avr_bridge.telemetry.metrics_text import added, families_of, numbers_of, text_of
from avr_bridge.upstream.actions import Watchdog

if TYPE_CHECKING:
    from prometheus_client import Metric

    from avr_bridge.call.running import RunningCalls
    from avr_bridge.server.admission import Admission
    from avr_bridge.server.workers_board import Seat
    from avr_bridge.telemetry.metrics_text import Number

__all__ = ["MetricsPage", "live_of"]

WRITE_EVERY_S = 2.0
"""So old, at the most, are the numbers of the workers that do not answer. Writing takes 2 ms where
there are 20 tools."""


def live_of(
    door: Admission, running: RunningCalls, calls_limit: int, seat: Seat | None = None
) -> Live:
    """How things are now."""
    lines = running.lines
    return Live(
        calls=door.calls,
        calls_limit=calls_limit,
        lag_s=door.lag_ms / 1000,
        to_model_s=max((line.uplink.waiting_ms for line in lines), default=0.0) / 1000,
        to_caller_orders=max((line.orders.waiting for line in lines), default=0),
        underruns=sum(line.stats.underruns for line in lines),
        dropped_ms=sum(line.uplink.dropped_ms for line in lines),
        faults=sum(line.stats.faults for line in lines),
        worker_deaths=0 if seat is None else seat.board.deaths,
    )


class MetricsPage:
    """The page of one process.

    Args:
        door: Knows of calls, limit and lag.
        running: The calls that run.
        calls_limit: Most calls at a time; 0: no limit.
        seat: Its place among several workers; default: it is alone.

    Attributes:
        metrics: Its own numbers: a listener for calls.
    """

    def __init__(
        self,
        door: Admission,
        running: RunningCalls,
        calls_limit: int,
        seat: Seat | None = None,
    ) -> None:
        self.metrics = Metrics(
            watchdogs=[watchdog.value for watchdog in Watchdog],
            live=partial(live_of, door, running, calls_limit, seat),
            worker=1 if seat is None else seat.number,
            workers=1 if seat is None else seat.board.workers,
        )
        self._seat = seat
        self._board: MetricsBoard | None = None
        self._before: list[Number] = []
        self._told = False
        if seat is not None:
            self._board = MetricsBoard(seat.board)
            # Of the worker before us in this place: its gauges ended with it.
            self._before = [one for one in self._board.read(seat.number) if one.rises]

    def text(self) -> bytes:
        """The page."""
        families = families_of(self.metrics.registry)
        own = self._own(families)
        if self._board is None or self._seat is None:
            return text_of(families, own)
        self._write(own)  # or who answers next would tell of less than this page does
        return text_of(families, added([own, *self._others()]))

    async def write_regularly(self) -> None:
        """For the workers that answer. Runs until cancelled; ends at once where there are none."""
        while self._board is not None:
            self._write(self._own(families_of(self.metrics.registry)))
            await trio.sleep(WRITE_EVERY_S)

    def close(self) -> None:
        """Let go of what is shared."""
        if self._board is not None:
            self._board.close()

    def _own(self, families: list[Metric]) -> list[Number]:
        own = numbers_of(families)
        return added([own, self._before]) if self._before else own

    def _write(self, numbers: list[Number]) -> None:
        assert self._board is not None
        assert self._seat is not None
        if not self._board.write(self._seat.number, numbers) and not self._told:
            self._told = True
            get_logger().error("more metrics than other workers can be told of")

    def _others(self) -> list[list[Number]]:
        """What the other workers have written; of the dead only what never falls."""
        assert self._board is not None
        assert self._seat is not None
        now_s, parts = time.monotonic(), []
        for number in range(1, self._seat.board.workers + 1):
            if number == self._seat.number:
                continue
            living = self._seat.board.standing(number).is_living(now_s)
            parts.append([one for one in self._board.read(number) if living or one.rises])
        return parts
