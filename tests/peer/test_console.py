"""The console in a real Chromium: calls with a microphone that plays speech, by button and key.

The judges are the page's text, the WAV that it saves, of which the right side is what its ear
played, and what the simulated model was sent.
"""

from __future__ import annotations

import wave
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from avr_bridge.testing import Say, SimulatedRealtime, clip, likeness, read_wav, speech_ms
from avr_bridge.testing.realtime import CallTool, SimulatorOptions, Step, Turn

from .browser.harness import drive, prepare_browser, write_microphone
from .node.harness import open_bridge

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.peer

KEY = "sk-planted-secret"
TOKEN = "planted-token-of-some-length"
SETTINGS = {
    "AVR_CONSOLE": "on",
    "AVR_HOST": "127.0.0.1",
    "PORT": "0",
    "OPENAI_API_KEY": KEY,
    "AVR_MAX_LAG_MS": "0",
}
QUESTION, ANSWER = read_wav(clip("hours-question")), read_wav(clip("hours-answer"))
MS = 16  # bytes of PCM16 at 8 kHz
STOPPED_WITHIN_MS = 700
"""From the caller's first word to silence in the ear: the model's voice detection takes 40 ms, all
else is the machine's, which is busy with a browser and the tests beside it."""

START = {"do": "click", "what": "#call"}
UP = {"do": "wait", "what": "#call", "words": "Hang up"}
DOWN = {"do": "wait", "what": "#call", "words": "Call"}


LISTS = ("transcript", "turns", "events", "calls")


@attrs.frozen
class Shop:
    """Greets nobody, and tells the hours to who asks; with a tool, looks them up before."""

    looks_up: bool = False

    def answer(self, turn: Turn) -> list[Step]:
        if turn.caller_audio and self.looks_up:
            return [CallTool("opening_hours", '{"place": "shop"}')]
        if turn.caller_audio or turn.function_outputs:
            return [Say(ANSWER, 8000, "The shop is open from nine to eighteen.")]
        return []

    def transcribe(self, pcm: bytes, rate_hz: int) -> str:
        return "When is the shop open?"


@pytest.fixture(autouse=True, scope="module")
def _browser() -> None:
    prepare_browser()


def sides(path: Path) -> tuple[bytes, bytes]:
    """What the caller said and heard, of a call that the page saved."""
    with wave.open(str(path)) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (2, 2, 8000)
        pcm = file.readframes(file.getnframes())
    frames = [pcm[at : at + 4] for at in range(0, len(pcm), 4)]
    return b"".join(one[:2] for one in frames), b"".join(one[2:] for one in frames)


def assert_clean(seen: dict[str, Any], port: int, name: str = "localhost") -> None:
    """No complaint of the browser's, the policy's included, and no other host was asked."""
    assert seen["faults"] == []
    assert seen["hosts"] == [f"{name}:{port}"]


async def test_a_call_by_microphone(tmp_path: Path) -> None:
    """The model hears the question, the caller the answer, whole; words, waits, events, settings
    and the call itself are on the page. Hanging up ends the call, once, as a telephone would."""
    model = SimulatedRealtime(Shop())
    mic = write_microphone(tmp_path / "mic.wav", 2.0, QUESTION, 30.0)
    saved = tmp_path / "call.wav"
    steps = [
        {"do": "wait", "what": "#bridge", "words": "ready"},
        {"do": "wait", "what": "#settings", "words": "AVR_CONSOLE"},
        {"do": "read", "name": "settings", "what": "#settings tr"},
        START,
        UP,
        {"do": "wait", "what": "#calls", "words": "(yours)"},
        {"do": "wait", "what": "#transcript", "words": "When is the shop open?"},
        {"do": "wait", "what": "#turns", "words": "s"},
        {"do": "wait", "what": "#transcript", "words": "The shop is open"},
        {"do": "axe"},
        *({"do": "read", "name": name, "what": f"#{name} > *"} for name in LISTS),
        START,
        DOWN,
        {"do": "wait", "what": "#calls-card", "words": "No call is up."},
        {"do": "wait", "what": "#events", "words": "caller hung up"},
        {"do": "click", "what": "summary"},
        {"do": "save", "what": "#save", "path": str(saved)},
    ]
    async with open_bridge(SETTINGS, model) as bridge:
        seen = await drive(f"http://localhost:{bridge.port}/console", steps, wav=mic)
        assert await bridge.stop() == 0
    assert_clean(seen, bridge.port)
    assert seen["axe"] == []
    said, heard = sides(saved)
    assert likeness(ANSWER, heard).correlation > 0.9
    assert abs(speech_ms(heard) - speech_ms(ANSWER)) <= 200
    assert likeness(QUESTION, said).correlation > 0.7  # the browser's own filters are in it
    (session,) = model.sessions
    asked = next(turn for turn in session.turns if turn.caller_audio)
    rate_hz = asked.caller_rate_hz
    assert likeness(QUESTION, asked.caller_audio, rate_hz).correlation > 0.7
    assert seen["levels"]["caller"] > 0.3
    assert seen["levels"]["agent"] > 0.3
    read = seen["read"]
    assert [line.partition("0:")[0] for line in read["transcript"]] == ["You", "Agent"]
    (turn,) = read["turns"]
    assert "after your pause was noticed" in turn
    events = "\n".join(read["events"])
    for words in (
        "call began (websocket)",
        "is ready after",
        "you have stopped",
        "the agent speaks, ",
    ):
        assert words in events
    (call,) = read["calls"]
    assert "yours" in call
    settings = "\n".join(read["settings"])
    assert "AVR_CONSOLE" in settings
    assert KEY not in settings
    (ended,) = bridge.logged("call ended")
    assert ended["reason"] == "caller_hung_up"
    assert session.closed


