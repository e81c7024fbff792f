"""Keys of the caller's keypad become one turn: collected until a pause, a terminator or enough.

No clock: the conversation keeps the pause's deadline and calls `take` when it has passed.
"""

from __future__ import annotations

__all__ = ["DigitCollector"]


class DigitCollector:
    """The keys pressed so far.

    Args:
        terminator: The key that ends an entry and does not belong to it; "" for none.
        most_digits: An entry of this length is complete.
    """

    def __init__(self, terminator: str, most_digits: int) -> None:
        self._terminator = terminator
        self._most_digits = most_digits
        self._digits = ""

    def press(self, digit: str) -> str | None:
        """Add one key.

        Returns:
            The whole entry if this key completes it, else None. A terminator on its own is an
            entry too: the key itself.
        """
        if digit == self._terminator:
            return self.take() or digit
        self._digits += digit
        return self.take() if len(self._digits) >= self._most_digits else None

    def take(self) -> str:
        """Take out what was pressed; "" if nothing was."""
        digits, self._digits = self._digits, ""
        return digits
