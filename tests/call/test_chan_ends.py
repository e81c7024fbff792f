"""Calls straight from Asterisk over chan_websocket, in virtual time: how they end and are moved."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio

from avr_bridge import EndReason, TalkConfig
from avr_bridge.audio.codec import encode
from avr_bridge.audio.format import ALAW_8K, Encoding
from avr_bridge.audio.sounds import read_clip
from avr_bridge.call.farewell import say_farewell
from avr_bridge.call.leg_control import NO_MANAGER
from avr_bridge.errors import ToolError
from avr_bridge.telemetry.journal import CallBegan, CallEnded, Moment
from avr_bridge.testing import (
    CallTool,
    Parrot,
    Say,
    Script,
    Silence,
    SimulatedRealtime,
    SimulatorOptions,
    likeness,
    write_wav,
)
from avr_bridge.testing.chan import MediaDriver
from avr_bridge.upstream import wording
from tests.call.conftest import config
from tests.call.legs import MuteDriver, PlacedLeg, heard_pcm, place_leg, ulaw

if TYPE_CHECKING:
    from trio.testing import MockClock as Clock

    from avr_bridge.telemetry.journal import Moment
    from avr_bridge.testing import Step

FAST = SimulatorOptions(speed=100)


async def test_hangup_comes_when_the_goodbye_was_heard(
    autojump_clock: Clock, question: bytes
) -> None:
    """avr_hangup: HANGUP behind the mark of the goodbye, also where Asterisk's clock is late."""
    goodbye: list[Step] = [Say(question, 8000, "goodbye"), CallTool("avr_hangup", "{}")]
    script = Script([goodbye], then=Silence())
    async with place_leg(SimulatedRealtime(script, FAST)) as call:
        await call.leg.wait_heard()
        call.leg.clock_stands = True
        await trio.sleep(1.5)
        call.leg.clock_stands = False
        hangup = await call.leg.wait_received("HANGUP")
        await call.wait_over()
        mark = [e for e in call.leg.sent if e.text.startswith("MEDIA_MARK_PROCESSED")][-1]
    assert 0 <= hangup.at_s - mark.at_s < 0.1
    assert ulaw(question) in bytes(call.leg.heard)
    assert call.summary is not None
    assert call.summary.end_reason is EndReason.CALLER_HUNG_UP


async def test_a_transfer_without_a_manager_is_told_in_words(
    autojump_clock: Clock, question: bytes
) -> None:
    """The model hears at once, as the tool's own answer, that it cannot be done, and why; nothing
    was promised, its next words are heard, and the caller stays."""
    transfer = CallTool("avr_transfer", '{"transfer_extension": "600"}')
    sorry = Say(question, 8000, "sorry")
    script = Script([[Say(question, 8000, "one moment"), transfer], [sorry]], then=Silence())
    async with place_leg(SimulatedRealtime(script, FAST)) as call:
        await trio.sleep(10)
        assert call.leg.closed is None
    assert call.summary is not None
    assert call.summary.tool_runs == {"avr_transfer": {"error": 1}}
    (told,) = items_for_model(call)
    assert told["type"] == "function_call_output"
    assert told["output"] == wording.control_failed(NO_MANAGER)
    assert bytes(call.leg.heard).count(ulaw(question)[:8000]) == 2


async def test_what_stands_in_the_way_of_a_transfer_is_told_before_it_is_promised(
    autojump_clock: Clock, question: bytes
) -> None:
    """Whoever can foresee it is asked once, as soon as the model has called the tool, and not
    again: no transfer is tried behind a goodbye that no longer stands."""
    transfer = CallTool("avr_transfer", '{"transfer_extension": "700"}')
    script = Script([[Say(question, 8000, "one moment"), transfer]], then=Silence())
    control = KnowsBefore()
    async with place_leg(SimulatedRealtime(script, FAST), control=control) as call:
        await trio.sleep(10)
    assert control.asked == ["check 700 demo 1"]
    (told,) = items_for_model(call)
    assert told["output"] == wording.control_failed("there is no extension 700")


async def test_a_transfer_that_can_be_done_is_promised_and_done(
    autojump_clock: Clock, question: bytes
) -> None:
    """Asked when the tool is called, done when the caller has heard the last words."""
    transfer = CallTool("avr_transfer", '{"transfer_extension": "600"}')
    script = Script([[Say(question, 8000, "one moment"), transfer]], then=Silence())
    control = KnowsBefore()
    async with place_leg(SimulatedRealtime(script, FAST), control=control) as call:
        await trio.sleep(10)
    assert control.asked == ["check 600 demo 1", "transfer 600 demo 1"]
    (told,) = items_for_model(call)
    assert "will be transferred" in told["output"]
    assert control.transferred_s - control.checked_s > len(question) / 16_000 - 0.5


