"""Calls straight from Asterisk over chan_websocket, in virtual time: sound, marks, flush, keys."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import trio

from avr_bridge import EndReason
from avr_bridge.audio.codec import decode, encode
from avr_bridge.audio.format import PCM16_8K, Encoding
from avr_bridge.audio.transcode import Encoder, clip_in
from avr_bridge.caller.chan_websocket import LEAD_MS
from avr_bridge.telemetry.journal import AnswerOver, Moment
from avr_bridge.telemetry.metrics import Metrics
from avr_bridge.testing import (
    Say,
    Script,
    Silence,
    SimulatedRealtime,
    SimulatorOptions,
    likeness,
)
from avr_bridge.testing.chan import MediaDriver
from tests.call.conftest import Echo, config
from tests.call.legs import MuteDriver, Tap, heard_pcm, place_leg, ulaw
from tests.unit.metrics_seen import text, value

if TYPE_CHECKING:
    from trio.testing import MockClock as Clock

    from avr_bridge.telemetry.journal import Moment
    from avr_bridge.testing import Step, Turn

FAST = SimulatorOptions(speed=100)
EVERY_BYTE = bytes(range(256)) * 5
"""Half of a second of µ-law with every value in it; decoded and encoded again, 0x7f is 0xff."""


class Answers:
    """Says the same words whenever the caller has spoken, and greets nobody."""

    def __init__(self, pcm: bytes) -> None:
        self._pcm = pcm

    def answer(self, turn: Turn) -> list[Step]:
        return [Say(self._pcm, 8000, "words")] if turn.caller_audio else []


# -- sound ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("in_json", [False, True])
async def test_ulaw_passes_through_untouched(
    autojump_clock: Clock, question: bytes, in_json: bool
) -> None:
    """µ-law on the leg and at the model: byte for byte the same, each way, though the bytes hold
    a value that no encoder writes."""
    simulator = SimulatedRealtime(Answers(question))
    tap = Tap(simulator, replace=(b"\xff", b"\x7f"))
    driver = MediaDriver("ulaw", in_json=in_json)
    async with place_leg(simulator, driver=driver, dial=tap.dial) as call:
        call.leg.say(EVERY_BYTE)
        await call.leg.wait_said()
        await trio.sleep(8)
    assert EVERY_BYTE in bytes(tap.to_model)
    sent = b"".join(data for _, data in call.leg.media)
    assert b"\x7f" * 100 in sent
    assert sent[: len(tap.from_model)] == bytes(tap.from_model)
    assert set(sent[len(tap.from_model) :]) <= {0xFF}  # the last frame, filled up
    assert len(sent) % 160 == 0
    assert bytes(tap.from_model) in bytes(call.leg.heard)


@pytest.mark.parametrize(
    ("codec", "audio_format"),
    [
        ("ulaw", "pcmu"),
        ("alaw", "pcma"),
        ("alaw", "pcmu"),
        ("ulaw", "pcm"),
        ("slin", "pcmu"),
        ("slin", "pcm"),
        ("slin16", "pcm"),
        ("slin24", "pcm"),
        ("slin16", "pcmu"),
        ("slin24", "pcma"),
    ],
)
async def test_every_codec_carries_a_conversation(
    autojump_clock: Clock, question: bytes, codec: str, audio_format: str
) -> None:
    """Whatever the leg and the model speak: what was said comes back, at the right speed."""
    simulator = SimulatedRealtime(Echo(), FAST)
    driver = MediaDriver(codec)
    async with place_leg(simulator, config(audio_format=audio_format), driver) as call:
        await trio.sleep(1)
        call.leg.say(in_codec(question, driver))
        await call.leg.wait_said()
        await trio.sleep(7)
    spoken = at_8k(call.leg.spoken(), driver)
    assert likeness(question, spoken).correlation > 0.97
    assert call.leg.driver.lost_bytes == 0
    assert call.summary is not None
    assert call.summary.caller_audio_ms == pytest.approx(call.summary.duration_s * 1000, abs=60)


def in_codec(pcm: bytes, driver: MediaDriver) -> bytes:
    """PCM16 at 8 kHz in a leg's codec."""
    return clip_in(driver.fmt, pcm)


def at_8k(sound: bytes, driver: MediaDriver) -> bytes:
    """The way back."""
    return Encoder(PCM16_8K, "fir", driver.fmt).encode(sound)


# -- how far ahead, and marks ---------------------------------------------------------------------


