"""A hangup or transfer that waits until the caller has heard the goodbye.

Values and one slot. When it is carried out is decided in `conversation.py`, how in `call/`.
"""

from __future__ import annotations

from typing import Literal

import attrs

__all__ = ["Control", "PendingControl"]


@attrs.frozen
class Control:
    """What is to be done with the call.

    Attributes:
        by_bridge: The bridge itself ends the call (too long, nobody there), not a tool.
        final: Not even the caller's speech calls it off.
        limit: The setting whose limit on cost or tokens ends the call; "" for any other reason.
    """

    action: Literal["hangup", "transfer"]
    extension: str = ""
    context: str = ""
    priority: int = 1
    by_bridge: bool = False
    final: bool = False
    limit: str = ""


class PendingControl:
    """At most one: the newest wish counts, but none replaces a final one."""

    def __init__(self) -> None:
        self._waiting: Control | None = None

    @property
    def waits(self) -> bool:
        """Whether something is to be done."""
        return self._waiting is not None

    @property
    def is_final(self) -> bool:
        """Whether what is to be done cannot be called off."""
        return self._waiting is not None and self._waiting.final

    def put(self, control: Control) -> None:
        """Remember what is to be done."""
        if self._waiting is None or not self._waiting.final:
            self._waiting = control

    def take(self) -> Control | None:
        """It is to be done now."""
        control, self._waiting = self._waiting, None
        return control

    def call_off(self) -> Control | None:
        """The caller spoke again. The call's longest time is not extended by that."""
        if self._waiting is None or self._waiting.final:
            return None
        return self.take()
