"""The bridge is stopped while calls run: by SIGTERM, SIGINT, twice, at once, and by SIGKILL."""

from __future__ import annotations

import signal
import time
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import attrs
import httpx2
import pytest
import trio

from avr_bridge import BridgeConfig, EndReason, ModelConfig, Secret, ServerConfig, serve
from avr_bridge.audio.sounds import read_clip
from avr_bridge.audio.wav import write_wav
from avr_bridge.call.farewell import FAREWELL_SLACK_S, clip_of, clip_s
from avr_bridge.call.running import RunningCalls
from avr_bridge.server.admission import RETRY_AFTER_S, Admission
from avr_bridge.server.drain import PAUSE_WINDOW_S, drain
from avr_bridge.testing import SimulatedCall, open_simulated_call
from avr_bridge.testing.faults.callers import Seen, open_faulty_caller
from avr_bridge.testing.realtime import Script, SimulatedRealtime
from tests.call.conftest import Placed, place_call
from tests.faults.conftest import Bridge, SpeaksOn, innocent_call, open_bridge, told

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from trio.testing import MockClock as Clock

Transport = Literal["ws", "http"]
BOTH = pytest.mark.parametrize("transport", ["ws", "http"])
LIMIT_S = 60
DOCKER_STOP_S = 10
WORDS = read_clip("farewell")
AT_ONCE_S = 3.0
"""Far less than any drain here, far more than a busy machine needs."""


# The drain alone, in virtual time.


@attrs.define(eq=False)
class Drained:
    """How a drain went: the call in it, when it began, and how long it took."""

    call: Placed
    took_s: float


async def drain_one(
    drain_s: float,
    clip_pcm: bytes = WORDS,
    *,
    talking: bool = True,
    hurry_after_s: float | None = None,
    hang_up_after_s: float | None = None,
) -> Drained:
    """Drain a call, 2 s after its start, in which the model speaks on and on or says nothing."""
    model = SimulatedRealtime(SpeaksOn() if talking else Script([]))

    async def hurry() -> None:
        await trio.sleep(hurry_after_s or 0.0)

    async with place_call(model) as call:
        call.caller.start()
        await call.caller.be_silent(2)
        began_s = trio.current_time()
        async with trio.open_nursery() as nursery:
            if hang_up_after_s is not None:

                async def leave() -> None:
                    await trio.sleep(hang_up_after_s)
                    call.caller.hang_up()

                nursery.start_soon(leave)
            door = Admission(ServerConfig())
            await drain(
                call.running,
                door,
                drain_s,
                clip_pcm,
                None if hurry_after_s is None else hurry,
            )
            assert not door.open
            await call.running.wait_none()
            took_s = trio.current_time() - began_s
    assert call.summary is not None
    assert model.open_sessions == 0
    return Drained(call, took_s)


@pytest.mark.parametrize("drain_s", [8.0, 40.0])
async def test_an_answer_that_goes_on_is_cut_in_time(autojump_clock: Clock, drain_s: float) -> None:
    """It may go on for as long as there is time for the words behind it; 1001 within the time."""
    drained = await drain_one(drain_s)
    assert drained.call.summary
    assert drained.call.summary.end_reason is EndReason.BRIDGE_STOPPED
    assert drained.call.caller.closed == (1001, "bridge_stopped")
    heard = drained.call.caller.audio()
    assert heard.endswith(WORDS)
    assert len(heard) / 16_000 == pytest.approx(2 + drain_s - FAREWELL_SLACK_S, abs=0.3)
    assert drain_s - FAREWELL_SLACK_S - 0.1 < drained.took_s < drain_s


async def test_nobody_speaks_towards_the_end(autojump_clock: Clock) -> None:
    """The words need not wait for their latest moment, and do not come before they may."""
    drained = await drain_one(60, talking=False)
    assert drained.call.caller.audio() == WORDS
    first_s = drained.call.caller.received[0].at_s - 2
    latest_s = 60 - FAREWELL_SLACK_S - clip_s(WORDS)
    assert first_s == pytest.approx(latest_s - PAUSE_WINDOW_S, abs=0.1)