class Interrupted:
    """Speaks for long, until interrupted; then answers what was asked, and what was keyed in."""

    long = Say(read_wav(clip("greeting")) * 6, 8000, "a long story")
    keys = read_wav(clip("keys-answer"))

    def __init__(self) -> None:
        self.keyed: list[str] = []

    def answer(self, turn: Turn) -> list[Step]:
        self.keyed += turn.texts
        if turn.texts:
            return [Say(self.keys, 8000, "You pressed one, two, three.")]
        if turn.caller_audio:
            return [Say(ANSWER, 8000, "Nine to eighteen.")]
        return [self.long]


async def test_interrupting_and_keys(tmp_path: Path) -> None:
    """A word into a long answer, and the ear is silent until the next one; keys of the keyboard and
    of the page reach the model as one turn; a key hangs up."""
    model = Interrupted()
    mic = write_microphone(tmp_path / "mic.wav", 5.0, QUESTION, 40.0)
    saved = tmp_path / "call.wav"
    steps = [
        {"do": "wait", "what": "#bridge", "words": "ready"},
        {"do": "key", "key": "c"},
        UP,
        {"do": "wait", "what": "#transcript", "words": "interrupted"},
        {"do": "wait", "what": "#transcript", "words": "Nine to eighteen."},
        {"do": "key", "key": "1"},
        {"do": "click", "what": '[data-digit="2"]'},
        {"do": "key", "key": "3"},
        {"do": "key", "key": "#"},
        {"do": "wait", "what": "#transcript", "words": "You pressed one, two, three."},
        *({"do": "read", "name": name, "what": f"#{name} > *"} for name in LISTS),
        {"do": "key", "key": "c"},
        DOWN,
        {"do": "click", "what": "summary"},
        {"do": "save", "what": "#save", "path": str(saved)},
    ]
    simulator = SimulatedRealtime(model)
    async with open_bridge(SETTINGS, simulator) as bridge:
        seen = await drive(f"http://localhost:{bridge.port}/console", steps, wav=mic)
        assert await bridge.stop() == 0
    assert_clean(seen, bridge.port)
    said, heard = sides(saved)
    word = likeness(QUESTION, said)
    assert word.correlation > 0.7
    begin = int(word.offset_ms) * MS
    assert speech_ms(heard[:begin]) > 1000, "the long answer was heard before"
    silent = heard[begin + STOPPED_WITHIN_MS * MS : begin + len(QUESTION) + 200 * MS]
    assert len(silent) > 500 * MS
    assert speech_ms(silent) == 0
    after = heard[begin + len(QUESTION) :]
    assert likeness(ANSWER, after).correlation > 0.9
    assert likeness(Interrupted.keys, after).correlation > 0.9
    assert model.keyed == ["[The caller pressed 1 2 3 on the keypad]"]
    lines = seen["read"]["transcript"]
    assert "interrupted" in lines[0]
    assert "a long story" in lines[0]
    assert len(seen["read"]["turns"]) == 1, "what was cut off begins no turn"
    events = "\n".join(seen["read"]["events"])
    assert "interrupted, silent after" in events
    assert "you press 3" in events
    (ended,) = bridge.logged("call ended")
    assert (ended["reason"], ended["interruptions"]) == ("caller_hung_up", 1)


