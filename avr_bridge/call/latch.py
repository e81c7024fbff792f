"""Something that happens once, told to whoever asks, before or after."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Latch"]


class Latch:
    """Set once; `then` is called then, or at once if that was before."""

    def __init__(self) -> None:
        self._is_set = False
        self._then: Callable[[], None] | None = None

    def set(self) -> None:
        """It has happened. Later calls change nothing."""
        if self._is_set:
            return
        self._is_set = True
        if self._then is not None:
            self._then()

    def connect(self, then: Callable[[], None]) -> None:
        """What to do when it happens."""
        self._then = then
        if self._is_set:
            then()
