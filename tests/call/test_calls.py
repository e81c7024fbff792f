"""A call goes through: what was said comes back, whole, paced, in every format."""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING, Any

import audioop
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from avr_bridge import BridgeConfig, EndReason
from avr_bridge.caller.transport import AudioOut, CallerFault, DtmfDigit, ErrorOut, TranscriptOut
from avr_bridge.config import AudioConfig
from avr_bridge.testing.likeness import likeness, tone_level_db
from avr_bridge.testing.memory import MemoryCaller
from avr_bridge.testing.realtime import (
    Say,
    Script,
    Silence,
    SimulatedRealtime,
    SimulatorOptions,
)
from tests.call.conftest import Echo, config, place_call

if TYPE_CHECKING:
    from trio.testing import MockClock as Clock

FRAME_BYTES = 320


def tone(freq_hz: float, duration_s: float, level: int = 9000) -> bytes:
    return b"".join(
        round(level * math.sin(2 * math.pi * freq_hz * n / 8000)).to_bytes(2, "little", signed=True)
        for n in range(int(duration_s * 8000))
    )


@pytest.mark.parametrize("resampler", ["fir", "audioop"])
@pytest.mark.parametrize("audio_format", ["pcmu", "pcma", "pcm"])
async def test_the_parrot_is_heard(
    autojump_clock: Clock, question: bytes, audio_format: str, resampler: str
) -> None:
    """Real speech, said by the caller, comes back alike in each format; the call ends clean."""
    base = config(audio_format=audio_format)
    with_resampler = BridgeConfig(model=base.model, audio=AudioConfig(resampler=resampler))
    async with place_call(SimulatedRealtime(Echo()), with_resampler) as call:
        call.caller.start()
        await call.caller.say(question)
        await call.caller.be_silent(6)
    least = 0.99 if (audio_format, resampler) != ("pcm", "audioop") else 0.95
    assert likeness(question, call.caller.audio()).correlation > least
    assert call.summary is not None
    assert call.summary.end_reason is EndReason.CALLER_HUNG_UP
    assert call.summary.underruns == 0
    assert call.summary.dropped_ms == 0
    assert call.summary.turns == 1


async def test_the_model_greets_once(autojump_clock: Clock) -> None:
    """The model speaks first, as with the Node connector; its words reach the caller."""
    async with place_call() as call:
        call.caller.start()
        await call.caller.be_silent(3)
    session = call.simulator.sessions[0]
    assert len(session.received_of("response.create")) == 1
    assert len(call.caller.audio()) > 8000
    assert await call.caller.wait_for(TranscriptOut) == TranscriptOut("agent", "(greeting tones)")
    assert call.summary is not None
    assert call.summary.answered_after_s == pytest.approx(0.15, abs=0.1)


async def test_the_first_words_are_kept_while_the_model_connects(
    autojump_clock: Clock, question: bytes
) -> None:
    """Speaking at once, into a connection that takes three seconds, loses nothing."""
    slow = SimulatorOptions(connect_delay_s=2, updated_delay_s=1)
    async with place_call(SimulatedRealtime(Echo(), slow)) as call:
        call.caller.start()
        await call.caller.say(question)
        await call.caller.be_silent(8)
    heard = likeness(question, call.caller.audio())
    assert heard.correlation > 0.99
    assert call.summary is not None
    assert call.summary.dropped_ms == 0


async def test_sound_before_init_is_kept_too(autojump_clock: Clock, question: bytes) -> None:
    """avr-core sends init first; a peer that does not loses no sound either."""
    async with place_call(SimulatedRealtime(Echo())) as call:
        await call.caller.say(question)
        call.caller.start()
        await call.caller.be_silent(7)
    assert likeness(question, call.caller.audio()).correlation > 0.99