async def test_the_bridge_hangs_up(tmp_path: Path) -> None:
    """A call without a microphone: the page says silence. When the longest time is over, or the
    model cannot be had, the page says why the call ended, and another one can be placed."""
    steps = [
        {"do": "wait", "what": "#bridge", "words": "ready"},
        {"do": "click", "what": "summary"},
        {"do": "choose", "what": "#microphone", "value": "none"},
        {"do": "fill", "what": "#metadata", "text": "from=2000&to=5001"},
        START,  # a call that is over before anybody could see that it was up
        {"do": "wait", "what": "#state", "words": "ended the call"},
        {"do": "read", "name": "state", "what": "#state"},
        {"do": "read", "name": "events", "what": "#events > *"},
    ]
    settings = {**SETTINGS, "OPENAI_API_KEY": "sk-wrong-one", "AVR_FALLBACK_FILE": "off"}
    model = SimulatedRealtime(options=SimulatorOptions(api_key="sk-another"))
    async with open_bridge(settings, model) as bridge:
        seen = await drive(f"http://localhost:{bridge.port}/console", steps)
        assert await bridge.stop() == 0
    assert_clean(seen, bridge.port)
    assert "model_rejected" in seen["read"]["state"][0]
    assert "the model refuses the call" in "\n".join(seen["read"]["events"])
    (started,) = bridge.logged("call started")
    assert started["metadata_keys"] == ["from", "to"]


async def test_a_microphone_that_is_refused() -> None:
    """The page says so and what to do; the next try is a call without one."""
    steps = [
        {"do": "wait", "what": "#bridge", "words": "ready"},
        START,
        {"do": "wait", "what": "#notice", "words": "NotAllowedError"},
        {"do": "wait", "what": "#state", "words": "Not in a call"},
        {"do": "axe"},
        START,
        UP,
        {"do": "wait", "what": "#transcript", "words": "greeting"},
        START,
        DOWN,
    ]
    async with open_bridge(SETTINGS, SimulatedRealtime()) as bridge:
        url = f"http://localhost:{bridge.port}/console"
        fake_consent = ["--use-fake-ui-for-media-stream"]
        seen = await drive(url, steps, without=fake_consent, args=["--deny-permission-prompts"])
        assert await bridge.stop() == 0
    assert_clean(seen, bridge.port)
    assert seen["axe"] == []
    assert len(bridge.logged("call started")) == 1


async def test_a_tool_is_seen(tmp_path: Path) -> None:
    """A tool that the model runs: its name and time among the events."""
    (tmp_path / "hours.py").write_text(
        'def opening_hours(place: str) -> str:\n    """Tell when we are open."""\n    return "9"\n'
    )
    mic = write_microphone(tmp_path / "mic.wav", 2.0, QUESTION, 30.0)
    steps = [
        {"do": "wait", "what": "#bridge", "words": "ready"},
        START,
        {"do": "wait", "what": "#events", "words": "tool opening_hours: ok"},
        {"do": "wait", "what": "#transcript", "words": "nine to eighteen"},
        START,
        DOWN,
    ]
    settings = {**SETTINGS, "AVR_TOOLS_DIR": str(tmp_path)}
    async with open_bridge(settings, SimulatedRealtime(Shop(looks_up=True))) as bridge:
        seen = await drive(f"http://localhost:{bridge.port}/console", steps, wav=mic)
        assert await bridge.stop() == 0
    assert_clean(seen, bridge.port)


