"""The defects of the Node connector, one test each: what it did, and what the bridge does.

They were read in the source of avr-sts-openai 1.11.3; `docs/conversation.md` has the same numbers.
"""

from __future__ import annotations

import itertools
import math
import struct
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio

from avr_bridge import BridgeConfig, EndReason, TalkConfig, run_call
from avr_bridge.caller.protocol import CallerProtocol
from avr_bridge.caller.transport import (
    AudioOut,
    CallerFault,
    CallStarted,
    DtmfDigit,
    ErrorOut,
    Interruption,
)
from avr_bridge.errors import CallerProtocolError
from avr_bridge.testing import (
    CallTool,
    Emit,
    MemoryCaller,
    Say,
    Script,
    Silence,
    SimulatedAmi,
    SimulatedRealtime,
    SimulatorOptions,
    likeness,
    tone_level_db,
)
from tests.call.conftest import KEY, Echo, config, place_call

if TYPE_CHECKING:
    from trio.testing import MockClock as Clock

    from avr_bridge.testing import SimulatedSession
    from tests.call.conftest import Placed


def tone(freq_hz: float, duration_s: float, level: int = 9000) -> bytes:
    samples = range(int(duration_s * 8000))
    values = [round(level * math.sin(2 * math.pi * freq_hz * n / 8000)) for n in samples]
    return struct.pack(f"<{len(values)}h", *values)


def session_of(call: Placed) -> SimulatedSession:
    return call.simulator.sessions[0]


def conducted(**talk: Any) -> BridgeConfig:
    return attrs.evolve(config(), talk=TalkConfig(**talk))


async def test_01_calls_share_no_resampler(autojump_clock: Clock) -> None:
    """One stateful resampler served all calls, so each heard a little of the others. Here each
    call and direction has its own: two calls at once hear their own tone only."""
    simulator = SimulatedRealtime(Echo())
    heard: dict[int, bytes] = {}

    async def one(freq_hz: int) -> None:
        async with place_call(simulator, config(audio_format="pcm")) as call:
            call.caller.start()
            await call.caller.say(tone(freq_hz, 1.0))
            await call.caller.be_silent(4)
        heard[freq_hz] = call.caller.audio()[:16_000]

    async with trio.open_nursery() as nursery:
        nursery.start_soon(one, 440)
        nursery.start_soon(one, 1300)
    for own_hz, other_hz in ((440, 1300), (1300, 440)):
        assert tone_level_db(heard[own_hz], other_hz) < tone_level_db(heard[own_hz], own_hz) - 35


async def test_02_loud_sound_is_clipped_and_does_not_wrap(autojump_clock: Clock) -> None:
    """Converting to integers wrapped around, so loud peaks became cracks. Here a tone at full
    level keeps its shape through both resamplers: no step of more than the tone's own."""
    loud = tone(1000, 1.0, level=32_767)
    async with place_call(SimulatedRealtime(Echo()), config(audio_format="pcm")) as call:
        call.caller.start()
        await call.caller.say(loud)
        await call.caller.be_silent(4)
    heard = call.caller.audio()
    samples = struct.unpack(f"<{len(heard) // 2}h", heard)
    steepest = max(abs(b - a) for a, b in itertools.pairwise(samples))
    assert max(samples) > 30_000
    assert steepest < 32_767


async def test_03_the_first_words_are_kept(autojump_clock: Clock, question: bytes) -> None:
    """What the caller said before the model was connected was dropped. Here it is kept, and said
    to the model when the session is in force."""
    slow = SimulatorOptions(connect_delay_s=1, updated_delay_s=1)
    async with place_call(SimulatedRealtime(Echo(), slow)) as call:
        call.caller.start()
        await call.caller.say(question)
        await call.caller.be_silent(7)
    assert likeness(question, call.caller.audio()).correlation > 0.99
    assert call.summary is not None
    assert call.summary.dropped_ms == 0


async def test_04_the_end_of_an_answer_is_its_own(autojump_clock: Clock) -> None:
    """The last part of a frame was never sent, and stuck to the front of the next answer. Here
    it is padded and played, and the next answer begins on its own frame."""
    first, second = b"\x10\x20" * 1234, b"\x30\x40" * 1600
    script = Script([[Say(first, 8000, "one")], [Say(second, 8000, "two")]], then=Silence())
    async with place_call(SimulatedRealtime(script)) as call:
        call.caller.start()
        await call.caller.be_silent(2)
        await call.caller.say(tone(300, 0.8))
        await call.caller.be_silent(3)
    heard = call.caller.audio()
    assert len(heard) == 8 * 320 + 10 * 320
    assert heard[1234 * 2 : 8 * 320] == bytes(8 * 320 - 1234 * 2)
    assert heard[8 * 320 : 8 * 320 + 2] == heard[-2:]


