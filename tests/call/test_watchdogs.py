"""Waits that took too long: each has its name, is counted, and something is done about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from avr_bridge import EndReason
from avr_bridge.caller.transport import ErrorOut, TranscriptOut
from avr_bridge.testing.faults import (
    Freeze,
    ModelFault,
    ModelFaults,
    StallAfterTool,
    StopAnsweringPings,
    StopReading,
)
from avr_bridge.testing.likeness import likeness
from avr_bridge.testing.realtime import (
    CallTool,
    Fail,
    Hang,
    Say,
    Script,
    Silence,
    SimulatedRealtime,
    Step,
)
from avr_bridge.tools import Toolbox
from avr_bridge.tools.signature import tool_of_function
from tests.call.conftest import Echo, Placed, place_call

if TYPE_CHECKING:
    from trio.testing import MockClock as Clock


def texts(call: Placed) -> list[str]:
    received = [e.message for e in call.caller.received]
    return [m.text for m in received if isinstance(m, TranscriptOut) and m.role == "agent"]


@pytest.mark.parametrize("step", [Hang(cancellable=True), Hang()])
async def test_a_model_that_never_answers(autojump_clock: Clock, step: Step) -> None:
    """Two sessions, a few attempts in each: then it is given up, and nobody holds on in silence."""
    async with place_call(SimulatedRealtime(Script([[step]] * 99))) as call:
        call.caller.start()
        await call.caller.be_silent(200)
    assert call.summary is not None
    assert call.summary.end_reason is EndReason.MODEL_FAILED
    assert call.caller.received[-1].message == ErrorOut("the model does not answer")
    assert call.caller.closed == (1011, "model_failed")
    assert call.summary.watchdogs["no_first_audio"] >= 2
    assert len(call.simulator.sessions) == 2


async def test_a_tool_that_hangs_is_an_alarm(autojump_clock: Clock, question: bytes) -> None:
    """The model is told, the wait is counted by its name, and the call goes on."""

    async def hang() -> str:
        """Never ends."""
        await trio.sleep(3600)
        return ""

    script = Script([[CallTool("hang", "{}")], [Say(question, 8000, "sorry")]], Silence())
    box = Toolbox([tool_of_function("hang", hang, "python", "here")], 2.0)
    async with place_call(SimulatedRealtime(script), toolbox=box) as call:
        call.caller.start()
        await call.caller.be_silent(8)
    assert call.summary is not None
    assert call.summary.watchdogs == {"tool_stuck": 1}
    assert texts(call) == ["sorry"]


async def test_a_model_that_stalls_after_a_tool(autojump_clock: Clock, question: bytes) -> None:
    """The request behind the tool's output is not answered: it is made again."""
    call_tool = CallTool("no_such_tool", "{}")
    script = Script([[call_tool], [Say(question, 8000, "it is done")]], Silence())
    simulator = SimulatedRealtime(script, outages=ModelFaults((StallAfterTool(),)))
    async with place_call(simulator) as call:
        call.caller.start()
        await call.caller.be_silent(16)
    assert call.summary is not None
    assert call.summary.watchdogs == {"stalled_after_tool": 1}
    assert texts(call) == ["it is done"]


@pytest.mark.parametrize("fault", [Freeze(5), StopAnsweringPings(5), StopReading(5)])
async def test_a_network_that_swallows_everything(
    autojump_clock: Clock, question: bytes, fault: ModelFault
) -> None:
    """No close, no error: pings find it within 15 s, and the call goes on."""
    async with place_call(SimulatedRealtime(Echo(), outages=ModelFaults((fault,)))) as call:
        call.caller.start()
        await call.caller.be_silent(24)
        await call.caller.say(question)
        await call.caller.be_silent(6)
    assert call.summary is not None
    assert call.summary.reconnects == 1
    assert call.summary.watchdogs == {"pings_unanswered": 1}
    assert likeness(question, call.caller.audio()).correlation > 0.99
    second_s = call.simulator.dialled_at_s[1]
    assert 5 < second_s <= 5 + 15 + 0.5


async def test_answers_that_fail_without_end(autojump_clock: Clock) -> None:
    """The answer that a given-up session owes is asked for in the next one; when that fails as
    well the call ends, and nobody holds on in silence."""
    script = Script([[Fail("server_error", "sorry")]] * 99)
    async with place_call(SimulatedRealtime(script)) as call:
        call.caller.start()
        await call.caller.be_silent(60)
    assert call.summary is not None
    assert call.summary.end_reason is EndReason.MODEL_FAILED
    assert call.summary.duration_s < 16
    first, second = call.simulator.sessions
    assert len(first.received_of("response.create")) == len(second.turns) == 3


async def test_answers_that_fail_in_one_session(autojump_clock: Clock, question: bytes) -> None:
    """The next one gives the answer that was owed, without a word of the caller."""
    fails: list[Step] = [Fail("server_error", "sorry")]
    script = Script([fails, fails, fails, [Say(question, 8000, "hello")]], then=Silence())
    async with place_call(SimulatedRealtime(script)) as call:
        call.caller.start()
        await call.caller.be_silent(12)
    assert call.summary is not None
    assert call.summary.end_reason is EndReason.CALLER_HUNG_UP
    assert call.summary.reconnects == 1
    assert likeness(question, call.caller.audio()).correlation > 0.99
