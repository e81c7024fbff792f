"""Hangups, transfers and tools when the caller speaks, presses keys or waits. In virtual time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio

from avr_bridge import EndReason
from avr_bridge.call.talk import HANGUP_LIMIT_S
from avr_bridge.caller.transport import AudioOut, DtmfDigit, TranscriptOut
from avr_bridge.testing import (
    CallTool,
    Hang,
    Say,
    Script,
    Silence,
    SimulatedAmi,
    SimulatedRealtime,
    SimulatorOptions,
    Step,
)
from avr_bridge.tools import ControlRequest, ToolResult
from avr_bridge.upstream import wording
from avr_bridge.upstream.control import Control
from tests.call.conftest import place_call
from tests.call.seen import conducted, first_sound_s, items, texts, told, toolbox

if TYPE_CHECKING:
    from trio.testing import MockClock as Clock

    from avr_bridge.testing.realtime.behaviour import Turn

HANGUP_CALLED_OFF = wording.called_off(Control("hangup"))
FAST = SimulatorOptions(speed=100)


def goodbye(pcm: bytes) -> list[Step]:
    return [Say(pcm, 8000, "goodbye"), CallTool("avr_hangup", "{}")]


# -- what calls a hangup off ----------------------------------------------------------------------


async def test_speech_calls_the_hangup_off_where_it_may_not_interrupt(
    autojump_clock: Clock, question: bytes
) -> None:
    """OPENAI_INTERRUPT_RESPONSE=off: the goodbye plays on to its end, and nobody hangs up."""
    ami = SimulatedAmi()
    script = Script([goodbye(question * 2), [Say(question, 8000, "yes")]], then=Silence())
    settings = conducted({"interruptible": False})
    async with place_call(SimulatedRealtime(script, FAST), settings, ami=ami) as call:
        call.caller.start()
        await call.caller.wait_for(AudioOut)
        await call.caller.be_silent(1)
        await call.caller.say(question)
        await call.caller.be_silent(15)
    assert ami.requests == []
    assert told(call) == [HANGUP_CALLED_OFF]
    assert call.caller.interruptions() == 0
    assert texts(call.caller) == ["goodbye", "yes"]


@pytest.mark.parametrize("interrupts", [True, False])
async def test_a_key_calls_the_hangup_off(
    autojump_clock: Clock, question: bytes, interrupts: bool
) -> None:
    """Whether or not it stops the goodbye: nobody hangs up, and the key is answered."""
    ami = SimulatedAmi()
    script = Script([goodbye(question * 2), [Say(question, 8000, "one?")]], then=Silence())
    settings = conducted(dtmf_interrupts=interrupts)
    async with place_call(SimulatedRealtime(script, FAST), settings, ami=ami) as call:
        call.caller.start()
        await call.caller.wait_for(AudioOut)
        await call.caller.be_silent(1)
        call.caller.send(DtmfDigit("1"))
        await call.caller.be_silent(15)
    assert ami.requests == []
    assert told(call) == [HANGUP_CALLED_OFF]
    assert call.caller.interruptions() == int(interrupts)
    assert texts(call.caller) == ["goodbye" + " [interrupted]" * interrupts, "one?"]


@pytest.mark.parametrize("sign", ["speech", "key"])
async def test_a_wish_that_the_caller_has_spoken_over(
    autojump_clock: Clock, question: bytes, sign: str
) -> None:
    """A tool asks for the hangup 3 s after the model called it; the caller was heard meanwhile.
    The tool's output goes back, nothing is done, and the model is told."""

    async def slow(arguments: Any, context: Any) -> ToolResult:
        await trio.sleep(3)
        return ToolResult("will hang up", ok=True, control=ControlRequest("hangup"))

    ami = SimulatedAmi()
    script = Script([[CallTool("slow", "{}")], [Say(question, 8000, "go on")]], then=Silence())
    async with place_call(SimulatedRealtime(script), ami=ami, toolbox=toolbox(slow=slow)) as call:
        call.caller.start()
        await call.caller.be_silent(1)
        if sign == "speech":
            await call.caller.say(question)
        else:
            call.caller.send(DtmfDigit("#"))
        await call.caller.be_silent(20)
    assert ami.requests == []
    assert [item["type"] for item in items(call)].count("function_call_output") == 1
    assert told(call) == [HANGUP_CALLED_OFF]
    assert "go on" in texts(call.caller)


