"""A client event that the simulated server does not accept, and the `error` event that says so.

Raised by the checks and by the conversation, turned into an event in `dialogue.py`. A refusal never
ends a session.
"""

from __future__ import annotations

from typing import Any

__all__ = ["Refusal"]


class Refusal(Exception):
    """One client event is refused and has no effect.

    Attributes:
        code: The API's error code, such as `unknown_parameter`.
        message: The API's text for people.
        param: Path of the faulty field, such as `session.type`; None where there is none.
    """

    def __init__(self, code: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.param = param

    def event(self, client_event_id: str | None) -> dict[str, Any]:
        """The `error` event, without its own event id."""
        return {
            "type": "error",
            "error": {
                "type": "invalid_request_error",
                "code": self.code,
                "message": self.message,
                "param": self.param,
                "event_id": client_event_id,
            },
        }
