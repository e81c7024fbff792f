"""What happens, on its way to those who watch: one bounded queue for each, as server-sent events.

Between the console and the responses of its listeners. One that does not keep up is dropped; its
page comes back and is told anew what stands. Knows no calls.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Self

import msgspec
import trio
from quart.wrappers.response import ResponseBody

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

__all__ = ["MOST_LISTENERS", "Feed", "FeedBody", "Listener"]

MOST_LISTENERS = 16
"""Pages that watch at a time. Each costs a millisecond of the event loop a second in busy times."""

MOST_WAITING_BYTES = 256 * 1024
"""For one listener: a thousand events. What it was told first, all calls that run, comes on top."""

GATHER_S = 0.1
"""Events of one listener go out together: ten writes a second, however many calls there are."""

PULSE_S = 2.0
"""A listener hears something so often, if only how the process is. What is gone is noticed."""

RETRY = b"retry: 2000\n\n"

_encoder = msgspec.json.Encoder()


class Feed:
    """All listeners of one process."""

    def __init__(self) -> None:
        self._listeners: dict[Listener, None] = {}
        self._closed = False

    @property
    def listeners(self) -> int:
        """How many there are."""
        return len(self._listeners)

    @property
    def has_room(self) -> bool:
        """Whether another one would be let in."""
        return not self._closed and len(self._listeners) < MOST_LISTENERS

    def tell(self, message: dict[str, Any]) -> None:
        """Put a message into every queue; encoded once. Never waits."""
        if not self._listeners:
            return
        encoded = as_event(message)
        for listener in list(self._listeners):
            if not listener.put(encoded):
                self.leave(listener)

    def join(self, first: dict[str, Any]) -> Listener:
        """A new listener, who hears `first` and then all that is told."""
        listener = Listener(RETRY + as_event(first))
        self._listeners[listener] = None
        return listener

    def leave(self, listener: Listener) -> None:
        """It hears no more. May be done twice."""
        self._listeners.pop(listener, None)
        listener.end()

    def close(self) -> None:
        """Nobody hears any more, for good: the process ends."""
        self._closed = True
        for listener in list(self._listeners):
            self.leave(listener)


class Listener:
    """One page's queue."""

    def __init__(self, first: bytes) -> None:
        self._waiting = deque([first])
        self._waiting_bytes = 0
        self._over = False
        self._come = trio.lowlevel.ParkingLot()
        self._next_s = trio.current_time()

    def put(self, encoded: bytes) -> bool:
        """One more event; False if there is no room for it."""
        self._waiting_bytes += len(encoded)
        if self._waiting_bytes > MOST_WAITING_BYTES:
            return False
        self._waiting.append(encoded)
        self._come.unpark_all()
        return True

    def end(self) -> None:
        """No more is to be heard."""
        self._over = True
        self._come.unpark_all()

    async def receive(self, until_s: float) -> bytes | None:
        """Wait for what came: for `GATHER_S` since the last time at least.

        Args:
            until_s: When to wait no longer, by Trio's clock.

        Returns:
            Events as text for the wire, perhaps none; None at the end.
        """
        await trio.sleep_until(self._next_s)
        with trio.move_on_at(until_s):
            while not self._waiting and not self._over:
                await self._come.park()
        if self._over:
            return None
        events = b"".join(self._waiting)
        self._waiting.clear()
        self._waiting_bytes = 0
        self._next_s = trio.current_time() + GATHER_S
        return events


class FeedBody(ResponseBody):
    """The body of a listener's response. No generator: Quart enters, iterates and leaves it in one
    task, which is cancelled where the peer goes.

    Args:
        feed: What is heard.
        first: What a new listener is told.
        pulse: What listeners are told again and again of how the process is.
    """

    def __init__(
        self, feed: Feed, first: Callable[[], dict[str, Any]], pulse: Callable[[], dict[str, Any]]
    ) -> None:
        self._feed = feed
        self._first = first
        self._pulse = pulse
        self._pulse_due_s = 0.0
        self._listener: Listener

    async def __aenter__(self) -> Self:
        self._listener = self._feed.join(self._first())
        self._pulse_due_s = trio.current_time() + PULSE_S
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self._feed.leave(self._listener)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        events = await self._listener.receive(self._pulse_due_s)
        if events is None:
            raise StopAsyncIteration
        now_s = trio.current_time()
        if now_s >= self._pulse_due_s:
            self._pulse_due_s = now_s + PULSE_S
            events += as_event(self._pulse())
        return events


def as_event(message: dict[str, Any]) -> bytes:
    """One server-sent event. JSON has no newline in it."""
    return b"data: " + _encoder.encode(message) + b"\n\n"