async def test_a_hangup_that_the_callers_side_ignores(
    autojump_clock: Clock, question: bytes
) -> None:
    """It was done, and sound goes on coming: the bridge ends the call, and the model's session."""
    ami = SimulatedAmi()
    async with place_call(
        SimulatedRealtime(Script([goodbye(question)], then=Silence()), FAST), ami=ami
    ) as call:
        call.caller.start()
        await call.caller.be_silent(60)
    assert [request.action for request in ami.requests] == ["hangup"]
    assert call.summary is not None
    assert call.summary.end_reason is EndReason.BRIDGE_HUNG_UP
    assert call.summary.detail == "the caller's side went on after the hangup"
    assert HANGUP_LIMIT_S < call.ended_s < HANGUP_LIMIT_S + 5


# -- calls that are too long ----------------------------------------------------------------------


async def test_the_wrap_up_does_not_wait_behind_a_long_answer(
    autojump_clock: Clock, question: bytes
) -> None:
    """AVR_MAX_CALL_S in the middle of an answer of half a minute, all of it received: it is cut,
    the last words are heard whole, and the call ends behind them."""
    script = Script(
        [[Say(question * 12, 8000, "very long")], [Say(question, 8000, "time is up")]], Silence()
    )
    async with place_call(SimulatedRealtime(script, FAST), conducted(max_call_s=5.0)) as call:
        call.caller.start()
        await call.caller.be_silent(40)
    assert texts(call.caller) == ["very long [interrupted]", "time is up"]
    assert told(call) == [wording.TIME_IS_UP]
    assert call.summary is not None
    assert call.summary.end_reason is EndReason.BRIDGE_HUNG_UP
    words_s = first_sound_s(call.caller, 5.0)
    assert words_s < 6
    assert call.ended_s == pytest.approx(words_s + len(question) / 16_000, abs=0.3)


async def test_speech_does_not_prolong_the_longest_call(
    autojump_clock: Clock, question: bytes
) -> None:
    """The caller speaks into the last words: the call ends all the same, within the cap."""
    ami = SimulatedAmi()
    script = Script([[], [], [Say(question * 2, 8000, "time is up")]], then=Silence())
    settings = conducted(max_call_s=5.0)
    async with place_call(SimulatedRealtime(script), settings, ami=ami) as call:
        call.caller.start()
        await call.caller.be_silent(5.5)
        await call.caller.say(question[:16_000])
        await call.caller.be_silent(20)
    assert told(call) == [wording.TIME_IS_UP]
    assert call.summary is not None
    assert call.summary.end_reason is EndReason.BRIDGE_HUNG_UP
    assert call.ended_s < 5 + 10 + 0.1
    assert [request.action for request in ami.requests] == ["hangup"]


async def test_a_transfer_does_not_prolong_the_longest_call(
    autojump_clock: Clock, question: bytes
) -> None:
    """The model wants to transfer with its last words: the call is hung up."""
    ami = SimulatedAmi()
    transfer = CallTool("avr_transfer", '{"transfer_extension": "600"}')
    script = Script([[], [], [Say(question, 8000, "time is up"), transfer]], then=Silence())
    settings = conducted(max_call_s=5.0)
    async with place_call(SimulatedRealtime(script), settings, ami=ami) as call:
        call.caller.start()
        await call.caller.be_silent(30)
    assert texts(call.caller) == ["time is up"]
    assert [request.action for request in ami.requests] == ["hangup"]
    assert call.summary is not None
    assert call.summary.end_reason is EndReason.BRIDGE_HUNG_UP


