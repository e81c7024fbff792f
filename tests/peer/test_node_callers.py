"""Callers made of what avr-core is made of, Node with `ws` and `axios`, on a bridge process.

The judges are the JSON that Node itself reports and the sound that it wrote down.
"""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING, Any

import pytest
import trio

from avr_bridge.testing.ami import AmiRequest, SimulatedAmi
from avr_bridge.testing.likeness import likeness, speech_ms
from avr_bridge.testing.realtime import (
    CallTool,
    Say,
    Script,
    SimulatedRealtime,
    SimulatorOptions,
    Step,
)
from avr_bridge.testing.wav import clip, read_wav

from .node.harness import HERE, Echo, open_bridge, place_call
from .npm import install_packages

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.peer

KEY = "sk-planted-secret"
UUID = "7a5f1c0e-3f0e-4b4e-9d58-0c6a3f6f2f10"
QUESTION = clip("question")
CALL_S = 9.0
"""The question, the model's pause for thought, the question again, and some quiet."""

LATE_MS = 250
"""How unevenly a busy machine may deliver what was sent evenly."""

EARLY_MS = 60
"""How far two processes' ideas of a moment may differ: a message's way, and the clocks' grain."""

INTERRUPTED_AT_MS = 1600
SILENT = {"lead_ms": 60_000}
"""The caller's words come after the call's end."""

PLAIN = {"PORT": "0", "OPENAI_API_KEY": KEY}
WIKI_PAGE_OF_SEPTEMBER_2025 = {
    "OPENAI_API_KEY": KEY,
    "OPENAI_MODEL": "gpt-4o-realtime-preview",
    "OPENAI_INSTRUCTIONS": '"You are a helpful assistant."',
    "OPENAI_TEMPERATURE": "0.8",
    "OPENAI_MAX_TOKENS": "100",
}


@pytest.fixture(autouse=True, scope="module")
def _packages() -> None:
    install_packages(HERE)


def options(tmp_path: Path, url: str, **more: Any) -> dict[str, Any]:
    return {
        "url": url,
        "uuid": UUID,
        "wav": str(QUESTION),
        "heard": str(tmp_path / "heard.raw"),
        "lead_ms": 400,
        "seconds": CALL_S,
        **more,
    }


def assert_heard_the_question(tmp_path: Path, report: dict[str, Any]) -> None:
    """The answer is the caller's own words, whole, in whole frames, no sooner than promised."""
    said, heard = read_wav(QUESTION), (tmp_path / "heard.raw").read_bytes()
    assert len(heard) == report["bytes"]
    assert len(heard) % 320 == 0
    assert likeness(said, heard).correlation > 0.95
    assert abs(speech_ms(heard) - speech_ms(said)) <= 200
    # Nobody can repeat a question before it was asked.
    assert report["first_audio_ms"] > 400 + len(said) / 16
    assert report["errors"] == []


@pytest.mark.parametrize("deflate", [True, False], ids=["deflate offered", "no deflate"])
async def test_ws_completes_a_call(tmp_path: Path, deflate: bool) -> None:
    """`ws` hears its own words, closes with 1000 and is answered in kind; the call ends once."""
    async with open_bridge(PLAIN, SimulatedRealtime(Echo())) as bridge:
        url = f"ws://127.0.0.1:{bridge.port}/?from=2000&to=5001"
        report = await place_call("ws_caller.mjs", options(tmp_path, url, deflate=deflate))
        assert await bridge.stop() == 0
    assert_heard_the_question(tmp_path, report)
    assert report["uneven"] == 0
    assert report["ahead_ms"] <= 200 + LATE_MS
    assert not report["closedByPeer"]
    assert report["closed"]["code"] == 1000
    assert set(report["types"]) <= {"audio", "transcript", "interruption"}
    assert {"role": "agent", "text": "the same"} in report["texts"]
    assert deflate or report["extensions"] == ""
    (session,) = bridge.model.sessions
    assert session.closed
    assert len(bridge.logged("call ended")) == 1


