"""Whole calls with servers that speak other dialects: the caller hears no difference."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from avr_bridge import TalkConfig
from avr_bridge.caller.transport import AudioOut, DtmfDigit
from avr_bridge.testing import (
    CallTool,
    Say,
    Script,
    Silence,
    SimulatedRealtime,
    SimulatorOptions,
    likeness,
)
from tests.call.conftest import Echo, config, place_call

if TYPE_CHECKING:
    from trio.testing import MockClock as Clock

import attrs


@pytest.mark.parametrize("audio_format", ["pcmu", "pcma", "pcm"])
@pytest.mark.parametrize("setting", ["named", "auto"])
@pytest.mark.parametrize("dialect", ["ga", "beta", "xai"])
async def test_a_call_goes_through(
    autojump_clock: Clock, question: bytes, dialect: Any, setting: str, audio_format: str
) -> None:
    """Named or found out from `session.created`: speech comes back, nothing is refused."""
    simulator = SimulatedRealtime(Echo(), SimulatorOptions(dialect=dialect))
    named = dialect if setting == "named" else "auto"
    async with place_call(simulator, config(dialect=named, audio_format=audio_format)) as call:
        call.caller.start()
        await call.caller.say(question)
        await call.caller.be_silent(6)
    assert likeness(question, call.caller.audio()).correlation > 0.98
    assert "error" not in call.simulator.sessions[0].sent_types
    assert call.summary is not None
    assert call.summary.faults == 0


@pytest.mark.parametrize("dialect", ["beta", "xai"])
async def test_barge_in_keys_and_tools(
    autojump_clock: Clock, question: bytes, dialect: Any
) -> None:
    """Truncation, text turns and outputs of tools arrive in the server's own words."""
    script = Script(
        [
            [Say(question * 4, 8000, "long")],
            [CallTool("fly", "{}")],
            [Say(question, 8000, "no")],
        ],
        then=Silence(),
    )
    simulator = SimulatedRealtime(script, SimulatorOptions(dialect=dialect))
    async with place_call(simulator, config(dialect=dialect)) as call:
        call.caller.start()
        await call.caller.wait_for(AudioOut)
        await call.caller.be_silent(1)
        await call.caller.say(question)
        await call.caller.be_silent(8)
        for key in "12#":
            call.caller.send(DtmfDigit(key))
        await call.caller.be_silent(3)
    session = call.simulator.sessions[0]
    assert call.caller.interruptions() == 1
    assert "conversation.item.truncated" in session.sent_types
    assert "error" not in session.sent_types
    items = [event["item"] for event in session.received_of("conversation.item.create")]
    assert [item["type"] for item in items] == ["function_call_output", "message"]
    assert likeness(question, call.caller.audio()).correlation > 0.98


async def test_xai_says_the_very_words(autojump_clock: Clock) -> None:
    """Its `force_message` speaks the welcome; no `response.create` asks for it a second time."""
    settings = attrs.evolve(config(dialect="xai"), talk=TalkConfig(welcome_message="Hello there!"))
    simulator = SimulatedRealtime(Echo(), SimulatorOptions(dialect="xai"))
    async with place_call(simulator, settings) as call:
        call.caller.start()
        await call.caller.be_silent(4)
    session = call.simulator.sessions[0]
    assert session.received_of("response.create") == []
    assert "error" not in session.sent_types
