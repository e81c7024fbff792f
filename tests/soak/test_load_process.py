"""The generator as a process, against a container that only passes sound on, or does worse."""

from __future__ import annotations

import sys
from contextlib import asynccontextmanager
from functools import partial
from subprocess import PIPE
from typing import TYPE_CHECKING, Any

import attrs
import msgspec
import pytest
import trio

from avr_bridge.soak.plan import SoakPlan
from avr_bridge.soak.results import CallRecord, Tick

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

CALLS = 3
LIMIT_S = 40.0


@attrs.define
class Told:
    """What a generator wrote, after `ready`."""

    ticks: list[Tick] = attrs.field(factory=list)
    calls: list[CallRecord] = attrs.field(factory=list)
    done: bool = False

    @property
    def steady(self) -> list[CallRecord]:
        """Records of calls that were measured to the end of the run."""
        return [one for one in self.calls if one.kind == "steady" and one.ended_by == "run"]


class Process:
    """A child process and the lines that it writes."""

    def __init__(self, process: trio.Process) -> None:
        self._process = process
        self._waiting = b""

    async def line(self) -> bytes:
        """The next line; empty at the end."""
        assert self._process.stdout is not None
        while b"\n" not in self._waiting:
            data = await self._process.stdout.receive_some()
            if not data:
                return b""
            self._waiting += data
        line, _, self._waiting = self._waiting.partition(b"\n")
        return line

    async def say(self, line: bytes) -> None:
        """Write to its stdin."""
        assert self._process.stdin is not None
        await self._process.stdin.send_all(line + b"\n")

    async def told(self) -> Told:
        """All that it writes until it ends, which it does with status 0."""
        told = Told()
        while line := await self.line():
            assert not told.done
            match msgspec.json.decode(line)["type"]:
                case "tick":
                    told.ticks.append(msgspec.json.decode(line, type=Tick))
                case "call":
                    told.calls.append(msgspec.json.decode(line, type=CallRecord))
                case "done":
                    told.done = True
        assert await self._process.wait() == 0
        return told


@asynccontextmanager
async def child(module: str, *arguments: str) -> AsyncIterator[Process]:
    """A Python module as a process; killed at the end."""
    async with trio.open_nursery() as nursery:
        command = [sys.executable, "-m", module, *arguments]
        run = partial(trio.run_process, command, stdin=PIPE, stdout=PIPE, check=False)
        yield Process(await nursery.start(run))
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def loaded(fault: str = "none", **changes: Any) -> AsyncIterator[Process]:
    """A generator that waits for `go`, and a container that it is to call."""
    # Each must be told of the other, so the port is taken before either begins.
    with trio.fail_after(LIMIT_S), trio.socket.socket() as listener:
        listener.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_REUSEPORT, 1)
        await listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        model_url = f"ws://127.0.0.1:{port}/v1/realtime"
        async with child("tests.soak.null_container", model_url, fault) as container:
            scheme = "http" if fault == "http" else "ws"
            values: dict[str, Any] = {
                "url": f"{scheme}://127.0.0.1:{int(await container.line())}",
                "calls": CALLS,
                "ramp_per_s": 20.0,
                "settle_s": 1.0,
                "duration_s": 3.0,
                "transport": scheme,
                "model_port": port,
            }
            async with child("avr_bridge.soak.load") as generator:
                await generator.say(msgspec.json.encode(SoakPlan(**(values | changes))))
                ready = msgspec.json.decode(await generator.line())
                assert ready == {"type": "ready", "model_url": model_url}
                listener.close()
                yield generator


async def run_load(fault: str = "none", **changes: Any) -> Told:
    """A whole run."""
    async with loaded(fault, **changes) as generator:
        await generator.say(b"go")
        return await generator.told()


@pytest.mark.parametrize("fault", ["none", "http"])
async def test_a_container_that_passes_all_on_is_heard_whole(fault: str) -> None:
    """Both ends hear everything, every probe comes back, and the run says so."""
    told = await run_load(fault)
    assert told.done
    assert len(told.calls) == len(told.steady) == CALLS
    assert min(one.heard_share for one in told.steady) >= 0.97
    shares = [one.model_heard_share for one in told.steady]
    assert None not in shares
    assert min(share for share in shares if share is not None) >= 0.97
    assert all(2.9 < one.talked_s < 3.5 for one in told.steady)
    assert all(len(one.probes_ms) >= 1 for one in told.steady)
    assert sum(one.lost_probes for one in told.steady) == 0
    assert [one.error for one in told.calls] == [""] * CALLS
    measured = [tick for tick in told.ticks if tick.measured]
    assert measured
    assert all(tick.up == CALLS and tick.cpu > 0 for tick in measured)


