"""What the demo can show: an echo, an interruption, a tool, keys, a transfer.

Stands above the testing kit; what all scenarios have in common is in `scene.py`. Nothing here
knows the bridge but by what the caller hears and what the model is told.
"""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import trio

from avr_bridge.cli.scene import BEGIN_S, QUIET_MS, REPLY_WITHIN_S, Outcome, Scenario
from avr_bridge.testing.ami import AmiRequest, SimulatedAmi
from avr_bridge.testing.caller import CallEvent, CallEventKind
from avr_bridge.testing.likeness import likeness
from avr_bridge.testing.realtime import CallTool, Say, Step, Turn

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping

    from avr_bridge.testing.caller import SimulatedCall

__all__ = ["SCENARIOS", "BargeIn", "Keypad", "Repeat", "Tools", "Transfer"]

GREETING = "Hello, I am the parrot. Say something."
"""The words of the shipped clip of that name."""

GREETING_WITHIN_S = 5.0

LISTENED_S = 3.0
"""How much of the long answer the caller bears; this is in the middle of a word."""

KEY_GAP_S = 0.3
TRUNCATED_WITHIN_S = 5.0
MOST_OFF_MS, WARN_OFF_MS = 100, 60
"""How far the model's idea of what was heard may be off: words are lost or repeated from some
100 ms on; 60 ms is what the bridge promises."""

TRANSFER_TAKES_S = 0.4
"""Until Asterisk takes the caller away; what was not heard by then would show in the meantime."""
EARLIEST_MS, LATEST_MS = -60, 1_500
"""When the transfer may be asked for, after the last audible word: the clip ends with 100 ms of
silence, and a bridge that waited for nothing but its time limit would take 10 s."""


class Repeat(Scenario):
    """The model greets, and says back what it hears; or it is the real one."""

    intro = "a simulated model that says back what it hears"

    def __init__(
        self, said: bytes | None, tell: Callable[[str], None], *, simulated: bool = True
    ) -> None:
        super().__init__(said, tell)
        self.expected = self.said
        self.simulated = simulated

    def settings(self, environ: Mapping[str, str]) -> dict[str, str]:
        return dict(environ)

    def script(self, turn: Turn) -> list[Step]:
        return self._echo(turn) if turn.caller_audio else [Say(self.voice, 8_000, GREETING)]

    async def play(self, call: SimulatedCall) -> None:
        with trio.move_on_after(GREETING_WITHIN_S) as patience:
            await call.wait_heard_speech()
        if not patience.cancelled_caught:
            await call.wait_quiet(QUIET_MS)
        await self._speak(call)
        await self._hear_out(call)

    def rows(self, outcome: Outcome) -> list[tuple[str, str]]:
        if not self.simulated:
            return []
        return [("alike", f"{self.alike(outcome):.3f} (1 = the reply is what was said)")]

    def failure(self, outcome: Outcome) -> str | None:
        if not (outcome.report.errors or outcome.report.answer_latencies_ms):
            return "no reply was heard"
        return super().failure(outcome) if self.simulated or outcome.report.errors else None


