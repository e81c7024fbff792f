"""How the conversation behaves, heard by a caller and seen by the model, in virtual time."""

from __future__ import annotations

import itertools
import os
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio

from avr_bridge import BridgeConfig, TalkConfig
from avr_bridge.caller.transport import AudioOut, DtmfDigit, Interruption, TranscriptOut
from avr_bridge.testing import (
    CallTool,
    Hang,
    MemoryCaller,
    PlayedOut,
    Say,
    Script,
    Silence,
    SimulatedAmi,
    SimulatedRealtime,
    SimulatorOptions,
    Step,
    clip,
    likeness,
    read_wav,
    write_wav,
)
from avr_bridge.tools import Toolbox
from avr_bridge.tools.tool import Tool
from tests.call.conftest import Echo, config, place_call

if TYPE_CHECKING:
    from pathlib import Path

    from trio.testing import MockClock as Clock

    from avr_bridge.testing import SimulatedSession
    from tests.call.conftest import Placed


def conducted(**talk: Any) -> BridgeConfig:
    return attrs.evolve(config(), talk=TalkConfig(**talk))


def truth_at_interruption(caller: MemoryCaller) -> float:
    """What avr-core had really played when the first interruption reached it, in ms."""
    start_s = caller.received[0].at_s
    played = PlayedOut(start_s)
    for entry in caller.received:
        if isinstance(entry.message, AudioOut):
            played.push(entry.message.pcm, entry.at_s)
        elif isinstance(entry.message, Interruption):
            heard = played.heard(entry.at_s)
            return len(heard) / 16
    raise AssertionError("no interruption")


def texts(caller: MemoryCaller) -> list[tuple[str, str]]:
    return [
        (entry.message.role, entry.message.text)
        for entry in caller.received
        if isinstance(entry.message, TranscriptOut)
    ]


def session_of(call: Placed) -> SimulatedSession:
    return call.simulator.sessions[0]


# -- barge-in -----------------------------------------------------------------------------------


@pytest.mark.parametrize("speed", [1.1, 8, 100])
@pytest.mark.parametrize("after_s", [0.5, 1.0, 2.3])
@pytest.mark.parametrize("audio_format", ["pcmu", "pcm"])
async def test_the_model_learns_what_was_heard(
    autojump_clock: Clock, question: bytes, speed: float, after_s: float, audio_format: str
) -> None:
    """The item is truncated within 60 ms of what avr-core had really played, and the server
    never finds that there was less."""
    script = Script([[Say(question * 4, 8000, "long")], [Say(question, 8000, "next")]])
    simulator = SimulatedRealtime(script, SimulatorOptions(speed=speed))
    async with place_call(simulator, config(audio_format=audio_format)) as call:
        call.caller.start()
        await call.caller.wait_for(AudioOut)
        await trio.sleep(after_s)
        await call.caller.say(question)
        await call.caller.be_silent(6)
    (truncated,) = session_of(call).received_of("conversation.item.truncate")
    assert truncated["audio_end_ms"] == pytest.approx(truth_at_interruption(call.caller), abs=60)
    assert "conversation.item.truncated" in session_of(call).sent_types
    assert "error" not in session_of(call).sent_types
    assert texts(call.caller)[0] == ("agent", "long [interrupted]")
    assert likeness(question, call.caller.audio()).correlation > 0.98


async def test_nothing_is_said_of_what_was_heard(autojump_clock: Clock, question: bytes) -> None:
    """An answer that was heard to its end is neither truncated nor deleted later."""
    async with place_call(SimulatedRealtime(Echo())) as call:
        call.caller.start()
        for _ in range(3):
            await call.caller.say(question)
            await call.caller.be_silent(6)
    assert session_of(call).received_of("conversation.item.truncate") == []
    assert session_of(call).received_of("conversation.item.delete") == []


async def test_what_was_never_heard_is_deleted(autojump_clock: Clock, question: bytes) -> None:
    """Two items of one response: the first is cut where it was, the second was never begun."""
    both = [Say(question, 8000, "first"), Say(question, 8000, "second")]
    script = Script([both, [Say(question, 8000, "next")]])
    simulator = SimulatedRealtime(script, SimulatorOptions(speed=100))
    async with place_call(simulator) as call:
        call.caller.start()
        await call.caller.wait_for(AudioOut)
        await trio.sleep(1)
        await call.caller.say(question)
        await call.caller.be_silent(6)
    (truncated,) = session_of(call).received_of("conversation.item.truncate")
    (deleted,) = session_of(call).received_of("conversation.item.delete")
    assert truncated["item_id"] != deleted["item_id"]
    assert "error" not in session_of(call).sent_types
    said = texts(call.caller)
    assert ("agent", "first [interrupted]") in said
    assert all("second" not in text for _, text in said)