async def test_the_token(tmp_path: Path) -> None:
    """The page asks for it, refuses a wrong one, and calls with the right one; it is not in the
    address, not in the log, and gone with the tab. By a name that is not this machine's the browser
    gives no microphone: the page says so, and shows the calls."""
    steps = [
        {"do": "wait", "what": "#sign-in", "words": "asks for its token"},
        {"do": "fill", "what": "#token", "text": "wrong"},
        {"do": "key", "key": "Enter"},
        {"do": "wait", "what": "#sign-in-fault", "words": "not the token"},
        {"do": "axe"},
        {"do": "fill", "what": "#token", "text": TOKEN},
        {"do": "key", "key": "Enter"},
        {"do": "wait", "what": "#bridge", "words": "ready"},
        START,
        {"do": "wait", "what": "#calls", "words": "(yours)"},
        {"do": "measure", "name": "address", "script": "location.href"},
        START,
        DOWN,
        {"do": "open", "url": "http://bridge.example:{port}/console#token=" + TOKEN},
        {"do": "wait", "what": "#bridge", "words": "ready"},
        {"do": "read", "name": "notice", "what": "#notice"},
        {
            "do": "measure",
            "name": "insecure",
            "script": "[location.href, document.querySelector('#call').disabled]",
        },
    ]
    async with open_bridge({**SETTINGS, "AVR_TOKEN": TOKEN}, SimulatedRealtime()) as bridge:
        ours = f"localhost:{bridge.port}"
        theirs = f"bridge.example:{bridge.port}"
        placed = [
            {**step, **({"url": step["url"].format(port=bridge.port)} if "url" in step else {})}
            for step in steps
        ]
        args = ["--host-resolver-rules=MAP bridge.example 127.0.0.1"]
        seen = await drive(f"http://{ours}/console", placed, args=args)
        assert await bridge.stop() == 0
    unheeded = "The Cross-Origin-Opener-Policy header has been ignored"  # without https
    assert all(fault.startswith(unheeded) for fault in seen["faults"])
    assert seen["hosts"] == [ours, theirs]
    assert seen["axe"] == []
    assert seen["read"]["address"] == f"http://{ours}/console"
    assert seen["read"]["insecure"] == [f"http://{theirs}/console", True]
    assert "https" in seen["read"]["notice"][0]
    assert TOKEN not in str(bridge.log)


async def test_a_strangers_page_in_this_browser(tmp_path: Path) -> None:
    """A page of another origin, and one whose name was pointed at this machine, may neither place a
    call nor read a thing. The model is not even asked."""
    tries = """async () => {
      const opened = (url) => new Promise((done) => {
        const socket = new WebSocket(url);
        socket.onopen = () => done('open');
        socket.onclose = () => done('refused');
      });
      const read = (url) => fetch(url).then((answer) => answer.status, () => 'unread');
      const post = (url) => fetch(url, { method: 'POST', mode: 'no-cors', body: 'x' })
        .then((answer) => answer.type);
      const at = `localhost:${location.port}`;
      return [
        location.hostname,
        await opened(`ws://${at}/`),
        await opened(`ws://${location.host}/`),
        await read(`http://${at}/console/settings`),
        await read(`http://${at}/console/feed`),
        await read(`http://${location.host}/console/settings`),
        await post(`http://${at}/speech-to-speech-stream`),
      ];
    }"""
    model = SimulatedRealtime()
    async with open_bridge(SETTINGS, model) as bridge:
        strange = f"http://evil.example:{bridge.port}"
        steps = [
            {"do": "measure", "name": "rebound", "script": f"({tries})()"},
            {"do": "open", "url": f"http://127.0.0.1:{bridge.port}/healthz"},
            {"do": "measure", "name": "beside", "script": f"({tries})()"},
        ]
        args = ["--host-resolver-rules=MAP evil.example 127.0.0.1"]
        seen = await drive(f"{strange}/healthz", steps, args=args)
        assert await bridge.stop() == 0
    refused = ["refused", "refused", "unread", "unread", 403, "opaque"]
    assert seen["read"]["rebound"] == ["evil.example", *refused]
    assert seen["read"]["beside"][:4] == ["127.0.0.1", "refused", "open", "unread"]
    assert len(model.sessions) <= 1
    assert bridge.logged("caller refused: a web page that is not the console")


async def test_it_fits() -> None:
    """On a telephone, a tablet and a desk, in both lights: nothing is wider than the screen, and a
    program that knows the rules of accessible pages finds no fault."""
    widths = (360, 768, 1360)
    steps: list[dict[str, Any]] = [
        {"do": "wait", "what": "#bridge", "words": "ready"},
        {"do": "fill", "what": "#filter", "text": "OPENAI"},
    ]
    for scheme in ("light", "dark"):
        steps.append({"do": "scheme", "scheme": scheme})
        for width in widths:
            script = "document.documentElement.scrollWidth"
            steps += [
                {"do": "size", "width": width, "height": 800},
                {"do": "measure", "name": f"{scheme} {width}", "script": script},
                {"do": "axe"},
            ]
    async with open_bridge(SETTINGS, SimulatedRealtime()) as bridge:
        seen = await drive(f"http://localhost:{bridge.port}/console", steps)
        assert await bridge.stop() == 0
    assert_clean(seen, bridge.port)
    assert seen["axe"] == []
    assert len(seen["read"]) == 2 * len(widths)
    for name, wide in seen["read"].items():
        assert wide <= int(name.split()[1]), name