class BargeIn(Scenario):
    """The caller interrupts a long answer: silence at once, and the model knows what was heard."""

    proved = "The answer was interrupted, the model knows where, and the caller heard the reply."
    needs_websocket = True

    def __init__(self, said: bytes | None, tell: Callable[[str], None]) -> None:
        super().__init__(said, tell)
        self.expected = self.said
        self._long = Say(self.voice * 4, 8_000, " ".join([GREETING] * 4))
        self._call: SimulatedCall | None = None
        self._heard_ms: float | None = None
        self._told_ms: float | None = None
        self._interrupted_at_ms = 0.0

    def script(self, turn: Turn) -> list[Step]:
        return self._echo(turn) if turn.caller_audio else [self._long]

    async def play(self, call: SimulatedCall) -> None:
        self._call = call
        with trio.move_on_after(GREETING_WITHIN_S):
            await call.wait_heard_speech()
        await trio.sleep(LISTENED_S)
        self._tell("caller interrupts")
        call.say(self.said)
        with trio.move_on_after(TRUNCATED_WITHIN_S):
            session = await self.model.wait_session()
            truncated = await session.wait_received("conversation.item.truncate")
            self._told_ms = float(truncated["audio_end_ms"])
            self._tell(f"the model is told to forget what comes after {_s(self._told_ms)}")
        await call.wait_said()
        await self._hear_out(call)

    def noted(self, event: CallEvent) -> None:
        if event.kind is CallEventKind.INTERRUPTION and self._call and self._heard_ms is None:
            report = self._call.report()
            # Nothing waits to be played any more, so this is the frame, exact to 20 ms.
            self._heard_ms = report.received_s * 1000 - report.flushed_ms
            self._interrupted_at_ms = event.at_ms
            of_s = len(self._long.pcm) / 16_000
            self._tell(f"the caller had heard {_s(self._heard_ms)} of {of_s:.2f} s")

    def rows(self, outcome: Outcome) -> list[tuple[str, str]]:
        rows = [("interrupted", "never" if self._heard_ms is None else f"{_s(self._heard_ms)} in")]
        if self._heard_ms is not None and self._told_ms is not None:
            off_ms = self._told_ms - self._heard_ms
            off = f"{off_ms:+.0f} ms off"
            if abs(off_ms) > WARN_OFF_MS:
                off = f"[yellow]{off}: more than {WARN_OFF_MS} ms[/yellow]"
            rows.append(("model was told", f"{_s(self._told_ms)}, {off}"))
        return rows + super().rows(outcome)

    def alike(self, outcome: Outcome) -> float:
        heard = outcome.heard[int(self._interrupted_at_ms / 20) * 320 :]
        return likeness(self.expected, heard).correlation if heard else 0.0

    def failure(self, outcome: Outcome) -> str | None:
        if outcome.report.errors:
            return super().failure(outcome)
        if self._heard_ms is None:
            return "no interruption came"
        if self._told_ms is None:
            return "the model was not told what was heard"
        if abs(self._told_ms - self._heard_ms) > MOST_OFF_MS:
            return f"the model was told {_s(self._told_ms)}, heard were {_s(self._heard_ms)}"
        return super().failure(outcome)


class Tools(Scenario):
    """The model looks something up in a Python file of the user's, and says what it found."""

    proved = "The tool was run, and the caller heard the answer."
    caller_clip, caller_words = "hours-question", "When is the shop open?"
    voice_clip = "hours-answer"
    source = '''\
import time


def opening_hours(place: str) -> str:
    """Tell when we are open."""
    time.sleep(1.5)  # so that the caller hears the keys
    return {"shop": "9 to 18", "workshop": "7 to 16"}[place]
'''

    def __init__(self, said: bytes | None, tell: Callable[[str], None]) -> None:
        super().__init__(said, tell)
        self._outputs: list[str] = []

    @asynccontextmanager
    async def surroundings(self) -> AsyncGenerator[dict[str, str]]:
        await trio.lowlevel.checkpoint()
        with TemporaryDirectory(prefix="avr-bridge-demo-") as directory:
            (Path(directory) / "hours.py").write_text(self.source)
            yield {"AVR_TOOLS_DIR": directory, "AVR_TOOL_SOUND": "typing"}

    def script(self, turn: Turn) -> list[Step]:
        if turn.function_outputs:
            self._outputs = [output for _, output in turn.function_outputs]
            return [Say(self.voice, 8_000, f"The shop is open from {self._outputs[0]}.")]
        if turn.caller_audio:
            self._tell("meanwhile the caller hears somebody type")
            return [CallTool("opening_hours", json.dumps({"place": "shop"}))]
        return []

    def rows(self, outcome: Outcome) -> list[tuple[str, str]]:
        return [("tools", f"{outcome.bridge.tools} run"), *super().rows(outcome)]

    def failure(self, outcome: Outcome) -> str | None:
        if self._outputs != ["9 to 18"] and not outcome.report.errors:
            return f"the model did not get the opening hours, but {self._outputs or 'nothing'}"
        return super().failure(outcome)