async def test_a_container_that_drops_a_tenth_is_found() -> None:
    """Both ends miss about a tenth, and the caller's phone runs dry."""
    told = await run_load("drop", duration_s=6.0)
    for one in told.steady:
        assert 0.80 <= one.heard_share <= 0.94
        assert one.model_heard_share is not None
        assert 0.85 <= one.model_heard_share <= 0.94
        assert one.underruns > 0
        assert one.underrun_ms > 0


async def test_a_delay_is_in_every_probe() -> None:
    """100 ms in the container are at least 100 ms of round trip, and none of the sound."""
    told = await run_load("delay")
    probes_ms = [ms for one in told.steady for ms in one.probes_ms]
    assert probes_ms
    assert min(probes_ms) >= 100
    assert min(one.heard_share for one in told.steady) >= 0.97


async def test_a_call_that_the_container_closes_is_told_and_placed_again() -> None:
    """Its record names the code; another steady call takes its place."""
    told = await run_load("close")
    (closed,) = [one for one in told.calls if one.ended_by == "container"]
    assert closed.error == "closed by container (1011)"
    assert len(told.steady) == CALLS
    assert {kind for tick in told.ticks for kind in tick.errors} == {"closed by container (1011)"}


async def test_a_refused_call_names_the_status() -> None:
    """No call comes up; each attempt is a record with the error and without a set-up time."""
    async with loaded("refuse", calls=1) as generator:
        await generator.say(b"go")
        record = None
        while record is None:
            line = await generator.line()
            if b'"type":"call"' in line:
                record = msgspec.json.decode(line, type=CallRecord)
        await generator.say(b"stop")
        assert (await generator.told()).done
    assert record.error == "refused with status 503"
    assert record.set_up_ms is None
    assert record.ended_by == "container"


async def test_stop_ends_the_calls_and_reports_them() -> None:
    """Long before the plan is done, each call that is up gets its record."""
    async with loaded(duration_s=600.0) as generator:
        await generator.say(b"go")
        while msgspec.json.decode(await generator.line(), type=Tick).up < CALLS:
            pass
        await generator.say(b"stop")
        told = await generator.told()
    assert told.done
    assert [one.ended_by for one in told.calls] == ["run"] * CALLS


async def test_every_barge_in_stops_the_answer_and_starts_another() -> None:
    """`interruption` comes for each, in time, and the sound afterwards is whole again."""
    told = await run_load(barge_ins_per_min=60.0, duration_s=5.0)
    made = sum(one.barge_ins for one in told.steady)
    assert made > 0
    assert sum(one.interruptions for one in told.steady) == made
    stops_ms = [ms for one in told.steady for ms in one.stop_ms]
    assert len(stops_ms) == made
    assert all(0 <= ms < 1000 for ms in stops_ms)
    assert min(one.heard_share for one in told.steady) >= 0.9


async def test_arrivals_come_and_go_and_hang_ups_are_replaced() -> None:
    """Short calls beside the steady ones; a steady call that hangs up is followed by another."""
    told = await run_load(arrivals_per_s=4.0, arrival_s=0.5, hangups_per_min=60.0, duration_s=4.0)
    arrivals = [one for one in told.calls if one.kind == "arrival"]
    assert any(one.ended_by == "hangup" for one in arrivals)
    hung_up = [one for one in told.calls if one.kind == "steady" and one.ended_by == "hangup"]
    assert hung_up
    assert {one.number for one in hung_up}.isdisjoint(one.number for one in told.steady)
    assert told.ticks[-1].up >= CALLS - 1
    assert [one.error for one in told.calls if one.error] == []


async def test_tools_are_called_and_their_answers_counted() -> None:
    """Of two tools the one that does not hang up is called, as its schema asks, and answered."""
    told = await run_load(tools_per_min=60.0, duration_s=5.0)
    made = sum(one.tools for one in told.steady)
    assert made > 0
    assert sum(one.tools_answered for one in told.steady) == made
    assert [one.error for one in told.calls] == [""] * CALLS
    assert min(one.heard_share for one in told.steady) >= 0.9


async def test_without_a_stand_in_there_is_no_address_and_no_share() -> None:
    """A plan without a port gets none; nobody answers at this address, and that is told."""
    with trio.fail_after(LIMIT_S):
        async with child("avr_bridge.soak.load") as generator:
            plan = SoakPlan(url="ws://127.0.0.1:1", calls=1)
            await generator.say(msgspec.json.encode(plan))
            assert msgspec.json.decode(await generator.line()) == {
                "type": "ready",
                "model_url": None,
            }
            await generator.say(b"go")
            record = msgspec.json.decode(await generator.line(), type=CallRecord)
            await generator.say(b"stop")
            assert (await generator.told()).done
    assert record.error == "dial refused"
    assert record.model_heard_share is None
