"""The caller speaks while the model does: silence at once, and nothing old afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from avr_bridge.caller.transport import AudioOut, Interruption
from avr_bridge.testing.likeness import likeness
from avr_bridge.testing.memory import MemoryCaller
from avr_bridge.testing.realtime import Say, Script, SimulatedRealtime, SimulatorOptions
from tests.call.conftest import place_call

if TYPE_CHECKING:
    from trio.testing import MockClock as Clock


@pytest.mark.parametrize("lead_ms", [200, 120])
@pytest.mark.parametrize("speed", [1.2, 8, 100])
async def test_what_is_queued_is_dropped_at_once(
    autojump_clock: Clock, question: bytes, speed: float, lead_ms: int
) -> None:
    """Whether the answer is generated already or still comes: after the interruption no sound of
    it is sent; the next answer is heard whole."""
    script = Script([[Say(question * 4, 8000, "long")], [Say(question, 8000, "next")]])
    simulator = SimulatedRealtime(script, SimulatorOptions(speed=speed))
    async with place_call(simulator, caller=MemoryCaller(lead_ms=lead_ms)) as call:
        call.caller.start()
        await call.caller.wait_for(AudioOut, 10)
        await call.caller.say(question)
        await call.caller.wait_for(Interruption)
        at = [type(r.message) for r in call.caller.received].index(Interruption)
        await call.caller.be_silent(7)
    assert call.caller.interruptions() == 1
    assert call.summary is not None
    assert call.summary.interruptions == 1
    before = call.caller.received[:at]
    after = call.caller.received[at + 1 :]
    quiet_s = next(r.at_s for r in after if isinstance(r.message, AudioOut)) - (
        call.caller.received[at].at_s
    )
    assert quiet_s > 1
    sent_ms = sum(len(r.message.pcm) / 16 for r in before if isinstance(r.message, AudioOut))
    since_first_ms = (call.caller.received[at].at_s - before[0].at_s) * 1000
    assert sent_ms <= since_first_ms + lead_ms + 0.1
    spoken = b"".join(r.message.pcm for r in after if isinstance(r.message, AudioOut))
    assert likeness(question, spoken).correlation > 0.99
    assert len(spoken) < len(question) + 700


@pytest.mark.parametrize("lead_is_heard", [True, False])
async def test_what_cannot_be_taken_back_counts_as_heard(
    autojump_clock: Clock, question: bytes, lead_is_heard: bool
) -> None:
    """The model is told that all was heard that was sent; where the peer drops what it has not
    played, less than that."""
    simulator = SimulatedRealtime(Script([[Say(question * 4, 8000, "long")], []]))
    caller = MemoryCaller(lead_ms=120, lead_is_heard=lead_is_heard)
    async with place_call(simulator, caller=caller) as call:
        caller.start()
        await caller.wait_for(AudioOut, 10)
        await caller.say(question)
        await caller.wait_for(Interruption)
        (session,) = simulator.sessions
        truncated = await session.wait_received("conversation.item.truncate")
        sent_ms = len(caller.audio()) / 16
    if lead_is_heard:
        assert truncated["audio_end_ms"] == sent_ms
    else:
        assert sent_ms - 120 <= truncated["audio_end_ms"] < sent_ms - 20
    assert call.summary is not None


async def test_speech_into_silence_interrupts_nothing(
    autojump_clock: Clock, question: bytes
) -> None:
    """Where nothing plays, avr-core gets no `interruption`: it would fire a webhook each time."""
    script = Script([[], [], [Say(question, 8000, "answer")]])  # asked to greet, and once more
    async with place_call(SimulatedRealtime(script)) as call:
        call.caller.start()
        await call.caller.be_silent(1)
        await call.caller.say(question)
        await call.caller.be_silent(6)
    assert call.caller.interruptions() == 0
    assert likeness(question, call.caller.audio()).correlation > 0.99


async def test_speech_during_the_last_words_sent_ahead(autojump_clock: Clock) -> None:
    """All frames are out, but the last 200 ms are still being played: they are silenced too."""
    tone = b"\x00\x20\x00\xe0" * 4000
    script = Script([[Say(tone, 8000, "one second")], []])
    async with place_call(SimulatedRealtime(script)) as call:
        call.caller.start()
        await call.caller.wait_for(AudioOut)
        first_s = call.caller.received[0].at_s
        await trio.sleep_until(first_s + 0.55)
        await call.caller.say(tone[: 16000 // 2])
        await call.caller.be_silent(2)
    assert call.caller.interruptions() == 1
