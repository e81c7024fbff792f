"""The simulated caller in memory and virtual time: pacing, listening, ending, exceptions."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
import trio

from avr_bridge.testing.caller import (
    Audio,
    CallEvent,
    CallEventKind,
    Closed,
    ErrorMessage,
    Fault,
    Interruption,
    LineEvent,
    SimulatedCall,
    Transcript,
    open_call_on,
    read_message,
)
from avr_bridge.testing.wav import clip, read_wav

if TYPE_CHECKING:
    from trio.testing import MockClock

QUESTION = read_wav(clip("question"))
LOUD = b"\x00\x20" * 160
SILENT = bytes(320)


class ScriptedLine:
    """A `CallerLine` whose bridge does what the test says; notes when each frame was sent."""

    def __init__(self, *, echoes: bool = False, answers_goodbye: bool = True) -> None:
        self.carries_digits = True
        self.sent: list[tuple[float, bytes | str]] = []
        self.is_open = True
        self.stall_s = 0.0
        self._echoes = echoes
        self._answers_goodbye = answers_goodbye
        self._from_bridge, self._receive = trio.open_memory_channel[LineEvent](math.inf)

    def bridge_sends(self, *events: LineEvent) -> None:
        for event in events:
            self._from_bridge.send_nowait(event)

    async def send_audio(self, pcm: bytes) -> None:
        await trio.sleep(self.stall_s)
        self.sent.append((trio.current_time(), pcm))
        if self._echoes:
            self.bridge_sends(Audio(pcm))

    async def send_digit(self, digit: str) -> None:
        await trio.lowlevel.checkpoint()
        self.sent.append((trio.current_time(), digit))

    async def receive(self) -> list[LineEvent]:
        return [await self._receive.receive()]

    async def send_goodbye(self) -> None:
        await trio.lowlevel.checkpoint()
        if self._answers_goodbye:
            self.bridge_sends(Closed(1000))

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()
        self.is_open = False


def kinds(call: SimulatedCall) -> list[CallEventKind]:
    return [event.kind for event in call.events]


async def test_frames_leave_on_absolute_deadlines(autojump_clock: MockClock) -> None:
    """Frame n leaves at n · 20 ms from the first moment on: silence, speech padded, silence."""
    line = ScriptedLine()
    start = trio.current_time()
    async with open_call_on(line) as call:
        await trio.sleep(0.05)
        call.say(LOUD + LOUD[:100])
        assert await call.wait_said()
        await trio.sleep(0.05)
    times = [time for time, _ in line.sent]
    assert times == pytest.approx([start + n * 0.02 for n in range(len(times))])
    frames = [frame for _, frame in line.sent]
    assert frames[:6] == [SILENT] * 3 + [LOUD, LOUD[:100] + bytes(220), SILENT]
    assert call.report().sent_frames == len(frames)
    assert not line.is_open


async def test_late_frames_are_caught_up_and_reported(autojump_clock: MockClock) -> None:
    """After a stall no frame is skipped, and the report tells by how much they were late."""
    line = ScriptedLine()
    async with open_call_on(line) as call:
        await trio.sleep(0.1)
        line.stall_s = 0.5
        await trio.sleep(0.3)
        line.stall_s = 0
        await trio.sleep(0.605)
        report = call.report()
    assert report.sent_frames == 51
    assert report.latest_frame_ms >= 400


async def test_echo_is_heard_timed_and_ends(autojump_clock: MockClock) -> None:
    """A reply is noticed, measured from the end of our speech, and its end is noticed."""
    line = ScriptedLine()
    async with open_call_on(line) as call:
        call.say(LOUD * 5)
        assert await call.wait_said()
        await trio.sleep(0.5)
        line.bridge_sends(Audio(LOUD * 50))
        assert await call.wait_heard_speech()
        assert await call.wait_quiet()
        assert call.heard().count(LOUD * 50) == 1
        report = call.report()
    assert len(report.answer_latencies_ms) == 1
    assert report.answer_latencies_ms[0] == pytest.approx(520, abs=40)
    assert report.answered_after_ms == pytest.approx(600, abs=40)
    assert (report.heard_s, report.underruns, report.faults) == (1.0, 0, ())
    assert kinds(call) == [
        CallEventKind.CONNECTED,
        CallEventKind.SAID_LAST,
        CallEventKind.AUDIO_FIRST,
        CallEventKind.AUDIO_LAST,
        CallEventKind.HUNG_UP,
        CallEventKind.CLOSED,
    ]
    first, last = (e.at_ms for e in call.events if e.kind.value.startswith("audio"))
    assert last - first == pytest.approx(1_000)


async def test_greeting_does_not_count_as_the_answer(autojump_clock: MockClock) -> None:
    """`wait_heard_speech` after own speech waits for something newer than the greeting."""
    line = ScriptedLine()
    async with open_call_on(line) as call:
        line.bridge_sends(Audio(LOUD * 10))
        assert await call.wait_heard_speech()
        assert await call.wait_quiet()
        call.say(LOUD * 5)
        with trio.move_on_after(5) as patience:
            await call.wait_heard_speech()
    assert patience.cancelled_caught
    assert call.report().answer_latencies_ms == ()


async def test_silence_from_the_bridge_is_no_speech(autojump_clock: MockClock) -> None:
    """A bridge that sends only silence is not heard, and is quiet after 3 s of it."""
    line = ScriptedLine()
    async with open_call_on(line) as call:
        line.bridge_sends(Audio(SILENT * 1_000))
        began = trio.current_time()
        assert await call.wait_quiet()
        assert trio.current_time() - began == pytest.approx(3, abs=0.05)
        assert call.report().answered_after_ms is None


async def test_interruption_empties_the_playback(autojump_clock: MockClock) -> None:
    """What was queued at the interruption is never heard; the events tell of it."""
    line = ScriptedLine()
    async with open_call_on(line) as call:
        line.bridge_sends(Audio(LOUD * 100))
        await trio.sleep(0.5)
        line.bridge_sends(Interruption())
        await trio.sleep(1)
        report = call.report()
    assert report.heard_s == pytest.approx(0.5, abs=0.04)
    assert report.flushed_ms == pytest.approx(1_500, abs=40)
    assert (report.interruptions, report.underruns) == (1, 0)
    assert CallEventKind.INTERRUPTION in kinds(call)


async def test_messages_become_events_at_once(autojump_clock: MockClock) -> None:
    """Transcripts, errors, faults and digits are events, told live in the same order."""
    line = ScriptedLine()
    live: list[CallEvent] = []
    async with open_call_on(line, on_event=live.append) as call:
        line.bridge_sends(Transcript("agent", "Hi."), ErrorMessage("busy"), Fault("odd"))
        call.send_digit("5")
        await trio.sleep(0.1)
        report = call.report()
    assert report.transcripts == (("agent", "Hi."),)
    assert (report.errors, report.faults) == (("busy",), ("odd",))
    assert (CallEventKind.DIGIT, "5") in [(event.kind, event.text) for event in live]
    assert live == call.events
    assert "5" in [message for _, message in line.sent]


async def test_bridge_closing_first_is_an_event(autojump_clock: MockClock) -> None:
    """All waits end with False, nothing raises, and the hearing stops with the line."""
    line = ScriptedLine()
    async with open_call_on(line) as call:
        call.say(LOUD * 500)
        line.bridge_sends(Audio(LOUD * 500))
        await trio.sleep(0.2)
        line.bridge_sends(Closed(1011, "model gone"))
        assert not await call.wait_said()
        assert not await call.wait_heard_speech()
        assert not await call.wait_quiet()
        await call.wait_closed()
        await trio.sleep(5)
        assert len(call.heard()) == pytest.approx(3_200, abs=320)
        await call.hang_up()
    report = call.report()
    assert (report.closed_by, report.close_code, report.close_reason) == (
        "bridge",
        1011,
        "model gone",
    )
    assert CallEventKind.HUNG_UP not in kinds(call)


async def test_unanswered_hangup_takes_a_second(autojump_clock: MockClock) -> None:
    """A bridge that ignores the hangup is left after 1 s; the report says so."""
    line = ScriptedLine(answers_goodbye=False)
    async with open_call_on(line) as call:
        began = trio.current_time()
    assert trio.current_time() - began == pytest.approx(1)
    assert not line.is_open
    report = call.report()
    assert (report.closed_by, report.close_code) == ("caller", 1006)


async def test_body_exception_comes_out_as_itself(autojump_clock: MockClock) -> None:
    """No group around it, and the line is closed politely."""
    line = ScriptedLine()
    with pytest.raises(LookupError) as caught:
        async with open_call_on(line) as call:
            raise LookupError("mine")
    assert str(caught.value) == "mine"
    assert call.report().closed_by == "caller"
    assert not line.is_open


async def test_listener_exception_ends_the_block_as_itself(autojump_clock: MockClock) -> None:
    """What `on_event` raises in the background reaches the block's caller ungrouped."""

    def refuse(event: CallEvent) -> None:
        if event.kind is CallEventKind.FAULT:
            raise LookupError(event.text)

    line = ScriptedLine()
    line.bridge_sends(Fault("bad"))
    with pytest.raises(LookupError, match="bad"):
        async with open_call_on(line, on_event=refuse):
            await trio.sleep_forever()
    assert not line.is_open


