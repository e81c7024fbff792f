"""Whole calls through a real Asterisk: what the caller's leg recorded is what the model said."""

from __future__ import annotations

import json

import httpx2
import pytest
import trio

from avr_bridge.testing import (
    CallTool,
    Say,
    Script,
    Silence,
    SimulatedRealtime,
    Step,
    clip,
    likeness,
    read_wav,
)
from tests.asterisk.busy import in_real_time
from tests.asterisk.recordings import CLIPS, cut_of, long_answer, onset_ms, pieces
from tests.asterisk.ways import WAYS, open_line
from tests.unit.metrics_seen import value

MANY = 20
ALIKE = 0.9
HEARD_ERROR_MS = 40
"""How far the model's idea of what was heard may be from what was: two frames."""
CLOCK_ERROR_MS = 100
"""How far the clock alone may be off: whole frames, the way there and back, Asterisk's start."""
every_way = pytest.mark.parametrize("way", WAYS)


def said(name: str) -> Say:
    """One of the shipped clips, as the model says it."""
    return Say(read_wav(clip(name)), 8_000, name)


@every_way
@in_real_time
async def test_the_caller_hears_what_was_said(way: str, question: bytes) -> None:
    """The model says back what the caller says, and the caller's leg records just that. Then the
    caller hangs up: no channel, call or session is left, and nothing was lost on the way."""
    steps = ["Wait(2)", "Playback(sounds/question)", "Wait(5)"]
    model = SimulatedRealtime()
    async with open_line(way, model, steps, {"question": question}) as line:
        await line.place()
        await line.switch.wait_over()
        await line.switch.wait_idle()
        (ended,) = await line.wait_ended()
        heard = line.switch.heard()
    (session,) = model.sessions
    there, back = pieces(question, bytes(session.caller_pcm)), pieces(question, heard)
    print(
        f"\n  {way}: {there.correlation:.4f} alike at the model, {back.correlation:.4f} back at "
        f"the caller; put in or left out: {there.drift_ms:.0f} and {back.drift_ms:.0f} ms"
    )
    assert there.correlation > ALIKE
    assert back.correlation > ALIKE
    assert session.caller_rate_hz == 8_000
    assert ended["reason"] == "caller_hung_up"
    assert ended["dropped_ms"] == ended["faults"] == 0
    assert session.closed


@every_way
@in_real_time
async def test_the_model_learns_how_much_was_heard(way: str, question: bytes) -> None:
    """The caller speaks into a long answer. It stops, and the place where the model was told that
    it stopped is the place where the recording of the caller's ear ends. Where Asterisk says what
    it has played, the metrics have how far the clock alone was off."""
    answer = long_answer()
    model = SimulatedRealtime(Script([[Say(answer, 8_000, "a long answer")]], then=Silence()))
    steps = ["Wait(3)", "Playback(sounds/question)", "Wait(1)"]
    async with open_line(way, model, steps, {"question": question}) as line:
        await line.place()
        await line.switch.wait_over()
        (ended,) = await line.wait_ended()
        heard, spoken = line.switch.heard(), line.switch.said()
        async with httpx2.AsyncClient() as client:
            numbers = (await client.get(f"{line.bridge.url}/metrics")).text
    (truncated,) = model.sessions[0].received_of("conversation.item.truncate")
    cut = cut_of(answer, heard)
    error_ms = truncated["audio_end_ms"] - cut.at_ms
    stopped_ms = cut.in_recording_ms - onset_ms(spoken)
    errors = value(numbers, "avr_bridge_heard_position_error_seconds_count")
    off_ms = 1000 * value(numbers, "avr_bridge_heard_position_error_seconds_sum")
    print(
        f"\n  {way}: heard {cut.at_ms:.0f} ms (sure to {cut.correlation:.3f}), the model was told "
        f"{error_ms:+.0f} ms of it; silent {stopped_ms:.0f} ms after the caller's first sound; "
        f"by the clock alone {off_ms:.0f} ms off"
    )
    assert cut.correlation > ALIKE
    assert abs(error_ms) <= HEARD_ERROR_MS
    assert ended["interruptions"] == 1
    assert errors == (1 if way == "chan_websocket" else 0)
    assert off_ms < CLOCK_ERROR_MS


