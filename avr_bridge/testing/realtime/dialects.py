"""The dialect that a simulated session speaks to its client; inside, every session is GA.

`Dialogue.handle` passes what a client sent through `to_core`, `SessionState.emit` what goes out
through `to_wire`. Written apart from `avr_bridge.upstream.dialects`, so that a mistake there does
not meet its mirror image here. GA is in this module, the others in `dialect_beta.py` and
`dialect_xai.py`. No I/O.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Protocol

import attrs

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ForcedWords", "Ga", "WireDialect", "WireDialectName", "renamed_error"]

type WireDialectName = Literal["ga", "beta", "xai"]


@attrs.frozen
class ForcedWords:
    """A client event that is no GA event: speak exactly this, unasked."""

    text: str
    interruptible: bool


class WireDialect(Protocol):
    """One dialect, for one session."""

    def default_session(self, session: dict[str, Any]) -> dict[str, Any]:
        """What a new session of such a server is set to, still as a GA object."""

    def opening(
        self, session: dict[str, Any], conversation: dict[str, Any]
    ) -> list[dict[str, Any]]:
        """The GA events that a connection begins with; `to_wire` shapes them."""

    def to_core(self, event: dict[str, Any]) -> dict[str, Any] | ForcedWords:
        """A client event as GA.

        Raises:
            Refusal: It is not of this dialect.
        """

    def to_wire(self, event: dict[str, Any]) -> list[dict[str, Any]]:
        """What the client sees of a GA server event; ids are given later."""


class Ga:
    """OpenAI and Azure GA."""

    def default_session(self, session: dict[str, Any]) -> dict[str, Any]:
        """As it is."""
        return session

    def opening(
        self, session: dict[str, Any], conversation: dict[str, Any]
    ) -> list[dict[str, Any]]:
        """`session.created` alone, as recordings show."""
        return [{"type": "session.created", "session": session}]

    def to_core(self, event: dict[str, Any]) -> dict[str, Any] | ForcedWords:
        """As it is; what is wrong with it is found by `schema.py`."""
        return event

    def to_wire(self, event: dict[str, Any]) -> list[dict[str, Any]]:
        """As it is."""
        return [event]


def renamed_error(event: dict[str, Any], paths: Mapping[str, str]) -> dict[str, Any]:
    """An `error` about a field of the GA shape, with the field's name in the client's shape.

    A field of GA is unknown to the dialect only: such an error is in the client's names already.
    """
    error = dict(event["error"])
    param = error.get("param")
    if not isinstance(param, str) or (error["code"] == "unknown_parameter" and param in paths):
        return event
    for ga_path, path in paths.items():
        if param == ga_path or param.startswith(f"{ga_path}."):
            error["param"] = path + param[len(ga_path) :]
            error["message"] = str(error["message"]).replace(param, error["param"])
            break
    return event | {"error": error}
