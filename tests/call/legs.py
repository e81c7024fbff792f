"""A call on a simulated leg of chan_websocket, in memory and in virtual time."""

from __future__ import annotations

import base64
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import attrs
import trio

from avr_bridge import CallSummary, run_call
from avr_bridge.audio.codec import decode, encode
from avr_bridge.audio.format import ULAW_8K, Encoding
from avr_bridge.call.leg_control import LegControl
from avr_bridge.call.running import RunningCalls
from avr_bridge.testing.chan import MediaDriver, MemoryWire, SimulatedLeg, open_leg_on
from avr_bridge.testing.realtime import SimulatedRealtime
from avr_bridge.tools import LegId
from tests.call.conftest import config

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Sequence
    from contextlib import AbstractAsyncContextManager

    from avr_bridge import BridgeConfig
    from avr_bridge.call.toolwork import CallControl
    from avr_bridge.upstream.client import Dial
    from avr_bridge.upstream.socket import MessageSocket


@attrs.define(eq=False)
class PlacedLeg:
    """A call that runs: its leg, the simulator behind it, and how it ended."""

    leg: SimulatedLeg
    wire: MemoryWire
    simulator: SimulatedRealtime
    running: RunningCalls = attrs.field(factory=RunningCalls)
    summary: CallSummary | None = None
    ended_s: float = 0.0
    over: trio.Event = attrs.field(factory=trio.Event)

    async def wait_over(self) -> float:
        """Wait until the call has ended by itself and the leg has seen it, and say when."""
        with trio.fail_after(120):
            await self.over.wait()
            await self.leg.wait_closed()
        return self.ended_s

    def truncations(self) -> list[int]:
        """Where the model was told that its answers were cut, in ms."""
        (session,) = self.simulator.sessions
        found = session.received_of("conversation.item.truncate")
        return [event["audio_end_ms"] for event in found]


@asynccontextmanager
async def place_leg(
    simulator: SimulatedRealtime | None = None,
    settings: BridgeConfig | None = None,
    driver: MediaDriver | None = None,
    *,
    parameters: dict[str, str] | None = None,
    control: CallControl | None = None,
    dial: Dial | None = None,
    starts: bool = True,
    **more: Any,
) -> AsyncGenerator[PlacedLeg]:
    """Run one call beside the block; the leg is hung up after it, and the call must end."""
    simulator = simulator or SimulatedRealtime()
    wire = MemoryWire(parameters)
    transport = wire.transport
    async with open_leg_on(wire, driver, starts=starts) as leg, trio.open_nursery() as nursery:
        placed = PlacedLeg(leg, wire, simulator)

        async def run() -> None:
            placed.summary = await run_call(
                transport,
                settings or config(),
                dial=dial or simulator.dial,
                control=control
                or LegControl(transport.hang_up, lambda: LegId(transport.channel_id), None),
                running=placed.running,
                **more,
            )
            placed.ended_s = trio.current_time()
            placed.over.set()

        nursery.start_soon(run)
        yield placed
        if leg.closed is None:
            await leg.hang_up()
    assert not simulator.faults


class Tap:
    """The raw sound on its way to the model and from it; may put other sound in its place.

    Attributes:
        to_model, from_model: Every byte of sound, in order, in the session's format.
    """

    def __init__(
        self, simulator: SimulatedRealtime, replace: tuple[bytes, bytes] = (b"", b"")
    ) -> None:
        self.to_model = bytearray()
        self.from_model = bytearray()
        self._simulator = simulator
        self._replace = replace

    def dial(
        self, url: str, headers: Sequence[tuple[str, str]] = ()
    ) -> AbstractAsyncContextManager[MessageSocket]:
        """As the simulator's."""
        return self._dial(url, headers)

    @asynccontextmanager
    async def _dial(
        self, url: str, headers: Sequence[tuple[str, str]]
    ) -> AsyncIterator[MessageSocket]:
        async with self._simulator.dial(url, headers) as socket:
            yield _Tapped(self, socket)

    def changed(self, sound: bytes) -> bytes:
        """What is put in place of the model's sound."""
        old, new = self._replace
        return sound.replace(old, new) if old else sound


class _Tapped:
    def __init__(self, tap: Tap, socket: MessageSocket) -> None:
        self._tap = tap
        self._socket = socket
        self.ping = socket.ping
        self.aclose = socket.aclose

    async def send_message(self, message: bytes | str) -> None:
        event = json.loads(message)
        if event["type"] == "input_audio_buffer.append":
            self._tap.to_model += base64.b64decode(event["audio"])
        await self._socket.send_message(message)

    async def get_message(self) -> bytes | str:
        message = await self._socket.get_message()
        event = json.loads(message)
        if event["type"] != "response.output_audio.delta":
            return message
        sound = self._tap.changed(base64.b64decode(event["delta"]))
        self._tap.from_model += sound
        return json.dumps({**event, "delta": base64.b64encode(sound).decode()})


def ulaw(pcm: bytes) -> bytes:
    """As the leg has it, in whole frames."""
    sound = encode(pcm, Encoding.ULAW)
    return sound + ULAW_8K.silence(-len(sound) % ULAW_8K.frame_bytes)


def heard_pcm(call: PlacedLeg) -> bytes:
    """What the caller heard, as PCM16 at 8 kHz."""
    return decode(call.leg.spoken(), Encoding.ULAW)


class MuteDriver(MediaDriver):
    """Tells neither marks nor status."""

    def command(self, text: str) -> list[str]:
        if not text.startswith("MARK_MEDIA"):
            super().command(text)
        return []
