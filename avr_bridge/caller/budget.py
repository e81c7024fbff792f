"""How much a caller may send: a budget that fills with time and allows a burst. Pure.

A network that stalls and catches up sends a burst; a flood does not end. What is done about a
spent budget is decided where it is spent.
"""

from __future__ import annotations

__all__ = ["Budget"]


class Budget:
    """Starts full, holds `burst`, and regains `per_s` each second.

    Args:
        burst: Most that can be spent at once.
        per_s: What may be spent for ever.
        now_s: Any clock, the same one for each call.
    """

    def __init__(self, burst: float, per_s: float, now_s: float) -> None:
        self._burst = burst
        self._per_s = per_s
        self._left = burst
        self._at_s = now_s

    def spend(self, amount: float, now_s: float) -> bool:
        """Take `amount` off; whether the budget had it."""
        self._left = min(self._burst, self._left + (now_s - self._at_s) * self._per_s) - amount
        self._at_s = now_s
        return self._left >= 0
