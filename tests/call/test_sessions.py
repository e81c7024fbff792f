"""One call in several sessions: connected again, replaced ahead of time, never greeted twice."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio

from avr_bridge import EndReason, TalkConfig
from avr_bridge.call import standby
from avr_bridge.caller.transport import AudioOut, DtmfDigit, ErrorOut, TranscriptOut
from avr_bridge.testing.ami import SimulatedAmi
from avr_bridge.testing.faults import (
    CutAfter,
    CutAfterCommit,
    CutInAnswer,
    HangConnect,
    ModelFault,
    ModelFaults,
    NoSession,
    NoUpdate,
    Refuse,
    SessionLength,
    Unreachable,
)
from avr_bridge.testing.likeness import likeness
from avr_bridge.testing.realtime import (
    CallTool,
    Emit,
    Hang,
    Say,
    Script,
    Silence,
    SimulatedRealtime,
    SimulatorOptions,
    Wait,
)
from avr_bridge.testing.realtime import session as server_session
from avr_bridge.tools import Toolbox, ToolResult
from tests.call.conftest import Echo, Placed, config, place_call

if TYPE_CHECKING:
    from trio.testing import MockClock as Clock

RESUME_S = 3.0
"""The goal: so long after a cut the caller hears the model again."""


def outages(*faults: ModelFault | None, behaviour: Any = None, **options: Any) -> SimulatedRealtime:
    return SimulatedRealtime(
        behaviour or Echo(), SimulatorOptions(**options), outages=ModelFaults(faults)
    )


def hears_after(call: Placed, at_s: float) -> float:
    """Seconds from a moment until the next sound."""
    sounds = [e.at_s for e in call.caller.received if isinstance(e.message, AudioOut)]
    return next(s for s in sounds if s >= at_s) - at_s


def repeats(call: Placed, pcm: bytes, times: int) -> list[float]:
    """How like `pcm` each of so many equal parts is of what the caller heard."""
    heard = call.caller.audio()
    size = len(heard) // times // 2 * 2
    return [likeness(pcm, heard[n * size : (n + 1) * size]).correlation for n in range(times)]


def texts(call: Placed) -> list[str]:
    received = [e.message for e in call.caller.received]
    return [m.text for m in received if isinstance(m, TranscriptOut) and m.role == "agent"]


# -- no session to begin with -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "delay_s"),
    [
        (Unreachable(), 0.5),
        (Refuse(503), 0.5),
        (Refuse(429, retry_after_s=1), 1.2),
        (HangConnect(), 6.5),
        (NoSession(), 6.5),
        (NoUpdate(), 6.5),
    ],
)
async def test_the_first_attempt_fails(
    autojump_clock: Clock, question: bytes, fault: ModelFault, delay_s: float
) -> None:
    """The next one succeeds; what the caller said meanwhile is heard in full and answered."""
    async with place_call(outages(fault)) as call:
        call.caller.start()
        await call.caller.say(question)
        await call.caller.be_silent(12)
    assert call.summary is not None
    assert call.summary.end_reason is EndReason.CALLER_HUNG_UP
    assert likeness(question, call.caller.audio()).correlation > 0.99
    first_s, second_s = call.simulator.dialled_at_s
    assert second_s - first_s < delay_s
    assert call.summary.dropped_ms == 0


async def test_attempts_end_in_time_and_come_less_often(autojump_clock: Clock) -> None:
    """10 s, then the caller is told; the pauses grow, and no two calls have the same."""
    dialled = []
    for _ in range(2):
        simulator = SimulatedRealtime(outages=ModelFaults((), rest=Refuse(503)))
        began_s = trio.current_time()
        async with place_call(simulator) as call:
            call.caller.start()
            await trio.sleep(12)
        assert call.summary is not None
        assert call.summary.end_reason is EndReason.MODEL_UNAVAILABLE
        assert "503" in call.summary.detail
        assert 5 < call.summary.duration_s <= 10
        dialled.append([at_s - began_s for at_s in simulator.dialled_at_s])
    assert dialled[0] != dialled[1]
    for times in dialled:
        pauses = [later - sooner for sooner, later in itertools.pairwise(times)]
        assert 5 <= len(times) <= 20
        assert pauses[0] <= 0.2
        assert max(pauses) > 0.9


async def test_a_server_that_asks_for_more_time_than_there_is(autojump_clock: Clock) -> None:
    """`Retry-After` of a minute: nobody is kept waiting in vain."""
    async with place_call(outages(Refuse(503, retry_after_s=60))) as call:
        call.caller.start()
        await trio.sleep(3)
    assert call.summary is not None
    assert call.summary.end_reason is EndReason.MODEL_UNAVAILABLE
    assert call.summary.duration_s < 1


@pytest.mark.parametrize("status", [400, 401, 403, 404])
async def test_a_refusal_is_not_tried_again(autojump_clock: Clock, status: int) -> None:
    """A wrong key, model or address: one attempt."""
    async with place_call(outages(Refuse(status))) as call:
        call.caller.start()
        await trio.sleep(3)
    assert call.summary is not None
    assert call.summary.end_reason is EndReason.MODEL_REJECTED
    assert len(call.simulator.dialled_at_s) == 1


# -- lost in the middle -------------------------------------------------------------------------


@pytest.mark.parametrize("close_code", [None, 1001, 1011, 1012, 1013])
async def test_a_cut_in_silence_is_not_noticed(
    autojump_clock: Clock, question: bytes, close_code: int | None
) -> None:
    """Nothing was owed: the next turn is answered from a session that knows the one before."""
    async with place_call(outages(CutAfter(8, close_code))) as call:
        call.caller.start()
        await call.caller.say(question)
        await call.caller.be_silent(8)
        await call.caller.say(question)
        await call.caller.be_silent(6)
    assert call.summary is not None
    assert call.summary.end_reason is EndReason.CALLER_HUNG_UP
    assert (call.summary.reconnects, call.summary.turns) == (1, 2)
    assert all(like > 0.99 for like in repeats(call, question, 2))
    roles = [role for role, _ in call.simulator.sessions[1].history]
    assert roles[:2] == ["user", "assistant"]
    assert call.simulator.sessions[1].history[1] == ("assistant", "the same")


async def test_a_cut_in_an_answer(autojump_clock: Clock, question: bytes) -> None:
    """What had come is played on; the model is told to go on where it was torn; the caller hears
    it within 3 s, and is not greeted again."""
    script = Script(
        [[Say(question, 8000, "hello there")], [Say(question, 8000, "and further")]], Silence()
    )
    simulator = outages(CutInAnswer(1, 1000), behaviour=script)
    async with place_call(simulator) as call:
        call.caller.start()
        await simulator.wait_session(2)
        cut_s = trio.current_time()
        await call.caller.be_silent(8)
    assert call.summary is not None
    assert call.summary.reconnects == 1
    assert [turn.requested for turn in script.turns] == [True, True]
    (told,) = [t for role, t in simulator.sessions[1].history if role == "system"]
    assert "where it stops" in told
    heard = call.caller.audio()
    assert len(heard) == pytest.approx(16_000 + len(question), abs=3200)
    began_s = call.caller.received[0].at_s
    assert hears_after(call, began_s + 1.05) + began_s + 1.05 - cut_s < RESUME_S


async def test_a_cut_before_the_answer(autojump_clock: Clock, question: bytes) -> None:
    """The turn was taken and nobody knows its words: its sound goes to the next session, which
    answers it."""
    simulator = outages(CutAfterCommit(1), transcription_ms=5000)
    async with place_call(simulator) as call:
        call.caller.start()
        await call.caller.be_silent(1)
        await call.caller.say(question)
        await simulator.wait_session(2)
        cut_s = trio.current_time()
        await call.caller.be_silent(8)
    assert call.summary is not None
    assert (call.summary.reconnects, call.summary.turns) == (1, 1)
    assert likeness(question, call.caller.audio()).correlation > 0.99
    assert hears_after(call, cut_s) < RESUME_S


async def test_a_cut_while_the_caller_speaks(autojump_clock: Clock, question: bytes) -> None:
    """No word is lost: what the first session heard of the turn goes to the second."""
    simulator = outages(CutAfter(3.0))
    async with place_call(simulator) as call:
        call.caller.start()
        await call.caller.be_silent(1.5)
        await call.caller.say(question)
        await call.caller.be_silent(8)
    assert call.summary is not None
    assert (call.summary.reconnects, call.summary.dropped_ms) == (1, 0)
    assert likeness(question, call.caller.audio()).correlation > 0.99


async def test_a_cut_after_the_transcript_was_known(autojump_clock: Clock, question: bytes) -> None:
    """The words go over as text, and the answer is asked for: once."""
    script = Script([[Say(question[:320], 8000, "hello")], [Hang()], [Say(question, 8000, "yes")]])
    simulator = outages(CutAfter(7), behaviour=script, transcription_ms=100)
    async with place_call(simulator) as call:
        call.caller.start()
        await call.caller.be_silent(1)
        await call.caller.say(question)
        await call.caller.be_silent(10)
    assert call.summary is not None
    assert call.summary.reconnects == 1
    history = simulator.sessions[1].history
    assert [role for role, _ in history[:2]] == ["assistant", "user"]
    assert likeness(question, call.caller.audio()).correlation > 0.99
    assert script.turns[2].requested


async def test_a_tool_runs_on_through_a_cut(autojump_clock: Clock, question: bytes) -> None:
    """Its call goes over as an item, its output to the session that is there when it is done."""
    script = Script(
        [[CallTool("avr_transfer", '{"transfer_extension": "600"}', "call_1")], [], []],
        then=Silence(),
    )
    box = _SlowBox(4.0)
    simulator = outages(CutAfter(2), behaviour=script)
    async with place_call(simulator, toolbox=box) as call:
        call.caller.start()
        await call.caller.be_silent(8)
    kinds = [kind for kind, _ in simulator.sessions[1].history]
    assert kinds[:2] == ["function_call", "function_call_output"]
    assert "error" not in simulator.sessions[1].sent_types
    assert len(simulator.sessions[1].received_of("response.create")) >= 1


class _SlowBox(Toolbox):
    """Every tool takes its time."""

    def __init__(self, duration_s: float) -> None:
        super().__init__([], 60.0)
        self._duration_s = duration_s

    async def run(self, name: str, arguments: str, context: Any) -> ToolResult:
        await trio.sleep(self._duration_s)
        return ToolResult("done", ok=True)


async def test_keys_pressed_between_two_sessions(autojump_clock: Clock) -> None:
    """They are kept, and a turn of the next one."""
    simulator = SimulatedRealtime(
        Echo(), outages=ModelFaults((CutAfter(2), Unreachable(), Unreachable(), Unreachable()))
    )
    async with place_call(simulator) as call:
        call.caller.start()
        await trio.sleep(2.3)
        call.caller.send(DtmfDigit("7"))
        call.caller.send(DtmfDigit("#"))
        await trio.sleep(6)
    assert ("user", "[The caller pressed 7 on the keypad]") in simulator.sessions[-1].history


async def test_the_welcome_is_spoken_once(autojump_clock: Clock, question: bytes) -> None:
    """Torn in its middle it is gone on with; whole, it is never said again."""
    talk = TalkConfig(welcome_message="Welcome to the shop.", fallback_file="off")
    settings = attrs.evolve(config(), talk=talk)
    script = Script([[Say(question, 8000, "Welcome to the shop.")]], then=Silence())
    simulator = outages(CutAfter(6), behaviour=script)
    async with place_call(simulator, settings) as call:
        call.caller.start()
        await call.caller.be_silent(12)
    assert call.summary is not None
    assert call.summary.reconnects == 1
    assert texts(call) == ["Welcome to the shop."]
    assert simulator.sessions[1].history[0] == ("assistant", "Welcome to the shop.")
    assert simulator.sessions[1].received_of("response.create") == []
    (update,) = simulator.sessions[1].received_of("session.update")
    detection = update["session"]["audio"]["input"]["turn_detection"]
    assert detection["interrupt_response"]


# -- renewed ahead of time ------------------------------------------------------------------------


@pytest.mark.parametrize("past_the_second_s", [0.0, 0.2, 0.4, 0.775, 0.85])
async def test_a_session_is_replaced_before_it_ends(
    past_the_second_s: float,
    autojump_clock: Clock,
    question: bytes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """20 s sessions, a call of over a minute: each turn is answered, every sound comes once, and
    there is never a moment without a session. Servers name the end in whole seconds, so the part
    of a second at which a session begins moves the changes: with the last two some come as the
    caller begins to speak, before the model has noticed. (Between 0.5 and 0.7 s one of these short
    sessions is over in the middle of an answer.)"""
    wall = SimpleNamespace(time=lambda: 1_800_000_000 + past_the_second_s)
    monkeypatch.setattr(server_session, "time", wall)
    monkeypatch.setattr(standby, "time", wall)
    simulator = SimulatedRealtime(Echo(), SimulatorOptions(session_s=20))
    async with place_call(simulator) as call:
        call.caller.start()
        for _ in range(7):
            await call.caller.say(question)
            await call.caller.be_silent(7)
    assert call.summary is not None
    assert call.summary.end_reason is EndReason.CALLER_HUNG_UP
    assert call.summary.reconnects == 0
    assert call.summary.renewals >= 3
    assert call.summary.turns == 7
    assert call.summary.dropped_ms == 0
    assert all(like > 0.999 for like in repeats(call, question, 7))
    assert all(session.close_code == 1000 for session in simulator.sessions)
    assert len(simulator.sessions[-1].history) >= 12


async def test_a_change_waits_for_the_end_of_an_answer(
    autojump_clock: Clock, question: bytes
) -> None:
    """A long answer runs when the next session is ready: the change comes behind its last word."""
    script = Script([[], [], [Say(question * 2, 8000, "long")]], then=Silence())
    simulator = SimulatedRealtime(script, SimulatorOptions(session_s=40))
    closed_s: list[float] = []
    simulator.on_closed = lambda _session: closed_s.append(trio.current_time())
    async with place_call(simulator) as call:
        call.caller.start()
        await call.caller.be_silent(27)
        await call.caller.say(question)
        await simulator.wait_session(2)
        await call.caller.be_silent(9)
    assert call.summary is not None
    assert (call.summary.renewals, call.summary.reconnects) == (1, 0)
    assert len(call.caller.audio()) == pytest.approx(len(question) * 2, abs=640)
    last_s = [e.at_s for e in call.caller.received if isinstance(e.message, AudioOut)][-1]
    assert closed_s[0] >= last_s


async def test_a_session_ends_while_the_caller_talks_on(
    autojump_clock: Clock, question: bytes
) -> None:
    """Nothing interrupts them, no wait is too long, and they are answered when they stop."""
    simulator = SimulatedRealtime(Echo(), SimulatorOptions(session_s=12))
    talk = question[4000:20_000] * 24
    async with place_call(simulator) as call:
        call.caller.start()
        await call.caller.be_silent(2)
        await call.caller.say(talk)
        stopped_s = trio.current_time()
        await call.caller.be_silent(4)
    assert call.summary is not None
    assert call.summary.renewals >= 1
    assert call.summary.watchdogs == {}
    assert min(e.at_s for e in call.caller.received if isinstance(e.message, AudioOut)) > stopped_s


async def test_the_next_session_cannot_be_had_at_once(autojump_clock: Clock) -> None:
    """It is tried again; the present one serves until it does."""
    pattern: tuple[ModelFault | None, ...] = (SessionLength(40), Refuse(503), NoUpdate(), None)
    simulator = SimulatedRealtime(Echo(), outages=ModelFaults(pattern))
    async with place_call(simulator) as call:
        call.caller.start()
        await call.caller.be_silent(50)
    assert call.summary is not None
    assert call.summary.end_reason is EndReason.CALLER_HUNG_UP
    assert call.summary.renewals + call.summary.reconnects == 1


# -- hopeless ------------------------------------------------------------------------------------


async def test_a_session_that_is_lost_again_and_again(autojump_clock: Clock) -> None:
    """Five times within a minute: the call ends, it does not loop."""
    simulator = SimulatedRealtime(Silence(), outages=ModelFaults((), rest=CutAfter(0.5)))
    async with place_call(simulator) as call:
        call.caller.start()
        await trio.sleep(10)
    assert call.summary is not None
    assert call.summary.end_reason is EndReason.MODEL_CLOSED
    assert len(simulator.sessions) == 5


@pytest.mark.parametrize("action", ["hangup", "transfer:600", "transfer:600@sales"])
async def test_the_model_cannot_be_reached_at_all(autojump_clock: Clock, action: str) -> None:
    """The caller hears the shipped words to their end; then the call is hung up or transferred."""
    settings = attrs.evolve(config(), talk=TalkConfig(fallback_action=action))
    ami = SimulatedAmi()
    simulator = SimulatedRealtime(outages=ModelFaults((), rest=Unreachable()))
    async with place_call(simulator, settings, ami=ami) as call:
        call.caller.start()
        await call.caller.be_silent(20)
    assert call.summary is not None
    assert call.summary.end_reason is EndReason.MODEL_UNAVAILABLE
    assert 4000 < len(call.caller.audio()) / 16 < 5000
    wanted = [] if action == "hangup" else [("600", action.partition("@")[2] or "demo")]
    bodies = [request.body for request in ami.requests]
    assert [(body["exten"], body["context"]) for body in bodies] == wanted


async def test_a_fallback_transfer_that_fails_is_a_warning(autojump_clock: Clock, log: Any) -> None:
    """The caller was not helped, and who runs the bridge is to see it. The call ends as ever."""
    settings = attrs.evolve(config(), talk=TalkConfig(fallback_action="transfer:600"))
    simulator = SimulatedRealtime(outages=ModelFaults((), rest=Unreachable()))
    async with place_call(simulator, settings, ami=SimulatedAmi(faults=["unknown"])) as call:
        call.caller.start()
        await call.caller.be_silent(20)
    assert call.summary is not None
    assert call.summary.end_reason is EndReason.MODEL_UNAVAILABLE
    (line,) = [line for line in log if line["event"] == "call control"]
    assert (line["log_level"], line["action"]) == ("warning", "transfer")
    assert line["failure"]


async def test_a_model_that_floods_errors_fills_neither_the_log_nor_the_caller(
    autojump_clock: Clock, log: Any
) -> None:
    """Three thousand at once: ten lines and a word; the next one, a while later, says how many were
    left out. avr-core is told as often, and no more: each would start its webhook. The call goes
    on."""
    error = {"type": "invalid_request_error", "code": "odd", "message": "no", "param": None}
    event = Emit({"type": "error", "error": error})
    simulator = SimulatedRealtime(Script([[*[event] * 3000, Wait(10_500), event]], then=Silence()))
    async with place_call(simulator) as call:
        call.caller.start()
        await call.caller.be_silent(40)
    assert call.summary is not None
    assert call.summary.end_reason is EndReason.CALLER_HUNG_UP
    told = [line for line in log if line["event"] == "error from the model"]
    assert [line.get("left_out") for line in told] == [None] * 10 + [2990]
    assert len([line for line in log if line["log_level"] == "warning"]) <= 13
    messages = [e.message for e in call.caller.received if isinstance(e.message, ErrorOut)]
    assert messages == [ErrorOut("no")] * 11
