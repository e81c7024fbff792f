"""What is known of a call from outside: free-form names and values, bounded, and only ever text of
one line.

They come as query parameters, and from Asterisk as channel variables. What they are for is up to
prompts and tools.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["bounded", "cleaned"]

MOST_METADATA = 32
LONGEST_METADATA_CHARS = 512
"""Kept for a call."""

_NOT_OF_A_LINE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
"""Control characters, line breaks, and halves of characters, which are no Unicode text at all."""


def cleaned(text: str) -> str:
    """`text` with a blank for each control character or line break. Whoever dials may write
    anything, and it comes into logs on a terminal, headers and prompts."""
    return _NOT_OF_A_LINE.sub(" ", text)


def bounded(values: Mapping[str, str]) -> dict[str, str]:
    """The first of them, each cut to its longest length, and `cleaned`."""
    kept = list(values.items())[:MOST_METADATA]
    return {_short(key): _short(value) for key, value in kept}


def _short(text: str) -> str:
    return cleaned(text[:LONGEST_METADATA_CHARS])
