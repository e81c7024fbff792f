"""The one response that the default conversation may have at a time, and who may ask for it.

| state | ask | created | done | "already active" | no answer in time |
|---|---|---|---|---|---|
| `FREE` | send, `REQUESTED` | `ACTIVE` | `FREE` | send, `REQUESTED` | - |
| `REQUESTED` | keep | `ACTIVE` | `FREE`, send if kept | keep, `ACTIVE` | `FREE` |
| `ACTIVE` | keep | `ACTIVE` | `FREE`, send if kept | keep | `FREE`, send if kept |
| `ACTIVE`, not ours | keep | `ACTIVE` | `REQUESTED` | keep, `ACTIVE` | `FREE` |

The creator of a response may be the server's turn detection, so `created` and `done` may come in
any state, and a request of ours may lose the race; "already active" may even arrive after that
response is done. Requests that are kept become one. "Not ours" is a response that is known to be
the server's own while a request of ours is on its way: that one is still to be answered.
"""

from __future__ import annotations

import enum

__all__ = ["Gate", "ResponseGate"]


class Gate(enum.Enum):
    """State of the gate."""

    FREE = "free"
    REQUESTED = "requested"
    ACTIVE = "active"


class ResponseGate:
    """Methods that return True ask the caller to send one `response.create` now."""

    def __init__(self) -> None:
        self.state = Gate.FREE
        self.kept = False
        self.active_id: str | None = None
        self._on_its_way = False

    def ask(self) -> bool:
        """An answer is wanted: now, or as soon as the running one is done."""
        if self.state is not Gate.FREE:
            self.kept = True
            return False
        self.kept = False
        self.state = Gate.REQUESTED
        return True

    def created(self, response_id: str | None, *, ours: bool = True) -> None:
        """A response runs, whoever asked for it.

        Args:
            ours: False if it is known that our request is not what made it.
        """
        self._on_its_way = not ours and (self._on_its_way or self.state is Gate.REQUESTED)
        self.state = Gate.ACTIVE
        self.active_id = response_id

    def done(self) -> bool:
        """The response is over."""
        self.active_id = None
        if self._on_its_way:
            self.state = Gate.REQUESTED
            return False
        return self.give_up()

    def give_up(self) -> bool:
        """Nothing more is expected: of the running response, or of our request."""
        self.state = Gate.FREE
        self.active_id = None
        self._on_its_way = False
        return self.ask() if self.kept else False

    def forget(self) -> None:
        """What was kept is no longer wanted."""
        self.kept = False

    def lost_the_race(self) -> bool:
        """Our request met another answer; that one may be done already."""
        if self.state is Gate.FREE or (self.state is Gate.REQUESTED and self._on_its_way):
            self.state = Gate.FREE
            self._on_its_way = False
            return self.ask()
        self._on_its_way = False
        self.state = Gate.ACTIVE
        self.kept = True
        return False
