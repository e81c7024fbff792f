"""The one response that the default conversation may have at a time, and who may ask for it.

| state | ask | created | done | "already active" | no answer in time |
|---|---|---|---|---|---|
| `FREE` | send, `REQUESTED` | `ACTIVE` | `FREE` | send, `REQUESTED` | - |
| `REQUESTED` | keep | `ACTIVE` | `FREE`, send if kept | keep, `ACTIVE` | `FREE` |
| `ACTIVE` | keep | `ACTIVE` | `FREE`, send if kept | keep | `FREE`, send if kept |

The creator of a response may be the server's turn detection, so `created` and `done` may come in
any state, and a request of ours may lose the race; "already active" may even arrive after that
response is done. Requests that are kept become one.
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

    def ask(self) -> bool:
        """An answer is wanted: now, or as soon as the running one is done."""
        if self.state is not Gate.FREE:
            self.kept = True
            return False
        self.kept = False
        self.state = Gate.REQUESTED
        return True

    def created(self, response_id: str | None) -> None:
        """A response runs, whoever asked for it."""
        self.state = Gate.ACTIVE
        self.active_id = response_id

    def done(self) -> bool:
        """The response is over, or it is given up."""
        self.state = Gate.FREE
        self.active_id = None
        return self.ask() if self.kept else False

    def lost_the_race(self) -> bool:
        """Our request met another answer; that one may be done already."""
        if self.state is Gate.FREE:
            return self.ask()
        self.state = Gate.ACTIVE
        self.kept = True
        return False

    def forget(self) -> None:
        """What was kept is no longer wanted."""
        self.kept = False
