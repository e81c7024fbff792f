"""What is AudioSocket's own, on a real Asterisk: codecs that it does not name, silence that has to
flow, and a dialplan that goes on when the bridge hangs up."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio

from avr_bridge.testing import Silence, SimulatedRealtime, likeness
from tests.asterisk.busy import in_real_time
from tests.asterisk.switch import Asterisk, open_asterisk
from tests.faults.conftest import Bridge, open_bridge

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence

LIMIT_S = 60
SHIPPED_ADDRESS = "127.0.0.1:6031"
SHIPPED_CODEC = "c(ulaw)"
APPLICATION = "5001@avr-audiosocket"
CHANNEL = "5002@avr-audiosocket"
SHIPPED_END = " same => n,Hangup()"
ELSEWHERE = " same => n,Goto(elsewhere,200,1)"


@attrs.frozen
class Line:
    """A switch, the bridge that it dials, and the model behind that."""

    switch: Asterisk
    bridge: Bridge
    model: SimulatedRealtime

    async def wait_ended(self) -> dict[str, Any]:
        """Wait until the bridge has logged the end of the call."""
        while not (ended := self.bridge.logged("call ended")):  # noqa: ASYNC110
            await trio.sleep(0.02)
        return ended[-1]


@asynccontextmanager
async def open_line(
    steps: Sequence[str],
    sounds: Mapping[str, bytes],
    model: SimulatedRealtime | None = None,
    *,
    codec: str = SHIPPED_CODEC,
    **settings: Any,
) -> AsyncGenerator[Line]:
    """A bridge, and a switch whose channels of AudioSocket have this codec."""
    model = model or SimulatedRealtime()
    with trio.fail_after(LIMIT_S):
        async with open_bridge(model=model, AVR_AUDIOSOCKET_PORT="0", **settings) as bridge:
            address = bridge.audiosocket.rpartition("/")[2]
            instead = {SHIPPED_ADDRESS: address}
            if codec != SHIPPED_CODEC:
                instead[SHIPPED_CODEC] = codec
            async with open_asterisk(steps, instead, sounds) as switch:
                yield Line(switch, bridge, model)


@pytest.mark.parametrize("codec", ["c(ulaw)", "c(alaw)", "c(slin)"])
@in_real_time
async def test_every_codec_is_found_out(codec: str, question: bytes) -> None:
    """Asterisk sends all three as the same kind of frame and takes slin on each: what the caller
    says comes back to its ear."""
    steps = ["Wait(2)", "Playback(sounds/question)", "Wait(5)"]
    async with open_line(steps, {"question": question}, codec=codec) as line:
        await line.switch.place(CHANNEL)
        await line.switch.wait_over()
        ended = await line.wait_ended()
        heard = line.switch.heard()
    found = likeness(question, heard)
    print(f"\n  {codec}: {found.correlation:.4f}")
    assert found.correlation > 0.95
    assert ended["faults"] == ended["dropped_ms"] == 0
    assert ended["reason"] == "caller_hung_up"


async def test_a_wide_band_leg_is_refused_in_words() -> None:
    """The log says what to change, and Asterisk gives the channel up."""
    async with open_line(["Wait(10)"], {}, codec="c(slin16)") as line:
        await line.switch.place(CHANNEL)
        ended = await line.wait_ended()
        await line.switch.wait_over()
        await line.switch.wait_idle()
    assert ended["reason"] == "caller_format_unknown"
    assert ended["detail"] == "sound at 16 kHz (kind 0x12): only 8 kHz is taken"


async def test_a_call_in_which_nobody_speaks() -> None:
    """Neither the model nor the caller, whose leg sends nothing at all: six seconds later Asterisk,
    which gives up after two without any sound, still has the call."""
    model = SimulatedRealtime(Silence())
    async with open_line(["Wait(6)"], {}, model) as line:
        await line.switch.place(APPLICATION)
        await line.switch.wait_over()
        ended = await line.wait_ended()
    print(f"\n  {ended['duration_s']:.1f} s, {ended['caller_audio_ms']} ms of the caller's sound")
    assert ended["reason"] == "caller_hung_up"
    assert ended["duration_s"] > 5.5


@pytest.mark.parametrize("extension", [APPLICATION, CHANNEL])
@in_real_time
async def test_the_dialplan_goes_on_when_the_bridge_hangs_up(
    extension: str, question: bytes
) -> None:
    """At the longest time of a call: the caller hears what stands behind AudioSocket() in the
    dialplan, or behind Dial(), which has the option g."""
    with trio.fail_after(LIMIT_S):
        async with open_bridge(
            model=SimulatedRealtime(Silence()),
            AVR_AUDIOSOCKET_PORT="0",
            AVR_MAX_CALL_S="2",
            AVR_CALL_CONTROL_MAX_WAIT_S="0",
        ) as bridge:
            instead = {
                SHIPPED_ADDRESS: bridge.audiosocket.rpartition("/")[2],
                SHIPPED_END: ELSEWHERE,
            }
            sounds = {"elsewhere": question}
            async with open_asterisk(["Wait(10)"], instead, sounds) as switch:
                await switch.place(extension)
                await switch.wait_over()
                heard = switch.heard()
            (ended,) = bridge.logged("call ended")
    assert ended["reason"] == "bridge_hung_up"
    assert likeness(question, heard).correlation > 0.9