async def test_cancelling_drops_the_line(autojump_clock: MockClock) -> None:
    """A deadline around the block ends it at once, and leaves no open line."""
    line = ScriptedLine(answers_goodbye=False)
    began = trio.current_time()
    with trio.move_on_after(0.5) as deadline:
        async with open_call_on(line):
            await trio.sleep_forever()
    assert deadline.cancelled_caught
    assert trio.current_time() - began == pytest.approx(0.5)
    assert not line.is_open


async def test_body_exception_survives_cancellation(autojump_clock: MockClock) -> None:
    """An error of the body is not lost when the surroundings are cancelled during the hangup."""
    line = ScriptedLine(answers_goodbye=False)
    with pytest.raises(LookupError), trio.move_on_after(0.5):
        async with open_call_on(line):
            raise LookupError
    assert not line.is_open


async def test_bad_input_is_refused(autojump_clock: MockClock) -> None:
    """Half a sample, an impossible digit and a digit on a line without digits are ValueErrors."""
    line = ScriptedLine()
    async with open_call_on(line) as call:
        with pytest.raises(ValueError, match="16-bit"):
            call.say(b"abc")
        for digit in ("x", "", "12"):
            with pytest.raises(ValueError, match="DTMF"):
                call.send_digit(digit)
        line.carries_digits = False
        with pytest.raises(ValueError, match="carries no digits"):
            call.send_digit("1")


