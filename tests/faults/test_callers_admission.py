"""New calls are refused while there are too many, while the process is late, and at the end."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Literal

import httpx2
import pytest
import structlog
import trio
import trio.testing

from avr_bridge import BridgeConfig, ModelConfig, Secret, ServerConfig, create_app
from avr_bridge.server.admission import LAG_SAMPLES, RETRY_AFTER_S, Admission, CallRefused
from avr_bridge.server.guard import serve_guarded
from avr_bridge.testing.faults.callers import open_faulty_caller
from avr_bridge.testing.realtime import SimulatedRealtime
from tests.faults.conftest import innocent_call, open_bridge, told

if TYPE_CHECKING:
    from trio.testing import MockClock as Clock

Transport = Literal["ws", "http"]
BOTH = pytest.mark.parametrize("transport", ["ws", "http"])
LIMIT_S = 60


async def _refused(url: str, transport: Transport, because: str) -> None:
    """A call now is refused in its transport's words."""
    started = time.monotonic()
    if transport == "http":
        async with httpx2.AsyncClient() as client:
            answer = await client.post(f"{url}/speech-to-speech-stream", content=b"")
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == str(RETRY_AFTER_S)
        assert because in answer.text
        seen: object = f"503, Retry-After: {RETRY_AFTER_S}"
    else:
        async with open_faulty_caller(url, transport="ws", uuid="refused") as caller:
            seen = end = await caller.read_to_end()
        assert end.code == 1013
        assert because in end.reason
        assert len(end.errors) == 1
        assert because in end.errors[0]
    told(f"refused: {because}", transport, seen, {}, time.monotonic() - started)


@BOTH
async def test_no_more_calls_than_the_limit(transport: Transport) -> None:
    """The second is refused, as often as it tries; when the first has ended, one is let in. A
    request that is no call is answered."""
    with trio.fail_after(LIMIT_S):
        async with open_bridge(AVR_MAX_CALLS="1") as bridge:
            before = bridge.descriptors()
            async with innocent_call(bridge, transport):
                kinds: list[Transport] = ["ws", "http", "ws"]
                for kind in kinds:
                    await _refused(bridge.url, kind, "the limit of 1 calls")
                async with httpx2.AsyncClient() as client:
                    assert (await client.get(f"{bridge.url}/healthz")).status_code == 200
            await bridge.wait_descriptors(before)  # the first call is over
            async with innocent_call(bridge, "http" if transport == "ws" else "ws"):
                pass
            (line,) = bridge.logged("call refused")  # of three: one a minute
            assert line["count"] == 1


async def test_a_refusal_has_a_reason_phrase() -> None:
    """The status line says in words what the number means, as people read it in a trace."""
    with trio.fail_after(LIMIT_S):
        async with (
            open_bridge(AVR_MAX_CALLS="1") as bridge,
            innocent_call(bridge),
            open_faulty_caller(bridge.url, transport="http") as caller,
        ):
            head = bytes(await caller.stream.receive_some())
    assert head.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")


async def test_many_at_once_do_not_pass_the_limit() -> None:
    """Fifty legacy requests in the same moment: exactly the limit is let in."""
    statuses: list[int] = []
    with trio.fail_after(LIMIT_S):
        async with open_bridge(AVR_MAX_CALLS="3") as bridge, trio.open_nursery() as nursery:

            async def place() -> None:
                async with open_faulty_caller(bridge.url, transport="http") as caller:
                    head = bytes(await caller.stream.receive_some())
                    statuses.append(int(head.split()[1]))
                    await trio.sleep_forever()

            for _ in range(50):
                nursery.start_soon(place)
            while len(statuses) < 50:  # noqa: ASYNC110 - others fill it
                await trio.sleep(0.01)
            nursery.cancel_scope.cancel()
    assert statuses.count(200) == 3
    assert statuses.count(503) == 47


@BOTH
async def test_a_late_event_loop_refuses_new_calls(transport: Transport) -> None:
    """A neighbour in the process takes 100 ms at a time: new calls are refused; when it has
    ended, they are let in again."""

    async def hog() -> None:
        while True:
            time.sleep(0.1)  # noqa: ASYNC251 - that is the fault
            await trio.sleep(0.03)

    config = ServerConfig("127.0.0.1", 0, max_lag_ms=15)
    with trio.fail_after(LIMIT_S), structlog.testing.capture_logs():
        admission = Admission(config)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(admission.watch_lag)
            url = await nursery.start(partial(_serve_here, config, admission))
            assert admission.open
            with trio.CancelScope() as overload:
                async with trio.open_nursery() as hogs:
                    hogs.start_soon(hog)
                    await _wait_open(admission, is_open=False)
                    await _refused(url, transport, "overloaded")
                    overload.cancel()
            await _wait_open(admission, is_open=True)
            nursery.cancel_scope.cancel()


async def _wait_open(admission: Admission, *, is_open: bool) -> None:
    while admission.open is not is_open:  # noqa: ASYNC110 - a measure, not an event
        await trio.sleep(0.02)


async def _serve_here(
    config: ServerConfig, admission: Admission, *, task_status: trio.TaskStatus[str]
) -> None:
    from avr_bridge.server.serve import _hypercorn_config

    async with trio.open_nursery() as nursery:
        endpoint = await nursery.start(SimulatedRealtime().serve)
        bridge = BridgeConfig(ModelConfig(api_key=Secret("k"), endpoint=endpoint), config)
        app = create_app(bridge, admission=admission)
        (url,) = await nursery.start(partial(serve_guarded, app, _hypercorn_config(bridge)))
        task_status.started(url)


@BOTH
async def test_a_closed_door(transport: Transport) -> None:
    """`close` refuses new calls in its words; the first reason stands."""
    config = ServerConfig("127.0.0.1", 0)
    with trio.fail_after(LIMIT_S), structlog.testing.capture_logs():
        admission = Admission(config)
        async with trio.open_nursery() as nursery:
            url = await nursery.start(partial(_serve_here, config, admission))
            admission.close("the bridge is ending")
            admission.close("another")
            assert not admission.open
            await _refused(url, transport, "the bridge is ending")
            assert admission.refused == 1
            nursery.cancel_scope.cancel()


async def test_one_spike_is_no_overload(mock_clock: Clock) -> None:
    """A single step of half a second refuses nobody; late steps throughout half a second do, and
    the door is open again as soon as they are over."""
    admission = Admission(ServerConfig(max_lag_ms=100))

    async def pass_time(seconds: float) -> None:
        mock_clock.jump(seconds)
        await trio.testing.wait_all_tasks_blocked()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(admission.watch_lag)
        await trio.testing.wait_all_tasks_blocked()
        for _ in range(LAG_SAMPLES):
            await pass_time(0.1)
        await pass_time(0.6)
        assert admission.refusal() is None
        for _ in range(LAG_SAMPLES // 2):
            await pass_time(0.3)
        assert admission.refusal() is not None
        assert 190 < admission.lag_ms < 210
        with pytest.raises(CallRefused, match="overloaded"), admission.call():
            pass
        for _ in range(LAG_SAMPLES // 2 + 1):
            await pass_time(0.1)
        assert admission.open
        nursery.cancel_scope.cancel()


def test_a_call_counts_until_its_end() -> None:
    """Also where it fails; a refused one never counts."""
    admission = Admission(ServerConfig(max_calls=1))

    def fail_in_a_call() -> None:
        with admission.call():
            assert not admission.open
            with pytest.raises(CallRefused), admission.call():
                pass
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_in_a_call()
    assert admission.open
    assert (admission.calls, admission.refused) == (0, 1)
