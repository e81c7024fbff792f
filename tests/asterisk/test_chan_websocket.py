"""What only chan_websocket can do, on a real Asterisk: its marks, codecs and ways of writing."""

from __future__ import annotations

import json
import re

import pytest

from avr_bridge.testing import (
    CallTool,
    Say,
    Script,
    Silence,
    SimulatedRealtime,
    clip,
    likeness,
    read_wav,
)
from tests.asterisk.busy import in_real_time
from tests.asterisk.ways import open_line

WAY = "chan_websocket"
DIALLED = "c(ulaw)v("


@pytest.mark.parametrize(
    ("dialled", "audio_format"),
    [
        ("c(ulaw)f(json)v(", "pcmu"),
        ("c(alaw)v(", "pcma"),
        ("c(alaw)f(json)v(", "pcmu"),
        ("c(slin)v(", "pcmu"),
        ("c(slin16)v(", "pcm"),
        ("c(slin24)f(json)v(", "pcm"),
        ("nc(ulaw)v(", "pcmu"),
    ],
)
@in_real_time
async def test_every_codec_and_both_ways_of_writing(
    question: bytes, dialled: str, audio_format: str
) -> None:
    """What the caller says comes back to its ear; no event was unknown."""
    steps = ["Wait(2)", "Playback(sounds/question)", "Wait(5)"]
    sounds = {"question": question}
    model, instead = SimulatedRealtime(), {DIALLED: dialled}
    async with open_line(
        WAY, model, steps, sounds, instead=instead, OPENAI_AUDIO_FORMAT=audio_format
    ) as line:
        await line.place()
        await line.switch.wait_over()
        (ended,) = await line.wait_ended()
        heard = line.switch.heard()
    found = likeness(question, heard)
    print(f"\n  {dialled} {audio_format}: {found.correlation:.4f}")
    assert found.correlation > 0.95
    assert ended["faults"] == ended["dropped_ms"] == 0
    assert ended["reason"] == "caller_hung_up"


async def test_the_metadata_of_a_call(question: bytes) -> None:
    """Parameters of the dial string, and, with JSON, variables of the channel."""
    instead = {DIALLED: "c(ulaw)f(json)v(uuid=0190-ab,"}
    async with open_line(WAY, SimulatedRealtime(), ["Wait(2)"], {}, instead=instead) as line:
        await line.place()
        await line.switch.wait_over()
        (ended,) = await line.wait_ended()
        (started,) = line.bridge.logged("call started")
    assert ended["call"] == "0190-ab"
    assert {"from", "to", "uuid", "MEDIA_WEBSOCKET_CONNECTION_ID"} <= set(started["metadata_keys"])


async def test_passthrough_ends_with_its_own_reason(question: bytes) -> None:
    """Asterisk says that it sets no mark: the call ends, with words that say what to change."""
    script = Script([[Say(question, 8000, "hello")]], then=Silence())
    model, instead = SimulatedRealtime(script), {DIALLED: "c(ulaw)pv("}
    async with open_line(WAY, model, ["Wait(20)"], {}, instead=instead) as line:
        await line.place()
        (ended,) = await line.wait_ended()
    assert ended["reason"] == "caller_format_unknown"
    assert "passthrough" in ended["detail"]


async def test_a_codec_that_we_cannot_do(question: bytes) -> None:
    """An end at once, that names the codec; the caller's dialplan goes on."""
    instead = {DIALLED: "c(slin48)v("}
    async with open_line(WAY, SimulatedRealtime(), ["Wait(20)"], {}, instead=instead) as line:
        await line.place()
        (ended,) = await line.wait_ended()
        await line.switch.wait_idle()
    assert ended["reason"] == "caller_format_unknown"
    assert "slin48" in ended["detail"]


async def test_a_refusal_leaves_the_call_to_the_dialplan() -> None:
    """The bridge wants a token: Dial() ends without an answer, after one attempt as the example
    has it, and the next step is taken."""
    secret = "a-long-shared-secret"
    async with open_line(WAY, SimulatedRealtime(), ["Wait(20)"], {}, AVR_TOKEN=secret) as line:
        await line.place()
        await line.switch.wait_over()
        log = line.switch.log()
    assert "failed after 1" in log
    assert "Couldn't call WebSocket/avr-bridge" in log
    assert "WebSocket/avr-bridge/0x" not in "".join(re.findall(r".* answered .*", log))
    assert 'Executing [5003@telephones:4] Hangup("' in log
    assert line.bridge.logged("call ended") == []


async def test_an_extension_that_is_not_there_is_told(question: bytes) -> None:
    """The caller stays in the call, and the model hears why."""
    where = json.dumps({"transfer_extension": "999", "transfer_context": "elsewhere"})
    script = Script(
        [[Say(question, 8000, "one moment"), CallTool("avr_transfer", where)]], Silence()
    )
    async with open_line(WAY, SimulatedRealtime(script), ["Wait(8)"], {}) as line:
        await line.place()
        await line.switch.wait_over()
        await line.wait_ended()
    told = json.dumps(line.model.sessions[0].received_of("conversation.item.create"))
    assert "there is no extension 999 in the context elsewhere" in told


@in_real_time
async def test_a_transfer(question: bytes) -> None:
    """Through the manager, to an extension of the dialplan; the bridge's part is over."""
    where = json.dumps({"transfer_extension": "200", "transfer_context": "elsewhere"})
    script = Script(
        [[Say(question, 8000, "one moment"), CallTool("avr_transfer", where)]], Silence()
    )
    there = read_wav(clip("hours-answer"))
    model, sounds = SimulatedRealtime(script), {"elsewhere": there}
    async with open_line(WAY, model, ["Wait(60)"], sounds) as line:
        await line.place()
        await line.switch.wait_over()
        (ended,) = await line.wait_ended()
        heard = line.switch.heard()
    assert likeness(there, heard).correlation > 0.99
    assert likeness(question, heard).correlation > 0.99
    assert ended["reason"] == "caller_hung_up"


@in_real_time
async def test_the_hangup_comes_at_the_mark_of_the_goodbye(question: bytes) -> None:
    """HANGUP: the caller has heard all of it, and waits for nothing behind it."""
    script = Script([[Say(question, 8000, "bye"), CallTool("avr_hangup", "{}")]], Silence())
    model = SimulatedRealtime(script)
    async with open_line(WAY, model, ["Wait(60)"], {}, manager=False) as line:
        await line.place()
        await line.switch.wait_over()
        (ended,) = await line.wait_ended()
        heard = line.switch.heard()
    found = likeness(question, heard)
    after_ms = len(heard) / 16 - found.offset_ms - len(question) / 16
    print(f"\n  HANGUP {after_ms:.0f} ms after the goodbye")
    assert found.correlation > 0.99
    assert -40 < after_ms < 400
    assert ended["reason"] == "caller_hung_up"