@pytest.mark.parametrize("drain_s", [0.0, 3.0])
async def test_no_time_for_the_words(autojump_clock: Clock, drain_s: float) -> None:
    """They are left out rather than cut; what time there is, the call has."""
    drained = await drain_one(drain_s)
    assert drained.call.caller.closed == (1001, "bridge_stopped")
    heard_s = len(drained.call.caller.audio()) / 16_000
    assert heard_s == pytest.approx(2.2 + drain_s * 15 / 16, abs=0.3)
    assert WORDS[:3200] not in drained.call.caller.audio()
    assert drained.took_s <= drain_s + 0.1


async def test_without_a_farewell(autojump_clock: Clock) -> None:
    """`off`: the call ends at the end of a sentence, here in a pause."""
    drained = await drain_one(60, clip_of("off", "farewell"), talking=False)
    assert drained.call.caller.audio() == b""
    assert drained.call.caller.closed == (1001, "bridge_stopped")
    assert drained.took_s == pytest.approx(60 - FAREWELL_SLACK_S - PAUSE_WINDOW_S, abs=0.1)


@pytest.mark.parametrize("drain_s", [1.0, 2.0, 3.0, 4.0])
@pytest.mark.parametrize("path", [None, "off"])
async def test_a_short_time_is_the_calls_own(
    autojump_clock: Clock, drain_s: float, path: str | None
) -> None:
    """Without room for the words, or without any: nobody speaks, and still most of it is left."""
    drained = await drain_one(drain_s, clip_of(path, "farewell"), talking=False)
    assert drained.call.caller.audio() == b""
    assert drained.call.caller.closed == (1001, "bridge_stopped")
    assert drain_s * 0.65 < drained.took_s <= drain_s


@pytest.mark.parametrize("after_s", [0.0, 1.0, 56.0])
async def test_hurry_ends_all_at_once(autojump_clock: Clock, after_s: float) -> None:
    """Before the farewell and in the middle of it."""
    drained = await drain_one(60, hurry_after_s=after_s)
    assert drained.call.summary
    assert drained.call.summary.end_reason is EndReason.BRIDGE_STOPPED
    assert drained.call.caller.closed == (1001, "bridge_stopped")
    assert drained.took_s == pytest.approx(after_s, abs=0.1)


async def test_a_call_that_ends_by_itself_is_not_touched(autojump_clock: Clock) -> None:
    """It hears nothing but the model, and the drain is over with it."""
    drained = await drain_one(60, hang_up_after_s=30)
    assert drained.call.summary
    assert drained.call.summary.end_reason is EndReason.CALLER_HUNG_UP
    assert drained.took_s == pytest.approx(30, abs=0.1)
    assert len(drained.call.caller.audio()) / 16_000 == pytest.approx(32, abs=0.3)


async def test_a_call_that_begins_too_late_ends(autojump_clock: Clock) -> None:
    """Let in at the last moment: it ends like the others, and the drain misses none."""
    running = RunningCalls()
    await drain(running, Admission(ServerConfig()), 0, WORDS)
    async with place_call(SimulatedRealtime(), running=running) as call:
        with trio.fail_after(1):
            await running.wait_none()
    assert call.caller.closed == (1001, "bridge_stopped")


def test_the_farewell_is_a_file_of_ones_own(tmp_path: Path) -> None:
    """Or the clip that ships, where it cannot be read."""
    own = tmp_path / "bye.wav"
    write_wav(own, WORDS[:16_000])
    assert clip_of(str(own), "farewell") == WORDS[:16_000]
    assert clip_of(str(tmp_path / "missing.wav"), "farewell") == WORDS
    assert clip_of(None, "farewell") == WORDS


# Processes and sockets.


@asynccontextmanager
async def talking_call(bridge: Bridge, transport: Transport) -> AsyncGenerator[SimulatedCall]:
    """A call that would go on for a minute and a half."""
    async with open_simulated_call(bridge.address(transport), uuid="faulty") as call:
        await call.wait_heard_speech()
        yield call


