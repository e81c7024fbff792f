"""Take the console's picture for the documents: ``make picture``.

A bridge, the simulated model with a part to play, a Chromium whose microphone plays the caller's
part, and a second call beside. Nothing in the picture is made up but the words.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import trio

from avr_bridge.testing import (
    Say,
    Script,
    SimulatedRealtime,
    clip,
    open_simulated_call,
    read_wav,
)
from avr_bridge.testing.realtime import CallTool, Step, Turn
from tests.peer.browser.harness import drive, prepare_browser, write_microphone
from tests.peer.node.harness import open_bridge

LIMIT_S = 120
TOOL = '''\
import time


def opening_hours(place: str) -> str:
    """Tell when we are open."""
    time.sleep(0.3)
    return "9 to 18"
'''
SETTINGS = {
    "AVR_CONSOLE": "on",
    "AVR_HOST": "127.0.0.1",
    "PORT": "0",
    "OPENAI_API_KEY": "sk-not-a-key-of-anybody",
    "OPENAI_VOICE": "marin",
    "OPENAI_INSTRUCTIONS": "You answer the telephone of a bicycle shop. Be brief and friendly.",
    "OPENAI_TURN_DETECTION_SILENCE_MS": "400",
}


def said(name: str, words: str) -> Say:
    """A clip and its words."""
    return Say(read_wav(clip(name)), 8000, words)


class Shop:
    """Plays its part in the picture's call; speaks on and on in the one beside."""

    def __init__(self) -> None:
        question = "Hello, this is a test call. Can you hear what I am saying?"
        self._script = Script(
            [
                [said("greeting", "Hello, I am the parrot. Say something.")],
                [CallTool("opening_hours", '{"place": "shop"}')],
                [said("hours-answer", "The shop is open from nine to eighteen.")],
                [said("question", question), said("question", question)],
                [said("transfer-answer", "I put you through. Goodbye!")],
            ],
            transcripts=[
                "When is the shop open?",
                question,
                "Please put me through to a person.",
            ],
        )
        self._beside = Say(read_wav(clip("question")) * 20, 8000, "on and on")
        self.sessions = 0

    def answer(self, turn: Turn) -> list[Step]:
        """The next line of the part, or of the call beside, which comes first."""
        if self.sessions == 1:
            return [self._beside]
        return list(self._script.answer(turn))

    def transcribe(self, pcm: bytes, rate_hz: int) -> str:
        """The caller's part, as it is written."""
        return self._script.transcribe(pcm, rate_hz)


async def take(picture: Path, scheme: str, width: int, height: int, *, full: bool) -> None:
    """Play the call and take the picture in the middle of its last answer."""
    shop = Shop()
    model = SimulatedRealtime(shop)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "hours.py").write_text(TOOL)
        mic = write_microphone(
            Path(folder) / "mic.wav",
            4.6,
            read_wav(clip("hours-question")),
            5.2,
            read_wav(clip("question")),
            2.6,
            read_wav(clip("transfer-question")),
            20.0,
        )
        steps: list[dict[str, Any]] = [
            {"do": "wait", "what": "#bridge", "words": "ready"},
            {"do": "click", "what": "#call"},
            {"do": "wait", "what": "#transcript", "words": "Goodbye"},
            {"do": "picture", "path": str(picture), "full": full},
        ]
        async with open_bridge({**SETTINGS, "AVR_TOOLS_DIR": folder}, model) as bridge:
            shop.sessions = 1
            url = f"ws://127.0.0.1:{bridge.port}"
            async with open_simulated_call(url) as call:
                await call.wait_heard_speech()
                shop.sessions = 2
                console = f"http://localhost:{bridge.port}/console"
                look = {"scheme": scheme, "width": width, "height": height}
                await drive(console, steps, wav=mic, **look)


def main() -> None:
    """Read the options and take it."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("picture", type=Path)
    options.add_argument("--scheme", choices=["light", "dark"], default="light")
    options.add_argument("--width", type=int, default=1280)
    options.add_argument("--height", type=int, default=860)
    options.add_argument("--full", action="store_true", help="the whole page, not one screen of it")
    given = options.parse_args()
    prepare_browser()
    take_it = take(
        given.picture.resolve(), given.scheme, given.width, given.height, full=given.full
    )

    async def run() -> None:
        with trio.fail_after(LIMIT_S):
            await take_it

    trio.run(run)


if __name__ == "__main__":
    main()