async def test_a_session_that_may_not_be_interrupted(
    autojump_clock: Clock, question: bytes
) -> None:
    """OPENAI_INTERRUPT_RESPONSE=off: the answer plays on, avr-core is told nothing."""
    script = Script([[Say(question, 8000, "whole")]], then=Silence())
    async with place_call(SimulatedRealtime(script), config(interruptible=False)) as call:
        call.caller.start()
        await call.caller.wait_for(AudioOut)
        await call.caller.say(question)
        await call.caller.be_silent(3)
    assert call.caller.interruptions() == 0
    assert likeness(question, call.caller.audio()).correlation > 0.99


async def test_the_transcript_is_in_conversation_order(
    autojump_clock: Clock, question: bytes
) -> None:
    """The caller's words come before the answer to them, though their text arrives later; and an
    answer's text leaves when it was heard, not when it was made."""
    simulator = SimulatedRealtime(Echo(), SimulatorOptions(transcription_ms=2500))
    async with place_call(simulator) as call:
        call.caller.start()
        await call.caller.say(question)
        await call.caller.be_silent(7)
    assert [role for role, _ in texts(call.caller)] == ["user", "agent"]
    told_s = next(
        entry.at_s
        for entry in call.caller.received
        if isinstance(entry.message, TranscriptOut) and entry.message.role == "agent"
    )
    last_sound_s = max(e.at_s for e in call.caller.received if isinstance(e.message, AudioOut))
    assert told_s >= last_sound_s


async def test_a_transcript_that_never_comes_holds_nothing_up(
    autojump_clock: Clock, question: bytes
) -> None:
    """Failed or late: the answer's text goes out without it."""
    for options in (
        SimulatorOptions(transcription="fails"),
        SimulatorOptions(transcription_ms=60_000),
    ):
        async with place_call(SimulatedRealtime(Echo(), options)) as call:
            call.caller.start()
            await call.caller.say(question)
            await call.caller.be_silent(9)
        assert [role for role, _ in texts(call.caller)] == ["agent"]


# -- greeting -----------------------------------------------------------------------------------


async def test_welcome_words_are_spoken_and_not_interrupted(
    autojump_clock: Clock, question: bytes
) -> None:
    """The model is asked for the very words; the caller's speech does not stop them; what the
    caller said meanwhile is answered; afterwards the caller may interrupt."""
    greeting = read_wav(clip("greeting"))
    script = Script(
        [[Say(greeting, 8000, "Welcome!")], [Say(question * 3, 8000, "a")], []], then=Silence()
    )
    async with place_call(SimulatedRealtime(script), conducted(welcome_message="Welcome!")) as call:
        call.caller.start()
        await call.caller.wait_for(AudioOut)
        await call.caller.say(question[:24_000])
        await call.caller.be_silent(3)
        assert call.caller.interruptions() == 0
        await call.caller.say(question[:24_000])
        await call.caller.be_silent(3)
        assert call.caller.interruptions() == 1
    session = session_of(call)
    first = session.received_of("response.create")[0]
    assert "Welcome!" in first["response"]["instructions"]
    updates = session.received_of("session.update")
    detection = [u["session"]["audio"]["input"]["turn_detection"] for u in updates]
    assert [d["interrupt_response"] for d in detection] == [False, True]
    assert likeness(greeting, call.caller.audio()).correlation > 0.99
    assert ("agent", "Welcome!") in texts(call.caller)


async def test_a_recorded_greeting_is_played_while_the_model_connects(
    autojump_clock: Clock,
) -> None:
    """Exactly the file, at once; the model is told, and does not greet a second time."""
    greeting = read_wav(clip("greeting"))
    slow = SimulatorOptions(connect_delay_s=3)
    settings = conducted(greeting_file=str(clip("greeting")))
    async with place_call(SimulatedRealtime(options=slow), settings) as call:
        call.caller.start()
        await call.caller.wait_for(AudioOut)
        assert call.caller.received[0].at_s < 0.1
        await call.caller.be_silent(6)
    heard = call.caller.audio()
    assert heard[: len(greeting)] == greeting
    assert len(heard) - len(greeting) < 320
    session = session_of(call)
    assert session.received_of("response.create") == []
    (told,) = session.received_of("conversation.item.create")
    assert told["item"]["role"] == "system"
    assert "greeting" in told["item"]["content"][0]["text"]