class KnowsBefore:
    """Extension 600 is all there is. `asked`: in order."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.checked_s = self.transferred_s = 0.0

    async def hang_up(self, uuid: str) -> None:
        raise AssertionError("nobody hangs up")

    async def check_transfer(self, uuid: str, extension: str, context: str, priority: int) -> None:
        await trio.sleep(0.1)
        self.asked.append(f"check {extension} {context} {priority}")
        self.checked_s = trio.current_time()
        if extension != "600":
            raise ToolError(f"there is no extension {extension}")

    async def transfer(self, uuid: str, extension: str, context: str, priority: int) -> None:
        await trio.lowlevel.checkpoint()
        self.asked.append(f"transfer {extension} {context} {priority}")
        self.transferred_s = trio.current_time()


def items_for_model(call: PlacedLeg) -> list[dict[str, Any]]:
    """What was put into the conversation, beside what was said."""
    (session,) = call.simulator.sessions
    return [event["item"] for event in session.received_of("conversation.item.create")]


async def test_no_mark_is_no_call_for_ever(autojump_clock: Clock, question: bytes) -> None:
    """An Asterisk that loses marks: the goodbye counts as heard some seconds later."""
    goodbye: list[Step] = [Say(question, 8000, "goodbye"), CallTool("avr_hangup", "{}")]
    script = Script([goodbye], then=Silence())
    settings = attrs.evolve(config(), talk=TalkConfig(fallback_file="off", control_max_wait_s=60))
    async with place_leg(SimulatedRealtime(script, FAST), settings, MuteDriver()) as call:
        await call.leg.wait_heard()
        hangup = await call.leg.wait_received("HANGUP")
        await call.wait_over()
    spoken_s = len(ulaw(question)) / 8000
    assert hangup.at_s - call.leg.media[0][0] == pytest.approx(spoken_s + 5, abs=0.2)


async def test_a_leg_that_never_starts(autojump_clock: Clock) -> None:
    """Ten seconds, then 1008, with the reason that says so."""
    async with place_leg(starts=False) as call:
        over_s = await call.wait_over()
    assert over_s == pytest.approx(10, abs=0.1)
    assert call.summary is not None
    assert call.summary.end_reason is EndReason.CALLER_SENT_NO_INIT
    assert (call.summary.uuid, call.summary.transport) == ("", "chan_websocket")
    assert call.leg.closed is not None
    assert call.leg.closed.code == 1008


@pytest.mark.parametrize("driver", [MediaDriver("slin48"), MediaDriver("slin48", in_json=True)])
async def test_a_codec_that_we_cannot_do(autojump_clock: Clock, driver: MediaDriver) -> None:
    """1003, at once, with words; the model is never dialled. Log, summary and journal say which
    call it was, and over which transport."""
    told: list[tuple[str, Moment]] = []
    async with place_leg(
        driver=driver, listeners=[lambda uuid, moment: told.append((uuid, moment))]
    ) as call:
        over_s = await call.wait_over()
    assert over_s < 0.1
    assert call.summary is not None
    assert call.summary.end_reason is EndReason.CALLER_FORMAT_UNKNOWN
    assert "slin48" in call.summary.detail
    assert (call.summary.uuid, call.summary.transport) == ("1795379054.7", "chan_websocket")
    assert [(uuid, type(moment)) for uuid, moment in told] == [
        ("1795379054.7", CallBegan),
        ("1795379054.7", CallEnded),
    ]
    assert call.leg.closed is not None
    assert call.leg.closed.code == 1003
    assert call.simulator.sessions == []


async def test_a_refused_leg_that_names_itself(autojump_clock: Clock) -> None:
    """v(uuid=...) and variables count as of any other call."""
    driver = MediaDriver("slin48", in_json=True, variables={"from": "2000"})
    async with place_leg(driver=driver, parameters={"uuid": "0190-ab"}) as call:
        await call.wait_over()
    assert call.summary is not None
    assert call.summary.uuid == "0190-ab"
    assert call.summary.metadata == {"uuid": "0190-ab", "from": "2000"}


async def test_passthrough_is_refused_when_it_shows(autojump_clock: Clock, question: bytes) -> None:
    """Without frames and marks of Asterisk's the sound would be torn: an end, and its reason."""
    script = Script([[Say(question, 8000, "words")]], then=Silence())
    driver = MediaDriver(passthrough=True)
    async with place_leg(SimulatedRealtime(script), driver=driver) as call:
        await call.wait_over()
    assert call.summary is not None
    assert call.summary.end_reason is EndReason.CALLER_FORMAT_UNKNOWN
    assert "passthrough" in call.summary.detail


async def test_silence_of_the_leg_ends_the_call(autojump_clock: Clock) -> None:
    """AVR_NO_AUDIO_S holds, in the leg's own codec."""
    async with place_leg() as call:
        call.leg.speaks = False
        over_s = await call.wait_over()
    assert over_s == pytest.approx(60, abs=0.1)
    assert call.summary is not None
    assert call.summary.end_reason is EndReason.CALLER_SENT_NO_AUDIO


