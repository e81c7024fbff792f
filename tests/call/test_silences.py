"""No call falls silent for good, whatever the model does or does not do. In virtual time."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import audioop
import pytest
import trio

from avr_bridge import EndReason
from avr_bridge.caller.transport import AudioOut, DtmfDigit, ErrorOut
from avr_bridge.testing import (
    CallTool,
    Emit,
    Fail,
    Hang,
    Say,
    Script,
    Silence,
    SimulatedAmi,
    SimulatedRealtime,
    SimulatorOptions,
    Step,
    likeness,
)
from avr_bridge.testing.faults.model import ModelFaults, StallAfterTool
from avr_bridge.upstream import wording
from avr_bridge.upstream.answering import CREATED_LIMIT_S, FIRST_AUDIO_LIMIT_S, STUCK_LIMIT_S
from avr_bridge.upstream.caller_turns import SPEECH_LIMIT_S
from tests.call.conftest import Echo, config, place_call
from tests.call.seen import (
    conducted,
    first_sound_s,
    items,
    last_sound_s,
    session_of,
    sound_s,
    texts,
    told,
    toolbox,
)

if TYPE_CHECKING:
    from trio.testing import MockClock as Clock


async def quick(arguments: Any, context: Any) -> str:
    await trio.sleep(1)
    return "found"


def torn(pcm: bytes) -> list[Step]:
    """An answer that stops in the middle of an item and never ends."""
    item = {"id": "item_torn", "type": "message", "role": "assistant", "status": "in_progress"}
    sound = base64.b64encode(audioop.lin2ulaw(pcm, 2)).decode()
    place = {"item_id": "item_torn", "output_index": 0, "content_index": 0}
    delta = {"type": "response.output_audio.delta", "response_id": "torn", "delta": sound}
    return [
        Emit({"type": "conversation.item.added", "previous_item_id": None, "item": item}),
        Emit(delta | place),
        Hang(cancellable=True),
    ]


# -- answers that do not end, begin, or say anything ----------------------------------------------


async def test_a_call_goes_on_behind_an_answer_that_stalled(
    autojump_clock: Clock, question: bytes
) -> None:
    """Sound, then nothing for 30 s: the next answer's text leaves, and the silent caller is asked,
    told goodbye and hung up on, as if nothing had been."""
    said: list[list[Step]] = [[Say(question, 8000, w)] for w in ("here", "still there", "bye")]
    script = Script([torn(question), *said], then=Silence())
    async with place_call(SimulatedRealtime(script), conducted(idle_s=5.0)) as call:
        call.caller.start()
        await call.caller.be_silent(STUCK_LIMIT_S + 40)
    assert texts(call.caller) == ["here", "still there", "bye"]
    assert told(call) == [wording.CHECK_IN, wording.NOBODY_THERE]
    assert call.summary is not None
    assert call.summary.end_reason is EndReason.BRIDGE_HUNG_UP


async def test_a_hangup_behind_an_answer_that_stalled(
    autojump_clock: Clock, question: bytes
) -> None:
    """It is done when the goodbye was heard: what was never heard of the stalled answer is not
    waited for until the cap."""
    bye: list[Step] = [Say(question, 8000, "bye"), CallTool("avr_hangup", "{}")]
    ami = SimulatedAmi()
    script = Script([torn(question), bye], then=Silence())
    async with place_call(SimulatedRealtime(script), ami=ami) as call:
        async with trio.open_nursery() as tasks:
            call.caller.start()
            tasks.start_soon(call.caller.be_silent, 60)
            await ami.wait_requests(1)
            tasks.cancel_scope.cancel()
        hung_up_s = trio.current_time()
    bye_s = first_sound_s(call.caller, STUCK_LIMIT_S - 5)
    assert hung_up_s == pytest.approx(bye_s + len(question) / 16_000, abs=0.1)


async def test_an_answer_that_does_not_begin_is_given_up_early(
    autojump_clock: Clock, question: bytes
) -> None:
    """Created, and then not a sound: another is asked for after 12 s, not after 30."""
    script = Script([[Hang(cancellable=True)], [Say(question, 8000, "here")]], Silence())
    async with place_call(SimulatedRealtime(script)) as call:
        call.caller.start()
        await call.caller.be_silent(FIRST_AUDIO_LIMIT_S + 5)
    assert len(session_of(call).received_of("response.cancel")) == 1
    assert first_sound_s(call.caller) < FIRST_AUDIO_LIMIT_S + 1
    assert likeness(question, call.caller.audio()).correlation > 0.99


async def test_answers_that_fail_are_asked_for_again(
    autojump_clock: Clock, question: bytes
) -> None:
    """The greeting fails at first, and so does the answer to the caller: both are heard within
    seconds, and avr-core is told of each failure."""
    answers: list[list[Step]] = [[Fail("server_error", "boom")], [Say(question, 8000, "one")]] * 2
    async with place_call(SimulatedRealtime(Script(answers, then=Silence()))) as call:
        call.caller.start()
        await call.caller.be_silent(12)
        asked_s = trio.current_time()
        await call.caller.say(question)
        await call.caller.be_silent(12)
    assert texts(call.caller) == ["one", "one"]
    assert first_sound_s(call.caller) < 6
    assert first_sound_s(call.caller, asked_s) < asked_s + len(question) / 16_000 + 6
    assert sum(isinstance(e.message, ErrorOut) for e in call.caller.received) == 2
    assert call.summary is not None
    assert call.summary.end_reason is EndReason.CALLER_HUNG_UP


async def test_a_request_that_nobody_answers_is_made_again(
    autojump_clock: Clock, question: bytes
) -> None:
    """The answer after a tool: asked for again when it does not come."""
    script = Script([[CallTool("find", "{}")], [Say(question, 8000, "found it")]], then=Silence())
    simulator = SimulatedRealtime(script, outages=ModelFaults((StallAfterTool(1),)))
    async with place_call(simulator, toolbox=toolbox(find=quick)) as call:
        call.caller.start()
        await call.caller.be_silent(CREATED_LIMIT_S + 8)
    assert texts(call.caller) == ["found it"]
    assert len(session_of(call).received_of("response.create")) == 3


async def test_an_empty_answer_to_a_question(autojump_clock: Clock, question: bytes) -> None:
    """The model had nothing to say to the caller's words: it is asked once more, and speaks."""
    script = Script([[], [Say(question, 8000, "hi")], [], [Say(question, 8000, "yes")]], Silence())
    async with place_call(SimulatedRealtime(script)) as call:
        call.caller.start()
        await call.caller.be_silent(4)
        await call.caller.say(question)
        await call.caller.be_silent(5)
    assert texts(call.caller) == ["hi", "yes"]
    assert [turn.requested for turn in script.turns] == [True, True, False, True]