async def test_a_greeting_file_that_was_replaced(
    autojump_clock: Clock, tmp_path: Path, question: bytes
) -> None:
    """The next call hears the new recording, also if it is as long as the old one."""
    file = tmp_path / "greeting.wav"
    for number, words in enumerate((question, question[::-1])):
        write_wav(file, words)
        os.utime(file, (number, number))
        async with place_call(
            SimulatedRealtime(Silence()), conducted(greeting_file=str(file))
        ) as call:
            call.caller.start()
            await call.caller.be_silent(4)
        assert words[:16_000] in call.caller.audio()


async def test_a_greeting_file_that_is_missing(
    autojump_clock: Clock, log: list[dict[str, Any]]
) -> None:
    """Logged; the model greets instead."""
    async with place_call(None, conducted(greeting_file="nowhere.wav")) as call:
        call.caller.start()
        await call.caller.be_silent(2)
    assert len(call.caller.audio()) > 8000
    assert [line["event"] for line in log if line["log_level"] == "warning"] == [
        "greeting file failed"
    ]


# -- keypad -------------------------------------------------------------------------------------


async def press(call: Placed, keys: str, gap_s: float = 0.3) -> None:
    for key in keys:
        call.caller.send(DtmfDigit(key))
        await call.caller.be_silent(gap_s)


def key_turns(call: Placed) -> list[str]:
    return [
        event["item"]["content"][0]["text"]
        for event in session_of(call).received_of("conversation.item.create")
    ]


async def test_keys_become_one_turn(
    autojump_clock: Clock, log: list[dict[str, Any]], question: bytes
) -> None:
    """After the pause, at the terminator, at the longest length; each entry is one text item and
    one answer; the log never shows a digit."""
    settings = conducted(dtmf_most_digits=4)
    word = [Say(question[:320], 8000, "yes")]
    answers = Script([word] * 5, then=Silence())
    async with place_call(SimulatedRealtime(answers), settings) as call:
        call.caller.start()
        await call.caller.be_silent(1)
        await press(call, "12")
        await call.caller.be_silent(2)
        await press(call, "777#")
        await press(call, "5555")
        await press(call, "#")
        await call.caller.be_silent(2)
    assert key_turns(call) == [
        "[The caller pressed 1 2 on the keypad]",
        "[The caller pressed 7 7 7 on the keypad]",
        "[The caller pressed 5 5 5 5 on the keypad]",
        "[The caller pressed # on the keypad]",
    ]
    assert len(session_of(call).received_of("response.create")) == 1 + 4
    assert "777" not in repr(log)
    assert "7 7 7" not in repr(log)


async def test_keys_pressed_before_the_model_is_there_are_kept(autojump_clock: Clock) -> None:
    """An impatient caller types ahead."""
    slow = SimulatorOptions(connect_delay_s=2, updated_delay_s=2)
    async with place_call(SimulatedRealtime(Silence(), slow)) as call:
        call.caller.start()
        await press(call, "42")
        await call.caller.be_silent(8)
    assert key_turns(call) == ["[The caller pressed 4 2 on the keypad]"]


@pytest.mark.parametrize("interrupts", [True, False])
async def test_whether_a_key_stops_the_answer(
    autojump_clock: Clock, question: bytes, interrupts: bool
) -> None:
    """On: silence at once, the running response is cancelled by id, and the item truncated."""
    script = Script([[Say(question * 3, 8000, "long")]], then=Silence())
    simulator = SimulatedRealtime(script, SimulatorOptions(speed=1.2))
    async with place_call(simulator, conducted(dtmf_interrupts=interrupts)) as call:
        call.caller.start()
        await call.caller.wait_for(AudioOut)
        await call.caller.be_silent(1)
        await press(call, "1")
        await call.caller.be_silent(10)
    session = session_of(call)
    assert call.caller.interruptions() == int(interrupts)
    assert len(session.received_of("response.cancel")) == int(interrupts)
    assert len(session.received_of("conversation.item.truncate")) == int(interrupts)
    assert "error" not in session.sent_types


# -- tools --------------------------------------------------------------------------------------


