"""The one clock of a generator process: 4 ms slots on absolute time, for all calls together.

Callers are spread over five phases, so that each gets its turn every 20 ms and their frames do not
all leave in the same moment. What is late is done at once, every slot of it, and nothing drifts.
It does not know what a frame is.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["FrameClock"]

SLOT_S = 0.004
PHASES = 5
_ROUND_UP_S = 0.0005
"""libuv rounds to whole milliseconds; a timer that comes early would only be set again."""


class FrameClock:
    """Runs from `start` to `stop`, in the running loop.

    Attributes:
        worst_s: The worst lateness of a slot since it was last set to 0.
    """

    def __init__(self) -> None:
        self.worst_s = 0.0
        self._phases: list[list[Callable[[float], None]]] = [[] for _ in range(PHASES)]
        self._due: dict[int, list[Callable[[float], None]]] = {}
        self._slot = 0
        self._start_s = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin with the first slot."""
        self._loop = asyncio.get_running_loop()
        self._start_s = time.monotonic()
        self._arm()

    def stop(self) -> None:
        """Nothing more is called."""
        if self._timer is not None:
            self._timer.cancel()

    def join(self, turn: Callable[[float], None]) -> None:
        """Call `turn` every 20 ms, with the present time, beginning within 20 ms."""
        min(self._phases, key=len).append(turn)

    def leave(self, turn: Callable[[float], None]) -> None:
        """No more of it. Nothing happens if it never joined."""
        for phase in self._phases:
            if turn in phase:
                phase.remove(turn)

    def at(self, when_s: float, act: Callable[[float], None]) -> None:
        """Call `act` once, in the first slot that is not before `when_s`."""
        slot = max(-int((self._start_s - when_s) // SLOT_S), self._slot)
        self._due.setdefault(slot, []).append(act)

    def _arm(self) -> None:
        wait_s = self._start_s + self._slot * SLOT_S - time.monotonic()
        self._timer = self._loop.call_later(max(wait_s + _ROUND_UP_S, 0.0), self._tick)

    def _tick(self) -> None:
        now_s = time.monotonic()
        late_s = now_s - (self._start_s + self._slot * SLOT_S)
        self.worst_s = max(self.worst_s, late_s)
        while self._start_s + self._slot * SLOT_S <= now_s:
            slot = self._slot
            self._slot += 1
            for act in self._due.pop(slot, ()):
                act(now_s)
            for turn in tuple(self._phases[slot % PHASES]):
                turn(now_s)
        self._arm()
