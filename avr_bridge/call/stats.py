"""Counters of one call, written by its three tasks, read once at its end."""

from __future__ import annotations

from collections import Counter

import attrs

__all__ = ["CallStats"]


@attrs.define(eq=False)
class CallStats:
    """Plain numbers; each is written by one task only."""

    started_s: float
    uuid: str = ""
    first_sound_s: float | None = None
    caller_audio_ms: float = 0.0
    played_frames: int = 0
    dropped_ms: float = 0.0
    turns: int = 0
    interruptions: int = 0
    underruns: int = 0
    tools: int = 0
    digits: int = 0
    faults: int = 0
    reconnects: int = 0
    renewals: int = 0
    watchdogs: Counter[str] = attrs.field(factory=Counter)