async def wait_draining(bridge: Bridge) -> None:
    while not bridge.logged("draining"):  # noqa: ASYNC110 - another process says so
        await trio.sleep(0.01)


async def exit_code(bridge: Bridge) -> int:
    return await bridge.process.wait()


def assert_stopped(call: SimulatedCall, transport: Transport) -> Any:
    """The caller saw a proper end: 1001, or the last chunk of the response."""
    report = call.report()
    assert report.closed_by == "bridge"
    assert report.faults == ()
    if transport == "ws":
        assert (report.close_code, report.close_reason) == (1001, "bridge_stopped")
    else:
        assert report.close_reason == "the response ended"
    return f"{report.close_code or ''} {report.close_reason}".strip()


async def assert_refuses(bridge: Bridge) -> None:
    """Not ready, alive, and new calls are refused in words, on both transports."""
    async with httpx2.AsyncClient() as client:
        ready = await client.get(f"{bridge.url}/readyz")
        assert (ready.status_code, ready.json()) == (503, {"status": "the bridge is stopping"})
        assert (await client.get(f"{bridge.url}/healthz")).status_code == 200
        refused = await client.post(f"{bridge.url}/speech-to-speech-stream", content=b"")
    assert refused.status_code == 503
    assert refused.headers["retry-after"] == str(RETRY_AFTER_S)
    async with open_faulty_caller(bridge.url, transport="ws", uuid="late") as caller:
        seen: Seen = await caller.read_to_end()
    assert seen.code == 1013
    assert seen.errors == ("the bridge is stopping",)


@BOTH
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_drains(transport: Transport, number: signal.Signals) -> None:
    """With the settings as they come: all is over within what `docker stop` gives, with exit code
    0. A call that ends by itself is not touched; the other one hears the farewell whole."""
    with trio.fail_after(LIMIT_S):
        async with open_bridge(ends=True) as bridge, talking_call(bridge, transport) as call:
            async with innocent_call(bridge, transport):
                async with httpx2.AsyncClient() as client:
                    assert (await client.get(f"{bridge.url}/readyz")).status_code == 200
                started = time.monotonic()
                bridge.process.send_signal(number)
                await wait_draining(bridge)
                await assert_refuses(bridge)
                assert call.report().closed_by is None
            await call.wait_closed()
            closed_after_s = time.monotonic() - started
            assert await exit_code(bridge) == 0
            exit_after_s = time.monotonic() - started
    ended = await bridge.wait_ended()
    seen = assert_stopped(call, transport)
    told(signal.Signals(number).name, transport, seen, ended, closed_after_s)
    assert ended["reason"] == "bridge_stopped"
    assert call.received().endswith(WORDS)
    assert bridge.model.open_sessions == 0
    assert exit_after_s < DOCKER_STOP_S


@BOTH
@pytest.mark.parametrize("first", [signal.SIGTERM, signal.SIGINT])
async def test_a_second_signal_ends_it_now(transport: Transport, first: signal.Signals) -> None:
    """No farewell, but 1001 or the last chunk, and exit code 0."""
    with trio.fail_after(LIMIT_S):
        async with (
            open_bridge(ends=True, AVR_DRAIN_S="600") as bridge,
            talking_call(bridge, transport) as call,
        ):
            bridge.process.send_signal(first)
            await wait_draining(bridge)
            assert call.report().closed_by is None
            started = time.monotonic()
            bridge.process.terminate()
            await call.wait_closed()
            closed_after_s = time.monotonic() - started
            assert await exit_code(bridge) == 0
            took_s = time.monotonic() - started
    ended = await bridge.wait_ended()
    told("a second signal", transport, assert_stopped(call, transport), ended, closed_after_s)
    assert ended["reason"] == "bridge_stopped"
    assert bridge.model.open_sessions == 0
    assert took_s < AT_ONCE_S


async def test_signals_without_end_end_it_once() -> None:
    """An impatient hand at Ctrl-C, to the last moment: exit code 0."""
    with trio.fail_after(LIMIT_S):
        async with open_bridge(ends=True) as bridge:
            while bridge.process.poll() is None:
                bridge.process.send_signal(signal.SIGINT)
                bridge.process.send_signal(signal.SIGTERM)
                await trio.sleep(0.001)
            assert await exit_code(bridge) == 0


