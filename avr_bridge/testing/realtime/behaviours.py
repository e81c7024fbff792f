"""Ready behaviours of the simulated model: a parrot, a recording, a script, silence.

Each only turns a `Turn` into steps; how the steps are spoken is `speaking.py`'s work.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from avr_bridge.testing.realtime.behaviour import Behaviour, Say, Step, Turn
from avr_bridge.testing.realtime.clips import Clip, greeting_tones

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["Parrot", "Script", "Silence", "SpeakFile", "describe_speech"]


def describe_speech(pcm: bytes, rate_hz: int) -> str:
    """What stands in for a transcript: "(1.9 s of speech)"."""
    return f"({len(pcm) // 2 / rate_hz:.1f} s of speech)"


class Parrot:
    """Says back what the caller said, and greets where a response is asked for without words.

    Args:
        greeting: A WAV file or the bytes of one (mono, 16 bit); None: two tones.

    Raises:
        ClipError: The greeting cannot be used.
    """

    def __init__(self, greeting: Path | bytes | None = None) -> None:
        if greeting is None:
            clip, transcript = greeting_tones(), "(greeting tones)"
        else:
            clip, transcript = Clip.from_wav(greeting), "(greeting)"
        self._greeting = Say(clip.pcm, clip.rate_hz, transcript)

    def answer(self, turn: Turn) -> Sequence[Step]:
        """The caller's own words, or the greeting."""
        if not turn.caller_audio:
            return [self._greeting]
        words = describe_speech(turn.caller_audio, turn.caller_rate_hz)
        return [Say(turn.caller_audio, turn.caller_rate_hz, words)]


class SpeakFile:
    """Answers every turn with one recording (WAV, mono, 16 bit, 8, 16, 24 or 48 kHz).

    Raises:
        ClipError: The file cannot be used.
    """

    def __init__(self, path: Path) -> None:
        clip = Clip.from_wav(path)
        self._say = Say(clip.pcm, clip.rate_hz, f"({clip.ms / 1000:.1f} s of recording)")

    def answer(self, turn: Turn) -> Sequence[Step]:
        """The recording, whatever was said."""
        return [self._say]


class Silence:
    """Completes every response without any output."""

    def answer(self, turn: Turn) -> Sequence[Step]:
        """Nothing."""
        return []


class Script:
    """Plays prepared answers, one a turn, in order.

    Args:
        answers: The steps of the first, second, … response.
        then: Who answers after the last one; None: nobody was expected to ask, so the response is
            empty and `assert_complete` will say so.
        transcripts: What the caller's turns are transcribed as, in order.
    """

    def __init__(
        self,
        answers: Sequence[Sequence[Step]],
        then: Behaviour | None = None,
        *,
        transcripts: Sequence[str] = (),
    ) -> None:
        self._answers = [list(steps) for steps in answers]
        self._then = then
        self._transcripts = list(transcripts)
        self.turns: list[Turn] = []
        """Every turn that was asked for, oldest first."""

    def answer(self, turn: Turn) -> Sequence[Step]:
        """The next prepared steps."""
        asked = len(self.turns)
        self.turns.append(turn)
        if asked < len(self._answers):
            return self._answers[asked]
        return self._then.answer(turn) if self._then else []

    def transcribe(self, pcm: bytes, rate_hz: int) -> str:
        """The next prepared transcript, or a description of the audio."""
        return self._transcripts.pop(0) if self._transcripts else describe_speech(pcm, rate_hz)

    def assert_complete(self) -> None:
        """Check that every prepared answer was asked for, and none besides.

        Raises:
            AssertionError: The conversation took another course.
        """
        asked, prepared = len(self.turns), len(self._answers)
        if asked < prepared:
            raise AssertionError(f"only {asked} of {prepared} prepared answers were asked for")
        if asked > prepared and self._then is None:
            raise AssertionError(f"{asked} answers were asked for, {prepared} were prepared")
