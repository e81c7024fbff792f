"""Calls straight from Asterisk in memory and in virtual time: what flows, and how it ends."""

from __future__ import annotations

from contextlib import asynccontextmanager
from itertools import pairwise
from typing import TYPE_CHECKING

import attrs
import numpy as np
import pytest
import trio
import trio.testing

from avr_bridge import CallSummary, EndReason, run_call
from avr_bridge.audio.codec import decode, encode
from avr_bridge.audio.format import Encoding
from avr_bridge.caller.audiosocket import LEAD_MS, AudioSocketTransport
from avr_bridge.caller.transport import AudioOut, CallerAudio, CallerLeft, CallStarted, Leaving
from avr_bridge.errors import CallerGone
from avr_bridge.testing import (
    Say,
    Script,
    Silence,
    SimulatedAmi,
    SimulatedCall,
    SimulatedRealtime,
    SimulatorOptions,
    likeness,
)
from avr_bridge.testing.caller.audiosocket_line import AudioSocketLine, Codec, audiosocket_frame
from avr_bridge.testing.caller.placing import open_call_on
from tests.call.conftest import Echo, config

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from trio.testing import MockClock as Clock

    from avr_bridge import BridgeConfig

UUID = "40325ec2-5efd-4bd3-805f-53576e581d13"
FAST = SimulatorOptions(speed=100)
LAW = {"slin": Encoding.PCM16, "ulaw": Encoding.ULAW, "alaw": Encoding.ALAW}
SILENT_FRAME = audiosocket_frame(0x10, bytes(320))


@attrs.define(eq=False)
class Leg:
    """A call that runs over AudioSocket: Asterisk's end, the bridge's, and how it ended."""

    call: SimulatedCall
    transport: AudioSocketTransport
    simulator: SimulatedRealtime
    summary: CallSummary | None = None


@asynccontextmanager
async def place_leg(
    simulator: SimulatedRealtime | None = None,
    settings: BridgeConfig | None = None,
    codec: Codec = "slin",
) -> AsyncGenerator[Leg]:
    """Run one call beside the block; Asterisk hangs up after it, and the call must end."""
    theirs, ours = trio.testing.memory_stream_pair()
    transport = AudioSocketTransport(ours)
    line = AudioSocketLine(theirs, codec)
    await line.open("", "", UUID)
    simulator = simulator or SimulatedRealtime(Echo(), FAST)
    async with trio.open_nursery() as flowing:
        flowing.start_soon(transport.keep_flowing)
        async with trio.open_nursery() as nursery, open_call_on(line) as call:
            leg = Leg(call, transport, simulator)

            async def run() -> None:
                leg.summary = await run_call(
                    transport, settings or config(), dial=simulator.dial, control=SimulatedAmi()
                )

            nursery.start_soon(run)
            yield leg
            await call.hang_up()
        flowing.cancel_scope.cancel()
    assert not simulator.faults
    assert call.report().faults == ()


@pytest.mark.parametrize("codec", ["slin", "ulaw", "alaw"])
async def test_what_is_said_comes_back(
    autojump_clock: Clock, question: bytes, codec: Codec
) -> None:
    """Through each codec, found out: the model's echo is what was said. The caller hears no gap in
    it, and the flow is as long as the call."""
    async with place_leg(codec=codec) as leg:
        leg.call.say(question)
        await leg.call.wait_said()
        await leg.call.wait_heard_speech()
        await leg.call.wait_quiet()
        assert leg.transport.encoding is LAW[codec]
        heard = leg.call.heard()
        report = leg.call.report()
        called_s = leg.call.now_ms() / 1000
    said = decode(encode(question, LAW[codec]), LAW[codec])
    assert likeness(said, heard).correlation > 0.99
    assert report.underruns == 0
    assert called_s - 0.1 < report.received_s < called_s + LEAD_MS / 1000 + 0.1
    assert leg.summary is not None
    assert leg.summary.end_reason is EndReason.CALLER_HUNG_UP
    assert leg.summary.uuid == UUID
    assert leg.summary.metadata == {}
    assert leg.summary.dropped_ms == 0


@pytest.mark.parametrize("codec", ["slin", "ulaw", "alaw"])
@pytest.mark.parametrize("offset", [80, 300])
async def test_an_offset_on_the_line(
    autojump_clock: Clock, question: bytes, codec: Codec, offset: int
) -> None:
    """Two seconds of it with a little noise say nothing of the codec, or the wrong thing: the
    question behind them, on the same offset, is heard as it was said."""
    samples = np.concatenate([np.zeros(16_000), np.frombuffer(question, "<i2"), np.zeros(8_000)])
    samples += offset + np.random.default_rng(2).normal(0, 5, len(samples))
    spoken = np.rint(samples).clip(-32768, 32767).astype("<i2").tobytes()
    async with place_leg(codec=codec) as leg:
        leg.call.say(spoken)
        with trio.fail_after(60):
            await leg.call.wait_said()
            await leg.call.wait_heard_speech()
            await leg.call.wait_quiet()
        assert leg.transport.encoding is LAW[codec]
        heard = leg.call.heard()
    assert likeness(question, heard).correlation > 0.98  # an offset of 300 costs 0.01
    assert leg.summary is not None
    assert leg.summary.turns == 1


