"""A brake for log lines that somebody else causes: so many in a while, and then their number.

One call's, so that no call hides another one's, and the first lines whole, whatever is in them. For
kinds of line that are known before, and are the whole process', there is `SeldomLog`.
"""

from __future__ import annotations

from typing import Any

__all__ = ["LogBrake"]

MOST_LINES = 10
WINDOW_S = 10.0
"""A call that has one fault after another still shows each; a peer that sends thousands a second
fills no disk."""


class LogBrake:
    """Warnings to `log`, ten in ten seconds; the others are counted."""

    def __init__(self, log: Any) -> None:
        self._log = log
        self._since_s = float("-inf")
        self._lines = self._left_out = 0

    def warning(self, event: str, fields: dict[str, Any], now_s: float) -> None:
        """Log it, with the number of lines that were left out before it; or leave it out."""
        if now_s - self._since_s >= WINDOW_S:
            self._since_s, self._lines = now_s, 0
        self._lines += 1
        if self._lines > MOST_LINES:
            self._left_out += 1
            if self._lines == MOST_LINES + 1:
                self._log.warning("too many of these: not all are logged", what=event)
            return
        if self._left_out:
            fields = {**fields, "left_out": self._left_out}
            self._left_out = 0
        self._log.warning(event, **fields)