async def test_a_whole_call_of_an_answer_that_was_too_long(
    autojump_clock: Clock, question: bytes
) -> None:
    """OPENAI_MAX_TOKENS cuts the answer behind a whole call of a tool, in the middle of another:
    the whole one runs, has its output, and what it found is spoken."""
    ran: list[Any] = []

    async def find(arguments: Any, context: Any) -> str:
        ran.append(arguments)
        return "found"

    cut: list[Step] = [
        CallTool("find", '{"number": 1}', "whole"),
        CallTool("find", '{"number": 2, "words": "' + "x" * 4000 + '"}', "cut"),
    ]
    script = Script([cut, [Say(question[:8000], 8000, "found it")]], then=Silence())
    settings = config(max_tokens=50)
    async with place_call(SimulatedRealtime(script), settings, toolbox=toolbox(find=find)) as call:
        call.caller.start()
        await call.caller.be_silent(5)
    assert ran == [b'{"number": 1}']
    assert [item["call_id"] for item in items(call)] == ["whole"]
    assert script.turns[1].function_outputs == (("whole", "found"),)
    assert texts(call.caller) == ["found it"]


# -- the caller's side ----------------------------------------------------------------------------


async def test_speech_that_never_stops(autojump_clock: Clock, question: bytes) -> None:
    """The server lost the end of the caller's words: after two minutes the keys pressed meanwhile
    are answered, and the silent caller is asked and hung up on."""
    started = Emit({"type": "input_audio_buffer.speech_started", "item_id": "lost"})
    said: list[list[Step]] = [[Say(question, 8000, w)] for w in ("you pressed", "still", "bye")]
    script = Script([[Say(question, 8000, "hi"), Emit(started.event)], *said], then=Silence())
    async with place_call(SimulatedRealtime(script), conducted(idle_s=5.0)) as call:
        call.caller.start()
        await call.caller.be_silent(10)
        call.caller.send(DtmfDigit("#"))
        await call.caller.be_silent(SPEECH_LIMIT_S - 10)
        assert len(script.turns) == 1
        await call.caller.be_silent(40)
    assert texts(call.caller)[-3:] == ["you pressed", "still", "bye"]
    assert call.summary is not None
    assert call.summary.end_reason is EndReason.BRIDGE_HUNG_UP


