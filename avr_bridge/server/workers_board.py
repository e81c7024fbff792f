"""What the worker processes of one bridge tell each other: how many calls each has, and how it is.

A block of shared memory, which each worker writes its own row of; behind the rows the parent counts
deaths. It also holds the rule who of them accepts the next connection. It starts no process and
knows no socket.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["Board", "Seat", "Standing", "patience_s"]

CELLS = 4
CELL_BYTES = 8
"""Written by the processor in one piece: who reads beside it sees the old number or the new one."""

NUMBERS_AT_BYTES = 64 * 1024
"""Where `workers_metrics.py` begins, in the same memory: behind the rows of any number of workers,
and where memory can be mapped from on any machine."""

NUMBERS_BYTES = 520 * 1024
"""Of each worker there. What nobody writes takes no memory."""

STUCK_S = 1.0
"""Without a beat; there are ten a second. Nobody waits for such a worker."""

STEP_S = 0.005
LONGEST_S = 0.05
"""A worker waits so long for each connection that it has more than another one, before it accepts:
an idle one is there within a millisecond, one that is late in time for a caller not to notice."""

REFUSING_S = 0.25
"""For one that would refuse the call, where another one would not."""

LOCK_TRIES = 1000


@attrs.frozen
class Standing:
    """One worker, as the others see it.

    Attributes:
        beat_s: When it last said that it runs, by the machine's monotonic clock; 0: it does not.
        connections: That it has accepted and that are open.
        calls: That it carries.
        refuses: Whether it would refuse a new call: it stops, or is overloaded.
    """

    beat_s: float = 0.0
    connections: int = 0
    calls: int = 0
    refuses: bool = False

    def is_living(self, now_s: float) -> bool:
        """Whether it takes part."""
        return now_s - self.beat_s < STUCK_S


def patience_s(own: Standing, others: Iterable[Standing], now_s: float) -> float:
    """How long to leave a connection that has come to the others, who may be better suited.

    0 for the one that has the fewest. Connections are compared, not calls: in a storm those count
    at once, and a call only when its request was read.
    """
    living = [other for other in others if other.is_living(now_s)]
    ready = [other for other in living if not other.refuses]
    if own.refuses and ready:
        return REFUSING_S
    rivals = living if own.refuses else ready
    fewest = min((other.connections for other in rivals), default=own.connections)
    return min(max(own.connections - fewest, 0) * STEP_S, LONGEST_S)


class Board:
    """The shared block.

    Args:
        fd: Of the memory; it stays the caller's to close.
        workers: How many rows it has.
    """

    def __init__(self, fd: int, workers: int) -> None:
        self.fd = fd
        self.workers = workers
        self._memory = mmap.mmap(fd, (workers * CELLS + 1) * CELL_BYTES)
        self._cells = memoryview(self._memory).cast("q")

    @classmethod
    def create(cls, workers: int) -> Board:
        """A new one, with empty rows. Linux only.

        Raises:
            OSError: The system gives no memory.
        """
        fd = os.memfd_create("avr-bridge-workers")
        os.ftruncate(fd, NUMBERS_AT_BYTES + workers * NUMBERS_BYTES)
        return cls(fd, workers)

    def standing(self, number: int) -> Standing:
        """The worker of this number, from 1 on."""
        at = (number - 1) * CELLS
        beat_ms, connections, calls, refuses = self._cells[at : at + CELLS]
        return Standing(beat_ms / 1000, connections, calls, bool(refuses))

    def write(self, number: int, standing: Standing) -> None:
        """Write a worker's row: the worker itself, or the parent of one that is dead."""
        at = (number - 1) * CELLS
        self._cells[at] = int(standing.beat_s * 1000)
        self._cells[at + 1] = standing.connections
        self._cells[at + 2] = standing.calls
        self._cells[at + 3] = standing.refuses

    @property
    def deaths(self) -> int:
        """Workers that died and were to be replaced, in this run of the bridge."""
        return self._cells[self.workers * CELLS]

    def count_death(self) -> None:
        """One more. Only the parent does: it alone sees each."""
        self._cells[self.workers * CELLS] += 1

    @property
    def calls(self) -> int:
        """Of all workers."""
        return sum(self.standing(number).calls for number in range(1, self.workers + 1))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """No other process is in such a block. The kernel frees what a dead one held; one that was
        stopped inside is passed by after some milliseconds."""
        held = False
        for _ in range(LOCK_TRIES):
            try:
                fcntl.lockf(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.sched_yield()
                continue
            held = True
            break
        try:
            yield
        finally:
            if held:
                fcntl.lockf(self.fd, fcntl.LOCK_UN)

    def close(self) -> None:
        """Let the memory go; the descriptor stays."""
        self._cells.release()
        self._memory.close()


class Seat:
    """One worker's place at the board: it says how it is, and learns whether it is its turn.

    Args:
        board: Shared with the others.
        number: From 1 on.

    Attributes:
        number: As given.
        board: As given.
    """

    def __init__(self, board: Board, number: int) -> None:
        self.number = number
        self.board = board
        self._own = Standing()
        self._begun = False

    @property
    def calls_of_all(self) -> int:
        """Calls that all workers carry."""
        return self.board.calls

    @property
    def another_takes_calls(self) -> bool:
        """Whether there is a worker that would not refuse a call."""
        now_s = time.monotonic()
        return any(one.is_living(now_s) and not one.refuses for one in self._others())

    def patience_s(self) -> float:
        """How long to leave a connection to the others: `patience_s`."""
        return patience_s(self._own, self._others(), time.monotonic())

    def begin(self) -> None:
        """From now on this worker accepts connections; before, nobody waits for it."""
        self._begun = True
        self.beat(refuses=self._own.refuses)

    def beat(self, *, refuses: bool) -> None:
        """Say that this worker runs, some times a second, and whether it would refuse a call."""
        beat_s = time.monotonic() if self._begun else 0.0
        self._say(attrs.evolve(self._own, beat_s=beat_s, refuses=refuses))

    def count_connections(self, more: int) -> None:
        """So many more than before, or fewer."""
        self._say(attrs.evolve(self._own, connections=self._own.connections + more))

    def count_calls(self, more: int) -> None:
        """So many more than before, or fewer."""
        self._say(attrs.evolve(self._own, calls=self._own.calls + more))

    @contextmanager
    def alone(self) -> Iterator[None]:
        """No other worker is in such a block: for what is read first and then written."""
        with self.board.locked():
            yield

    def _say(self, standing: Standing) -> None:
        self._own = standing
        self.board.write(self.number, standing)

    def _others(self) -> list[Standing]:
        numbers = range(1, self.board.workers + 1)
        return [self.board.standing(number) for number in numbers if number != self.number]
