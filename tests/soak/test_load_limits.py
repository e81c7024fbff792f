"""The generator at the end of its own descriptors and ports, which is no fault of the container."""

from __future__ import annotations

import errno
import sys
from contextlib import asynccontextmanager
from functools import partial
from subprocess import PIPE
from typing import TYPE_CHECKING

import msgspec
import pytest
import trio

from avr_bridge.soak.load.lines import dial_error
from avr_bridge.soak.plan import SoakPlan
from avr_bridge.soak.results import CallRecord
from avr_bridge.soak.verdict import judge
from tests.soak.runs import run, tick

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

LIMIT_S = 40.0
FEW = 32
"""Enough descriptors for Python to start, and not for `CALLS`."""
CALLS = 60


@asynccontextmanager
async def calling(ulimit: str, transport: str) -> AsyncIterator[tuple[trio.SocketListener, Lines]]:
    """A generator under this `ulimit` that places its calls, and where they wait for an answer."""
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1", backlog=2 * CALLS)
    port = listener.socket.getsockname()[1]
    plan = SoakPlan(
        url=f"{transport}://127.0.0.1:{port}", transport=transport, calls=CALLS, ramp_per_s=200.0
    )
    command = ["sh", "-c", f'ulimit {ulimit}; exec "$0" -m avr_bridge.soak.load', sys.executable]
    with trio.fail_after(LIMIT_S):
        async with listener, trio.open_nursery() as nursery:
            start = partial(trio.run_process, command, stdin=PIPE, stdout=PIPE, check=False)
            process: trio.Process = await nursery.start(start)
            assert process.stdin is not None
            assert process.stdout is not None
            await process.stdin.send_all(msgspec.json.encode(plan) + b"\ngo\n")
            yield listener, Lines(process.stdout)
            nursery.cancel_scope.cancel()


class Lines:
    """What a generator writes."""

    def __init__(self, stream: trio.abc.ReceiveStream) -> None:
        self._stream = stream
        self._waiting = b""

    async def first_record(self) -> CallRecord:
        """Of the first call that ended."""
        while True:
            line, end, rest = self._waiting.partition(b"\n")
            if not end:
                data = await self._stream.receive_some()
                assert data, "it ended"
                self._waiting += data
                continue
            self._waiting = rest
            if msgspec.json.decode(line)["type"] == "call":
                return msgspec.json.decode(line, type=CallRecord)


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.EMFILE, "too many open files"),
        (errno.ENFILE, "too many open files"),
        (errno.EADDRNOTAVAIL, "cannot assign requested address"),
    ],
)
def test_a_limit_of_our_own_has_a_kind_that_makes_the_run_void(number: int, kind: str) -> None:
    """The words of the generator are those that the verdict looks for."""
    assert dial_error(OSError(number, "words of the system")) == kind
    verdict = judge(run([tick(second, errors={kind: 1}) for second in range(1, 21)]))
    assert any("its own descriptors or ports" in words for words in verdict.void)


@pytest.mark.parametrize("number", [errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ECONNRESET])
def test_what_the_container_does_is_a_refused_dial(number: int) -> None:
    """And the verdict does not take it for ours."""
    kind = dial_error(OSError(number, "words of the system"))
    assert kind == "dial refused"
    assert judge(run([tick(second, errors={kind: 1}) for second in range(1, 21)])).void == []
    assert dial_error(OSError("without a number")) == kind


@pytest.mark.parametrize("transport", ["ws", "http"])
async def test_a_dial_without_a_descriptor_is_told_as_such(transport: str) -> None:
    """The first call that fails says why, while those before it wait for an answer."""
    async with calling(f"-n {FEW}", transport) as (_, lines):
        record = await lines.first_record()
    assert record.error == "too many open files"


async def test_the_soft_limit_is_no_limit() -> None:
    """More connections arrive than the generator was given descriptors to begin with."""
    async with calling(f"-Sn {FEW}", "ws") as (listener, _):
        streams = [await listener.accept() for _ in range(CALLS)]
        for stream in streams:
            await trio.aclose_forcefully(stream)
    assert len(streams) > FEW