async def test_ws_is_told_to_fall_silent_when_the_caller_speaks(tmp_path: Path) -> None:
    """Words into a long answer bring `interruption`, and after it nothing of that answer: no
    sound at all before the caller's words are over, then the reply alone."""
    said, long = read_wav(QUESTION), Say(read_wav(clip("greeting")) * 4, 8000, "long")
    model = SimulatedRealtime(Script([[long]], then=Echo()))
    async with open_bridge(PLAIN, model) as bridge:
        url = f"ws://127.0.0.1:{bridge.port}"
        call = options(tmp_path, url, deflate=True, lead_ms=INTERRUPTED_AT_MS)
        report = await place_call("ws_caller.mjs", call)
        assert await bridge.stop() == 0
    assert report["order"] == ["audio", "interruption", "audio"]
    (interruption,) = report["interruptions"]
    # The sound so far was of the answer, the greater part of which was never sent.
    assert 0 < interruption["bytes"] < len(long.pcm) / 2
    assert INTERRUPTED_AT_MS < interruption["ms"] < INTERRUPTED_AT_MS + 1000
    assert interruption["next_audio_ms"] > INTERRUPTED_AT_MS + len(said) / 16
    after = (tmp_path / "heard.raw").read_bytes()[interruption["bytes"] :]
    assert likeness(said, after).correlation > 0.95
    assert abs(speech_ms(after) - speech_ms(said)) <= 200
    assert {"role": "agent", "text": "long [interrupted]"} in report["texts"]
    assert report["uneven"] == 0
    assert report["errors"] == []


async def test_ws_presses_keys(tmp_path: Path) -> None:
    """`dtmf_digit` messages reach the model as one text turn, whose answer is heard."""
    voice = read_wav(clip("greeting"))
    # Asked to greet, twice, the model has nothing to say.
    model = SimulatedRealtime(Script([[], [], [Say(voice, 8000, "one, two, three")]]))
    async with open_bridge(PLAIN, model) as bridge:
        url = f"ws://127.0.0.1:{bridge.port}"
        call = options(tmp_path, url, deflate=True, **SILENT, seconds=5, digits="123#")
        report = await place_call("ws_caller.mjs", {**call, "digits_at_ms": 1000})
        assert await bridge.stop() == 0
    (session,) = model.sessions
    assert [turn.texts for turn in session.turns] == [
        (),
        (),
        ("[The caller pressed 1 2 3 on the keypad]",),
    ]
    assert likeness(voice, (tmp_path / "heard.raw").read_bytes()).correlation > 0.95
    assert report["first_audio_ms"] > 1000
    assert report["texts"] == [{"role": "agent", "text": "one, two, three"}]
    assert report["errors"] == []
    (ended,) = bridge.logged("call ended")
    assert ended["digits"] == 4
    assert "1 2 3" not in repr(bridge.log)


async def test_ws_is_hung_up_on_after_the_goodbye(tmp_path: Path) -> None:
    """avr-ami is asked to hang up once, by the call's id, when Node's side has played the last
    word, though the model had said it all long before; nothing is said after it."""
    voice = read_wav(clip("greeting"))
    goodbye: list[Step] = [Say(voice, 8000, "goodbye"), CallTool("avr_hangup", "{}")]
    model = SimulatedRealtime(Script([goodbye]), SimulatorOptions(speed=50))
    asked_ms: list[float] = []
    ami = SimulatedAmi([UUID], on_done=lambda _: asked_ms.append(time.time() * 1000))
    async with trio.open_nursery() as nursery:
        env = {**PLAIN, "AMI_URL": await nursery.start(ami.serve)}
        async with open_bridge(env, model) as bridge:
            url = f"ws://127.0.0.1:{bridge.port}"
            call = options(tmp_path, url, deflate=True, **SILENT, seconds=5)
            report = await place_call("ws_caller.mjs", call)
            assert await bridge.stop() == 0
        nursery.cancel_scope.cancel()
    assert ami.requests == [AmiRequest("hangup", {"uuid": UUID})]
    (session,) = model.sessions
    assert len(session.turns) == 1
    heard = (tmp_path / "heard.raw").read_bytes()
    assert likeness(voice, heard).correlation > 0.95
    played_by_ms = report["first_audio_epoch_ms"] + len(heard) / 16
    assert -EARLY_MS <= asked_ms[0] - played_by_ms <= LATE_MS
    assert report["texts"] == [{"role": "agent", "text": "goodbye"}]
    assert report["errors"] == []
    (ended,) = bridge.logged("call ended")
    assert list(ended["tools"].values()) == [{"ok": 1}]


