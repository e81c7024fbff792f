"""Known traps of the Realtime API, replayed against whole calls.

Each was met by somebody in production; `docs/conversation.md` lists all, by the same numbers, with
the test that holds each or the reason why it does not concern us.
"""

from __future__ import annotations

import base64
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio
import trio.testing

from avr_bridge import EndReason, TalkConfig
from avr_bridge.caller.transport import AudioOut, DtmfDigit, ErrorOut, Interruption
from avr_bridge.testing import (
    CallTool,
    Close,
    Emit,
    Fail,
    Hang,
    Raw,
    Say,
    Script,
    Silence,
    SimulatedAmi,
    SimulatedRealtime,
    SimulatorOptions,
    Step,
    Wait,
    likeness,
)
from avr_bridge.upstream.answering import STUCK_LIMIT_S
from tests.call.conftest import Echo, config, place_call

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from trio.testing import MockClock as Clock

    from avr_bridge.testing import SimulatedSession
    from avr_bridge.upstream.socket import MessageSocket
    from tests.call.conftest import Placed

LIMIT_S = 2.0


def session_of(call: Placed) -> SimulatedSession:
    return call.simulator.sessions[0]


def error(code: str, message: str = "words") -> Emit:
    detail = {"type": "invalid_request_error", "code": code, "message": message}
    return Emit({"type": "error", "error": detail})


async def call_of(
    steps: list[list[Step]], duration_s: float = 6, **options: Any
) -> tuple[Placed, Script]:
    """One call in which the model says `steps`, and the caller nothing."""
    script = Script(steps, then=Silence())
    async with place_call(SimulatedRealtime(script, SimulatorOptions(**options))) as call:
        call.caller.start()
        await call.caller.be_silent(duration_s)
    return call, script


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (4000, "invalid_request_error.beta_api_shape_disabled"),
        (3000, "invalid_request_error.invalid_api_key"),
    ],
)
async def test_01_02_a_refusal_after_the_upgrade(
    autojump_clock: Clock, code: int, reason: str
) -> None:
    """The socket opens and is then closed with a code: no reconnect loop, the call ends."""
    call, _ = await call_of([[Close(code, reason)]])
    assert call.summary is not None
    assert call.summary.end_reason is EndReason.MODEL_REJECTED
    assert call.ended_s < LIMIT_S
    assert len(call.simulator.sessions) == 1


async def test_03_no_quota_ends_the_call(autojump_clock: Clock) -> None:
    """The socket connects, and each answer fails: nothing is tried again."""
    call, _ = await call_of([[Fail("insufficient_quota", "You exceeded your quota.")]])
    assert call.summary is not None
    assert call.summary.end_reason is EndReason.MODEL_REJECTED
    assert call.ended_s < LIMIT_S
    assert len(call.simulator.sessions) == 1


@pytest.mark.parametrize("audio_format", ["pcmu", "pcma", "pcm"])
@pytest.mark.parametrize("turn_detection", ["server_vad", "semantic_vad"])
@pytest.mark.parametrize("model", ["gpt-realtime", "gpt-realtime-2"])
async def test_04_to_11_the_update_is_taken_whole(
    autojump_clock: Clock, audio_format: str, turn_detection: str, model: str
) -> None:
    """A wrong field makes the server drop all of it. Every setting is understood: `type`, the
    rate of PCM, one modality, nothing at the top that is gone, no null, `reasoning` only where
    it is known."""
    settings = config(audio_format=audio_format, turn_detection=turn_detection, model=model)
    async with place_call(SimulatedRealtime(Silence()), settings) as call:
        call.caller.start()
        await call.caller.be_silent(1)
    session = session_of(call)
    (update,) = session.received_of("session.update")
    assert session.sent_types[:2] == ["session.created", "session.updated"]
    assert "error" not in session.sent_types
    assert "None" not in repr(update)
    assert ("reasoning" in update["session"]) is (model == "gpt-realtime-2")


