"""A brake for what somebody else causes, above all log lines: so many in a while, and then their
number.

One call's, so that no call hides another one's, and the first ones whole, whatever is in them. For
kinds of line that are known before, and are the whole process', there is `SeldomLog`.
"""

from __future__ import annotations

from typing import Any

__all__ = ["Brake", "LogBrake"]

MOST = 10
WINDOW_S = 10.0
"""A call that has one fault after another still shows each; a peer that sends thousands a second
fills no disk, and no queue."""


class Brake:
    """Lets ten through in ten seconds.

    Attributes:
        held: How many it has not let through; whoever tells of them sets it back.
    """

    def __init__(self) -> None:
        self.held = 0
        self._since_s = float("-inf")
        self._let_through = 0

    def lets_through(self, now_s: float) -> bool:
        """Whether this one may pass; if not, it is counted."""
        if now_s - self._since_s >= WINDOW_S:
            self._since_s, self._let_through = now_s, 0
        if self._let_through >= MOST:
            self.held += 1
            return False
        self._let_through += 1
        return True


class LogBrake:
    """Warnings to `log`, ten in ten seconds; the others are counted."""

    def __init__(self, log: Any) -> None:
        self._log = log
        self._brake = Brake()
        self._is_told = False

    def warning(self, event: str, fields: dict[str, Any], now_s: float) -> None:
        """Log it, with the number of lines that were left out before it; or leave it out."""
        if not self._brake.lets_through(now_s):
            if not self._is_told:
                self._is_told = True
                self._log.warning("too many of these: not all are logged", what=event)
            return
        self._is_told = False
        if self._brake.held:
            fields = {**fields, "left_out": self._brake.held}
            self._brake.held = 0
        self._log.warning(event, **fields)
