"""The bridge ends a call itself, with words that need no model: wherever the call stands."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import trio

from avr_bridge import EndReason
from avr_bridge.audio.codec import decode, encode
from avr_bridge.audio.format import Encoding
from avr_bridge.audio.sounds import read_clip
from avr_bridge.call.farewell import FAREWELL_SLACK_S, THEN_LIMIT_S, clip_s, say_farewell
from avr_bridge.caller.transport import TranscriptOut
from avr_bridge.testing.realtime import (
    Close,
    Script,
    SimulatedRealtime,
    SimulatorOptions,
    SpeakFile,
    Wait,
)
from avr_bridge.testing.realtime import Say as SimSay
from avr_bridge.testing.wav import clip, read_wav
from tests.call.conftest import Placed, place_call

if TYPE_CHECKING:
    from trio.testing import MockClock as Clock

    from avr_bridge.call.line import CallLine

WORDS = read_clip("farewell")
NEVER = SimulatorOptions(connect_delay_s=3600)
BYE = partial(say_farewell, clip_pcm=WORDS, reason=EndReason.BRIDGE_STOPPED, detail="a test")
TONE = b"\x01\x20" * 8 * 20
"""20 ms that are in no clip."""

COMPANDED = decode(encode(TONE, Encoding.ULAW), Encoding.ULAW)
"""What the caller hears of it: it came as G.711."""


def line_of(call: Placed) -> CallLine:
    (line,) = call.running._lines.values()
    return line


async def wait_over(call: Placed) -> float:
    """Wait until the call has ended by itself, and say when."""
    with trio.fail_after(60):
        await call.running.wait_none()
    return trio.current_time()


def assert_ended(call: Placed, reason: EndReason = EndReason.BRIDGE_STOPPED) -> None:
    """With 1001, one reason, and a session that was closed politely if there was one."""
    assert call.summary is not None
    assert call.summary.end_reason is reason
    assert call.simulator.open_sessions == 0
    assert [session.close_code for session in call.simulator.sessions] in ([], [1000])


async def test_in_the_middle_of_an_answer(autojump_clock: Clock) -> None:
    """The answer stops within the lead, the words are heard whole right behind it, then 1001;
    the transcript says that the answer was cut. The model is closed politely."""
    script = Script([[SimSay(TONE * 500, 8000, "ten seconds")]])
    async with place_call(SimulatedRealtime(script)) as call:
        call.caller.start()
        await call.caller.be_silent(3)
        before = len(call.caller.audio())
        said_s = trio.current_time()
        assert BYE(line_of(call))
        over_s = await wait_over(call)
    assert_ended(call)
    assert call.summary is not None
    assert call.summary.detail == "a test"
    assert call.caller.closed == (1001, "bridge_stopped")
    heard = call.caller.audio()
    assert heard.endswith(WORDS)
    assert len(heard) - len(WORDS) - before == 0
    # What was sent ahead, then the words, and not the slack behind them.
    assert over_s - said_s == pytest.approx(clip_s(WORDS) + 0.2, abs=0.05)
    spoken = [m.message for m in call.caller.received if isinstance(m.message, TranscriptOut)]
    assert spoken == [TranscriptOut("agent", "ten seconds [interrupted]")]
    assert call.caller.interruptions() == 0


async def test_the_answer_may_end_first(autojump_clock: Clock) -> None:
    """An answer that ends in time is heard to its last sample, and the words begin at once
    behind it, long before they have to."""
    script = Script([[SimSay(TONE * 250, 8000, "five seconds")]])
    async with place_call(SimulatedRealtime(script)) as call:
        call.caller.start()
        await call.caller.be_silent(3)
        BYE(line_of(call), finish_for_s=20)
        over_s = await wait_over(call)
    assert_ended(call)
    assert call.caller.audio() == COMPANDED * 250 + WORDS
    assert over_s < 5.5 + clip_s(WORDS)
    spoken = [m.message for m in call.caller.received if isinstance(m.message, TranscriptOut)]
    assert spoken == [TranscriptOut("agent", "five seconds")]


async def test_an_answer_that_does_not_end_in_time_is_cut(autojump_clock: Clock) -> None:
    """It is heard for as long as there is time, then the words."""
    script = Script([[SimSay(TONE * 500, 8000, "ten seconds")]])
    async with place_call(SimulatedRealtime(script)) as call:
        call.caller.start()
        await call.caller.be_silent(3)
        before = len(call.caller.audio())
        BYE(line_of(call), finish_for_s=2)
        await wait_over(call)
    assert_ended(call)
    heard = call.caller.audio()
    assert heard.endswith(COMPANDED + WORDS)
    assert (len(heard) - len(WORDS) - before) / 16_000 == pytest.approx(2, abs=0.05)


@pytest.mark.parametrize("began", [True, False])
async def test_nobody_speaks(autojump_clock: Clock, began: bool) -> None:
    """Between two turns, or before `init`: the words come at once, whatever the time allowed."""
    async with place_call(SimulatedRealtime(Script([]))) as call:
        if began:
            call.caller.start()
        await call.caller.be_silent(3)
        BYE(line_of(call), finish_for_s=20)
        over_s = await wait_over(call)
    assert_ended(call)
    assert call.caller.audio() == WORDS
    assert over_s == pytest.approx(3 + clip_s(WORDS), abs=0.05)


@pytest.mark.parametrize(
    "options",
    [NEVER, SimulatorOptions(answer_session_update=False), SimulatorOptions(connect_delay_s=4)],
)
async def test_the_model_was_never_reached(autojump_clock: Clock, options: Any) -> None:
    """While it is dialled, while it is set up, and when it is there only during the words: these
    alone are heard, whole."""
    async with place_call(SimulatedRealtime(options=options)) as call:
        call.caller.start()
        await call.caller.be_silent(2)
        BYE(line_of(call))
        over_s = await wait_over(call)
    assert call.summary is not None
    assert call.summary.end_reason is EndReason.BRIDGE_STOPPED
    assert call.simulator.open_sessions == 0
    assert call.caller.audio() == WORDS
    assert over_s == pytest.approx(2 + clip_s(WORDS), abs=0.05)


@pytest.mark.parametrize("how", ["refused", "closed", "dead"])
async def test_the_model_is_lost_during_the_words(autojump_clock: Clock, how: str) -> None:
    """Refused at the end of the dialling, closed by itself, or without a session for 10 s: the
    words are heard to their end all the same, and the reason stays."""
    simulator = {
        "refused": SimulatedRealtime(options=SimulatorOptions(api_key="other", connect_delay_s=2)),
        "closed": SimulatedRealtime(
            Script([[SimSay(TONE * 100, 8000, "two seconds"), Wait(2000), Close(1011, "")]])
        ),
        "dead": SimulatedRealtime(options=SimulatorOptions(answer_session_update=False)),
    }[how]
    async with place_call(simulator) as call:
        call.caller.start()
        await call.caller.be_silent(9 if how == "dead" else 0.5)
        BYE(line_of(call))
        await wait_over(call)
    assert call.summary is not None
    assert call.summary.end_reason is EndReason.BRIDGE_STOPPED
    assert call.caller.audio().endswith(WORDS)
    assert call.caller.closed == (1001, "bridge_stopped")
    assert call.simulator.open_sessions == 0


async def test_the_caller_speaks_and_is_not_answered(autojump_clock: Clock) -> None:
    """Speech during the words neither stops them nor gets an answer between them."""
    question = read_wav(clip("question"))
    async with place_call(SimulatedRealtime(SpeakFile(clip("question")))) as call:
        call.caller.start()
        await call.caller.be_silent(2)
        BYE(line_of(call))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(call.caller.say, question)
            await wait_over(call)
    assert_ended(call)
    assert call.caller.audio().endswith(WORDS)
    assert call.caller.interruptions() == 0


async def test_the_caller_hangs_up_during_the_words(autojump_clock: Clock) -> None:
    """That is what ended the call."""
    async with place_call() as call:
        call.caller.start()
        await call.caller.be_silent(2)
        BYE(line_of(call))
        await call.caller.be_silent(1)
    assert_ended(call, EndReason.CALLER_HUNG_UP)


@pytest.mark.parametrize(
    "options", [SimulatorOptions(), NEVER, SimulatorOptions(connect_delay_s=4)]
)
async def test_a_caller_that_hears_nothing(
    autojump_clock: Clock, options: SimulatorOptions
) -> None:
    """Its side reads no more: the call ends when the words should have been heard."""
    async with place_call(SimulatedRealtime(options=options)) as call:
        call.caller.start()
        await call.caller.be_silent(2)
        call.caller.stop_reading()
        BYE(line_of(call), finish_for_s=3)
        over_s = await wait_over(call)
    assert_ended(call)
    latest_s = 2 + 3 + clip_s(WORDS) + FAREWELL_SLACK_S
    assert over_s == pytest.approx(latest_s, abs=0.05)


async def test_twice_is_once(autojump_clock: Clock) -> None:
    """The first reason, one clip, one time; and a call that is over is left alone."""
    async with place_call(SimulatedRealtime(Script([]))) as call:
        call.caller.start()
        await call.caller.be_silent(2)
        line = line_of(call)
        assert BYE(line)
        await call.caller.be_silent(1)
        assert not say_farewell(line, TONE * 50, EndReason.MODEL_UNAVAILABLE, "later")
        over_s = await wait_over(call)
        assert not BYE(line)
    assert_ended(call)
    assert call.caller.audio() == WORDS
    assert over_s == pytest.approx(2 + clip_s(WORDS), abs=0.05)


async def test_without_words(autojump_clock: Clock) -> None:
    """An empty clip: the answer may end, and the call with it."""
    script = Script([[SimSay(TONE * 250, 8000, "five seconds")]])
    async with place_call(SimulatedRealtime(script)) as call:
        call.caller.start()
        await call.caller.be_silent(3)
        say_farewell(line_of(call), b"", EndReason.BRIDGE_STOPPED, finish_for_s=20)
        over_s = await wait_over(call)
    assert_ended(call)
    assert call.caller.audio() == COMPANDED * 250
    assert over_s < 5.5


@pytest.mark.parametrize("ends_itself", [True, False])
async def test_something_else_than_the_end_may_follow(
    autojump_clock: Clock, ends_itself: bool
) -> None:
    """`then` is called once, when the words were heard; the call waits for it, and not for ever.
    The reason of a model that is lost stands as well."""
    called: list[float] = []
    async with place_call(SimulatedRealtime(options=NEVER)) as call:
        call.caller.start()
        await call.caller.be_silent(2)
        line = line_of(call)
        say_farewell(
            line,
            WORDS,
            EndReason.MODEL_UNAVAILABLE,
            then=lambda: called.append(trio.current_time()),
        )
        await call.caller.be_silent(clip_s(WORDS) + 2)
        assert called == pytest.approx([2 + clip_s(WORDS)], abs=0.05)
        assert call.summary is None
        if ends_itself:
            line.ending.end_as_planned()
        over_s = await wait_over(call)
    assert_ended(call, EndReason.MODEL_UNAVAILABLE)
    waited_s = over_s - called[0]
    assert waited_s == pytest.approx(2 if ends_itself else THEN_LIMIT_S, abs=0.1)


async def test_neither_side_is_left(autojump_clock: Clock) -> None:
    """The model closes during the words and the caller's side reads no more: the end comes at its
    time all the same."""
    script = Script([[SimSay(TONE * 100, 8000, "two seconds"), Wait(2000), Close(1011, "")]])
    async with place_call(SimulatedRealtime(script)) as call:
        call.caller.start()
        await call.caller.be_silent(0.5)
        call.caller.stop_reading()
        BYE(line_of(call))
        over_s = await wait_over(call)
    assert call.summary is not None
    assert call.summary.end_reason is EndReason.BRIDGE_STOPPED
    assert over_s == pytest.approx(0.5 + clip_s(WORDS) + FAREWELL_SLACK_S, abs=0.05)
