"""The ways from Asterisk to the bridge, each with its bridge, its model and its switch."""

from __future__ import annotations

import sys
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

import attrs
import trio

from avr_bridge.soak.child import open_child
from avr_bridge.soak.container import free_port
from avr_bridge.testing import SimulatedAmi, SimulatedRealtime
from avr_bridge.testing.ami import AmiRequest
from tests.asterisk.switch import MANAGER_PORT, Asterisk, open_asterisk
from tests.faults.conftest import Bridge, open_bridge

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence


SHIPPED_AUDIOSOCKET = "127.0.0.1:6031"
SHIPPED_WEBSOCKET = "ws://127.0.0.1:6030"
SHIPPED_SECRET = "a-long-secret"
CORE_START_S = 30
LIMIT_S = 90
"""For a test's calls, the start of all that stands between included."""


@attrs.frozen
class Way:
    """One way in.

    Attributes:
        extension: What is dialled: an extension of the examples.
        core: The transport of the avr-core that stands between, if one does.
    """

    extension: str
    core: str | None = None


WAYS = {
    "AudioSocket()": Way("5001@telephones"),
    "Dial(AudioSocket)": Way("5002@telephones"),
    "chan_websocket": Way("5003@telephones"),
    "avr-core, WebSocket": Way("5001@telephones", "ws"),
    "avr-core, HTTP": Way("5001@telephones", "http"),
}


@attrs.frozen
class Line:
    """All that stands between callers and the model."""

    way: Way
    switch: Asterisk
    bridge: Bridge
    model: SimulatedRealtime

    async def place(self) -> int:
        """Begin a call; the number of its caller."""
        return await self.switch.place(self.way.extension)

    async def wait_ended(self, calls: int = 1) -> list[dict[str, Any]]:
        """Wait until the bridge has logged the ends of so many calls."""
        while len(ended := self.bridge.logged("call ended")) < calls:  # noqa: ASYNC110
            await trio.sleep(0.02)
        return ended


@asynccontextmanager
async def open_line(
    name: str,
    model: SimulatedRealtime,
    steps: Sequence[str],
    sounds: Mapping[str, bytes],
    *,
    instead: Mapping[str, str] | None = None,
    manager: bool = True,
    **settings: Any,
) -> AsyncGenerator[Line]:
    """A bridge and a switch, joined by one of `WAYS`, for `LIMIT_S` at the most.

    Args:
        name: Of the way.
        model: Behind the bridge.
        steps: What each caller does, see `open_asterisk`.
        sounds: What callers say, and what else is played.
        instead: What else stands otherwise in the examples' files.
        manager: Whether the bridge is let in by Asterisk's manager.
        settings: More of the bridge's.
    """
    way = WAYS[name]
    manager_port = free_port()
    asked, ami = _ami()
    with trio.fail_after(LIMIT_S):
        async with trio.open_nursery() as nursery:
            settings |= {"AVR_AUDIOSOCKET_PORT": "0", "AMI_URL": await nursery.start(ami.serve)}
            if manager:
                settings |= {
                    "AVR_MANAGER_ENDPOINT": f"tcp://127.0.0.1:{manager_port}",
                    "AVR_MANAGER_USER": "avr",
                    "AVR_MANAGER_PASSWORD": SHIPPED_SECRET,
                }
            async with open_bridge(model=model, **settings) as bridge, AsyncExitStack() as around:
                audiosocket = bridge.audiosocket.rpartition("/")[2]
                if way.core is not None:
                    core = open_core(bridge.address(way.core))
                    audiosocket = await around.enter_async_context(core)
                addresses = {
                    SHIPPED_AUDIOSOCKET: audiosocket,
                    SHIPPED_WEBSOCKET: bridge.ws,
                    MANAGER_PORT: f"port = {manager_port}",
                    **(instead or {}),
                }
                async with open_asterisk(steps, addresses, sounds) as switch:
                    nursery.start_soon(_act_as_avr_ami, asked, switch)
                    yield Line(way, switch, bridge, model)
            nursery.cancel_scope.cancel()


@asynccontextmanager
async def open_core(sts_url: str) -> AsyncGenerator[str]:
    """The stand-in for avr-core, in a process of its own; its address for Asterisk."""
    command = [sys.executable, "-m", "avr_bridge.testing.core", sts_url, "--port", "0"]
    async with open_child(command, piped=True) as child:
        assert child.process.stdout is not None
        said = b""
        with trio.fail_after(CORE_START_S):
            while b"\n" not in said:
                said += await child.process.stdout.receive_some()
        yield said.decode().split()[2].rstrip(",")


def _ami() -> tuple[trio.MemoryReceiveChannel[AmiRequest], SimulatedAmi]:
    """An avr-ami, and what it was asked."""
    ask, asked = trio.open_memory_channel[AmiRequest](float("inf"))
    return asked, SimulatedAmi(on_done=ask.send_nowait)


async def _act_as_avr_ami(asked: trio.MemoryReceiveChannel[AmiRequest], switch: Asterisk) -> None:
    """Do in the switch what avr-ami was asked: the channel is the one with the UUID."""
    async for request in asked:
        channels = (await switch.cli("core show channels concise")).splitlines()
        (channel,) = (line.split("!")[0] for line in channels if request.uuid in line)
        if request.action == "hangup":
            await switch.cli(f"channel request hangup {channel}")
        else:
            where = ",".join(str(request.body[key]) for key in ("context", "exten", "priority"))
            await switch.cli(f"channel redirect {channel} {where}")