async def test_05_a_barge_in_reaches_the_model(autojump_clock: Clock, question: bytes) -> None:
    """avr-core was told, and nobody else: what was in flight was played, and the model believed
    that all was heard. Here what was queued and what still comes is dropped, and the item is
    truncated at what the caller heard."""
    script = Script([[Say(question * 4, 8000, "long")]], then=Silence())
    async with place_call(SimulatedRealtime(script, SimulatorOptions(speed=1.5))) as call:
        call.caller.start()
        await call.caller.wait_for(AudioOut)
        await trio.sleep(1)
        await call.caller.say(question)
        await call.caller.be_silent(3)
    kinds = [type(entry.message) for entry in call.caller.received]
    assert AudioOut not in kinds[kinds.index(Interruption) :]
    (told,) = session_of(call).received_of("conversation.item.truncate")
    assert 900 < told["audio_end_ms"] < 1600
    assert "error" not in session_of(call).sent_types


async def test_06_greeted_once(autojump_clock: Clock, question: bytes) -> None:
    """Each `session.updated` asked for a greeting, also one in the middle of the call. Here the
    first one does."""
    shown = {"type": "realtime"}
    again = Emit({"type": "session.updated", "session": shown})
    script = Script([[again, Say(question, 8000, "hello"), again]], then=Silence())
    async with place_call(SimulatedRealtime(script)) as call:
        call.caller.start()
        await call.caller.be_silent(6)
    assert session_of(call).sent_types.count("session.updated") == 3
    assert len(session_of(call).received_of("response.create")) == 1


async def test_07_a_result_is_the_output_of_its_call(
    autojump_clock: Clock, question: bytes
) -> None:
    """The result of a tool replaced the instructions of one answer, and never entered the
    conversation. Here it is a `function_call_output`, and the answer keeps its instructions."""
    tool = CallTool("avr_transfer", '{"transfer_extension": "600"}', "call_1")
    script = Script([[tool], [Say(question, 8000, "one moment")]], then=Silence())
    async with place_call(SimulatedRealtime(script)) as call:
        call.caller.start()
        await call.caller.be_silent(5)
    (created,) = session_of(call).received_of("conversation.item.create")
    assert created["item"]["type"] == "function_call_output"
    assert created["item"]["call_id"] == "call_1"
    for request in session_of(call).received_of("response.create"):
        assert request["response"].keys() == {"metadata"}
    assert script.turns[1].function_outputs == (("call_1", created["item"]["output"]),)


async def test_08_a_failed_tool_is_told_and_a_goodbye_is_heard(
    autojump_clock: Clock, question: bytes
) -> None:
    """A tool that failed was dead air, and the hangup cut the goodbye. Here the model is told and
    asked to go on; and avr-ami is asked when the last word was heard."""
    bye = Say(question, 8000, "goodbye")
    script = Script([[CallTool("fly", "{}")], [bye, CallTool("avr_hangup", "{}")]], then=Silence())
    ami = SimulatedAmi()
    async with place_call(SimulatedRealtime(script), ami=ami) as call, trio.open_nursery() as tasks:
        call.caller.start()
        tasks.start_soon(call.caller.be_silent, 20)
        await ami.wait_requests(1)
        asked_s = trio.current_time()
        tasks.cancel_scope.cancel()
    assert "fly" in script.turns[1].function_outputs[0][1]
    began_s = next(e.at_s for e in call.caller.received if isinstance(e.message, AudioOut))
    assert asked_s == pytest.approx(began_s + len(question) / 16_000, abs=0.06)