async def test_silence_flows_before_anything_is_said(autojump_clock: Clock) -> None:
    """From the UUID on, though no frame of the caller ever comes: Asterisk would give up after 2 s,
    or wait for us for ever. In ten seconds there is no gap of 0.1 s, and no more than real time."""
    theirs, ours = trio.testing.memory_stream_pair()
    transport = AudioSocketTransport(ours)
    arrivals: list[float] = []
    received = b""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(transport.keep_flowing)
        await theirs.send_all(audiosocket_frame(0x01, bytes(16)))
        assert isinstance(await transport.receive(), CallStarted)
        with trio.move_on_after(10):
            while True:
                received += await theirs.receive_some()
                arrivals.append(trio.current_time())
        nursery.cancel_scope.cancel()
    assert received == SILENT_FRAME * (len(received) // len(SILENT_FRAME))
    gaps = [after - before for before, after in pairwise(arrivals)]
    assert max(gaps) <= 0.1
    assert 480 <= len(received) / len(SILENT_FRAME) <= 505


async def test_silence_keeps_step_with_the_caller(autojump_clock: Clock) -> None:
    """While the caller's sound comes, each frame of it is answered by one of silence at once: what
    the model says next waits behind 20 ms of it at the most."""
    theirs, ours = trio.testing.memory_stream_pair()
    transport = AudioSocketTransport(ours)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(transport.keep_flowing)
        await theirs.send_all(audiosocket_frame(0x01, bytes(16)))
        await transport.receive()
        await theirs.receive_some()
        for _ in range(200):
            await trio.sleep(0.02)
            await theirs.send_all(SILENT_FRAME)
            assert isinstance(await transport.receive(), CallerAudio)
            assert await theirs.receive_some() == SILENT_FRAME
        nursery.cancel_scope.cancel()


async def test_no_silence_between_the_frames_of_an_answer(autojump_clock: Clock) -> None:
    """Words are sent ahead; until they are played no silence is put between them, though the
    caller's sound goes on."""
    theirs, ours = trio.testing.memory_stream_pair()
    transport = AudioSocketTransport(ours)
    words = b"\x01\x02" * 160
    async with trio.open_nursery() as nursery:
        nursery.start_soon(transport.keep_flowing)
        await theirs.send_all(audiosocket_frame(0x01, bytes(16)))
        await transport.receive()
        await theirs.receive_some()
        for _ in range(50):
            await transport.send(AudioOut(words * 4))
            assert await theirs.receive_some() == audiosocket_frame(0x10, words) * 4
            for _ in range(4):
                await trio.sleep(0.0199)
                await theirs.send_all(SILENT_FRAME)
                await transport.receive()
        nursery.cancel_scope.cancel()


async def test_an_interruption_leaves_little_to_be_heard(
    autojump_clock: Clock, question: bytes
) -> None:
    """Nothing can be taken back at Asterisk: what still sounds is what was sent ahead."""
    simulator = SimulatedRealtime(Echo(), FAST)
    async with place_leg(simulator) as leg:
        leg.call.say(question)
        await leg.call.wait_said()
        await leg.call.wait_heard_speech()
        await trio.sleep(0.5)
        leg.call.say(question)
        await leg.call.wait_said()
        report = leg.call.report()
    assert leg.summary is not None
    assert leg.summary.interruptions == 1
    assert report.longest_lead_ms <= LEAD_MS + 20


async def test_keys_reach_the_model(autojump_clock: Clock) -> None:
    """DTMF frames are keys of the call."""
    async with place_leg() as leg:
        for digit in "42#":
            leg.call.send_digit(digit)
        await trio.sleep(1)
        items = leg.simulator.sessions[0].received_of("conversation.item.create")
    assert leg.summary is not None
    assert leg.summary.digits == 3
    assert "pressed 4 2 on" in str(items)


async def test_asterisk_is_told_of_the_end(autojump_clock: Clock) -> None:
    """Whatever the reason: a hang-up frame, so that the dialplan goes on, and then the end of the
    stream."""
    theirs, ours = trio.testing.memory_stream_pair()
    transport = AudioSocketTransport(ours)
    await theirs.send_all(audiosocket_frame(0x01, bytes(16)))
    await transport.receive()
    await transport.close(1011, "model_unavailable")
    await transport.close(1011, "model_unavailable")
    await transport.send(AudioOut(bytes(320)))
    received = b""
    while data := await theirs.receive_some():
        received += data
    assert received == SILENT_FRAME + audiosocket_frame(0x00)


@pytest.mark.parametrize(
    ("wire", "how", "detail"),
    [
        (b"", Leaving.HUNG_UP, ""),
        (SILENT_FRAME[:100], Leaving.BROKE_PROTOCOL, "the connection ended within a frame"),
        (b"\x10", Leaving.BROKE_PROTOCOL, "the connection ended within a frame"),
        (audiosocket_frame(0x00), Leaving.HUNG_UP, ""),
    ],
)
async def test_ways_to_end(autojump_clock: Clock, wire: bytes, how: Leaving, detail: str) -> None:
    """By a hang-up, by the end of the stream, or by its end within a frame."""
    theirs, ours = trio.testing.memory_stream_pair()
    transport = AudioSocketTransport(ours)
    await theirs.send_all(audiosocket_frame(0x01, bytes(16)) + wire)
    await theirs.send_eof()
    assert isinstance(await transport.receive(), CallStarted)
    assert await transport.receive() == CallerLeft(how, detail)


async def test_a_frame_that_is_never_finished(autojump_clock: Clock) -> None:
    """A byte a second: after 10 s the caller has left, as too slow."""
    theirs, ours = trio.testing.memory_stream_pair()
    transport = AudioSocketTransport(ours)

    async def drip() -> None:
        for number in range(60):
            await theirs.send_all(SILENT_FRAME[number : number + 1])
            await trio.sleep(1)

    await theirs.send_all(audiosocket_frame(0x01, bytes(16)))
    await transport.receive()
    began_s = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(drip)
        left = await transport.receive()
        nursery.cancel_scope.cancel()
    assert left == CallerLeft(Leaving.TOO_SLOW, "a frame that is never finished")
    assert 10 < trio.current_time() - began_s < 12


async def test_nobody_says_which_call_it_is(autojump_clock: Clock) -> None:
    """The first event is then that the caller has left, and the call's end has that reason."""
    _theirs, ours = trio.testing.memory_stream_pair()
    transport = AudioSocketTransport(ours)
    assert await transport.wait_started(10) == CallerLeft(Leaving.SENT_NO_INIT)
    assert trio.current_time() == 10
    summary = await run_call(transport, config(), dial=SimulatedRealtime().dial)
    assert summary.end_reason is EndReason.CALLER_SENT_NO_INIT


async def test_too_high_a_rate_is_refused_in_words(autojump_clock: Clock) -> None:
    """Asterisk's slin16: the call ends at once, and its summary says what to change."""
    theirs, ours = trio.testing.memory_stream_pair()
    transport = AudioSocketTransport(ours)
    wire = audiosocket_frame(0x01, bytes(16)) + audiosocket_frame(0x12, bytes(640))
    await theirs.send_all(wire)
    summary = await run_call(transport, config(), dial=SimulatedRealtime().dial)
    assert summary.end_reason is EndReason.CALLER_FORMAT_UNKNOWN
    assert summary.detail == "sound at 16 kHz (kind 0x12): only 8 kHz is taken"


async def test_words_go_before_silence_when_both_are_late(
    autojump_clock: Clock, question: bytes
) -> None:
    """The program was held up for 150 ms, longer than what was sent ahead lasts. When it goes on,
    the caller's sound and the answer's next frames are due at once: no silence is put between."""
    simulator = SimulatedRealtime(Script([[Say(question, 8000, "on")]], then=Silence()), FAST)
    async with place_leg(simulator) as leg:
        await leg.call.wait_heard_speech()
        for _ in range(6):
            await trio.sleep(0.111)
            autojump_clock.jump(0.15)
        await leg.call.wait_quiet()
        received = leg.call.received().strip(b"\0")
    spoken = decode(encode(question, Encoding.ULAW), Encoding.ULAW).strip(b"\0")
    assert received == spoken


async def test_a_reset_that_a_send_met_first(autojump_clock: Clock) -> None:
    """The kernel tells of it once: the reader then sees an end within a frame, which is no breach
    of the protocol but a lost connection."""
    theirs, ours = trio.testing.memory_stream_pair()
    transport = AudioSocketTransport(ours)
    await theirs.send_all(audiosocket_frame(0x01, bytes(16)) + SILENT_FRAME[:100])
    assert isinstance(await transport.receive(), CallStarted)
    theirs.receive_stream.close()
    with pytest.raises(CallerGone):
        await transport.send(AudioOut(bytes(320)))
    await theirs.send_eof()
    assert await transport.receive() == CallerLeft(Leaving.HUNG_UP)