async def test_outputs_of_all_tools_then_one_answer(autojump_clock: Clock, question: bytes) -> None:
    """Unknown tools, bad arguments: each call gets an output in words, then one response."""
    script = Script(
        [
            [CallTool("fly", "{}"), CallTool("avr_transfer", "not json")],
            [Say(question, 8000, "sorry")],
        ]
    )
    async with place_call(SimulatedRealtime(script)) as call:
        call.caller.start()
        await call.caller.be_silent(8)
    session = session_of(call)
    outputs = [e["item"] for e in session.received_of("conversation.item.create")]
    assert [item["type"] for item in outputs] == ["function_call_output"] * 2
    assert "fly" in outputs[0]["output"] + outputs[1]["output"]
    assert len(session.received_of("response.create")) == 2
    assert "error" not in session.sent_types
    assert likeness(question, call.caller.audio()).correlation > 0.99


async def hung_up(ami: SimulatedAmi, caller: MemoryCaller) -> float:
    """Hang up as Asterisk would once it was asked to; return when that was."""
    await ami.wait_requests(1)
    at_s = trio.current_time()
    caller.hang_up()
    return at_s


@pytest.mark.parametrize("goodbye", ["before", "after"])
async def test_the_call_is_hung_up_when_the_goodbye_was_heard(
    autojump_clock: Clock, question: bytes, goodbye: str
) -> None:
    """Spoken in the response that calls the tool, or in the one after it: avr-ami is asked when
    the last word was played, not when it was generated; there is no second goodbye."""
    say, tool = Say(question, 8000, "goodbye"), CallTool("avr_hangup", "{}")
    answers: list[list[Step]] = [[say, tool]] if goodbye == "before" else [[tool], [say]]
    ami = SimulatedAmi()
    simulator = SimulatedRealtime(Script(answers), SimulatorOptions(speed=100))
    async with place_call(simulator, ami=ami) as call, trio.open_nursery() as nursery:
        call.caller.start()
        nursery.start_soon(call.caller.be_silent, 12)
        at_s = await hung_up(ami, call.caller)
        nursery.cancel_scope.cancel()
    first_s = next(e.at_s for e in call.caller.received if isinstance(e.message, AudioOut))
    spoken_s = len(call.caller.audio()) / 16_000
    assert at_s == pytest.approx(first_s + spoken_s, abs=0.06)
    assert len(session_of(call).received_of("response.create")) == len(answers)
    assert likeness(question, call.caller.audio()).correlation > 0.99
    assert call.summary is not None
    assert call.summary.end_reason.value == "caller_hung_up"


async def test_speech_during_the_goodbye_calls_the_hangup_off(
    autojump_clock: Clock, question: bytes
) -> None:
    """The caller has one more thing to say: nobody hangs up, and the model is told."""
    bye: list[Step] = [Say(question * 2, 8000, "goodbye"), CallTool("avr_hangup", "{}")]
    ami = SimulatedAmi()
    simulator = SimulatedRealtime(Script([bye], then=Silence()), SimulatorOptions(speed=100))
    async with place_call(simulator, ami=ami) as call:
        call.caller.start()
        await call.caller.wait_for(AudioOut)
        await call.caller.be_silent(1)
        await call.caller.say(question)
        await call.caller.be_silent(12)
    assert ami.requests == []
    told = [e["item"] for e in session_of(call).received_of("conversation.item.create")]
    words = [item["content"][0]["text"] for item in told if item.get("role") == "system"]
    assert len(words) == 1
    assert "not hung up" in words[0]


async def test_a_transfer_that_fails_is_told(autojump_clock: Clock, question: bytes) -> None:
    """Asterisk does not know the call: the model hears it in words, the call goes on."""
    tool = CallTool("avr_transfer", '{"transfer_extension": "600"}')
    script = Script([[tool], [Say(question, 8000, "one moment")]], then=Silence())
    ami = SimulatedAmi(faults=["unknown"])
    async with place_call(SimulatedRealtime(script), ami=ami) as call:
        call.caller.start()
        await call.caller.be_silent(12)
    assert len(ami.requests) == 1
    told = [e["item"] for e in session_of(call).received_of("conversation.item.create")]
    words = [item["content"][0]["text"] for item in told if item.get("role") == "system"]
    assert len(words) == 1
    assert "not known" in words[0]
    assert call.summary is not None
    assert call.summary.tools == 1


class SlowTool:
    """Takes two seconds and says what it found."""

    async def __call__(self, arguments: Any, context: Any) -> str:
        await trio.sleep(2)
        return "found"


def slow_toolbox() -> Toolbox:
    tool = Tool("slow", "python", "here", "Slow.", {"type": "object"}, bytes, SlowTool())
    return Toolbox([tool], 15.0)


