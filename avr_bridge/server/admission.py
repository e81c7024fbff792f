"""Who may begin a call: not more than the limit, none while the process is late, none at the end.

Beside the routes, which ask here before a call and count it. Running calls are never touched.
"""

from __future__ import annotations

from collections import deque
from contextlib import contextmanager, nullcontext
from statistics import median
from typing import TYPE_CHECKING

import trio

from avr_bridge.errors import AvrBridgeError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from avr_bridge.config import ServerConfig
    from avr_bridge.server.workers_board import Seat
    from avr_bridge.telemetry.metrics import Refusal

__all__ = ["RETRY_AFTER_S", "Admission", "CallRefused"]

RETRY_AFTER_S = 5
"""What a refused HTTP caller is told to wait. Calls last minutes; lag is over in seconds."""

LAG_EVERY_S = 0.1
LAG_SAMPLES = 11
"""The lag is the median of the last 1.1 s: one slow step, even of half a second, refuses nobody,
and an overload does within 0.6 s."""


class CallRefused(AvrBridgeError):
    """No new call now; the text says why and is fit for avr-core.

    Attributes:
        why: The same in a word, for a metric's label.
    """

    def __init__(self, words: str, why: Refusal) -> None:
        self.why = why
        super().__init__(words)


class Admission:
    """The door for new calls.

    Args:
        config: Its limits: ``max_calls`` and ``max_lag_ms``, 0 for none.
        seat: This process' place among several, which share ``max_calls``; default: it is alone.

    Attributes:
        calls: Calls that are running, in this process.
        refused: Calls that were refused so far.
    """

    def __init__(self, config: ServerConfig, seat: Seat | None = None) -> None:
        self.calls = 0
        self.refused = 0
        self._seat = seat
        self._max_calls = config.max_calls
        self._max_lag_ms = config.max_lag_ms
        self._lags_ms: deque[float] = deque(maxlen=LAG_SAMPLES)
        self._closed_because: str | None = None

    @property
    def open(self) -> bool:
        """Whether a call would be let in now."""
        return self.refusal() is None

    @property
    def lag_ms(self) -> float:
        """How late the event loop is, without single spikes."""
        return median(self._lags_ms) if len(self._lags_ms) == LAG_SAMPLES else 0.0

    def refusal(self) -> str | None:
        """Why no call would be let in now; None if one would."""
        if self._closed_because is not None:
            return self._closed_because
        if self._is_full():
            return f"the limit of {self._max_calls} calls is reached"
        if self._is_late():
            return "the bridge is overloaded"
        return None

    def refusal_of_all(self) -> str | None:
        """Why no process of this bridge would let a call in now; None if one would."""
        reason = self.refusal()
        if reason is None or self._seat is None or self._is_full():
            return reason
        return None if self._seat.another_takes_calls else reason

    def close(self, reason: str) -> None:
        """Let no call in any more; the first reason stands."""
        self._closed_because = self._closed_because or reason
        self._tell_others()

    @contextmanager
    def call(self) -> Iterator[None]:
        """Count one call while the block runs.

        Raises:
            CallRefused: Before the block: no new call now.
        """
        with self._alone():
            reason = self.refusal()
            if reason is None:
                self._count(1)
        if reason is not None:
            self.refused += 1
            raise CallRefused(reason, self._why())
        try:
            yield
        finally:
            self._count(-1)

    async def watch_lag(self) -> None:
        """Measure how late this program's event loop is. Runs until cancelled."""
        while True:
            due_s = trio.current_time() + LAG_EVERY_S
            await trio.sleep_until(due_s)
            self._lags_ms.append((trio.current_time() - due_s) * 1000)
            self._tell_others()

    def _why(self) -> Refusal:
        if self._closed_because is not None:
            return "stopping"
        return "limit" if self._is_full() else "overload"

    def _is_full(self) -> bool:
        if not self._max_calls:
            return False
        calls = self.calls if self._seat is None else self._seat.calls_of_all
        return calls >= self._max_calls

    def _is_late(self) -> bool:
        return bool(self._max_lag_ms and self.lag_ms > self._max_lag_ms)

    def _alone(self) -> AbstractContextManager[None]:
        # Two processes that ask at the same moment must not both take the last place.
        if self._seat is None or not self._max_calls:
            return nullcontext()
        return self._seat.alone()

    def _count(self, more: int) -> None:
        self.calls += more
        if self._seat is not None:
            self._seat.count_calls(more)

    def _tell_others(self) -> None:
        if self._seat is not None:
            self._seat.beat(refuses=self._closed_because is not None or self._is_late())
