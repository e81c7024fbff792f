"""`TurnClock`: how long the caller waits for an answer, and for silence when they speak into one.

Beside the outbound pump, which knows when sound leaves, and the conversation, which hears of
speech. It tells the journal; it decides nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from avr_bridge.telemetry.journal import (
    AnswerOver,
    AnswerStarted,
    FirstSound,
    Interrupted,
    SpeechStarted,
    SpeechStopped,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from avr_bridge.audio.playback import Heard
    from avr_bridge.telemetry.journal import Journal

__all__ = ["TurnClock"]


class TurnClock:
    """One call's."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._waits_since_s: float | None = None
        self._agent_speaks = False

    def speech_started(self) -> None:
        """The model hears the caller: what they waited for is no answer to what comes now."""
        self._waits_since_s = None
        self._journal.tell(SpeechStarted(trio.current_time()))

    def speech_stopped(self) -> None:
        """The model hears that they stopped: from now on they wait."""
        self._waits_since_s = trio.current_time()
        self._journal.tell(SpeechStopped(self._waits_since_s))

    def sound_started(self, since_s: float) -> None:
        """The first sound of the call leaves, which began at `since_s`."""
        now_s = trio.current_time()
        self._journal.tell(FirstSound(now_s, (now_s - since_s) * 1000))

    def answer_started(self) -> None:
        """The first sound of an answer leaves."""
        now_s, since_s = trio.current_time(), self._waits_since_s
        self._waits_since_s = None
        self._agent_speaks = True
        latency_ms = None if since_s is None else (now_s - since_s) * 1000
        self._journal.tell(AnswerStarted(now_s, latency_ms))

    def answer_over(self) -> None:
        """Nothing is heard any more, and nothing waits. Told once of an answer that had begun."""
        if self._agent_speaks:
            self._agent_speaks = False
            self._journal.tell(AnswerOver(trio.current_time()))

    def interrupted(
        self,
        since_s: float,
        told_s: float,
        heard: Iterable[Heard],
        position_error_ms: float | None,
    ) -> None:
        """The caller's side was told at `told_s` to play nothing more, which was wanted since
        `since_s`."""
        heard_ms = next((float(item.heard_ms) for item in heard if not item.whole), None)
        self._agent_speaks = False
        stop_ms = (told_s - since_s) * 1000
        self._journal.tell(Interrupted(told_s, stop_ms, heard_ms, position_error_ms))