async def test_speech_over_an_echo_is_heard_unbroken(autojump_clock: MockClock) -> None:
    """Real speech through an echo in memory comes back whole, one frame later."""
    line = ScriptedLine(echoes=True)
    async with open_call_on(line) as call:
        call.say(QUESTION)
        assert await call.wait_said()
        await trio.sleep(0.2)
        assert QUESTION in call.heard()
        assert call.report().underruns == 0


@pytest.mark.parametrize(
    ("text", "events"),
    [
        (
            '{"type":"audio","audio":"AAAA"}',
            [Fault("audio of 3 bytes: half a sample"), Audio(b"\0\0")],
        ),
        (
            '{"type":"audio","audio":"AAA="}',
            [Fault("audio of 2 bytes: no multiple of 320"), Audio(b"\0\0")],
        ),
        ('{"type":"audio","audio":""}', [Fault("an audio message without audio"), Audio(b"")]),
        ('{"type":"audio","audio":"!?"}', [Fault("audio that is not base64")]),
        ('{"type":"interruption"}', [Interruption()]),
        ('{"type":"transcript","role":"user","text":"x"}', [Transcript("user", "x")]),
        ('{"type":"error","message":"x","extra":1}', [ErrorMessage("x")]),
        ('{"type":"mark"}', [Fault("a message of unknown type 'mark'")]),
        ('{"audio":""}', [Fault("a message without a type")]),
        ("[]", [Fault("a message that is no JSON object")]),
        ("{", [Fault("a message that is not JSON")]),
    ],
)
def test_contract_is_judged(text: str, events: list[LineEvent]) -> None:
    """Each message is read by the contract, and each breach is named."""
    assert read_message(text) == events


@pytest.mark.parametrize(
    "text",
    [
        '{"type":"transcript","role":"assistant","text":"x"}',
        '{"type":"error"}',
        '{"type":"audio"}',
        '{"type":7}',
        '{"type":{}}',
    ],
)
def test_bad_members_are_faults(text: str) -> None:
    """A known message with a wrong or missing member is one fault."""
    (event,) = read_message(text)
    assert isinstance(event, Fault)