@pytest.mark.parametrize("sound", ["off", "typing", str(clip("greeting"))])
async def test_a_sound_while_a_tool_runs(
    autojump_clock: Clock, question: bytes, sound: str
) -> None:
    """From 0.4 s after the call of the tool until the model's first word; it is nobody's item,
    and the reply is whole."""
    script = Script([[CallTool("slow", "{}")], [Say(question, 8000, "found it")]])
    async with place_call(
        SimulatedRealtime(script), conducted(tool_sound=sound), toolbox=slow_toolbox()
    ) as call:
        call.caller.start()
        await call.caller.be_silent(9)
    sound_s = [e.at_s for e in call.caller.received if isinstance(e.message, AudioOut)]
    waiting_s = [at_s for at_s in sound_s if at_s < 2.0]
    assert bool(waiting_s) == (sound != "off")
    if waiting_s:
        assert 0.4 < waiting_s[0] < 0.7
        assert max(b - a for a, b in itertools.pairwise(waiting_s)) < 0.03
    assert likeness(question, call.caller.audio()).correlation > 0.98
    assert session_of(call).received_of("conversation.item.truncate") == []


async def test_an_interruption_ends_the_waiting_sound(
    autojump_clock: Clock, question: bytes
) -> None:
    """The caller speaks while the tool runs: the sound stops, and nothing is truncated."""
    script = Script([[CallTool("slow", "{}")]], then=Silence())
    settings = conducted(tool_sound="typing")
    async with place_call(SimulatedRealtime(script), settings, toolbox=slow_toolbox()) as call:
        call.caller.start()
        await call.caller.wait_for(AudioOut)
        await call.caller.say(question[:16_000])
        await call.caller.be_silent(5)
    assert call.caller.interruptions() == 1
    last_s = max(e.at_s for e in call.caller.received if isinstance(e.message, AudioOut))
    assert last_s < 2.0
    assert "error" not in session_of(call).sent_types
    assert session_of(call).received_of("conversation.item.truncate") == []


async def test_an_answer_that_gets_stuck_is_given_up(
    autojump_clock: Clock, question: bytes
) -> None:
    """A response of which nothing comes is cancelled and another is asked for."""
    script = Script([[Hang(cancellable=True)], [Say(question, 8000, "here I am")]])
    async with place_call(SimulatedRealtime(script)) as call:
        call.caller.start()
        await call.caller.be_silent(40)
    assert len(session_of(call).received_of("response.cancel")) == 1
    assert likeness(question, call.caller.audio()).correlation > 0.99


# -- silence and length -------------------------------------------------------------------------


async def test_a_silent_caller_is_asked_once_and_then_hung_up_on(
    autojump_clock: Clock, question: bytes
) -> None:
    """AVR_IDLE_S: asked after it, goodbye after as much again, then the call ends."""
    said = [[Say(question, 8000, w)] for w in ("hello", "are you there", "goodbye")]
    async with place_call(SimulatedRealtime(Script(said)), conducted(idle_s=5.0)) as call:
        call.caller.start()
        await call.caller.be_silent(40)
    assert call.summary is not None
    assert call.summary.end_reason.value == "bridge_hung_up"
    assert [text for _, text in texts(call.caller)] == ["hello", "are you there", "goodbye"]
    assert call.ended_s < 30
    assert call.caller.closed == (1000, "bridge_hung_up")


async def test_a_caller_who_answers_is_not_hung_up_on(
    autojump_clock: Clock, question: bytes
) -> None:
    """Speech starts the count anew."""
    async with place_call(SimulatedRealtime(Echo()), conducted(idle_s=5.0)) as call:
        call.caller.start()
        for _ in range(4):
            await call.caller.be_silent(6)
            await call.caller.say(question)
            await call.caller.be_silent(2)
        assert call.summary is None
    told = [e["item"]["role"] for e in session_of(call).received_of("conversation.item.create")]
    assert set(told) == {"system"}


async def test_the_longest_call_ends_with_a_goodbye(autojump_clock: Clock, question: bytes) -> None:
    """AVR_MAX_CALL_S: the model says goodbye, it is heard, then the call ends."""
    script = Script([[], [Say(question, 8000, "time is up")]])
    async with place_call(SimulatedRealtime(script), conducted(max_call_s=10.0)) as call:
        call.caller.start()
        await call.caller.be_silent(30)
    assert call.summary is not None
    assert call.summary.end_reason.value == "bridge_hung_up"
    assert 10 < call.ended_s < 16
    assert likeness(question, call.caller.audio()).correlation > 0.99
