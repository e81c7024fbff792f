"""Who may begin a call: not more than the limit, none while the process is late, none at the end.

Beside the routes, which ask here before a call and count it. Running calls are never touched.
"""

from __future__ import annotations

from collections import deque
from contextlib import contextmanager
from statistics import median
from typing import TYPE_CHECKING

import trio

from avr_bridge.errors import AvrBridgeError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from avr_bridge.config import ServerConfig

__all__ = ["RETRY_AFTER_S", "Admission", "CallRefused"]

RETRY_AFTER_S = 5
"""What a refused HTTP caller is told to wait. Calls last minutes; lag is over in seconds."""

LAG_EVERY_S = 0.1
LAG_SAMPLES = 11
"""The lag is the median of the last 1.1 s: one slow step, even of half a second, refuses nobody,
and an overload does within 0.6 s."""


class CallRefused(AvrBridgeError):
    """No new call now; the text says why and is fit for avr-core."""


class Admission:
    """The door for new calls.

    Args:
        config: Its limits: ``max_calls`` and ``max_lag_ms``, 0 for none.

    Attributes:
        calls: Calls that are running.
        refused: Calls that were refused so far.
    """

    def __init__(self, config: ServerConfig) -> None:
        self.calls = 0
        self.refused = 0
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
        if self._max_calls and self.calls >= self._max_calls:
            return f"the limit of {self._max_calls} calls is reached"
        if self._max_lag_ms and self.lag_ms > self._max_lag_ms:
            return "the bridge is overloaded"
        return None

    def close(self, reason: str) -> None:
        """Let no call in any more; the first reason stands."""
        self._closed_because = self._closed_because or reason

    @contextmanager
    def call(self) -> Iterator[None]:
        """Count one call while the block runs.

        Raises:
            CallRefused: Before the block: no new call now.
        """
        reason = self.refusal()
        if reason is not None:
            self.refused += 1
            raise CallRefused(reason)
        self.calls += 1
        try:
            yield
        finally:
            self.calls -= 1

    async def watch_lag(self) -> None:
        """Measure how late this program's event loop is. Runs until cancelled."""
        while True:
            due_s = trio.current_time() + LAG_EVERY_S
            await trio.sleep_until(due_s)
            self._lags_ms.append((trio.current_time() - due_s) * 1000)