async def test_whole_frames_paced_to_real_time(autojump_clock: Clock, question: bytes) -> None:
    """Each message is whole frames, and never more than 200 ms lie ahead of what was played."""
    async with place_call(SimulatedRealtime(Echo(), SimulatorOptions(speed=50))) as call:
        call.caller.start()
        await call.caller.say(question)
        await call.caller.be_silent(6)
    sound = [(r.at_s, r.message) for r in call.caller.received if isinstance(r.message, AudioOut)]
    plays_until_s = 0.0
    for at_s, message in sound:
        assert len(message.pcm) % FRAME_BYTES == 0
        plays_until_s = max(plays_until_s, at_s) + len(message.pcm) / 16000
        assert plays_until_s - at_s <= 0.2001
    assert plays_until_s - sound[0][0] == pytest.approx(len(call.caller.audio()) / 16000)


async def test_transcripts_digits_and_faults(autojump_clock: Clock, question: bytes) -> None:
    """Both sides' text reaches avr-core; a fault is told in words and the call goes on."""
    async with place_call(SimulatedRealtime(Echo()), None, MemoryCaller({"from": "1"})) as call:
        call.caller.start()
        call.caller.send(CallerFault("audio: empty"))
        call.caller.send(DtmfDigit("5"))
        await call.caller.say(question)
        await call.caller.be_silent(6)
    assert await call.caller.wait_for(ErrorOut) == ErrorOut("audio: empty")
    roles = [r.message.role for r in call.caller.received if isinstance(r.message, TranscriptOut)]
    assert sorted(roles) == ["agent", "user"]
    assert call.summary is not None
    assert (call.summary.digits, call.summary.faults) == (1, 1)
    assert call.summary.metadata == {"from": "1"}


@pytest.mark.parametrize("kind", ["refused", "ignored"])
@pytest.mark.parametrize("audio_format", ["pcmu", "pcma"])
async def test_a_model_that_does_not_honour_g711(
    autojump_clock: Clock, question: bytes, log: list[dict[str, Any]], kind: str, audio_format: str
) -> None:
    """Whether it says so or sends PCM all the same: speech, no noise, and one line in the log."""
    simulator = SimulatedRealtime(
        Echo(),
        SimulatorOptions(g711=kind),  # type: ignore[arg-type]
    )
    async with place_call(simulator, config(audio_format=audio_format)) as call:
        call.caller.start()
        for _ in range(2):
            await call.caller.say(question)
            await call.caller.be_silent(6)
    half = len(call.caller.audio()) // 2
    assert likeness(question, call.caller.audio()[:half]).correlation > 0.97
    assert likeness(question, call.caller.audio()[half:]).correlation > 0.97
    warnings = [line for line in log if line["log_level"] == "warning"]
    assert len(warnings) == 1
    assert "PCM" in warnings[0]["event"] or "format" in warnings[0]["event"]


@pytest.mark.parametrize("delta_ms", [(7, 31, 67), (31,), (67,), (9, 11), (50, 9)])
async def test_a_switch_to_pcm_in_the_middle_of_a_sample(
    autojump_clock: Clock, question: bytes, delta_ms: tuple[int, ...]
) -> None:
    """Deltas of odd length, quiet at first: the bytes that were misread as G.711 may be odd in
    number, and what follows is speech all the same."""
    quiet = bytes(b"\x01\x00\x00\x00" * 1200)
    options = SimulatorOptions(g711="ignored", odd_bytes=True, delta_ms=delta_ms)
    script = Script([[Say(quiet + question, 8000, "speech")]])
    async with place_call(SimulatedRealtime(script, options)) as call:
        call.caller.start()
        await call.caller.be_silent(7)
    assert likeness(question, call.caller.audio()).correlation > 0.9


