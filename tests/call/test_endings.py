"""Every way a call can end: one reason, within 2 s, and nothing left behind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio

from avr_bridge import CallFailed, EndReason, run_call
from avr_bridge.audio.format import PCM16_8K
from avr_bridge.call.conversation import MOST_LOSSES
from avr_bridge.call.inbound import MOST_FAULTS_TOLD
from avr_bridge.call.orders import ORDERS_WAITING
from avr_bridge.call.running import RunningCalls
from avr_bridge.caller.transport import CallerEvent, CallerFault, ErrorOut
from avr_bridge.testing.memory import MemoryCaller
from avr_bridge.testing.realtime import (
    Close,
    Drop,
    Say,
    Script,
    Silence,
    SimulatedRealtime,
    SimulatorOptions,
)
from tests.call.conftest import KEY, config, place_call

if TYPE_CHECKING:
    from trio.testing import MockClock as Clock

LIMIT_S = 2.0


def task_count() -> int:
    return trio.lowlevel.current_statistics().tasks_living


@pytest.mark.parametrize(
    ("after_s", "close_codes"),
    [
        pytest.param(0.0, [], id="before the model is dialled"),
        pytest.param(0.5, [], id="while it connects"),
        pytest.param(1.5, [1000], id="while it is set up"),
        pytest.param(2.05, [1000], id="when it is set up"),
        pytest.param(2.5, [1000], id="in the greeting"),
        pytest.param(4.0, [1000], id="after the greeting"),
    ],
)
async def test_the_caller_hangs_up(
    autojump_clock: Clock, after_s: float, close_codes: list[int]
) -> None:
    """The model's connection is closed with 1000 once it is up; before that there is no session;
    and no task lives on."""
    tasks = task_count()
    slow = SimulatorOptions(connect_delay_s=1, updated_delay_s=1)
    async with place_call(SimulatedRealtime(options=slow)) as call:
        call.caller.start()
        await call.caller.be_silent(after_s)
        hung_up_s = trio.current_time()
    assert call.summary is not None
    assert call.summary.end_reason is EndReason.CALLER_HUNG_UP
    assert call.ended_s - hung_up_s < LIMIT_S
    assert call.simulator.open_sessions == 0
    assert [session.close_code for session in call.simulator.sessions] == close_codes
    assert task_count() == tasks


async def test_calls_without_an_id_fill_no_log(autojump_clock: Clock, log: Any) -> None:
    """Connections that say nothing, or leave, one after the other: a line for each kind of end, the
    others at debug. A call that said who it is has its line whatever else comes."""
    running = RunningCalls()
    for _ in range(3):
        async with place_call(running=running) as call:
            await trio.sleep(11)
        async with place_call(running=running) as call:
            pass
    async with place_call(running=running) as call:
        call.caller.start()
        await call.caller.be_silent(1)
    assert call.summary is not None
    ended = [line for line in log if line["event"] == "call ended"]
    shown = [(one["call"], one["reason"]) for one in ended if one["log_level"] == "info"]
    assert shown == [
        ("", "caller_sent_no_init"),
        ("", "caller_hung_up"),
        (call.summary.uuid, "caller_hung_up"),
    ]
    assert len(ended) == 7


async def test_what_came_in_place_of_an_init_is_in_the_log(
    autojump_clock: Clock, log: list[dict[str, Any]]
) -> None:
    """The one thing that tells a probe from a caller that speaks another protocol."""
    async with place_call() as call:
        call.caller.send(CallerFault("unsupported message type: a\nb"))
        await trio.sleep(11)
    (ended,) = [line for line in log if line["event"] == "call ended"]
    assert ended["reason"] == "caller_sent_no_init"
    assert ended["detail"] == "the last that came: unsupported message type: a b"


async def test_a_caller_without_init_may_leave(autojump_clock: Clock) -> None:
    """A connection that never became a call costs the model nothing."""
    async with place_call() as call:
        await call.caller.be_silent(1)
    assert call.summary is not None
    assert call.summary.end_reason is EndReason.CALLER_HUNG_UP
    assert call.simulator.sessions == []


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        (Close(1000, ""), EndReason.MODEL_CLOSED),
        (Close(1011, "server_error"), EndReason.MODEL_CLOSED),
        (Drop(), EndReason.MODEL_CLOSED),
        (Close(4000, "invalid_request_error.invalid_model"), EndReason.MODEL_REJECTED),
    ],
)
async def test_the_model_closes(autojump_clock: Clock, step: Any, reason: EndReason) -> None:
    """Each time, in one session after another, or for good: avr-core is told in words and closed
    with 1011."""
    tasks = task_count()
    async with place_call(SimulatedRealtime(Script([[step]] * 9))) as call:
        call.caller.start()
        error = await call.caller.wait_for(ErrorOut)
        await trio.sleep(0.1)
        assert call.summary is not None
    assert call.summary.end_reason is reason
    assert isinstance(error, ErrorOut)
    assert "model" in error.message
    assert call.caller.closed == (1011, reason.value)
    assert call.ended_s < LIMIT_S
    sessions = 1 if reason is EndReason.MODEL_REJECTED else MOST_LOSSES + 1
    assert len(call.simulator.sessions) == sessions
    assert task_count() == tasks


@pytest.mark.parametrize("where", ["http", "close"])
async def test_a_wrong_key_is_rejected(
    autojump_clock: Clock, log: list[dict[str, Any]], where: Any
) -> None:
    """At the upgrade or after it; the key is in nothing that is told or logged."""
    options = SimulatorOptions(api_key="another", key_check=where)
    async with place_call(SimulatedRealtime(options=options)) as call:
        call.caller.start()
        await call.caller.wait_for(ErrorOut)
        await trio.sleep(0.1)
    assert call.summary is not None
    assert call.summary.end_reason is EndReason.MODEL_REJECTED
    assert call.ended_s < LIMIT_S
    assert KEY not in repr((log, call.summary, call.caller.received))


@pytest.mark.parametrize("missing", ["send_session_created", "answer_session_update"])
async def test_a_session_that_is_never_set_up(autojump_clock: Clock, missing: str) -> None:
    """The model accepts and stays silent: the call ends after 10 s instead of never."""
    options = SimulatorOptions(**{missing: False})  # type: ignore[arg-type]
    async with place_call(SimulatedRealtime(options=options)) as call:
        call.caller.start()
        await call.caller.wait_for(ErrorOut)
    assert call.summary is not None
    assert call.summary.end_reason is EndReason.MODEL_UNAVAILABLE
    assert 10 <= call.summary.duration_s < 10 + LIMIT_S


class _BrokenTransport:
    """A caller's side with a bug: it raises after a while."""

    metadata: dict[str, str] = {}  # noqa: RUF012 - a constant
    lead_ms = 200

    def __init__(self, caller: MemoryCaller) -> None:
        self._caller = caller
        self.closed: tuple[int, str] | None = None

    async def receive(self) -> CallerEvent:
        with trio.move_on_after(1):
            return await self._caller.transport.receive()
        raise RuntimeError("a planted bug")

    async def send(self, message: Any) -> None:
        await self._caller.transport.send(message)

    async def close(self, code: int, reason: str) -> None:
        await trio.lowlevel.checkpoint()
        self.closed = (code, reason)