async def test_09_keys_and_who_calls(autojump_clock: Clock) -> None:
    """Keys and query parameters were ignored. Here an entry is a turn of the caller, and the
    parameters are the call's metadata."""
    script = Script([[], []], then=Silence())
    caller = MemoryCaller({"from": "a", "to": "b"})
    async with place_call(SimulatedRealtime(script), caller=caller) as call:
        call.caller.start()
        await call.caller.be_silent(1)
        for key in "12#":
            call.caller.send(DtmfDigit(key))
        await call.caller.be_silent(2)
    assert script.turns[2].texts == ("[The caller pressed 1 2 on the keypad]",)
    assert call.summary is not None
    assert call.summary.metadata == {"from": "a", "to": "b"}
    assert call.summary.digits == 3


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("response_cancel_not_active", 0),
        ("item_truncate_invalid_item_id", 0),
        ("input_audio_buffer_commit_empty", 0),
        ("something_new", 1),
    ],
)
async def test_10_harmless_races_are_not_told(
    autojump_clock: Clock, question: bytes, code: str, told: int
) -> None:
    """Every error event went to avr-core. Here races are noise; the rest is told; the call goes
    on either way."""
    error = {"type": "invalid_request_error", "code": code, "message": "words"}
    script = Script([[Emit({"type": "error", "error": error}), Say(question, 8000, "on")]])
    async with place_call(SimulatedRealtime(script)) as call:
        call.caller.start()
        await call.caller.be_silent(5)
    errors = [e.message for e in call.caller.received if isinstance(e.message, ErrorOut)]
    assert errors == [ErrorOut("words")] * told
    assert likeness(question, call.caller.audio()).correlation > 0.99


@pytest.mark.parametrize(
    ("options", "reason", "within_s"),
    [
        ({"send_session_created": False}, EndReason.MODEL_UNAVAILABLE, 12),
        ({"answer_session_update": False}, EndReason.MODEL_UNAVAILABLE, 12),
    ],
)
async def test_11_no_wait_without_an_end(
    autojump_clock: Clock, options: dict[str, Any], reason: EndReason, within_s: float
) -> None:
    """There were no limits: a model that hung, or whose session was over, left silence. Here the
    caller is told and the call ends. (Dialling has a limit too: `tests/wire/test_dial.py`; a
    session that is over is replaced: `test_sessions.py`.)"""
    simulator = SimulatedRealtime(Silence(), SimulatorOptions(**options))
    async with place_call(simulator) as call:
        call.caller.start()
        await call.caller.be_silent(30)
    assert call.summary is not None
    assert call.summary.end_reason is reason
    assert call.ended_s < within_s
    assert call.caller.closed == (1011, reason.value)


async def test_12_stopping_closes_the_call(autojump_clock: Clock, question: bytes) -> None:
    """SIGTERM ended the process with all its calls in the middle. Here a call that is cancelled
    from outside closes both sides, and the caller is told that we go away (1001)."""
    caller, simulator = MemoryCaller(), SimulatedRealtime(Script([[Say(question, 8000, "x")]]))
    caller.start()
    with trio.move_on_after(1.5):
        await run_call(caller.transport, config(), dial=simulator.dial, control=SimulatedAmi())
    assert caller.closed == (1001, "cancelled")
    assert len(simulator.sessions) == 1
    assert simulator.open_sessions == 0


async def test_13_the_log_tells_nothing_of_the_talk(
    autojump_clock: Clock, log: list[dict[str, Any]], question: bytes
) -> None:
    """Session, instructions, transcripts and tool results were logged in clear. Here the log has
    none of them, and neither digits, nor arguments, nor the key."""
    tool = CallTool("avr_transfer", '{"transfer_extension": "4711"}')
    script = Script(
        [[tool], [Say(question, 8000, "planted-words")]],
        then=Silence(),
        transcripts=["planted-speech"],
    )
    settings = attrs.evolve(
        config(instructions="planted-prompt"), talk=TalkConfig(welcome_message="planted-welcome")
    )
    async with place_call(SimulatedRealtime(script), settings) as call:
        call.caller.start()
        for key in "8192#":
            call.caller.send(DtmfDigit(key))
        await call.caller.be_silent(6)
        await call.caller.say(question)
        await call.caller.be_silent(6)
    assert call.summary is not None
    assert call.summary.tools == 1
    written = repr(log)
    assert "call ended" in written
    for secret in ("planted", "4711", "8192", KEY):
        assert secret not in written


async def test_14_a_second_init_opens_nothing(autojump_clock: Clock) -> None:
    """A second `init` opened a second session and leaked the first. Here it is a fault that is
    told, and there is one session, which is closed at the end."""
    protocol = CallerProtocol()
    assert protocol.receive('{"type":"init","uuid":"one"}') == [CallStarted("one")]
    with pytest.raises(CallerProtocolError, match="init was already received") as fault:
        protocol.receive('{"type":"init","uuid":"two"}')
    async with place_call(SimulatedRealtime(Silence())) as call:
        call.caller.start("one")
        await call.caller.be_silent(1)
        call.caller.send(CallerFault(str(fault.value)))
        await call.caller.be_silent(1)
    assert await call.caller.wait_for(ErrorOut) == ErrorOut(str(fault.value))
    assert len(call.simulator.sessions) == 1
    assert call.simulator.open_sessions == 0
    assert call.summary is not None
    assert call.summary.uuid == "one"
