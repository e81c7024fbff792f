"""Deadlines by name, on a clock that somebody else reads.

Lets a state machine wait without a clock of its own: it sets a deadline in the caller's seconds,
and is told when one has passed.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Timers"]


class Timers[Name]:
    """At most one deadline for each name."""

    def __init__(self) -> None:
        self._deadlines: dict[Name, float] = {}

    def set(self, name: Name, deadline_s: float) -> None:
        """Set or move a deadline."""
        self._deadlines[name] = deadline_s

    def clear(self, name: Name) -> None:
        """Forget a deadline, if there is one."""
        self._deadlines.pop(name, None)

    def is_set(self, name: Name) -> bool:
        """Whether this deadline is still to come."""
        return name in self._deadlines

    @property
    def next_s(self) -> float:
        """The earliest deadline; infinity if there is none."""
        return min(self._deadlines.values(), default=math.inf)

    def due(self, now_s: float) -> Iterator[Name]:
        """Take out the deadlines that have passed, earliest first and one at a time: what is
        done about one may move or clear another that has passed as well."""
        while self._deadlines:
            name = min(self._deadlines, key=self._deadlines.__getitem__)
            if self._deadlines[name] > now_s:
                return
            del self._deadlines[name]
            yield name