async def test_12_the_voice_is_set_once(autojump_clock: Clock, question: bytes) -> None:
    """After the first sound an update with another voice is refused whole. Later updates carry
    no voice at all."""
    script = Script([[Say(question, 8000, "hi")]], then=Silence())
    simulator = SimulatedRealtime(script, SimulatorOptions(g711="ignored"))
    async with place_call(simulator, config(audio_format="pcma")) as call:
        call.caller.start()
        await call.caller.be_silent(6)
    first, *later = session_of(call).received_of("session.update")
    assert "voice" in first["session"]["audio"]["output"]
    assert later
    assert all("voice" not in u["session"]["audio"].get("output", {}) for u in later)
    assert "error" not in session_of(call).sent_types


async def test_13_no_sound_before_the_session_is_in_force(
    autojump_clock: Clock, question: bytes
) -> None:
    """It would be heard as 24 kHz PCM by a model with a default prompt."""
    slow = SimulatorOptions(created_delay_s=1, updated_delay_s=2)
    async with place_call(SimulatedRealtime(Echo(), slow)) as call:
        call.caller.start()
        await call.caller.say(question[: 16_000 * 2])
        appends_before = session_of(call).audio_appends
        assert "session.updated" not in session_of(call).sent_types
        await call.caller.be_silent(5)
    assert appends_before == 0
    assert session_of(call).audio_appends > 0


async def test_14_42_turn_detection_is_sent_in_full(autojump_clock: Clock) -> None:
    """Defaults differ between documents and servers, and what an update without a field does is
    documented nowhere: nothing is left to either, at first and after the welcome."""
    settings = attrs.evolve(config(), talk=TalkConfig(welcome_message="Welcome."))
    async with place_call(SimulatedRealtime(Silence()), settings) as call:
        call.caller.start()
        await call.caller.be_silent(1)
    updates = session_of(call).received_of("session.update")
    first, after = (u["session"]["audio"]["input"]["turn_detection"] for u in updates)
    assert first["silence_duration_ms"] == 500
    assert set(first) >= {"type", "threshold", "prefix_padding_ms", "create_response"}
    assert after == first | {"interrupt_response": True}


async def test_15_16_turns_are_the_servers_and_silence_is_sent(
    autojump_clock: Clock, question: bytes
) -> None:
    """A turn ends by the silence after it: it is sent like any sound, and nothing is committed by
    hand."""
    async with place_call(SimulatedRealtime(Echo())) as call:
        call.caller.start()
        await call.caller.say(question)
        await call.caller.be_silent(6)
    assert session_of(call).received_of("input_audio_buffer.commit") == []
    assert call.summary is not None
    assert call.summary.turns == 1
    assert call.summary.dropped_ms == 0


async def test_16_a_line_that_stops_in_silence(autojump_clock: Clock, question: bytes) -> None:
    """A phone that sends nothing while nobody speaks: the silence is filled in, so the turn ends
    and is answered; where nobody was speaking, nothing is filled in."""
    async with place_call(SimulatedRealtime(Echo())) as call:
        call.caller.start()
        await trio.sleep(3)
        assert session_of(call).received_of("input_audio_buffer.append") == []
        await call.caller.say(question)
        await trio.sleep(8)
    assert call.summary is not None
    assert call.summary.turns == 1
    assert likeness(question, call.caller.audio()).correlation > 0.99
    sent = session_of(call).received_of("input_audio_buffer.append")
    sent_ms = sum(len(base64.b64decode(event["audio"])) for event in sent) / 8
    assert sent_ms < len(question) / 16 + 1500