async def test_an_answer_is_sent_ahead_within_the_bound(autojump_clock: Clock) -> None:
    """Thirty seconds that the model has ready at once: never more than the lead waits at
    Asterisk, in few messages, and the caller hears it without a gap."""
    tone = encode(b"\x00\x20\x00\xe0" * 120_000, Encoding.ULAW)
    script = Script([[Say(decode(tone, Encoding.ULAW), 8000, "long")]], then=Silence())
    async with place_leg(SimulatedRealtime(script, FAST)) as call:
        await trio.sleep(33)
    driver = call.leg.driver
    assert 0.9 * LEAD_MS / 20 < driver.longest_queue <= LEAD_MS / 20
    assert tone in bytes(call.leg.heard)
    later = [at_s for at_s, _ in call.leg.media if at_s > call.leg.media[0][0] + 1]
    assert len(later) < 30
    assert driver.lost_bytes == 0
    assert max(len(data) for _, data in call.leg.media) <= 32_000


async def test_each_item_is_marked_behind_its_last_frame(autojump_clock: Clock) -> None:
    """Two items of one answer: the mark of the first stands between them, though both are sent
    ahead, and each comes back when its sound was played."""
    one, two = b"\x00\x20\x00\xe0" * 4000, b"\x00\x30\x00\xd0" * 6000  # 1 s, 1.5 s
    script = Script([[Say(one, 8000, "one"), Say(two, 8000, "two")]], then=Silence())
    over: list[Moment] = []

    def listen(_uuid: str, moment: Moment) -> None:
        over.extend([moment] if isinstance(moment, AnswerOver) else [])

    async with place_leg(SimulatedRealtime(script, FAST), listeners=[listen]) as call:
        await trio.sleep(6)
    leg = call.leg
    marks = [entry for entry in leg.received if entry.text.startswith("MARK_MEDIA")]
    assert len(marks) == 2
    played = [entry for entry in leg.sent if entry.text.startswith("MEDIA_MARK_PROCESSED")]
    first_s = leg.media[0][0]
    assert played[0].at_s - first_s == pytest.approx(1.0, abs=0.045)
    assert played[1].at_s - first_s == pytest.approx(2.5, abs=0.065)
    assert [one.at_s for one in over] == [pytest.approx(played[1].at_s, abs=0.001)]


# -- interruptions --------------------------------------------------------------------------------


@pytest.mark.parametrize("in_json", [False, True])
@pytest.mark.parametrize("speaks_at_s", [0.7, 1.3, 2.9])
async def test_barge_in_is_exact_to_a_frame(
    autojump_clock: Clock, question: bytes, speaks_at_s: float, in_json: bool
) -> None:
    """The caller speaks while seconds are sent ahead: the queue is dropped, and the model is told
    to the frame what was heard."""
    tone = b"\x00\x20\x00\xe0" * 40_000  # 10 s
    script = Script([[Say(tone, 8000, "long")]], then=Silence())
    driver = MediaDriver(in_json=in_json)
    async with place_leg(SimulatedRealtime(script, FAST), driver=driver) as call:
        await call.leg.wait_heard()
        await trio.sleep(speaks_at_s)
        call.leg.say(ulaw(question))
        await call.leg.wait_received("FLUSH_MEDIA")
        flushed_s = trio.current_time()
        await trio.sleep(0.1)
        heard_ms = call.leg.loud_ms
        await trio.sleep(5)
    (told_ms,) = call.truncations()
    assert told_ms == heard_ms
    assert call.summary is not None
    assert call.summary.interruptions == 1
    assert not [at_s for at_s, _ in call.leg.media if at_s > flushed_s]
    assert call.leg.loud_ms == heard_ms


async def test_a_late_clock_is_no_wrong_position(autojump_clock: Clock, question: bytes) -> None:
    """Asterisk stood still for 300 ms in the middle of the answer (asterisk issue 2115): what was
    heard is what it says, not what the time would make of it; by how much the two differ is
    counted."""
    tone = b"\x00\x20\x00\xe0" * 40_000
    script = Script([[Say(tone, 8000, "long")]], then=Silence())
    metrics = Metrics()
    async with place_leg(SimulatedRealtime(script, FAST), listeners=[metrics.take]) as call:
        await call.leg.wait_heard()
        await trio.sleep(0.5)
        call.leg.clock_stands = True
        await trio.sleep(0.3)
        call.leg.clock_stands = False
        await trio.sleep(0.5)
        call.leg.say(ulaw(question))
        await call.leg.wait_received("FLUSH_MEDIA")
        await trio.sleep(0.1)
        heard_ms = call.leg.loud_ms
        await trio.sleep(3)
    assert call.truncations() == [heard_ms]
    count, sum_s = position_errors(metrics)
    assert count == 1
    assert sum_s == pytest.approx(0.3, abs=0.045)


