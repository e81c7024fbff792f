"""A tool's work in a task that no call waits for longer than it wants to.

Trio can cancel what waits, but foreign code may shield itself, or await something that does. In the
call's own nursery it would keep the call, then the drain, and then the process from ending.
"""

from __future__ import annotations

import contextvars
from typing import TYPE_CHECKING, Any

import trio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["LEAVE_S", "run_apart"]

LEAVE_S = 0.5
"""For a tool that was cancelled: what tidies up needs milliseconds. Then it is left to itself."""


async def run_apart(work: Callable[[], Awaitable[object]], log: Any) -> object:
    """Run `work` and wait for it; once cancelled, for `LEAVE_S` at the most.

    What is left behind is told to `log`, and ends with the program at the latest: `trio.run` waits
    for it.

    Returns:
        What it returns.

    Raises:
        BaseException: What it raises, as if it ran here.
    """
    apart = _Apart(work)
    trio.lowlevel.spawn_system_task(apart.run, context=contextvars.copy_context())
    try:
        await apart.over.wait()
    except BaseException as ours:
        apart.scope.cancel()
        with trio.move_on_after(LEAVE_S, shield=True):
            await apart.over.wait()
        if not apart.over.is_set():
            log.warning("tool cannot be stopped, and is left to itself")
        if apart.error is not None:
            raise BaseExceptionGroup("cancelled, and failed", [ours, apart.error]) from None
        raise
    if apart.error is not None:
        raise apart.error
    return apart.outcome


class _Apart:
    def __init__(self, work: Callable[[], Awaitable[object]]) -> None:
        self._work = work
        self.scope = trio.CancelScope()
        self.over = trio.Event()
        self.outcome: object = None
        self.error: BaseException | None = None

    async def run(self) -> None:
        """In a system task: what leaves it would end the program."""
        try:
            with self.scope:
                self.outcome = await self._work()
        except trio.Cancelled:
            raise  # the program ends
        except BaseException as error:
            self.error = error
        finally:
            self.over.set()
