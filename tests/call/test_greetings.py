"""The first words of a call: recorded, or asked for and protected. In virtual time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from avr_bridge import EndReason
from avr_bridge.caller.transport import AudioOut, DtmfDigit
from avr_bridge.testing import (
    Fail,
    Say,
    Script,
    Silence,
    SimulatedRealtime,
    SimulatorOptions,
    Step,
    likeness,
    write_wav,
)
from avr_bridge.testing.faults import ModelFaults, NoUpdate
from avr_bridge.upstream import wording
from avr_bridge.upstream.conversation import UNANSWERED_S
from tests.call.conftest import place_call
from tests.call.seen import (
    conducted,
    first_sound_s,
    interruptible,
    items,
    session_of,
    texts,
    told,
)

if TYPE_CHECKING:
    from pathlib import Path

    from trio.testing import MockClock as Clock


@pytest.fixture(name="recording")
def _recording(tmp_path: Path, question: bytes) -> str:
    """A greeting of 6.2 s."""
    file = tmp_path / "greeting.wav"
    write_wav(file, question * 2)
    return str(file)


# -- recorded -------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [None, "Welcome to the shop."])
async def test_a_silent_caller_behind_a_recorded_greeting(
    autojump_clock: Clock, question: bytes, recording: str, words: str | None
) -> None:
    """AVR_IDLE_S counts from the recording's end: asked, told goodbye, hung up on."""
    said: list[list[Step]] = [[Say(question, 8000, w)] for w in ("there?", "bye")]
    settings = conducted(idle_s=5.0, greeting_file=recording, welcome_message=words)
    async with place_call(SimulatedRealtime(Script(said, then=Silence())), settings) as call:
        call.caller.start()
        await call.caller.be_silent(60)
    greeting_s = len(question) * 2 / 16_000
    assert first_sound_s(call.caller, greeting_s + 1) == pytest.approx(greeting_s + 5, abs=0.5)
    assert told(call)[-2:] == [wording.CHECK_IN, wording.NOBODY_THERE]
    assert texts(call.caller) == [*([words] if words else []), "there?", "bye"]
    assert call.summary is not None
    assert call.summary.end_reason is EndReason.BRIDGE_HUNG_UP


async def test_a_recorded_greeting_that_ends_before_the_model_is_there(
    autojump_clock: Clock, question: bytes, recording: str
) -> None:
    """AVR_IDLE_S counts from the moment at which somebody could answer."""
    slow = SimulatorOptions(updated_delay_s=2.4)
    script = Script([[Say(question, 8000, "there?")]], then=Silence())
    settings = conducted(idle_s=5.0, greeting_file=recording)
    simulator = SimulatedRealtime(script, slow, outages=ModelFaults((NoUpdate(),)))
    async with place_call(simulator, settings) as call:
        call.caller.start()
        await call.caller.be_silent(17)
    assert len(question) * 2 / 16_000 < 8
    words = [text for role, text in simulator.sessions[-1].history if role == "system"]
    assert words == [wording.GREETING_PLAYED, wording.CHECK_IN]
    assert first_sound_s(call.caller, 8) == pytest.approx(13.5, abs=0.5)


async def test_a_recorded_greeting_that_was_cut(
    autojump_clock: Clock, question: bytes, recording: str
) -> None:
    """The transcript shows it as cut, once, and before what the caller said; the model is told.
    The server hears of no item that it does not have."""
    script = Script([[Say(question, 8000, "yes")]], then=Silence())
    settings = conducted(greeting_file=recording, welcome_message="Welcome to the shop.")
    async with place_call(SimulatedRealtime(script), settings) as call:
        call.caller.start()
        await call.caller.be_silent(1)
        await call.caller.say(question)
        await call.caller.be_silent(8)
    assert call.caller.interruptions() == 1
    assert texts(call.caller) == ["Welcome to the shop. [interrupted]", "yes"]
    assert told(call) == [wording.GREETING_CUT]
    session = session_of(call)
    assert session.received_of("conversation.item.truncate") == []
    assert session.received_of("conversation.item.delete") == []
    assert "error" not in session.sent_types