async def test_17_generated_is_not_heard(autojump_clock: Clock, question: bytes) -> None:
    """`response.done` comes seconds before the last word: a hangup waits for the word."""
    bye: list[Step] = [Say(question, 8000, "bye"), CallTool("avr_hangup", "{}")]
    ami = SimulatedAmi()
    simulator = SimulatedRealtime(Script([bye], then=Silence()), SimulatorOptions(speed=100))
    async with place_call(simulator, ami=ami) as call, trio.open_nursery() as tasks:
        call.caller.start()
        tasks.start_soon(call.caller.be_silent, 10)
        await session_of_soon(call, "response.done")
        done_s = trio.current_time()
        await ami.wait_requests(1)
        assert trio.current_time() - done_s > len(question) / 16_000 - 0.5
        tasks.cancel_scope.cancel()


async def session_of_soon(call: Placed, event_type: str) -> None:
    session = await call.simulator.wait_session()
    await session.wait_sent(event_type)


@pytest.mark.parametrize("speed", [1.05, 100])
async def test_18_19_only_what_was_received_is_truncated(
    autojump_clock: Clock, question: bytes, speed: float
) -> None:
    """Two items in a row are interrupted, each at its own place: the server never finds that an
    item is shorter, has no sound, or is not there."""
    script = Script([[Say(question * 3, 8000, "a")], [Say(question * 3, 8000, "b")]], Silence())
    async with place_call(SimulatedRealtime(script, SimulatorOptions(speed=speed))) as call:
        call.caller.start()
        await call.caller.wait_for(AudioOut)
        for _ in range(2):
            await trio.sleep(0.4)
            await call.caller.say(question[:16_000])
            await call.caller.be_silent(2.5)
    ends = session_of(call).received_of("conversation.item.truncate")
    assert len({event["item_id"] for event in ends}) == 2
    assert session_of(call).sent_types.count("conversation.item.truncated") == 2
    assert "error" not in session_of(call).sent_types


async def test_20_late_sound_of_a_dead_answer_is_not_played(
    autojump_clock: Clock, question: bytes
) -> None:
    """The model speaks hardly faster than it is heard, so the interruption finds it speaking: not
    a frame of it is sent after that."""
    script = Script([[Say(question * 4, 8000, "long")]], then=Silence())
    async with place_call(SimulatedRealtime(script, SimulatorOptions(speed=1.1))) as call:
        call.caller.start()
        await call.caller.wait_for(AudioOut)
        await call.caller.say(question[:16_000])
        await call.caller.be_silent(3)
    kinds = [type(entry.message) for entry in call.caller.received]
    assert AudioOut not in kinds[kinds.index(Interruption) :]


async def test_21_a_cancellation_that_comes_too_late(
    autojump_clock: Clock, question: bytes
) -> None:
    """The answer is over on the server: its complaint ends nothing and is told to nobody."""
    call, _ = await call_of([[error("response_cancel_not_active"), Say(question, 8000, "on")]])
    assert not any(isinstance(e.message, ErrorOut) for e in call.caller.received)
    assert likeness(question, call.caller.audio()).correlation > 0.99


class _SlowToBegin(SimulatedRealtime):
    """`response.created` is on its way for 200 ms."""

    @asynccontextmanager
    async def dial(
        self, url: str, headers: Sequence[tuple[str, str]] = ()
    ) -> AsyncGenerator[MessageSocket]:
        async with super().dial(url, headers) as socket:
            yield _SlowSocket(socket)


class _SlowSocket:
    def __init__(self, socket: MessageSocket) -> None:
        self._socket = socket
        self.send_message = socket.send_message
        self.ping = socket.ping
        self.aclose = socket.aclose

    async def get_message(self) -> bytes | str:
        message = await self._socket.get_message()
        if "response.created" in str(message):
            with trio.CancelScope(shield=True):
                await trio.sleep(0.2)
        return message


class _LateRequests(SimulatedRealtime):
    """`response.create` is on its way for 600 ms; all else overtakes it."""

    @asynccontextmanager
    async def dial(
        self, url: str, headers: Sequence[tuple[str, str]] = ()
    ) -> AsyncGenerator[MessageSocket]:
        async with trio.open_nursery() as nursery, super().dial(url, headers) as socket:
            yield _LateSocket(socket, nursery)
            nursery.cancel_scope.cancel()


