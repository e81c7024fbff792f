"""A rolling restart behind a real HAProxy, with the configuration that ships.

The judge is HAProxy itself, by its own statistics, and every sample that the calls got.
"""

from __future__ import annotations

import csv
import os
import shutil
import socket
import subprocess
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import pytest
import trio

from avr_bridge.audio.codec import decode, encode
from avr_bridge.audio.format import Encoding
from avr_bridge.testing import SimulatedCall, open_simulated_call
from tests.faults.conftest import Bridge, SpeaksOn, open_bridge

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

HAPROXY = shutil.which("haproxy", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
pytestmark = [
    pytest.mark.peer,
    pytest.mark.skipif(HAPROXY is None, reason="haproxy is not installed"),
]

CHECKOUT = Path(__file__).parents[2]
CONFIG = CHECKOUT / "examples" / "haproxy" / "haproxy.cfg"
LIMIT_S = 90
STOP_S = 5
TRANSPORTS = ("ws", "http")
SPOKEN = decode(encode(SpeaksOn().pcm, Encoding.ULAW), Encoding.ULAW)


@attrs.frozen
class Proxy:
    """A running HAProxy in front of two bridges."""

    port: int
    admin: Path

    def address(self, transport: str) -> str:
        if transport == "ws":
            return f"ws://127.0.0.1:{self.port}"
        return f"http://127.0.0.1:{self.port}/speech-to-speech-stream"

    async def wait_states(self, **states: str) -> None:
        """Wait until HAProxy says that its servers are in these states."""
        while await self._states() != states:  # noqa: ASYNC110 - another process decides
            await trio.sleep(0.05)

    async def _states(self) -> dict[str, str]:
        async with await trio.open_unix_socket(str(self.admin)) as stream:
            await stream.send_all(b"show stat\n")
            text = b"".join([chunk async for chunk in stream]).decode().lstrip("# ")
        rows = csv.DictReader(text.splitlines())
        return {row["svname"]: row["status"] for row in rows if row["svname"].startswith("bridge")}


@asynccontextmanager
async def open_haproxy(folder: Path, first: Bridge, second: Bridge) -> AsyncGenerator[Proxy]:
    """HAProxy with the shipped file, on a free port that it inherits."""
    assert HAPROXY is not None
    admin = folder / "admin"
    with socket.create_server(("127.0.0.1", 0)) as listening:
        process = await trio.lowlevel.open_process(
            [HAPROXY, "-db", "-f", str(CONFIG)],
            env={
                "LISTEN": f"fd@{listening.fileno()}",
                "ADMIN_SOCKET": str(admin),
                "BRIDGE_1": first.url.removeprefix("http://"),
                "BRIDGE_2": second.url.removeprefix("http://"),
            },
            pass_fds=[listening.fileno()],
            stdin=subprocess.DEVNULL,
        )
        try:
            while not admin.exists():
                assert process.poll() is None
                await trio.sleep(0.02)
            yield Proxy(listening.getsockname()[1], admin)
        finally:
            process.kill()
            with trio.CancelScope(shield=True, deadline=trio.current_time() + STOP_S):
                await process.wait()


async def place(
    stack: AsyncExitStack, proxy: Proxy, transport: str, number: int
) -> tuple[str, SimulatedCall]:
    """One call that is heard, and its id."""
    uuid = f"{transport}-{number}"
    opened = open_simulated_call(proxy.address(transport), uuid=uuid)
    call = await stack.enter_async_context(opened)
    assert await call.wait_heard_speech()
    return uuid, call


def assert_nothing_lost(bridge: Bridge, uuid: str, call: SimulatedCall) -> None:
    """Every sample came, in order, both ways, until the caller hung up."""
    report, (ended,) = call.report(), bridge.logged("call ended", call=uuid)
    assert report.closed_by == "caller"
    assert report.faults == report.errors == ()
    heard = call.received()
    assert len(heard) > 0
    assert heard == SPOKEN[: len(heard)]
    assert ended["reason"] == "caller_hung_up"
    assert ended["dropped_ms"] == 0
    assert ended["caller_audio_ms"] >= (report.sent_frames - 5) * 20


async def test_a_rolling_restart_loses_no_call(tmp_path: Path) -> None:
    """Calls run on two bridges; one is told to stop. New calls go to the other, running ones go
    on to their own end, on both transports; then it exits with 0."""
    with trio.fail_after(LIMIT_S):
        async with (
            open_bridge() as stays,
            open_bridge(ends=True, AVR_DRAIN_S="600") as leaves,
            open_haproxy(tmp_path, leaves, stays) as proxy,
        ):
            await proxy.wait_states(bridge1="UP", bridge2="UP")
            before: list[tuple[str, SimulatedCall]] = []
            async with AsyncExitStack() as running:
                for transport in TRANSPORTS:
                    for number in range(4):
                        before.append(await place(running, proxy, transport, number))
                on_leaving = {line["call"] for line in leaves.logged("call started")}
                assert {uuid.split("-")[0] for uuid in on_leaving} == set(TRANSPORTS)
                assert len(stays.logged("call started")) == len(before) - len(on_leaving) > 0

                leaves.process.terminate()
                await proxy.wait_states(bridge1="DOWN", bridge2="UP")
                after: list[tuple[str, SimulatedCall]] = []
                async with AsyncExitStack() as later:
                    for number in range(4, 6):
                        for transport in TRANSPORTS:
                            after.append(await place(later, proxy, transport, number))
                    assert {line["call"] for line in leaves.logged("call started")} == on_leaving
                    assert not leaves.logged("call refused")
                    assert [call.report().closed_by for _, call in before] == [None] * len(before)
                    assert leaves.process.poll() is None
            assert await leaves.process.wait() == 0
            for uuid, call in before + after:
                bridge = leaves if uuid in on_leaving else stays
                await bridge.wait_ended(uuid)
                assert_nothing_lost(bridge, uuid, call)
    stay = len(before) - len(on_leaving)
    print(
        f"\n  rolling restart: {len(on_leaving)} calls on the bridge that left, "
        f"{stay} and {len(after)} on the other, up to {before[0][1].report().received_s:.0f} s: "
        "no frame lost"
    )
