"""What is AudioSocket's own, on a real Asterisk: codecs that it does not name, silence that has to
flow, and a dialplan that goes on when the bridge hangs up."""

from __future__ import annotations

import pytest

from avr_bridge.testing import Silence, SimulatedRealtime, likeness
from tests.asterisk.busy import in_real_time
from tests.asterisk.ways import open_line

SHIPPED_CODEC = "c(ulaw)"
APPLICATION = "AudioSocket()"
CHANNEL = "Dial(AudioSocket)"
SHIPPED_END = " same => n,Hangup()"
ELSEWHERE = " same => n,Goto(elsewhere,200,1)"


@pytest.mark.parametrize("codec", ["c(ulaw)", "c(alaw)", "c(slin)"])
@in_real_time
async def test_every_codec_is_found_out(codec: str, question: bytes) -> None:
    """Asterisk sends all three as the same kind of frame and takes slin on each: what the caller
    says comes back to its ear."""
    steps = ["Wait(2)", "Playback(sounds/question)", "Wait(5)"]
    sounds, instead = {"question": question}, {SHIPPED_CODEC: codec}
    async with open_line(CHANNEL, SimulatedRealtime(), steps, sounds, instead=instead) as line:
        await line.place()
        await line.switch.wait_over()
        (ended,) = await line.wait_ended()
        heard = line.switch.heard()
    found = likeness(question, heard)
    print(f"\n  {codec}: {found.correlation:.4f}")
    assert found.correlation > 0.95
    assert ended["faults"] == ended["dropped_ms"] == 0
    assert ended["reason"] == "caller_hung_up"


async def test_a_wide_band_leg_is_refused_in_words() -> None:
    """The log says what to change, and Asterisk gives the channel up."""
    instead = {SHIPPED_CODEC: "c(slin16)"}
    async with open_line(CHANNEL, SimulatedRealtime(), ["Wait(10)"], {}, instead=instead) as line:
        await line.place()
        (ended,) = await line.wait_ended()
        await line.switch.wait_over()
        await line.switch.wait_idle()
    assert ended["reason"] == "caller_format_unknown"
    assert ended["detail"] == "sound at 16 kHz (kind 0x12): only 8 kHz is taken"


async def test_a_call_in_which_nobody_speaks() -> None:
    """Neither the model nor the caller, whose leg sends nothing at all: six seconds later Asterisk,
    which gives up after two without any sound, still has the call."""
    model = SimulatedRealtime(Silence())
    async with open_line(APPLICATION, model, ["Wait(6)"], {}) as line:
        await line.place()
        await line.switch.wait_over()
        (ended,) = await line.wait_ended()
    print(f"\n  {ended['duration_s']:.1f} s, {ended['caller_audio_ms']} ms of the caller's sound")
    assert ended["reason"] == "caller_hung_up"
    assert ended["duration_s"] > 5.5


@pytest.mark.parametrize("way", [APPLICATION, CHANNEL])
@in_real_time
async def test_the_dialplan_goes_on_when_the_bridge_hangs_up(way: str, question: bytes) -> None:
    """At the longest time of a call: the caller hears what stands behind AudioSocket() in the
    dialplan, or behind Dial(), which has the option g."""
    async with open_line(
        way,
        SimulatedRealtime(Silence()),
        ["Wait(10)"],
        {"elsewhere": question},
        instead={SHIPPED_END: ELSEWHERE},
        AVR_MAX_CALL_S="2",
        AVR_CALL_CONTROL_MAX_WAIT_S="0",
    ) as line:
        await line.place()
        await line.switch.wait_over()
        heard = line.switch.heard()
        (ended,) = await line.wait_ended()
    assert ended["reason"] == "bridge_hung_up"
    assert likeness(question, heard).correlation > 0.9