def position_errors(metrics: Metrics) -> tuple[float, float]:
    """How many were observed, and their sum in seconds, as Prometheus reads it."""
    name, page = "avr_bridge_heard_position_error_seconds", text(metrics)
    return value(page, f"{name}_count"), value(page, f"{name}_sum")


async def test_without_a_fault_the_time_is_right_to_a_frame(
    autojump_clock: Clock, question: bytes
) -> None:
    """Two interruptions, each off by less than two frames: one cannot be cut in the middle."""
    tone = b"\x00\x20\x00\xe0" * 40_000
    script = Script([[Say(tone, 8000, "long")], [Say(tone, 8000, "again")]], then=Silence())
    metrics = Metrics()
    async with place_leg(SimulatedRealtime(script, FAST), listeners=[metrics.take]) as call:
        for _ in range(2):
            await call.leg.wait_heard()
            await trio.sleep(1.3)
            call.leg.say(ulaw(question))
            await call.leg.wait_said()
            await trio.sleep(1)
        await trio.sleep(2)
    assert call.summary is not None
    assert call.summary.interruptions == 2
    count, sum_s = position_errors(metrics)
    assert count == 2
    assert sum_s <= 0.08


async def test_speech_into_silence_interrupts_nothing(
    autojump_clock: Clock, question: bytes
) -> None:
    """Nothing plays: no interruption is counted, and the answer to the words is heard whole."""
    script = Script([[], [], [Say(question, 8000, "answer")]], then=Silence())
    async with place_leg(SimulatedRealtime(script)) as call:
        await trio.sleep(1)
        call.leg.say(ulaw(question))
        await call.leg.wait_said()
        await trio.sleep(6)
    assert call.summary is not None
    assert call.summary.interruptions == 0
    assert call.truncations() == []
    assert likeness(question, heard_pcm(call)).correlation > 0.97


async def test_an_asterisk_that_gives_no_status(autojump_clock: Clock, question: bytes) -> None:
    """The position is reckoned from the time, and the call goes on. How wrong that is nobody
    knows: it is not counted as 0."""
    tone = b"\x00\x20\x00\xe0" * 40_000
    driver = MuteDriver()
    script = Script([[Say(tone, 8000, "long")]], then=Silence())
    metrics = Metrics()
    leg = place_leg(SimulatedRealtime(script, FAST), driver=driver, listeners=[metrics.take])
    async with leg as call:
        await call.leg.wait_heard()
        await trio.sleep(1)
        call.leg.say(ulaw(question))
        await call.leg.wait_received("FLUSH_MEDIA")
        await trio.sleep(0.1)
        heard_ms = call.leg.loud_ms
        await trio.sleep(3)
    (told_ms,) = call.truncations()
    assert told_ms == pytest.approx(heard_ms, abs=40)
    assert value(text(metrics), "avr_bridge_barge_in_stop_seconds_count") == 1
    assert position_errors(metrics) == (0, 0)


# -- back-pressure --------------------------------------------------------------------------------


async def test_a_full_queue_is_left_alone(autojump_clock: Clock) -> None:
    """MEDIA_XOFF: nothing more is sent until MEDIA_XON, and nothing is lost."""
    tone = encode(b"\x00\x20\x00\xe0" * 40_000, Encoding.ULAW)
    script = Script([[Say(decode(tone, Encoding.ULAW), 8000, "long")]], then=Silence())
    async with place_leg(SimulatedRealtime(script, FAST)) as call:
        await call.leg.wait_heard()
        await trio.sleep(0.5)
        await call.leg.tell("MEDIA_XOFF")
        await trio.sleep(0.1)
        held_s = trio.current_time()
        await trio.sleep(2)
        assert not [at_s for at_s, _ in call.leg.media if at_s > held_s]
        await call.leg.tell("MEDIA_XON")
        await trio.sleep(12)
    assert tone in bytes(call.leg.heard)