class _LateSocket:
    def __init__(self, socket: MessageSocket, nursery: trio.Nursery) -> None:
        self._socket = socket
        self._nursery = nursery
        self.ping = socket.ping
        self.get_message = socket.get_message
        self.aclose = socket.aclose

    async def send_message(self, message: bytes | str) -> None:
        if "response.create" in str(message):
            self._nursery.start_soon(self._send_late, message)
        else:
            await self._socket.send_message(message)

    async def _send_late(self, message: bytes | str) -> None:
        await trio.sleep(0.6)
        await self._socket.send_message(message)


async def test_22_a_key_before_the_answer_begins(autojump_clock: Clock, question: bytes) -> None:
    """A cancellation before `response.created` does nothing on the server: it is sent by id when
    the answer appears, so no orphan speaks; the keys are answered."""
    script = Script([[Say(question, 8000, "orphan")], [Say(question, 8000, "keys")]], Silence())
    settings = attrs.evolve(config(), talk=TalkConfig(dtmf_interrupts=True))
    async with place_call(_SlowToBegin(script), settings) as call:
        call.caller.start()
        await (await call.simulator.wait_session()).wait_received("response.create")
        call.caller.send(DtmfDigit("#"))
        await trio.testing.wait_all_tasks_blocked()
        assert session_of(call).received_of("response.cancel") == []
        await call.caller.be_silent(8)
    (cancelled,) = session_of(call).received_of("response.cancel")
    assert cancelled["response_id"]
    assert len(call.caller.audio()) == pytest.approx(len(question), abs=640)
    assert "error" not in session_of(call).sent_types


async def test_22_speech_before_the_answer_begins(autojump_clock: Clock, question: bytes) -> None:
    """The caller speaks while our request is on its way: that answer would talk into their words.
    It is cancelled when it appears, and what they said is answered."""
    script = Script([[Say(question, 8000, "greeting")], [Say(question, 8000, "answer")]], Silence())
    async with place_call(_LateRequests(script)) as call:
        call.caller.start()
        await call.caller.say(question)
        await call.caller.be_silent(8)
    kinds = session_of(call).sent_types
    assert kinds.index("input_audio_buffer.speech_started") < kinds.index("response.created")
    (cancelled,) = session_of(call).received_of("response.cancel")
    assert cancelled["response_id"]
    assert len(call.caller.audio()) == pytest.approx(len(question), abs=640)
    assert [turn.requested for turn in script.turns] == [True, False]


async def test_22_keys_while_the_caller_speaks(autojump_clock: Clock, question: bytes) -> None:
    """Nothing is asked for: the server answers the turn, and knows of the keys by then."""
    script = Script([[Say(question[:320], 8000, "yes")]] * 2, Silence())
    async with place_call(SimulatedRealtime(script)) as call:
        call.caller.start()
        await call.caller.be_silent(2)
        async with trio.open_nursery() as tasks:
            tasks.start_soon(call.caller.say, question)
            await session_of(call).wait_sent("input_audio_buffer.speech_started")
            await trio.testing.wait_all_tasks_blocked()
            call.caller.send(DtmfDigit("#"))
        await call.caller.be_silent(8)
    assert [turn.requested for turn in script.turns] == [True, False]
    assert script.turns[1].texts == ("[The caller pressed # on the keypad]",)


async def test_23_a_request_waits_behind_the_running_answer(
    autojump_clock: Clock, question: bytes
) -> None:
    """Keys during an answer: asked for when it is done, never refused, and answered."""
    script = Script([[Say(question, 8000, "a"), Wait(1500)], [Say(question, 8000, "b")]], Silence())
    async with place_call(SimulatedRealtime(script)) as call:
        call.caller.start()
        await call.caller.wait_for(AudioOut)
        for key in "1#2#":
            call.caller.send(DtmfDigit(key))
        await call.caller.be_silent(8)
    assert len(session_of(call).received_of("response.create")) == 2
    assert "error" not in session_of(call).sent_types
    assert len(call.caller.audio()) == pytest.approx(len(question) * 2, abs=640)


