"""Keys on their way from `inbound.py` to the conversation, kept until there is one."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Keypad"]

KEPT_DIGITS = 128
"""Keys pressed before the model is connected. More than any entry has."""


class Keypad:
    """Hands each key on at once; before `connect` it keeps them."""

    def __init__(self) -> None:
        self._kept: list[str] = []
        self._take: Callable[[str], None] | None = None

    def press(self, digit: str) -> None:
        """One key: 0-9, *, #, A-D."""
        if self._take is not None:
            self._take(digit)
        elif len(self._kept) < KEPT_DIGITS:
            self._kept.append(digit)

    def connect(self, take: Callable[[str], None]) -> None:
        """From now on keys go to `take`, first those that were kept."""
        self._take = take
        kept, self._kept = self._kept, []
        for digit in kept:
            take(digit)