@pytest.mark.parametrize("client", ["axios", "http"])
async def test_http_completes_a_call_with_the_wiki_pages_environment(
    tmp_path: Path, client: str
) -> None:
    """The environment that people deploy from carries a whole call, on the port it names."""
    port = free_port()
    model = SimulatedRealtime(Echo())
    env = {**WIKI_PAGE_OF_SEPTEMBER_2025, "PORT": str(port)}
    async with open_bridge(env, model) as bridge:
        assert bridge.port == port
        url = f"http://127.0.0.1:{port}/speech-to-speech-stream"
        report = await place_call("http_caller.mjs", options(tmp_path, url, client=client))
        assert await bridge.stop() == 0
    assert_heard_the_question(tmp_path, report)
    assert report["status"] == 200
    assert report["ended"]
    assert not report["endedByPeer"]
    (session,) = model.sessions
    assert session.closed
    assert session.model == "gpt-realtime-2"
    assert session.turns[-1].instructions == "You are a helpful assistant."
    (ended,) = bridge.logged("call ended")
    assert ended["call"] == UUID


@pytest.mark.parametrize(
    ("script", "url", "more"),
    [
        ("ws_caller.mjs", "ws://127.0.0.1:{}/", {"deflate": True}),
        ("http_caller.mjs", "http://127.0.0.1:{}/speech-to-speech-stream", {"client": "axios"}),
    ],
    ids=["ws", "axios"],
)
async def test_sigterm_ends_a_running_call(
    tmp_path: Path, script: str, url: str, more: dict[str, Any]
) -> None:
    """The call ends before its time, with 1001 on a WebSocket; exit code 0, nothing left open."""
    report: dict[str, Any] = {}

    async def call() -> None:
        report.update(await place_call(script, options(tmp_path, url.format(bridge.port), **more)))

    async with (
        open_bridge(PLAIN, SimulatedRealtime(Echo())) as bridge,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(call)
        with trio.fail_after(20):
            await bridge.model.wait_session()
        await trio.sleep(1)
        assert await bridge.stop() == 0
    assert report["frames"] * 20 < CALL_S * 1000
    if script == "ws_caller.mjs":
        assert report["closedByPeer"]
        assert report["closed"]["code"] == 1001
        assert report["errors"] == []
    else:
        assert report["endedByPeer"]
    (session,) = bridge.model.sessions
    assert session.closed
    assert len(bridge.logged("call ended")) == 1


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def test_node_understands_a_refusal(tmp_path: Path) -> None:
    """Without AVR_TOKEN `ws` opens nothing and names the status; with it there is a call."""
    async with open_bridge(PLAIN | {"AVR_TOKEN": KEY}, SimulatedRealtime(Echo())) as bridge:
        url = f"ws://127.0.0.1:{bridge.port}/?from=2000"
        refused = await place_call("ws_caller.mjs", options(tmp_path, url, deflate=True))
        with_token = options(tmp_path, f"{url}&token={KEY}", deflate=True)
        report = await place_call("ws_caller.mjs", with_token)
        assert await bridge.stop() == 0
    assert refused["errors"][0] == "Error: Unexpected server response: 401"
    assert refused["frames"] == 0
    assert_heard_the_question(tmp_path, report)
    assert KEY not in str(bridge.log)
