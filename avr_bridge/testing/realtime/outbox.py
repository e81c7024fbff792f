"""What a simulated session has still to send, in order: messages, then perhaps the end.

Filled without waiting, so that an event order is never torn apart; emptied by one task.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import attrs
import trio

__all__ = ["Closing", "Doing", "Dropping", "Order", "Outbox"]

ROOM_MESSAGES = 64
"""A speaking task waits while this many messages are unsent: about 1 MB of audio deltas."""

FULL_MESSAGES = 4096
"""A client that reads nothing is dropped at this many (some MB of small answers)."""


@attrs.frozen
class Closing:
    """Close the connection politely."""

    code: int
    reason: str = ""


@attrs.frozen
class Dropping:
    """Lose the connection without a close frame."""


@attrs.frozen
class Doing:
    """Do this when everything before it has been sent."""

    deed: Callable[[], None]


type Order = str | Closing | Dropping | Doing


class Outbox:
    """A queue with one reader; nothing is taken after a `Closing` or `Dropping`."""

    def __init__(self) -> None:
        self._orders: deque[Order] = deque()
        self._ended = False
        self._filled = trio.Event()
        self._drained = trio.Event()

    @property
    def ended(self) -> bool:
        """Whether the end is among what was put in: nothing more will be sent."""
        return self._ended

    def put(self, order: Order) -> None:
        """Add an order, without waiting. An overfull queue ends itself with `Dropping`."""
        if self._ended:
            return
        if len(self._orders) >= FULL_MESSAGES:
            order = Dropping()
        self._ended = isinstance(order, Closing | Dropping)
        self._orders.append(order)
        self._filled.set()

    async def take(self) -> Order:
        """Wait for the oldest order and remove it."""
        await trio.lowlevel.checkpoint()
        while not self._orders:
            self._filled = trio.Event()
            await self._filled.wait()
        order = self._orders.popleft()
        if len(self._orders) < ROOM_MESSAGES:
            self._drained.set()
            self._drained = trio.Event()
        return order

    async def wait_room(self) -> None:
        """Wait until the queue is short."""
        await trio.lowlevel.checkpoint()
        while len(self._orders) >= ROOM_MESSAGES:
            await self._drained.wait()
