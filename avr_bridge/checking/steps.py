"""What came of one thing that was tried. Values only."""

from __future__ import annotations

import enum

import attrs

__all__ = ["Step", "Verdict"]


class Verdict(enum.Enum):
    """Whether calls can do with it."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@attrs.frozen
class Step:
    """One thing that was tried.

    Attributes:
        name: What it was, in one or two words.
        words: What came of it. No secret is in it.
        took_ms: How long it took.
        advice: What to do about it; "" where it is good.
    """

    name: str
    verdict: Verdict
    words: str
    took_ms: float
    advice: str = ""