async def test_a_held_queue_does_not_hold_an_interruption(
    autojump_clock: Clock, question: bytes
) -> None:
    """MEDIA_XOFF, then the caller speaks: the flush goes out, and the next answer with it."""
    tone = b"\x00\x20\x00\xe0" * 40_000
    script = Script([[Say(tone, 8000, "long")], [Say(question, 8000, "next")]], then=Silence())
    async with place_leg(SimulatedRealtime(script, FAST)) as call:
        await call.leg.wait_heard()
        await call.leg.tell("MEDIA_XOFF")
        await trio.sleep(0.5)
        call.leg.say(ulaw(question))
        await call.leg.wait_received("FLUSH_MEDIA")
        await trio.sleep(0.1)
        before = len(call.leg.heard)
        await trio.sleep(8)
    spoken = decode(bytes(call.leg.heard[before:]), Encoding.ULAW)
    assert likeness(question, spoken).correlation > 0.97


# -- keys, metadata, identity ---------------------------------------------------------------------


@pytest.mark.parametrize("in_json", [False, True])
async def test_keys_reach_the_model(autojump_clock: Clock, in_json: bool) -> None:
    """DTMF_END, as one turn."""
    simulator = SimulatedRealtime(Script([], then=Silence()))
    async with place_leg(simulator, driver=MediaDriver(in_json=in_json)) as call:
        await trio.sleep(1)
        for digit in "12#":
            call.leg.press(digit)
        await trio.sleep(3)
    assert call.summary is not None
    assert call.summary.digits == 3
    (session,) = simulator.sessions
    items = session.received_of("conversation.item.create")
    assert any("pressed 1 2 on" in json.dumps(event) for event in items)


async def test_who_the_call_is(autojump_clock: Clock) -> None:
    """The channel's id, or the parameter's; parameters and variables are its metadata."""
    variables = {"DIALEDPEERNUMBER": "bridge/c(ulaw)", "from": "a variable", "n": "5"}
    driver = MediaDriver(in_json=True, variables=variables)
    async with place_leg(driver=driver, parameters={"from": "2000"}) as call:
        await trio.sleep(1)
    assert call.leg.driver.answered
    assert call.summary is not None
    assert call.summary.uuid == "1795379054.7"
    assert call.summary.metadata == {**variables, "from": "2000"}
    async with place_leg(parameters={"uuid": "0190-ab"}) as call:
        await trio.sleep(1)
    assert call.summary is not None
    assert call.summary.uuid == "0190-ab"


@pytest.mark.parametrize("in_json", [False, True])
async def test_control_characters_stay_outside(autojump_clock: Clock, in_json: bool) -> None:
    """Of the id and of all metadata: no escape sequence or line of somebody else's reaches a log,
    a header or a prompt. An id of nothing else is none."""
    driver = MediaDriver(in_json=in_json, variables={"v\x1bx": "a\nb"})
    parameters = {"uuid": "\x1b[31m0190-ab\r\n", "name\x07": "A\x9b2JB\u2028C\ud800"}
    async with place_leg(driver=driver, parameters=parameters) as call:
        await trio.sleep(1)
    assert call.summary is not None
    assert call.summary.uuid == "[31m0190-ab"
    assert call.summary.metadata == {
        "uuid": " [31m0190-ab  ",
        "name ": "A 2JB C ",
        **({"v x": "a b"} if in_json else {}),
    }
    async with place_leg(parameters={"uuid": "\x00\x1b"}) as call:
        await trio.sleep(1)
    assert call.summary is not None
    assert call.summary.uuid == "1795379054.7"


async def test_sound_before_media_start_is_kept(autojump_clock: Clock, question: bytes) -> None:
    """asterisk issue 1712: it reaches the model all the same."""
    simulator = SimulatedRealtime(Script([], then=Silence()))
    tap = Tap(simulator)
    async with place_leg(simulator, dial=tap.dial, starts=False) as call:
        call.leg.say(EVERY_BYTE)
        await trio.sleep(0.2)
        await call.leg.tell(call.leg.driver.start())
        await trio.sleep(3)
    assert EVERY_BYTE in bytes(tap.to_model)


async def test_what_asterisk_may_say_one_day_changes_nothing(autojump_clock: Clock) -> None:
    """Unknown events and garbage are counted; the call goes on."""
    async with place_leg() as call:
        await trio.sleep(1)
        for text in ("NEW_EVENT a:b", "{}", "MEDIA_MARK_PROCESSED 999", "STATUS queue_length:5"):
            await call.leg.tell(text)
        await call.leg.tell(call.leg.driver.start())
        await call.leg.tell("MEDIA_START channel_id:2 format:opus")
        await trio.sleep(1)
        assert not call.over.is_set()
    assert call.summary is not None
    assert call.summary.faults == 4
    assert call.summary.end_reason is EndReason.CALLER_HUNG_UP
