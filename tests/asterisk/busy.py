"""Calls in real time on a machine that has none: a test that failed then is void, and made again.

A late process puts a hole into the sound, or has the recorder drop a frame. That is no fault of the
bridge's, and it is told by this process' own clock, which is late as well. A failure on time stays;
a machine that is never on time has a test skipped, not passed.
"""

from __future__ import annotations

import functools
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import attrs
import pytest
import trio

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

ATTEMPTS = 3
LATE_MS = 20
"""One frame."""
TICK_S = 0.01
VOID = f"void {ATTEMPTS} times: this machine was too busy for sound in real time"


@attrs.define
class _Machine:
    """How late this process was at worst, of late."""

    worst_ms: float = 0.0

    async def watch(self) -> None:
        """Runs until cancelled."""
        while True:
            due_s = trio.current_time() + TICK_S
            await trio.sleep_until(due_s)
            self.worst_ms = max(self.worst_ms, (trio.current_time() - due_s) * 1000)


_machine = _Machine()


@asynccontextmanager
async def watched() -> AsyncGenerator[None]:
    """Within the block the sound has to be in time."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_machine.watch)
        yield
        nursery.cancel_scope.cancel()


def in_real_time[**P](test: Callable[P, Awaitable[None]]) -> Callable[P, Awaitable[None]]:
    """Decorator of a test: once more if it failed, and the machine was late in what was watched."""

    @functools.wraps(test)
    async def patient(*args: P.args, **kwargs: P.kwargs) -> None:
        for _ in range(ATTEMPTS):
            _machine.worst_ms = 0.0
            try:
                return await test(*args, **kwargs)
            except AssertionError:
                if _machine.worst_ms < LATE_MS:
                    raise
                print(f"\n  void: this machine was late by {_machine.worst_ms:.0f} ms")
        pytest.skip(VOID)

    return patient