async def test_24_an_answer_that_never_ends(autojump_clock: Clock, question: bytes) -> None:
    """Nothing more comes of it, and its end neither: it is given up, and the next one is heard."""
    script = Script([[Hang(cancellable=True)], [Say(question, 8000, "at last")]], Silence())
    async with place_call(SimulatedRealtime(script)) as call:
        call.caller.start()
        await call.caller.be_silent(STUCK_LIMIT_S + 8)
    assert likeness(question, call.caller.audio()).correlation > 0.99


async def test_25_a_cut_call_of_a_tool_does_not_run(autojump_clock: Clock, question: bytes) -> None:
    """`arguments.done` comes for a cut call too, with half its arguments: nothing runs."""
    cut = config(max_tokens=3)
    script = Script([[CallTool("avr_transfer", '{"transfer_extension": "600"}' * 4)]], Silence())
    async with place_call(SimulatedRealtime(script), cut) as call:
        call.caller.start()
        await call.caller.be_silent(4)
    assert "response.function_call_arguments.done" in session_of(call).sent_types
    assert call.summary is not None
    assert call.summary.tools == 0
    assert session_of(call).received_of("conversation.item.create") == []


async def test_26_27_outputs_after_the_response_and_for_unknown_names(
    autojump_clock: Clock, question: bytes
) -> None:
    """The server refuses an output while the response that called still runs; a made-up name
    gets an output in words. Two calls: two outputs, one request."""
    calls: list[Step] = [CallTool("made_up", "{}", "c1"), CallTool("made_up", "[", "c2"), Wait(500)]
    call, script = await call_of([calls, [Say(question, 8000, "sorry")]], 8)
    outputs = dict(script.turns[1].function_outputs)
    assert set(outputs) == {"c1", "c2"}
    assert "made_up" in outputs["c1"]
    assert len(session_of(call).received_of("response.create")) == 2
    assert "error" not in session_of(call).sent_types


@pytest.mark.parametrize(
    "odd",
    [
        {"type": "conversation.item.added", "previous_item_id": None, "item": {"id": "x"}},
        {"type": "conversation.item.added", "item": {"id": "x", "role": "user", "content": None}},
        {"type": "conversation.item.created", "item": {"id": "x"}},
        {"type": "response.output_item.done", "item": {"phase": "new"}},
        {"type": "rate_limits.updated", "rate_limits": [], "custom": {"voice": {"id": "v"}}},
        {"type": "a.new.kind", "session": 7},
        {"type": "session.updated", "session": {"type": "realtime", "voice": {"id": "custom"}}},
    ],
)
async def test_28_31_41_43_odd_and_new_events_change_nothing(
    autojump_clock: Clock, question: bytes, odd: dict[str, Any]
) -> None:
    """Nulls, missing members, additions, old names, an update told twice: the call goes on."""
    steps: list[Step] = [Emit(odd), Raw("{"), Say(question, 8000, "on")]
    call, _ = await call_of([steps])
    assert likeness(question, call.caller.audio()).correlation > 0.99
    assert call.summary is not None
    assert call.summary.end_reason is EndReason.CALLER_HUNG_UP
    assert not any(isinstance(e.message, ErrorOut) for e in call.caller.received)


@pytest.mark.parametrize("options", [{"transcription": "fails"}, {"transcription_ms": 30_000.0}])
async def test_32_nothing_hangs_on_the_callers_transcript(
    autojump_clock: Clock, question: bytes, options: dict[str, Any]
) -> None:
    """It fails or comes far too late: the caller is answered all the same."""
    async with place_call(SimulatedRealtime(Echo(), SimulatorOptions(**options))) as call:
        call.caller.start()
        await call.caller.say(question)
        await call.caller.be_silent(6)
    assert likeness(question, call.caller.audio()).correlation > 0.99


