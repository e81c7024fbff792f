"""GA, the vocabulary inside: OpenAI, Azure GA and their like. Nothing is translated."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from avr_bridge.upstream.dialects.base import NOTHING_CHANGES, DialectName, JsonObject

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["GaDialect"]


class GaDialect:
    """The identity."""

    name = DialectName.GA
    passes_audio_append = True
    renames: Mapping[str, str] = MappingProxyType({})
    touched = NOTHING_CHANGES

    def encode(self, event: JsonObject) -> JsonObject | None:
        """The event itself."""
        return event

    def decode(self, event: JsonObject) -> list[JsonObject]:
        """The event itself."""
        return [event]

    def welcome(self, text: str, *, interruptible: bool = False) -> list[JsonObject] | None:
        """None: a model says it in its own words."""
        return None