async def test_a_farewell_cuts_what_is_sent_ahead(autojump_clock: Clock) -> None:
    """Seconds of the answer wait at Asterisk: they are dropped, the words are heard whole, and the
    call ends at their mark."""
    tone = b"\x00\x20\x00\xe0" * 40_000
    script = Script([[Say(tone, 8000, "long")]], then=Silence())
    words = read_clip("farewell")
    async with place_leg(SimulatedRealtime(script, FAST)) as call:
        await call.leg.wait_heard()
        await trio.sleep(1)
        (line,) = call.running.lines
        assert say_farewell(line, words, EndReason.BRIDGE_STOPPED)
        said_s = trio.current_time()
        over_s = await call.wait_over()
    assert over_s - said_s == pytest.approx(len(words) / 16_000, abs=0.2)
    assert encode(words, Encoding.ULAW) in bytes(call.leg.heard)
    assert call.leg.driver.flushes == 1
    assert call.leg.closed is not None
    assert call.leg.closed.code == 1001


async def test_a_farewell_waits_for_an_answer_that_may_end(
    autojump_clock: Clock, question: bytes
) -> None:
    """Nothing is flushed: the words join on to the answer when Asterisk has played it."""
    script = Script([[Say(question, 8000, "short")]], then=Silence())
    words = read_clip("farewell")
    async with place_leg(SimulatedRealtime(script, FAST)) as call:
        await call.leg.wait_heard()
        (line,) = call.running.lines
        say_farewell(line, words, EndReason.BRIDGE_STOPPED, finish_for_s=20)
        await call.wait_over()
    assert call.leg.driver.flushes == 0
    heard = bytes(call.leg.heard)
    assert encode(words, Encoding.ULAW) in heard
    assert ulaw(question)[: len(question) // 2] in heard


async def test_the_greeting_file_is_played_in_the_codec_of_the_leg(
    autojump_clock: Clock, question: bytes, tmp_path: Any
) -> None:
    """A-law on the leg: the recording is heard as A-law."""
    path = tmp_path / "hello.wav"
    write_wav(path, question)
    talk = TalkConfig(fallback_file="off", greeting_file=str(path))
    settings = attrs.evolve(config(), talk=talk)
    simulator = SimulatedRealtime(Script([], then=Silence()))
    async with place_leg(simulator, settings, MediaDriver("alaw")) as call:
        await trio.sleep(6)
    sound = encode(question, Encoding.ALAW)
    assert sound in bytes(call.leg.heard)
    assert ALAW_8K.silence(160) in bytes(call.leg.heard)


async def test_a_lost_connection_leaves_nothing(autojump_clock: Clock) -> None:
    """The leg is dropped in the middle of an answer: the call ends, and so does the session."""
    tone = b"\x00\x20\x00\xe0" * 40_000
    script = Script([[Say(tone, 8000, "long")]], then=Silence())
    async with place_leg(SimulatedRealtime(script, FAST)) as call:
        await call.leg.wait_heard()
        await call.leg.drop()
        await call.wait_over()
    assert call.simulator.open_sessions == 0
    assert call.summary is not None
    assert call.summary.end_reason is EndReason.CALLER_HUNG_UP
    assert math.isfinite(call.ended_s)


async def test_the_parrot_speaks_like_the_caller(autojump_clock: Clock, question: bytes) -> None:
    """The whole road, both ways, in the codec of the leg."""
    async with place_leg(SimulatedRealtime(Parrot())) as call:
        await trio.sleep(1)
        call.leg.say(ulaw(question))
        await call.leg.wait_said()
        await trio.sleep(8)
    assert likeness(question, heard_pcm(call)).correlation > 0.9


async def test_a_mark_that_comes_too_late_ends_nothing_else(
    autojump_clock: Clock, question: bytes
) -> None:
    """The greeting's mark comes in the middle of the goodbye, long after it was given up: the
    goodbye is heard to its end all the same."""

    class LosesTheFirstMark(MediaDriver):
        def command(self, text: str) -> list[str]:
            return [] if text == "MARK_MEDIA 1" else super().command(text)

    goodbye: list[Step] = [Say(question, 8000, "goodbye"), CallTool("avr_hangup", "{}")]
    script = Script([[Say(question[:16_000], 8000, "hello")], goodbye], then=Silence())
    async with place_leg(SimulatedRealtime(script, FAST), driver=LosesTheFirstMark()) as call:
        await trio.sleep(10)
        call.leg.press("#")
        call.leg.press("5")
        call.leg.press("#")
        await call.leg.wait_received("MARK_MEDIA", 2)
        await trio.sleep(1)
        await call.leg.tell("MEDIA_MARK_PROCESSED 1")
        await call.wait_over()
    assert ulaw(question) in bytes(call.leg.heard)


async def test_a_farewell_before_the_leg_begins(autojump_clock: Clock) -> None:
    """A drain meets a leg whose MEDIA_START is on its way: the words are heard whole, in the
    leg's own codec, and from their beginning."""
    words = read_clip("farewell")
    async with place_leg(driver=MediaDriver("alaw"), starts=False) as call:
        await trio.sleep(1)
        (line,) = call.running.lines
        assert say_farewell(line, words, EndReason.BRIDGE_STOPPED)
        await trio.sleep(0.1)
        await call.leg.tell(call.leg.driver.start())
        await call.wait_over()
    assert encode(words, Encoding.ALAW)[:-3200] in bytes(call.leg.heard)
    assert call.summary is not None
    assert call.summary.end_reason is EndReason.BRIDGE_STOPPED
