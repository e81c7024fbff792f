"""Searches the most calls that hold: doubling, then halving the interval. Sans-IO.

Knows numbers only: who runs a step, and what it means to hold, is the driver's business.
"""

from __future__ import annotations

__all__ = ["LimitSearch"]

PRECISION = 0.03
"""Share of the limit at which the search is content; finer would be noise."""
TRIES = 2
"""A step that fails is tried once more: one bad second of a shared machine is no limit."""


class LimitSearch:
    """What to try next, and what is known.

    Attributes:
        held: Most calls that held; 0: none has yet.
        failed: Fewest calls that failed twice; None: none has yet.
    """

    def __init__(self, first: int, most: int = 100_000) -> None:
        """Begin with `first` calls, and never ask for more than `most`."""
        if not 1 <= first <= most:
            raise ValueError(f"first must be from 1 to {most}, not {first}")
        self.held = 0
        self.failed: int | None = None
        self._most = most
        self._next = first
        self._failures = 0

    @property
    def again(self) -> bool:
        """Whether the next step repeats the one before."""
        return self._failures > 0

    def next_calls(self) -> int | None:
        """Calls to try; None: the search is over."""
        if self._failures:
            return self._next
        if self.failed is not None and self.failed - self.held <= self._close_enough():
            return None
        return None if self.held >= self._most else self._next

    def report(self, held: bool) -> None:
        """Tell how the step of `next_calls` went.

        Raises:
            RuntimeError: The search is over.
        """
        tried = self.next_calls()
        if tried is None:
            raise RuntimeError("the search is over")
        if held:
            self.held = tried
        elif self._failures + 1 < TRIES:
            self._failures += 1
            return
        else:
            self.failed = tried
        self._failures = 0
        if self.failed is None:
            self._next = min(self.held * 2, self._most)
        elif self.held:
            self._next = (self.held + self.failed) // 2
        else:
            self._next = max(1, self.failed // 2)

    def _close_enough(self) -> int:
        return max(1, int(self.held * PRECISION))
