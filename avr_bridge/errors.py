"""Every exception that avr_bridge raises on purpose.

Foreign exceptions (trio-websocket's, Quart's, OS errors) are translated into these in the
adapter that met them, at one spot, with ``from``. This module imports nothing of ours.
"""

from __future__ import annotations

__all__ = [
    "AvrBridgeError",
    "CallerGone",
    "CallerProtocolError",
    "ConfigError",
    "ToolError",
    "UpstreamClosed",
    "UpstreamError",
    "UpstreamRejected",
    "UpstreamUnavailable",
]


class AvrBridgeError(Exception):
    """Base of all errors of this package."""


class ConfigError(AvrBridgeError):
    """One or more settings cannot be.

    Attributes:
        faults: One line for each bad setting: its name, what was found (never a secret), what
            was expected.
    """

    def __init__(self, faults: list[str]) -> None:
        self.faults = list(faults)
        super().__init__("; ".join(self.faults))


class CallerProtocolError(AvrBridgeError):
    """The caller's side sent something that its protocol does not allow.

    The text names the fault and is fit to be sent back; the call goes on.
    """


class CallerGone(AvrBridgeError):
    """The caller's connection ended: a hangup, seen while sending to it."""


class UpstreamError(AvrBridgeError):
    """Base of everything that goes wrong on the model's side.

    Attributes:
        status: HTTP status of the answer that said so; None if none did.
        error_code: The server's own name for it, such as ``insufficient_quota``; "" if unknown.
    """

    status: int | None = None
    error_code: str = ""


class UpstreamUnavailable(UpstreamError):
    """The model could not be reached: a transient failure, worth another try.

    Attributes:
        retry_after_s: When to try again, if the server said so.
    """

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(message)


class UpstreamRejected(UpstreamError):
    """The model refused us: a wrong key, model or address. Trying again cannot help."""


class UpstreamClosed(UpstreamError):
    """The model's connection ended.

    Attributes:
        code: WebSocket close code; 1006 where the connection was lost without one.
        reason: The close reason, often ``<type>.<code>`` of the error that caused it.
    """

    def __init__(self, code: int, reason: str = "") -> None:
        self.code = code
        self.reason = reason
        super().__init__(f"closed with {code}" + (f" {reason}" if reason else ""))


class ToolError(AvrBridgeError):
    """A tool failed in a way that the model is to be told, in the exception's words."""
