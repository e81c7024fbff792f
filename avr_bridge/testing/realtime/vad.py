"""Voice detection by energy, on the caller's way in: windows of 10 ms in, speech edges out.

Counts audio only, never the clock. It holds no audio; `listening.py` cuts the turn.
"""

from __future__ import annotations

from typing import Any, Literal

import attrs
import audioop

__all__ = ["WINDOW_MS", "SpeechEdge", "VadSettings", "VoiceDetector"]

WINDOW_MS = 10
"""Energy is measured over windows of this length."""

ONSET_WINDOWS = 4
"""Loud windows within `ONSET_SPAN` that make an onset: 40 ms, so that a click is no speech."""

ONSET_SPAN = 8
"""How many windows an onset may be spread over: 80 ms."""

_QUIETEST_DBFS = -60.0
_SPAN_DB = 40.0
_HYSTERESIS_DB = 6.0
"""Within speech a window may be this much quieter and still count as loud."""

_EAGERNESS_SILENCE_MS = {"low": 1_500, "medium": 800, "auto": 800, "high": 400}
"""Stand-ins for the semantic model, which in truth looks at the words (it waits 8, 4 or 2 s at
most)."""


@attrs.frozen
class VadSettings:
    """The part of `turn_detection` that matters for hearing."""

    threshold: float = 0.5
    prefix_padding_ms: int = 300
    silence_duration_ms: int = 200

    @classmethod
    def of(cls, turn_detection: dict[str, Any]) -> VadSettings:
        """From the session's effective `turn_detection` object."""
        if turn_detection["type"] == "semantic_vad":
            eagerness = turn_detection.get("eagerness", "auto")
            return cls(silence_duration_ms=_EAGERNESS_SILENCE_MS[eagerness])
        return cls(
            turn_detection["threshold"],
            turn_detection["prefix_padding_ms"],
            turn_detection["silence_duration_ms"],
        )

    @property
    def loud_rms(self) -> float:
        """Energy that counts as speech: threshold 0, 0.5, 1 are -60, -40, -20 dB of full scale."""
        return 32768 * 10 ** ((_QUIETEST_DBFS + _SPAN_DB * self.threshold) / 20)


@attrs.frozen
class SpeechEdge:
    """Speech began or ended.

    Attributes:
        kind: Which of both.
        at_window: Began: the first loud window. Ended: the window after the last loud one.
    """

    kind: Literal["started", "stopped"]
    at_window: int


class VoiceDetector:
    """Finds where speech begins and ends in a row of windows."""

    def __init__(self, settings: VadSettings) -> None:
        self._loud_rms = settings.loud_rms
        self._still_loud_rms = settings.loud_rms * 10 ** (-_HYSTERESIS_DB / 20)
        self._silence_windows = max(1, settings.silence_duration_ms // WINDOW_MS)
        self._loud: list[int] = []
        self._window = 0
        self._last_loud = 0
        self.speaking = False

    def push(self, window_pcm: bytes) -> SpeechEdge | None:
        """Take the next window of PCM16; say whether it made an edge."""
        now = self._window
        self._window += 1
        rms = audioop.rms(window_pcm, 2)
        if self.speaking:
            if rms >= self._still_loud_rms:
                self._last_loud = now
            elif now - self._last_loud >= self._silence_windows:
                self.speaking = False
                self._loud.clear()
                return SpeechEdge("stopped", self._last_loud + 1)
            return None
        if rms < self._loud_rms:
            return None
        self._loud = [window for window in self._loud if window > now - ONSET_SPAN] + [now]
        if len(self._loud) < ONSET_WINDOWS:
            return None
        self.speaking = True
        self._last_loud = now
        return SpeechEdge("started", self._loud[0])