async def test_no_answer_to_a_key_while_the_caller_speaks(
    autojump_clock: Clock, question: bytes
) -> None:
    """A key waits behind the answer, then the caller interrupts: no answer talks into their words.
    Theirs is answered, by a model that knows of the key."""
    script = Script(
        [[Say(question * 6, 8000, "long")], [Say(question, 8000, "for both")]], then=Silence()
    )
    simulator = SimulatedRealtime(script, SimulatorOptions(speed=1.1))
    async with place_call(simulator) as call:
        call.caller.start()
        await call.caller.wait_for(AudioOut)
        await call.caller.be_silent(1)
        call.caller.send(DtmfDigit("#"))
        spoke_s = trio.current_time()
        await call.caller.say(question * 2)
        assert sound_s(call.caller, spoke_s + 0.6) == 0
        await call.caller.be_silent(6)
    assert [turn.requested for turn in script.turns] == [True, False]
    assert script.turns[1].texts == (wording.keys_pressed("#"),)
    assert texts(call.caller) == ["long [interrupted]", "for both"]
    assert "error" not in session_of(call).sent_types


async def test_no_answer_to_a_tool_while_the_caller_speaks(
    autojump_clock: Clock, question: bytes
) -> None:
    """The tool ends while they speak: nothing is asked for, and the server's answer knows what
    was found."""
    script = Script([[CallTool("find", "{}")], [Say(question, 8000, "both")]], then=Silence())

    async def find(arguments: Any, context: Any) -> str:
        await trio.sleep(2)
        return "found"

    async with place_call(SimulatedRealtime(script), toolbox=toolbox(find=find)) as call:
        call.caller.start()
        await call.caller.be_silent(1)
        await call.caller.say(question * 2)
        await call.caller.be_silent(6)
    assert [turn.requested for turn in script.turns] == [True, False]
    assert [output for _, output in script.turns[1].function_outputs] == ["found"]
    assert texts(call.caller) == ["both"]


async def test_a_caller_who_speaks_is_not_asked_whether_they_are_there(
    autojump_clock: Clock, question: bytes
) -> None:
    """Longer than AVR_IDLE_S, into an answer: the model is told nothing."""
    script = Script([[Say(question * 6, 8000, "long")]], then=Silence())
    simulator = SimulatedRealtime(script, SimulatorOptions(speed=1.1))
    async with place_call(simulator, conducted(idle_s=5.0)) as call:
        call.caller.start()
        await call.caller.wait_for(AudioOut)
        await call.caller.say(question * 6)
        assert call.caller.interruptions() == 1
        assert told(call) == []


@pytest.mark.parametrize("sign", ["speech", "key"])
async def test_who_answers_is_asked_again_before_a_goodbye(
    autojump_clock: Clock, question: bytes, sign: str
) -> None:
    """Asked, there, and silent once more: asked anew, then told goodbye."""
    async with place_call(SimulatedRealtime(Echo()), conducted(idle_s=5.0)) as call:
        call.caller.start()
        await call.caller.be_silent(8)
        assert told(call) == [wording.CHECK_IN]
        if sign == "speech":
            await call.caller.say(question)
        else:
            call.caller.send(DtmfDigit("#"))
        await call.caller.be_silent(30)
    assert told(call) == [wording.CHECK_IN, wording.CHECK_IN, wording.NOBODY_THERE]


# -- the sound while a tool runs ------------------------------------------------------------------


async def test_the_waiting_sound_ends_with_an_answer_without_sound(
    autojump_clock: Clock,
) -> None:
    """The model has nothing to say to what the tool found: nobody hears typing for ever."""
    script = Script([[CallTool("find", "{}")]], then=Silence())
    async with place_call(
        SimulatedRealtime(script), conducted(tool_sound="typing"), toolbox=toolbox(find=quick)
    ) as call:
        call.caller.start()
        await call.caller.be_silent(20)
    assert 1 < last_sound_s(call.caller) < 3


async def test_no_waiting_sound_behind_a_goodbye(autojump_clock: Clock, question: bytes) -> None:
    """The goodbye was spoken with the call of the tool. Asterisk takes its time; it is silence."""
    bye: list[Step] = [Say(question, 8000, "bye"), CallTool("avr_hangup", "{}")]
    ami = SimulatedAmi()
    script = Script([bye], then=Silence())
    async with place_call(
        SimulatedRealtime(script), conducted(tool_sound="typing"), ami=ami
    ) as call:
        call.caller.start()
        await call.caller.be_silent(10)
    assert len(ami.requests) == 1
    assert sound_s(call.caller) == pytest.approx(len(question) / 16_000, abs=0.05)


async def test_two_failures_in_a_row_are_survived(autojump_clock: Clock, question: bytes) -> None:
    """The third answer is heard, in the same session: each failure counts once."""
    fail: list[Step] = [Fail("server_error", "boom")]
    script = Script([fail, fail, [Say(question, 8000, "one")]], then=Silence())
    async with place_call(SimulatedRealtime(script)) as call:
        call.caller.start()
        await call.caller.be_silent(15)
    assert texts(call.caller) == ["one"]
    assert len(call.simulator.sessions) == 1