class Keypad(Scenario):
    """The caller presses keys; the model gets them as one turn, and answers."""

    proved = "The model got the keys, and the caller heard the answer."
    caller_speaks = False
    voice_clip = "keys-answer"
    needs_websocket = True
    keys = "123#"
    turn = "[The caller pressed 1 2 3 on the keypad]"

    def __init__(self, said: bytes | None, tell: Callable[[str], None]) -> None:
        super().__init__(said, tell)
        self._texts: list[str] = []

    def script(self, turn: Turn) -> list[Step]:
        self._texts += turn.texts
        return [Say(self.voice, 8_000, "You pressed one, two, three.")] if turn.texts else []

    async def play(self, call: SimulatedCall) -> None:
        await trio.sleep(BEGIN_S)
        for key in self.keys:
            call.send_digit(key)
            await trio.sleep(KEY_GAP_S)
        await self._hear_out(call)

    def rows(self, outcome: Outcome) -> list[tuple[str, str]]:
        return [("keys", str(outcome.bridge.digits)), *super().rows(outcome)]

    def failure(self, outcome: Outcome) -> str | None:
        if self._texts != [self.turn] and not outcome.report.errors:
            return f"the model did not get the keys as one turn, but {self._texts or 'nothing'}"
        return super().failure(outcome)


class Transfer(Scenario):
    """The model says goodbye and transfers: Asterisk is asked when the goodbye was heard."""

    proved = "The caller heard the goodbye, and only then was transferred."
    caller_clip, caller_words = "transfer-question", "Please put me through to a person."
    voice_clip = "transfer-answer"
    extension = "600"

    def __init__(self, said: bytes | None, tell: Callable[[str], None]) -> None:
        super().__init__(said, tell)
        self.ami = SimulatedAmi([self.uuid], on_done=self._asked)
        self._call: SimulatedCall | None = None
        self._asked_at_ms: float | None = None
        self._silent_at_ms: float | None = None

    @asynccontextmanager
    async def surroundings(self) -> AsyncGenerator[dict[str, str]]:
        async with trio.open_nursery() as nursery:
            yield {"AMI_URL": await nursery.start(self.ami.serve)}
            nursery.cancel_scope.cancel()

    def script(self, turn: Turn) -> list[Step]:
        if not turn.caller_audio:
            return []
        arguments = json.dumps({"transfer_extension": self.extension})
        goodbye = Say(self.voice, 8_000, "I put you through. Goodbye!")
        return [goodbye, CallTool("avr_transfer", arguments)]

    async def play(self, call: SimulatedCall) -> None:
        self._call = call
        await trio.sleep(BEGIN_S)
        await self._speak(call)
        with trio.move_on_after(REPLY_WITHIN_S) as patience:
            await self.ami.wait_requests()
        if not patience.cancelled_caught:
            await trio.sleep(TRANSFER_TAKES_S)
            self._tell("Asterisk takes the caller away")

    def _asked(self, request: AmiRequest) -> None:
        if self._call and request.action == "transfer":
            self._asked_at_ms = self._call.now_ms()
            self._tell(f"avr-ami is asked to transfer the call to {request.body.get('exten')}")

    def noted(self, event: CallEvent) -> None:
        if event.kind is CallEventKind.AUDIO_LAST:
            self._silent_at_ms = event.at_ms

    @property
    def _after_ms(self) -> float | None:
        """From the last audible word to the request."""
        if self._asked_at_ms is None or self._silent_at_ms is None:
            return None
        return self._asked_at_ms - self._silent_at_ms

    def rows(self, outcome: Outcome) -> list[tuple[str, str]]:
        after_ms = self._after_ms
        when = "never" if after_ms is None else f"{after_ms:.0f} ms after the last word"
        return [("transfer asked for", when), *super().rows(outcome)]

    def failure(self, outcome: Outcome) -> str | None:
        if outcome.report.errors:
            return super().failure(outcome)
        extensions = [request.body.get("exten") for request in self.ami.requests]
        if self._asked_at_ms is None or extensions != [self.extension]:
            return f"no transfer to {self.extension} was done"
        if self._after_ms is None or not EARLIEST_MS <= self._after_ms <= LATEST_MS:
            return "the transfer was not asked for when the goodbye had been heard"
        return super().failure(outcome)


def _s(ms: float) -> str:
    return f"{ms / 1000:.2f} s"


SCENARIOS: dict[str, type[Scenario]] = {
    "parrot": Repeat,
    "barge-in": BargeIn,
    "tools": Tools,
    "dtmf": Keypad,
    "transfer": Transfer,
}
