"""What a dialect is: the interface that `ga.py`, `beta.py` and `xai.py` fill.

Dicts in, dicts out: JSON and sockets are the client's, the meaning of events is
`conversation.py`'s.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["NOTHING_CHANGES", "Dialect", "DialectName", "JsonObject"]

type JsonObject = dict[str, Any]
"""A decoded event, or a part of one."""

NOTHING_CHANGES: frozenset[str] = frozenset()


class DialectName(enum.Enum):
    """The dialects, by their names in the settings."""

    GA = "ga"
    BETA = "beta"
    XAI = "xai"


class Dialect(Protocol):
    """Translates between GA, which is spoken inside, and what one server speaks.

    One object serves one connection, because what a server leaves out is filled in from what it
    said before. Nothing that is handed in is changed; what comes out may share parts with it.
    """

    @property
    def name(self) -> DialectName:
        """Which one this is."""

    @property
    def passes_audio_append(self) -> bool:
        """Whether `input_audio_buffer.append` may go out without `encode`."""

    @property
    def renames(self) -> Mapping[str, str]:
        """Types of server events that differ from GA's by nothing but the name."""

    @property
    def touched(self) -> frozenset[str]:
        """Types of server events that need `decode`; all others are renamed at most."""

    def encode(self, event: JsonObject) -> JsonObject | None:
        """What this server takes for a GA client event; None: it has no such thing."""

    def decode(self, event: JsonObject) -> list[JsonObject]:
        """The GA events that a server event stands for, in order; none where it means nothing.

        Never raises on an odd event: what cannot be read is passed on as it is.
        """

    def welcome(self, text: str, *, interruptible: bool = False) -> list[JsonObject] | None:
        """The events, in the server's own words and not to be encoded, that make it say `text`.

        The server begins that answer by itself, so no `response.create` belongs to them. None:
        this server promises nobody's exact words.
        """