async def test_a_recording_without_sound(
    autojump_clock: Clock, question: bytes, tmp_path: Path, log: list[dict[str, Any]]
) -> None:
    """A WAV of no length is none: logged, and the model greets."""
    file = tmp_path / "greeting.wav"
    write_wav(file, b"")
    script = Script([[Say(question, 8000, "hello")]], then=Silence())
    async with place_call(SimulatedRealtime(script), conducted(greeting_file=str(file))) as call:
        call.caller.start()
        await call.caller.be_silent(4)
    assert texts(call.caller) == ["hello"]
    assert items(call) == []
    assert [line["event"] for line in log if line["log_level"] == "warning"] == [
        "greeting file failed"
    ]


# -- asked for ------------------------------------------------------------------------------------


async def test_a_key_does_not_break_the_welcome(autojump_clock: Clock, question: bytes) -> None:
    """AVR_DTMF_INTERRUPTS stops answers, not the words that must be heard; the key is answered
    behind them."""
    script = Script(
        [[Say(question * 2, 8000, "Welcome!")], [Say(question, 8000, "one?")]], then=Silence()
    )
    simulator = SimulatedRealtime(script, SimulatorOptions(speed=1.2))
    settings = conducted(dtmf_interrupts=True, welcome_message="Welcome!")
    async with place_call(simulator, settings) as call:
        call.caller.start()
        await call.caller.wait_for(AudioOut)
        call.caller.send(DtmfDigit("1"))
        await call.caller.be_silent(10)
    assert call.caller.interruptions() == 0
    assert session_of(call).received_of("response.cancel") == []
    assert texts(call.caller) == ["Welcome!", "one?"]
    assert likeness(question * 2, call.caller.audio()).correlation > 0.99


async def test_a_welcome_that_fails_is_tried_again(autojump_clock: Clock, question: bytes) -> None:
    """The same words are asked for, without tools, and they are protected until they were heard:
    speech interrupts only what follows them."""
    script = Script(
        [
            [Fail("server_error", "boom")],
            [Say(question * 2, 8000, "Welcome!")],
            [Say(question * 3, 8000, "long")],
        ],
        then=Silence(),
    )
    settings = conducted(welcome_message="Welcome!")
    async with place_call(SimulatedRealtime(script), settings) as call:
        call.caller.start()
        await call.caller.wait_for(AudioOut)
        assert interruptible(call) == [False]
        await call.caller.say(question[:24_000])
        await call.caller.be_silent(4)
        assert call.caller.interruptions() == 0
        await call.caller.say(question[:24_000])
        await call.caller.be_silent(3)
        assert call.caller.interruptions() == 1
    first, second, *_ = session_of(call).received_of("response.create")
    assert first_sound_s(call.caller) < UNANSWERED_S + 1
    for request in (first, second):
        assert request["response"]["instructions"].endswith("\nWelcome!")
        assert request["response"]["tool_choice"] == "none"
    assert interruptible(call) == [False, True]
    assert texts(call.caller) == ["Welcome!", "long [interrupted]"]


async def test_answers_behind_the_welcome_are_their_own(
    autojump_clock: Clock, question: bytes
) -> None:
    """What is asked for later is neither the welcome nor without tools."""
    script = Script([[Say(question, 8000, "Welcome!")], [Say(question, 8000, "one?")]], Silence())
    settings = conducted(welcome_message="Welcome!")
    async with place_call(SimulatedRealtime(script), settings) as call:
        call.caller.start()
        await call.caller.be_silent(4)
        call.caller.send(DtmfDigit("#"))
        await call.caller.be_silent(4)
    _, request = session_of(call).received_of("response.create")
    assert request["response"].keys() == {"metadata"}
    assert texts(call.caller) == ["Welcome!", "one?"]