async def test_33_the_servers_end_of_the_session(autojump_clock: Clock) -> None:
    """Its clock decides: before it ends a session, the call goes on in another."""
    async with place_call(SimulatedRealtime(Silence(), SimulatorOptions(session_s=10))) as call:
        call.caller.start()
        await call.caller.be_silent(25)
    assert call.summary is not None
    assert call.summary.end_reason is EndReason.CALLER_HUNG_UP
    assert (call.summary.renewals, call.summary.reconnects) == (3, 0)


async def test_35_playing_does_not_delay_hearing(autojump_clock: Clock, question: bytes) -> None:
    """A minute of answer waits to be played: a barge-in is heard at once all the same."""
    script = Script([[Say(question * 20, 8000, "very long")]], then=Silence())
    async with place_call(SimulatedRealtime(script, SimulatorOptions(speed=1000))) as call:
        call.caller.start()
        await session_of_soon(call, "response.done")
        await trio.sleep(1)
        await call.caller.say(question[:16_000])
        heard_s = trio.current_time()
        await call.caller.be_silent(2)
    stopped_s = next(e.at_s for e in call.caller.received if isinstance(e.message, Interruption))
    assert stopped_s <= heard_s


async def test_36_frames_do_not_drift(autojump_clock: Clock, question: bytes) -> None:
    """A long answer ends when its length says, to the frame: behind the first message, the lead,
    each frame leaves in real time, in messages of four."""
    long = question * 20
    call, _ = await call_of([[Say(long, 8000, "long")]], len(long) / 16_000 + 2)
    sound = [e for e in call.caller.received if isinstance(e.message, AudioOut)]
    played_s = len(call.caller.audio()) / 16_000
    assert sound[-1].at_s - sound[0].at_s == pytest.approx(played_s - 0.2, abs=0.08)
    steps_s = [b.at_s - a.at_s for a, b in pairwise(sound[2:-1])]
    assert steps_s == pytest.approx([0.08] * len(steps_s))


async def test_37_sound_does_not_depend_on_the_deltas(
    autojump_clock: Clock, question: bytes
) -> None:
    """A resampler that starts anew with each delta clicks: tiny and huge deltas, cut in the
    middle of samples, give the same bytes."""
    heard = []
    for delta_ms, odd in (((10, 35, 3), True), ((4000,), False)):
        options = SimulatorOptions(delta_ms=delta_ms, odd_bytes=odd, speed=50)
        script = Script([[Say(question, 8000, "x")]], then=Silence())
        simulator = SimulatedRealtime(script, options)
        async with place_call(simulator, config(audio_format="pcm")) as call:
            call.caller.start()
            await call.caller.be_silent(5)
        heard.append(call.caller.audio())
    assert heard[0] == heard[1]


async def test_38_the_prompt_stays_as_it_is(autojump_clock: Clock, question: bytes) -> None:
    """Instructions and tools that change spoil the server's cache: they are sent once."""
    async with place_call(SimulatedRealtime(Echo())) as call:
        call.caller.start()
        for _ in range(2):
            await call.caller.say(question)
            await call.caller.be_silent(5)
    assert len(session_of(call).received_of("session.update")) == 1
    for request in session_of(call).received_of("response.create"):
        assert request["response"].keys() == {"metadata"}


async def test_40_an_answer_without_sound(autojump_clock: Clock, question: bytes) -> None:
    """It completes empty: the model is asked once more, and not without end."""
    script = Script([[], [Say(question, 8000, "here")]], Silence())
    async with place_call(SimulatedRealtime(script)) as call:
        call.caller.start()
        await call.caller.be_silent(6)
        assert likeness(question, call.caller.audio()).correlation > 0.99
        await call.caller.say(question)
        await call.caller.be_silent(6)
    assert [turn.requested for turn in script.turns] == [True, True, False, True]