async def test_a_bug_in_a_task(autojump_clock: Clock, log: list[dict[str, Any]]) -> None:
    """The call ends at once with 1011; the bug is logged with its cause and raised as one."""
    tasks = task_count()
    caller, simulator = MemoryCaller(), SimulatedRealtime()
    transport = _BrokenTransport(caller)
    caller.start()
    with pytest.raises(CallFailed) as caught:
        await run_call(transport, config(), dial=simulator.dial)
    assert isinstance(caught.value.__cause__, ExceptionGroup)
    assert caught.value.__cause__.subgroup(RuntimeError)
    assert transport.closed == (1011, "internal_error")
    assert simulator.open_sessions == 0
    assert task_count() == tasks
    errors = [line for line in log if line["log_level"] == "error"]
    assert len(errors) == 1
    ended = [line for line in log if line["event"] == "call ended"]
    assert [line["reason"] for line in ended] == ["internal_error"]


@pytest.mark.parametrize("at_ms", [0, 400, 1000, 1400, 2000, 2010, 2150, 2300, 3000, 6000])
async def test_cancelled_from_outside(
    autojump_clock: Clock, log: list[dict[str, Any]], at_ms: int, question: bytes
) -> None:
    """At any moment: the cancellation goes through, the caller is closed with 1001, the reason
    is logged, and neither task nor session lives on."""
    tasks = task_count()
    slow = SimulatorOptions(connect_delay_s=1, updated_delay_s=1)
    caller, simulator = MemoryCaller(), SimulatedRealtime(options=slow)
    async with trio.open_nursery() as nursery:
        caller.start()
        nursery.start_soon(caller.say, question * 3)
        with trio.move_on_after(at_ms / 1000) as outside:
            await run_call(caller.transport, config(), dial=simulator.dial)
        assert outside.cancelled_caught
        assert trio.current_time() - at_ms / 1000 < LIMIT_S
        nursery.cancel_scope.cancel()
    assert caller.closed == (1001, "cancelled")
    assert simulator.open_sessions == 0
    assert task_count() == tasks
    assert [line["reason"] for line in log if line["event"] == "call ended"] == ["cancelled"]


async def test_a_caller_that_does_not_read(autojump_clock: Clock) -> None:
    """What waits for a stalled caller is bounded; then the call ends with its own reason."""
    pcm = bytes(PCM16_8K.bytes_of_ms(10 * (ORDERS_WAITING + 100)))
    options = SimulatorOptions(speed=100, delta_ms=(10,))
    async with place_call(SimulatedRealtime(Script([[Say(pcm, 8000, "long")]]), options)) as call:
        call.caller.stop_reading()
        call.caller.start()
        await trio.sleep(4 + LIMIT_S)
        assert call.summary is not None
    assert call.summary.end_reason is EndReason.CALLER_STALLED


async def test_a_flood_of_faults_is_told_only_so_much(autojump_clock: Clock) -> None:
    """What answers it must not fill the queue of a caller who reads nothing of it: the call goes
    on until something else is too much."""
    async with place_call(SimulatedRealtime(Silence())) as call:
        call.caller.start()
        await trio.sleep(1)
        for _ in range(ORDERS_WAITING + 10):
            call.caller.send(CallerFault("flood"))
        await trio.sleep(1)
    assert call.summary is not None
    assert call.summary.end_reason is EndReason.CALLER_HUNG_UP
    assert call.summary.faults == ORDERS_WAITING + 10
    told = [e for e in call.caller.received if isinstance(e.message, ErrorOut)]
    assert len(told) == MOST_FAULTS_TOLD


async def test_the_end_of_an_answer_is_not_cut_by_its_silence(autojump_clock: Clock) -> None:
    """An answer whose last delta is shorter than a frame is heard to its last sample."""
    script = Script([[Say(b"\x10\x20" * 1234, 8000, "short")]])
    async with place_call(SimulatedRealtime(script)) as call:
        call.caller.start()
        await call.caller.be_silent(2)
    heard = call.caller.audio()
    assert len(heard) == 8 * 320
    assert heard[1233 * 2 : 1234 * 2] != b"\0\0"
    assert heard[1234 * 2 :] == bytes(len(heard) - 1234 * 2)
