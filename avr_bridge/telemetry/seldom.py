"""`SeldomLog`: lines that a peer can cause at will, at most one of a kind a minute.

It counts what it leaves out. What is worth a line each time does not come here.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from avr_bridge.telemetry.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

__all__ = ["SeldomLog"]

EVERY_S = 60.0


class SeldomLog:
    """Each kind of line at once, and then once a minute while there is more of it.

    Args:
        clock: In seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last_s: dict[Any, float] = {}
        self._counts: dict[Any, int] = {}

    def warning(self, event: str, **fields: str) -> None:
        """One more of this kind. The field `count` says how many came since its line before.

        Args:
            fields: Part of the kind, so of few values.
        """
        count = self._due((event, *sorted(fields.items())))
        if count:
            get_logger().warning(event, **fields, count=count)

    def info(self, event: str, kind: Hashable, **fields: Any) -> None:
        """One more of this kind, of which there are few; its fields may be of many values. What is
        left out here is on the level debug."""
        count = self._due((event, kind))
        if count:
            get_logger().info(event, **fields, count=count)
        else:
            get_logger().debug(event, **fields)

    def _due(self, kind: Hashable) -> int:
        """Count one more; how many there were since the last line, if one is due, else 0."""
        now_s = self._clock()
        self._counts[kind] = self._counts.get(kind, 0) + 1
        if kind in self._last_s and now_s < self._last_s[kind] + EVERY_S:
            return 0
        self._last_s[kind] = now_s
        return self._counts.pop(kind)