async def test_last_words_that_do_not_come(autojump_clock: Clock) -> None:
    """The model hangs when it is to say goodbye: the call ends at AVR_CALL_CONTROL_MAX_WAIT_S."""
    script = Script([[], [], [Hang()]], then=Silence())
    settings = conducted(max_call_s=5.0, control_max_wait_s=4.0)
    async with place_call(SimulatedRealtime(script), settings) as call:
        call.caller.start()
        await call.caller.be_silent(30)
    assert call.summary is not None
    assert call.summary.end_reason is EndReason.BRIDGE_HUNG_UP
    assert call.ended_s == pytest.approx(9, abs=0.1)


async def test_who_answers_the_goodbye_is_not_hung_up_on(
    autojump_clock: Clock, question: bytes
) -> None:
    """Silent for twice AVR_IDLE_S, and there after all when the model says goodbye: the call goes
    on."""
    said: list[list[Step]] = [[Say(question, 8000, w)] for w in ("hi", "there?", "goodbye", "oh")]
    ami = SimulatedAmi()
    script = Script(said, then=Silence())
    async with place_call(SimulatedRealtime(script), conducted(idle_s=5.0), ami=ami) as call:
        call.caller.start()
        await call.caller.wait_for(TranscriptOut, 2)
        await call.caller.be_silent(5.5)
        await call.caller.say(question)
        await call.caller.be_silent(4)
    assert told(call) == [wording.CHECK_IN, wording.NOBODY_THERE, HANGUP_CALLED_OFF]
    assert texts(call.caller) == ["hi", "there?", "goodbye [interrupted]", "oh"]
    assert ami.requests == []


# -- what becomes of those who stay ---------------------------------------------------------------


async def test_a_transfer_that_asterisk_does_not_carry_out(
    autojump_clock: Clock, question: bytes
) -> None:
    """avr-ami said yes, the caller is still there: asked, told goodbye and hung up on, as any
    silent caller."""
    ami = SimulatedAmi()
    transfer = CallTool("avr_transfer", '{"transfer_extension": "600"}')
    answers: list[list[Step]] = [[Say(question, 8000, "one moment"), transfer]]
    answers += [[Say(question, 8000, words)] for words in ("are you there", "bye")]
    script = Script(answers, then=Silence())
    async with place_call(SimulatedRealtime(script), conducted(idle_s=5.0), ami=ami) as call:
        call.caller.start()
        await call.caller.be_silent(40)
    assert [request.action for request in ami.requests] == ["transfer", "hangup"]
    assert texts(call.caller) == ["one moment", "are you there", "bye"]
    assert call.summary is not None
    assert call.summary.end_reason is EndReason.BRIDGE_HUNG_UP


class _TwoQuestions:
    """Looks the first thing up slowly, the next one fast, and says what it knows then."""

    def __init__(self, pcm: bytes) -> None:
        self._pcm = pcm

    def answer(self, turn: Turn) -> list[Step]:
        if turn.index == 0:
            return [CallTool("slow", "{}")]
        if turn.caller_audio:
            return [CallTool("fast", "{}")]
        if not turn.function_outputs:
            return []
        known = " and ".join(output for _, output in turn.function_outputs)
        return [Say(self._pcm, 8000, known)]


async def test_tools_of_two_answers_do_not_wait_for_each_other(
    autojump_clock: Clock, question: bytes
) -> None:
    """One takes 14 s; what the caller asks meanwhile is looked up and answered at once, and the
    slow one's answer follows when it is there."""

    async def slow(arguments: Any, context: Any) -> str:
        await trio.sleep(14)
        return "slow"

    async def fast(arguments: Any, context: Any) -> str:
        return "fast"

    tools = toolbox(slow=slow, fast=fast)
    async with place_call(SimulatedRealtime(_TwoQuestions(question)), toolbox=tools) as call:
        call.caller.start()
        await call.caller.be_silent(1)
        await call.caller.say(question)
        asked_s = trio.current_time()
        await call.caller.be_silent(20)
    assert texts(call.caller) == ["fast", "slow"]
    assert first_sound_s(call.caller) < asked_s + 2
    assert first_sound_s(call.caller, 12) < 16
