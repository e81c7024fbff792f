"""One scenario of the demo: a script for the model, a part for the caller, and a proof.

Stands above the testing kit. What each scenario says and does is in `scenarios.py`; `demo.py` runs
the bridge, places the call and prints.
"""

from __future__ import annotations

import uuid
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import attrs
import trio

from avr_bridge import CallSummary
from avr_bridge.testing.caller import CallReport
from avr_bridge.testing.likeness import likeness, speech_ms
from avr_bridge.testing.realtime import CallTool, Say, SimulatedRealtime, Step, Turn
from avr_bridge.testing.wav import clip, read_wav

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping

    from avr_bridge.testing.caller import CallEvent, SimulatedCall

__all__ = ["BEGIN_S", "QUESTION", "QUIET_MS", "REPLY_WITHIN_S", "Outcome", "Scenario"]

QUESTION = "Hello, this is a test call. Can you hear what I am saying?"
"""The words of the shipped clip."""

LEAST_LIKENESS = 0.7
"""What G.711 leaves of speech is above 0.99, half of it 0.5, other speech below 0.3; a gap of a
few frames on a busy machine is still the reply."""

REPLY_WITHIN_S = 15.0
QUIET_MS = 900
"""A pause this long ends what the model says; speech itself pauses for less."""

BEGIN_S = 1.0
"""How long a caller who is not greeted waits before the first word or key."""

SETTINGS = ("OPENAI_", "AVR_", "AMI_")
SETTINGS_KEPT = ("AVR_LOG_", "AVR_RESAMPLER", "OPENAI_AUDIO_FORMAT")
"""Beginnings of what a script leaves to the user; any other setting could change its course."""


@attrs.frozen
class Outcome:
    """What a call left: both ends' figures, what was heard and said, and the keys with their ms."""

    heard: bytes
    said: bytes
    keys: tuple[tuple[float, str], ...]
    report: CallReport
    bridge: CallSummary
    frames_received: int

    @property
    def frames_lost(self) -> int:
        """Frames sent and not arrived, both directions, as both ends counted them."""
        to_bridge = self.report.sent_frames - round(self.bridge.caller_audio_ms / 20)
        to_caller = round(self.bridge.played_ms / 20) - self.frames_received
        return max(to_bridge, 0) + max(to_caller, 0)


class Scenario:
    """One call. Also the behaviour of its simulated model.

    Args:
        said: What the caller says, PCM16 LE mono, 8 kHz; the scenario's own clip by default.
        tell: Shows one line, in its time.

    Attributes:
        model: The simulated model.
        uuid: The call's id.
        expected: What the caller has to hear.
    """

    intro = "a simulated model that plays a script"
    proved = "The caller heard the reply."
    caller_clip, caller_words = "question", QUESTION
    voice_clip = "greeting"
    caller_speaks = True
    needs_websocket = False
    simulated = True

    def __init__(self, said: bytes | None, tell: Callable[[str], None]) -> None:
        self.voice = read_wav(clip(self.voice_clip))
        self.said = said or read_wav(clip(self.caller_clip))
        self.expected = self.voice
        self.uuid = str(uuid.uuid4())
        self.model = SimulatedRealtime(self)
        self._tell = tell
        self._words = None if said else self.caller_words

    # -- for the demo

    def settings(self, environ: Mapping[str, str]) -> dict[str, str]:
        """The environment without what could change the script's course."""
        return {
            name: value
            for name, value in environ.items()
            if not name.startswith(SETTINGS) or name.startswith(SETTINGS_KEPT)
        }

    @asynccontextmanager
    async def surroundings(self) -> AsyncGenerator[dict[str, str]]:
        """What else is needed while the call lasts; gives the settings that lead to it."""
        await trio.lowlevel.checkpoint()
        yield {}

    async def play(self, call: SimulatedCall) -> None:
        """The caller's part, up to the hangup."""
        await trio.sleep(BEGIN_S)
        await self._speak(call)
        await self._hear_out(call)

    def noted(self, event: CallEvent) -> None:
        """Told each event of the call."""

    def rows(self, outcome: Outcome) -> list[tuple[str, str]]:
        """What the summary says of this scenario alone."""
        return [("alike", f"{self.alike(outcome):.3f} (1 = all of it was heard)")]

    def failure(self, outcome: Outcome) -> str | None:
        """Why it did not happen; None if it did."""
        if outcome.report.errors:
            return f"the bridge reported: {outcome.report.errors[-1]}"
        alike = self.alike(outcome)
        if alike < LEAST_LIKENESS:
            return f"the reply is not what was said: {alike:.2f} alike"
        return None

    def alike(self, outcome: Outcome) -> float:
        """How much of the reply was heard, and how true."""
        return likeness(self.expected, outcome.heard).correlation if outcome.heard else 0.0

    # -- for the model

    def answer(self, turn: Turn) -> list[Step]:
        """The script's next steps; shows what the model was given and what it asks for."""
        for _, output in turn.function_outputs:
            self._tell(f"the tool answers: {output}")
        for text in turn.texts:
            self._tell(f"the model is told: {text}")
        steps = self.script(turn)
        for step in steps:
            if isinstance(step, CallTool):
                self._tell(f"the model calls {step.name} {step.arguments}")
        return steps

    def script(self, turn: Turn) -> list[Step]:
        """What the model says and does in this turn."""
        raise NotImplementedError

    def transcribe(self, pcm: bytes, rate_hz: int) -> str:
        """What the caller's words are shown as."""
        return self._words or f"({len(pcm) / 2 / rate_hz:.1f} s of speech)"

    # -- for the scenarios

    def _echo(self, turn: Turn) -> list[Step]:
        return [Say(turn.caller_audio, turn.caller_rate_hz, self._words or "(the same)")]

    async def _speak(self, call: SimulatedCall) -> None:
        self._tell(f"caller speaks for {speech_ms(self.said) / 1000:.1f} s")
        call.say(self.said)
        await call.wait_said()

    async def _hear_out(self, call: SimulatedCall, within_s: float = REPLY_WITHIN_S) -> None:
        with trio.move_on_after(within_s):
            await call.wait_heard_speech()
            await call.wait_quiet(QUIET_MS)