@BOTH
async def test_a_drain_of_no_time(transport: Transport) -> None:
    """`AVR_DRAIN_S=0`: one signal is enough."""
    with trio.fail_after(LIMIT_S):
        async with (
            open_bridge(ends=True, AVR_DRAIN_S="0") as bridge,
            talking_call(bridge, transport) as call,
        ):
            started = time.monotonic()
            bridge.process.terminate()
            await call.wait_closed()
            assert await exit_code(bridge) == 0
            took_s = time.monotonic() - started
    assert_stopped(call, transport)
    assert (await bridge.wait_ended())["reason"] == "bridge_stopped"
    assert took_s < AT_ONCE_S


@BOTH
async def test_a_peer_that_does_not_read_holds_nothing_up(transport: Transport) -> None:
    """A send to it is stuck, and cannot be cancelled: its socket is cut, and the exit code is 0."""
    with trio.fail_after(LIMIT_S):
        async with (
            open_bridge(ends=True, AVR_DRAIN_S="0") as bridge,
            open_faulty_caller(
                bridge.url, transport=transport, receive_buffer_bytes=4096
            ) as caller,
        ):
            # A flood of errors fills what lies between the two; over HTTP, time does.
            if transport == "ws":
                for _ in range(1500):
                    await caller.send_text("{")
            await trio.sleep(1.5)
            started = time.monotonic()
            bridge.process.terminate()
            assert await exit_code(bridge) == 0
            took_s = time.monotonic() - started
    assert took_s < AT_ONCE_S


@BOTH
async def test_the_process_is_killed(transport: Transport) -> None:
    """SIGKILL: the kernel closes both sides at once; nothing stays open at the model's."""
    with trio.fail_after(LIMIT_S):
        async with (
            open_bridge(ends=True, exit_code=-signal.SIGKILL) as bridge,
            talking_call(bridge, transport) as call,
        ):
            assert bridge.model.open_sessions == 1
            started = time.monotonic()
            bridge.process.kill()
            await call.wait_closed()
            while bridge.model.open_sessions:  # noqa: ASYNC110 - a measure, not an event
                await trio.sleep(0.01)
            took_s = time.monotonic() - started
    report = call.report()
    told("SIGKILL", transport, f"{report.close_code} {report.close_reason}", {}, took_s)
    assert report.closed_by == "bridge"
    assert report.close_code in (1006, None)
    assert took_s < 1


@BOTH
async def test_a_program_that_embeds_it_drains_as_well(transport: Transport) -> None:
    """`serve` returns when the last call has ended after its `shutdown` did."""
    stop, over = trio.Event(), trio.Event()
    model = SimulatedRealtime(SpeaksOn())
    summaries: list[Any] = []
    with trio.fail_after(LIMIT_S):
        async with trio.open_nursery() as nursery:
            endpoint = await nursery.start(model.serve)
            config = BridgeConfig(
                ModelConfig(api_key=Secret("k"), endpoint=endpoint),
                ServerConfig("127.0.0.1", 0, drain_s=600),
            )

            async def run(*, task_status: trio.TaskStatus[list[str]]) -> None:
                await serve(
                    config,
                    shutdown=stop.wait,
                    on_call_ended=summaries.append,
                    task_status=task_status,
                )
                over.set()

            (url,) = await nursery.start(partial(run))
            address = url if transport == "http" else url.replace("http:", "ws:")
            path = "/speech-to-speech-stream" if transport == "http" else ""
            async with open_simulated_call(f"{address}{path}") as call:
                await call.wait_heard_speech()
                stop.set()
                await trio.sleep(0.5)
                assert call.report().closed_by is None
                assert not over.is_set()
            await over.wait()
            nursery.cancel_scope.cancel()
    assert [one.end_reason for one in summaries] == [EndReason.CALLER_HUNG_UP]
    assert model.open_sessions == 0