async def test_a_wrong_rate_is_noticed_from_the_bill(
    autojump_clock: Clock, question: bytes, log: list[dict[str, Any]]
) -> None:
    """Loud PCM noise does not tell itself from G.711; the first answer's tokens do, and the
    second answer is speech."""
    noise = random.Random(1).randbytes(48_000 * 3)
    script = Script([[Say(noise, 24_000, "noise")], [Say(question, 8000, "speech")]])
    simulator = SimulatedRealtime(script, SimulatorOptions(g711="ignored"))
    async with place_call(simulator) as call:
        call.caller.start()
        await call.caller.be_silent(5)
        first_bytes = len(call.caller.audio())
        await call.caller.say(question)
        await call.caller.be_silent(6)
    assert likeness(question, call.caller.audio()[first_bytes:]).correlation > 0.97
    assert len([line for line in log if line["log_level"] == "warning"]) == 1


@settings(max_examples=25, deadline=None)
@given(
    delta_ms=st.lists(st.integers(1, 400), min_size=1, max_size=6),
    samples=st.integers(1, 9000),
    speed=st.sampled_from([1.5, 8, 200]),
    audio_format=st.sampled_from(["pcmu", "pcma"]),
)
def test_no_sample_is_lost_doubled_or_reordered(
    delta_ms: list[int], samples: int, speed: float, audio_format: str
) -> None:
    """Two answers cut into any deltas arrive bit for bit, each padded to its own last frame."""
    first = tone(440, samples / 8000)[: samples * 2]
    second = tone(523, 0.5)
    script = Script([[Say(first, 8000, "one")], [Say(second, 8000, "two")]], then=Silence())

    async def converse() -> bytes:
        options = SimulatorOptions(delta_ms=tuple(delta_ms), speed=speed)
        async with place_call(
            SimulatedRealtime(script, options), config(audio_format=audio_format)
        ) as call:
            call.caller.start()
            await call.caller.be_silent(4)
            await call.caller.say(tone(300, 0.8))
            await call.caller.be_silent(4)
            return call.caller.audio()

    heard = trio.run(converse, clock=MockClock(autojump_threshold=0))
    assert heard == _through(first, audio_format) + _through(second, audio_format)


def _through(pcm: bytes, audio_format: str) -> bytes:
    """What G.711 leaves of `pcm`, padded to whole frames."""
    if audio_format == "pcmu":
        coded = audioop.ulaw2lin(audioop.lin2ulaw(pcm, 2), 2)
    else:
        coded = audioop.alaw2lin(audioop.lin2alaw(pcm, 2), 2)
    return coded + bytes(-len(coded) % FRAME_BYTES)


@settings(max_examples=12, deadline=None)
@given(
    calls=st.lists(
        st.tuples(
            st.sampled_from(["pcmu", "pcma", "pcm"]),
            st.integers(0, 900).map(lambda ms: ms / 1000),
        ),
        min_size=2,
        max_size=6,
    )
)
def test_calls_never_mix(calls: list[tuple[str, float]]) -> None:
    """N calls at once, each with a tone of its own: each hears its own tone and no other."""
    tones_hz = [400 + 430 * n for n in range(len(calls))]

    async def one(simulator: SimulatedRealtime, number: int, heard: dict[int, bytes]) -> None:
        audio_format, offset_s = calls[number]
        await trio.sleep(offset_s)
        async with place_call(simulator, config(audio_format=audio_format)) as call:
            call.caller.start()
            await call.caller.say(tone(tones_hz[number], 1.0))
            await call.caller.be_silent(4)
        heard[number] = call.caller.audio()

    async def all_at_once() -> dict[int, bytes]:
        simulator = SimulatedRealtime(Echo())
        heard: dict[int, bytes] = {}
        async with trio.open_nursery() as nursery:
            for number in range(len(calls)):
                nursery.start_soon(one, simulator, number, heard)
        assert simulator.open_sessions == 0
        return heard

    heard = trio.run(all_at_once, clock=MockClock(autojump_threshold=0))
    for number, own_hz in enumerate(tones_hz):
        speech = heard[number][: len(tone(own_hz, 1.0))]
        assert len(speech) > 12_000
        own_db = tone_level_db(speech, own_hz)
        for other_hz in tones_hz[:number] + tones_hz[number + 1 :]:
            assert tone_level_db(speech, other_hz) < own_db - 35
