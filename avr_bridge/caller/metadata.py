"""What is known of a call from outside: free-form names and values, bounded, and only ever text.

They come as query parameters, and from Asterisk as channel variables. What they are for is up to
prompts and tools.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["bounded"]

MOST_METADATA = 32
LONGEST_METADATA_CHARS = 512
"""Kept for a call."""


def bounded(values: Mapping[str, str]) -> dict[str, str]:
    """The first of them, each cut to its longest length."""
    kept = list(values.items())[:MOST_METADATA]
    return {key[:LONGEST_METADATA_CHARS]: value[:LONGEST_METADATA_CHARS] for key, value in kept}
