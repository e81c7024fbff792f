"""The calls of tools that run: those of one response go back together.

Bookkeeping only. What is said to the model is decided in `closing.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Finished", "ToolBatches"]


@attrs.define(eq=False)
class _Batch:
    running: set[str]
    wants_answer: bool
    spoken_over: bool = False


@attrs.frozen
class Finished:
    """One call has ended.

    Attributes:
        last: No other call of its response runs any more.
        wants_answer: The response had no words of its own, so the caller waits for some.
        spoken_over: The caller has spoken since the model made the call.
    """

    last: bool
    wants_answer: bool
    spoken_over: bool


class ToolBatches:
    """All calls that run, by the response that made them."""

    def __init__(self) -> None:
        self._batches: list[_Batch] = []

    @property
    def running(self) -> bool:
        """Whether a tool runs."""
        return bool(self._batches)

    def begin(self, call_ids: Iterable[str], *, wants_answer: bool) -> None:
        """These calls of one response run now."""
        calls = set(call_ids)
        if calls:
            self._batches.append(_Batch(calls, wants_answer))

    def caller_spoke(self) -> None:
        """What the caller says now is newer than every call that runs."""
        for batch in self._batches:
            batch.spoken_over = True

    def done(self, call_id: str) -> Finished | None:
        """A call has ended; None if it was not running."""
        for batch in self._batches:
            if call_id in batch.running:
                batch.running.discard(call_id)
                if not batch.running:
                    self._batches.remove(batch)
                return Finished(not batch.running, batch.wants_answer, batch.spoken_over)
        return None