@every_way
@in_real_time
async def test_keys_reach_the_model(way: str) -> None:
    """Three keys, dialled in Asterisk, become one turn, which is answered. The legacy HTTP
    transport carries none."""
    script = Script([[said("greeting")], [said("keys-answer")]], then=Silence())
    model = SimulatedRealtime(script)
    steps = ["Wait(3)", "SendDTMF(123)", "Wait(5)"]
    async with open_line(way, model, steps, {}) as line:
        await line.place()
        await line.switch.wait_over()
        (ended,) = await line.wait_ended()
        heard = line.switch.heard()
    if way == "avr-core, HTTP":
        assert ended["digits"] == 0
        return
    assert ended["digits"] == 3
    assert [text for turn in script.turns for text in turn.texts if "1 2 3" in text]
    assert pieces(read_wav(clip("keys-answer")), heard).correlation > ALIKE


@every_way
@in_real_time
async def test_the_caller_hangs_up_in_mid_sentence(way: str) -> None:
    """Nothing is left: no channel, no call, no session."""
    model = SimulatedRealtime(Script([[Say(long_answer(), 8_000, "a long answer")]], Silence()))
    async with open_line(way, model, ["Wait(2)"], {}) as line:
        await line.place()
        await line.switch.wait_over()
        await line.switch.wait_idle()
        (ended,) = await line.wait_ended()
        await model.sessions[0].wait_closed()
    assert ended["reason"] == "caller_hung_up"


@every_way
@in_real_time
async def test_the_bridge_hangs_up_behind_the_goodbye(way: str) -> None:
    """The model calls `avr_hangup`; the caller, who would have waited a minute, has heard all of
    the goodbye before."""
    goodbye: list[Step] = [said("transfer-answer"), CallTool("avr_hangup", "{}")]
    model = SimulatedRealtime(Script([goodbye], then=Silence()))
    async with open_line(way, model, ["Wait(60)"], {}) as line:
        await line.place()
        await line.switch.wait_over()
        await line.switch.wait_idle()
        (ended,) = await line.wait_ended()
        heard = line.switch.heard()
    words = read_wav(clip("transfer-answer"))
    found = likeness(words, heard)
    after_ms = len(heard) / 16 - found.offset_ms - len(words) / 16
    print(f"\n  {way}: {ended['reason']}, {after_ms:.0f} ms after the goodbye")
    assert pieces(words, heard).correlation > ALIKE
    assert -200 < after_ms < 1500


@every_way
@in_real_time
async def test_the_call_is_transferred(way: str) -> None:
    """The model calls `avr_transfer`: the caller hears its last words and then, in the same call,
    what the other extension plays. The bridge's part is over."""
    where = json.dumps({"transfer_extension": "200", "transfer_context": "elsewhere"})
    words: list[Step] = [said("transfer-answer"), CallTool("avr_transfer", where)]
    model = SimulatedRealtime(Script([words], then=Silence()))
    there = read_wav(clip("hours-answer"))
    async with open_line(way, model, ["Wait(60)"], {"elsewhere": there}) as line:
        await line.place()
        await line.switch.wait_over()
        await line.switch.wait_idle()
        (ended,) = await line.wait_ended()
        heard = line.switch.heard()
    here = read_wav(clip("transfer-answer"))
    assert pieces(here, heard).correlation > ALIKE
    assert pieces(there, heard).correlation > ALIKE
    assert likeness(there, heard).offset_ms > likeness(here, heard).offset_ms + 1000
    assert ended["reason"] == "caller_hung_up"


@pytest.mark.parametrize("way", ["AudioSocket()", "chan_websocket", "avr-core, WebSocket"])
@in_real_time
async def test_twenty_calls_at_once(way: str) -> None:
    """Each caller says something else than its neighbours, and hears its own words."""
    words = {str(n): read_wav(clip(CLIPS[n % len(CLIPS)])) for n in range(1, MANY + 1)}
    steps = ["Wait(2)", "Playback(sounds/${EXTEN})", "Wait(5)"]
    model = SimulatedRealtime()
    async with open_line(way, model, steps, words) as line:
        async with trio.open_nursery() as nursery:
            for _ in words:
                nursery.start_soon(line.place)
        for number in range(1, MANY + 1):
            await line.switch.wait_over(number)
        await line.switch.wait_idle()
        ended = await line.wait_ended(MANY)
        recordings = {name: line.switch.heard(int(name)) for name in words}
    heard = [pieces(pcm, recordings[name]) for name, pcm in words.items()]
    worst = min(one.correlation for one in heard)
    drift_ms = max(one.drift_ms for one in heard)
    print(f"\n  {MANY} calls over {way}: the worst {worst:.4f} alike, {drift_ms:.0f} ms of drift")
    assert worst > ALIKE
    assert {end["reason"] for end in ended} == {"caller_hung_up"}
    assert [end["dropped_ms"] for end in ended] == [0] * MANY
