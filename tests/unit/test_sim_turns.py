"""Turns and responses of the simulated API, in memory and in virtual time.

The client checks every event against the `openai` package's types as it reads.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import trio

from avr_bridge.testing.realtime import (
    CallTool,
    Hang,
    Say,
    Script,
    SimulatedRealtime,
    SimulatorOptions,
    Wait,
)
from avr_bridge.testing.realtime.listening import decode
from avr_bridge.testing.realtime.settings import audio_format
from avr_bridge.testing.realtime.speaking import encode
from tests.sim_client import ALAW, MANUAL, PCM, ULAW, connected, quiet, tone

if TYPE_CHECKING:
    from trio.testing import MockClock

    from avr_bridge.testing.realtime import Step

TURN_TYPES = [
    "input_audio_buffer.speech_started",
    "input_audio_buffer.speech_stopped",
    "input_audio_buffer.committed",
    "conversation.item.added",
    "conversation.item.done",
    "response.created",
    "response.output_item.added",
    "conversation.item.added",
    "response.content_part.added",
    "response.output_audio_transcript.delta",
    "response.output_audio.delta",
    "response.output_audio.done",
    "response.output_audio_transcript.done",
    "response.content_part.done",
    "conversation.item.done",
    "response.output_item.done",
    "response.done",
    "rate_limits.updated",
]

LONG = Say(tone(10_000), 24_000, "one two three four five six seven eight nine ten " * 3)


def without_repeats(types: list[str]) -> list[str]:
    """Deltas of one kind in a row, or in turn, count once."""
    seen: list[str] = []
    for name in types:
        if not (name.endswith(".delta") and name in seen):
            seen.append(name)
    return seen


async def test_one_turn_has_the_full_event_order(autojump_clock: MockClock) -> None:
    """Speech in, the same speech back, in exactly the API's order; one item follows the other."""
    async with connected(SimulatedRealtime()) as client:
        await client.append(quiet(500) + tone(900) + quiet(600))
        await client.until("rate_limits.updated")
        assert without_repeats(client.types[1:]) == TURN_TYPES
        started, committed = client.events[1], client.events[3]
        assert started["item_id"] == committed["item_id"]
        added = [e for e in client.events if e["type"] == "conversation.item.added"]
        assert added[0]["item"]["role"] == "user"
        assert added[1]["previous_item_id"] == added[0]["item"]["id"]
        ids = [event["event_id"] for event in client.events]
        assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("wire", [ULAW, ALAW, PCM])
async def test_parrot_is_faithful_in_every_format(
    autojump_clock: MockClock, wire: dict[str, Any]
) -> None:
    """The answer's audio is, byte for byte, the turn as the server cut it out of the input."""
    server = SimulatedRealtime()
    async with connected(server) as client:
        await client.update(audio={"input": {"format": wire}, "output": {"format": wire}})
        rate_hz = audio_format(wire).rate_hz
        call = quiet(500, rate_hz) + tone(900, rate_hz) + quiet(600, rate_hz)
        await client.append(call)
        await client.until("response.done")
        turn = server.sessions[0].turns[0]
        assert turn.caller_rate_hz == rate_hz
        assert not turn.requested
        assert client.audio() == encode(turn.caller_audio, rate_hz, audio_format(wire))
        heard = decode(encode(call, rate_hz, audio_format(wire)), audio_format(wire))
        assert turn.caller_audio in heard
        assert server.sessions[0].caller_pcm == heard


async def test_deltas_come_faster_than_real_time_in_uneven_pieces(
    autojump_clock: MockClock,
) -> None:
    """10 s of audio take 10/8 s; no delta but the last is a whole number of 20 ms frames."""
    async with connected(SimulatedRealtime(Script([[LONG]]))) as client:
        await client.send("response.create")
        await client.until("response.output_audio.delta")
        begun = trio.current_time()
        await client.until("response.done")
        assert trio.current_time() - begun == pytest.approx(10 / 8, abs=0.01)
        sizes = [
            len(e["delta"]) * 3 // 4 for e in client.events if e["type"].endswith("audio.delta")
        ]
        assert client.audio() == LONG.pcm
        assert all(size % 960 for size in sizes[:-1])
        deltas = [e["delta"] for e in client.events if e["type"].endswith("transcript.delta")]
        assert "".join(deltas) == LONG.transcript


async def test_odd_bytes_cut_samples_but_lose_none(autojump_clock: MockClock) -> None:
    """With the option on, deltas have odd lengths and still add up to the same audio."""
    server = SimulatedRealtime(Script([[LONG]]), SimulatorOptions(odd_bytes=True))
    async with connected(server) as client:
        await client.send("response.create")
        first = await client.until("response.output_audio.delta")
        await client.until("response.done")
        assert len(client.audio(first["item_id"])) == len(LONG.pcm)
        assert client.audio() == LONG.pcm
        assert first["delta"].endswith("=")


async def test_speech_interrupts_a_running_response(autojump_clock: MockClock) -> None:
    """speech_started, the item's done events as incomplete, response.done cancelled; nothing of
    the old response comes after that, and the next turn is answered."""
    async with connected(SimulatedRealtime(Script([[LONG], []]))) as client:
        await client.send("response.create")
        await client.until("response.output_audio.delta")
        await client.append(quiet(200) + tone(300))
        await client.until("input_audio_buffer.speech_started")
        mark = len(client.events)
        done = await client.until("response.done")
        assert client.types[mark:] == [
            "response.output_audio.done",
            "response.output_audio_transcript.done",
            "response.content_part.done",
            "conversation.item.done",
            "response.output_item.done",
            "response.done",
        ]
        response = done["response"]
        assert response["status"] == "cancelled"
        assert response["status_details"] == {"type": "cancelled", "reason": "turn_detected"}
        assert response["output"][0]["status"] == "incomplete"
        assert len(client.audio()) < len(LONG.pcm)
        await client.append(quiet(600))
        await client.until("response.done")
        assert "response.output_audio.delta" not in client.types[mark:]


async def test_without_interrupt_response_the_answer_goes_on(autojump_clock: MockClock) -> None:
    """The running answer completes, the turn gets no answer of its own, the next one has both."""
    server = SimulatedRealtime(Script([[LONG], []]))
    detection = {"type": "server_vad", "interrupt_response": False}
    async with connected(server) as client:
        await client.update(audio={"input": {"turn_detection": detection}})
        await client.send("response.create")
        await client.until("response.created")
        await client.append(quiet(300) + tone(300) + quiet(300))
        done = await client.until("response.done")
        assert done["response"]["status"] == "completed"
        await client.settle()
        assert client.types.count("response.created") == 1
        await client.append(tone(300) + quiet(300))
        await client.until("response.done")
        assert server.sessions[0].turns[1].caller_ms > 1200


async def test_only_one_response_at_a_time(autojump_clock: MockClock) -> None:
    """A second response.create is refused by name of the first; one beside it is allowed."""
    async with connected(SimulatedRealtime(Script([[LONG], [LONG]]))) as client:
        await client.send("response.create", response={"metadata": {"purpose": "greeting"}})
        created = (await client.until("response.created"))["response"]
        assert created["metadata"] == {"purpose": "greeting"}
        error = await client.refused("response.create")
        assert error["code"] == "conversation_already_has_active_response"
        assert error["message"] == (
            f"Conversation already has an active response in progress: {created['id']}. "
            "Wait until the response is finished before creating a new one."
        )
        await client.send("response.create", response={"conversation": "none"})
        aside = (await client.until("response.created"))["response"]
        assert aside["conversation_id"] is None
        await client.send("response.cancel", response_id=aside["id"])
        done = (await client.until("response.done"))["response"]
        assert (done["id"], done["status"]) == (aside["id"], "cancelled")
        assert done["status_details"]["reason"] == "client_cancelled"
        done = (await client.until("response.done"))["response"]
        assert (done["id"], done["status"]) == (created["id"], "completed")
        assert client.types.count("conversation.item.added") == 1


async def test_cancel_needs_a_running_response(autojump_clock: MockClock) -> None:
    """Nothing running, or done already: response_cancel_not_active, and the session goes on."""
    async with connected(SimulatedRealtime(Script([[LONG], []]))) as client:
        assert (await client.refused("response.cancel"))["code"] == "response_cancel_not_active"
        await client.send("response.create")
        await client.send("response.cancel")
        done = (await client.until("response.done"))["response"]
        assert (done["status"], done["output"]) == ("cancelled", [])
        error = await client.refused("response.cancel", response_id=done["id"])
        assert error["code"] == "response_cancel_not_active"


async def test_manual_turns(autojump_clock: MockClock) -> None:
    """With turn_detection null: no speech events, commit makes the item, no response by itself."""
    server = SimulatedRealtime()
    async with connected(server) as client:
        await client.update(audio=MANUAL)
        await client.append(tone(300))
        await client.send("input_audio_buffer.commit")
        await client.settle()
        assert client.types[2:] == [
            "input_audio_buffer.committed",
            "conversation.item.added",
            "conversation.item.done",
        ]
        error = await client.refused("input_audio_buffer.commit")
        assert error["code"] == "input_audio_buffer_commit_empty"
        await client.append(tone(300))
        await client.send("input_audio_buffer.clear")
        await client.until("input_audio_buffer.cleared")
        await client.send("response.create")
        await client.until("response.done")
        assert server.sessions[0].turns[0].caller_audio == tone(300)


@pytest.mark.parametrize(
    ("model", "bill"),
    [
        ("gpt-4o-transcribe", {"type": "tokens", "input_tokens": 14}),
        ("gpt-transcribe", {"type": "duration", "seconds": 1.4}),
        ("whisper-1", {"type": "duration", "seconds": 1.4}),
    ],
)
async def test_the_callers_words_are_transcribed_if_wished(
    autojump_clock: MockClock, model: str, bill: dict[str, Any]
) -> None:
    """Deltas make up the transcript; usage counts 1 token per 100 ms, or seconds, as the model is
    billed; without a wish: nothing."""
    server = SimulatedRealtime(Script([[], []], transcripts=["When do you open?"]))
    async with connected(server) as client:
        await client.append(quiet(300) + tone(1000) + quiet(300))
        await client.settle()
        assert not [name for name in client.types if "transcription" in name]
        await client.update(audio={"input": {"transcription": {"model": model}}})
        await client.append(quiet(300) + tone(1000) + quiet(300))
        done = await client.until("conversation.item.input_audio_transcription.completed")
        assert done["transcript"] == "When do you open?"
        deltas = [e["delta"] for e in client.events if e["type"].endswith("transcription.delta")]
        assert "".join(deltas) == done["transcript"]
        assert bill.items() <= done["usage"].items()
        await client.send("conversation.item.retrieve", item_id=done["item_id"])
        item = (await client.until("conversation.item.retrieved"))["item"]
        assert item["content"][0]["transcript"] == "When do you open?"


async def test_a_transcript_can_fail(autojump_clock: MockClock) -> None:
    """With the option, `failed` comes instead, and the answer is not touched by it."""
    server = SimulatedRealtime(options=SimulatorOptions(transcription="fails"))
    async with connected(server) as client:
        await client.update(audio={"input": {"transcription": {"model": "whisper-1"}}})
        await client.append(quiet(300) + tone(500) + quiet(300))
        await client.until("response.done")
        await client.settle()
        assert "conversation.item.input_audio_transcription.failed" in client.types


async def test_idle_timeout_asks_whether_anybody_is_there(autojump_clock: MockClock) -> None:
    """The timer runs from the end of the answer's *audio*; speech stops it."""
    server = SimulatedRealtime(Script([[LONG], [], []]))
    detection = {"type": "server_vad", "idle_timeout_ms": 6_000}
    async with connected(server) as client:
        await client.update(audio={"input": {"turn_detection": detection}})
        await client.send("response.create")
        await client.until("response.done")
        begun = trio.current_time()
        await client.append(quiet(16_500), piece_ms=1_000)
        fired = await client.until("input_audio_buffer.timeout_triggered")
        assert trio.current_time() - begun == pytest.approx(16, abs=0.1)
        assert fired["audio_end_ms"] - fired["audio_start_ms"] == 6_000
        committed = await client.until("input_audio_buffer.committed")
        assert committed["item_id"] == fired["item_id"]
        await client.until("response.done")
        await client.append(tone(300))
        await client.settle(20)
        assert client.types.count("input_audio_buffer.timeout_triggered") == 1


async def test_semantic_vad_waits_by_eagerness(autojump_clock: MockClock) -> None:
    """The eager one has ended the turn when the patient one still waits."""
    for eagerness, ended in (("high", True), ("low", False)):
        detection = {"type": "semantic_vad", "eagerness": eagerness}
        async with connected(SimulatedRealtime()) as client:
            await client.update(audio={"input": {"turn_detection": detection}})
            await client.append(quiet(300) + tone(500) + quiet(900))
            await client.settle()
            assert ("input_audio_buffer.speech_stopped" in client.types) is ended


async def test_a_cap_cuts_the_answer(autojump_clock: MockClock) -> None:
    """max_output_tokens ends the response as incomplete, with less audio and within the cap."""
    async with connected(SimulatedRealtime(Script([[LONG]]))) as client:
        await client.send("response.create", response={"max_output_tokens": 50})
        done = (await client.until("response.done"))["response"]
        assert done["status"] == "incomplete"
        assert done["status_details"]["reason"] == "max_output_tokens"
        assert done["output"][0]["status"] == "incomplete"
        assert 40 <= done["usage"]["output_tokens"] <= 50
        assert 0 < len(client.audio()) < len(LONG.pcm) / 4


async def test_text_answers(autojump_clock: MockClock) -> None:
    """output_modalities text: text deltas, no audio, and the voice stays free."""
    async with connected(SimulatedRealtime(Script([[LONG]]))) as client:
        await client.send("response.create", response={"output_modalities": ["text"]})
        done = await client.until("response.output_text.done")
        assert done["text"] == LONG.transcript
        await client.until("response.done")
        assert client.audio() == b""
        updated = await client.update(audio={"output": {"voice": "cedar"}})
        assert updated["audio"]["output"]["voice"] == "cedar"


async def test_usage_counts_audio_and_cache(autojump_clock: MockClock) -> None:
    """Assistant audio: 1 token per 50 ms out; the next turn reads it, part of it from the cache."""
    async with connected(SimulatedRealtime(Script([[LONG], []]))) as client:
        await client.send("response.create", response={"instructions": "x" * 1000})
        first = (await client.until("response.done"))["response"]["usage"]
        assert first["output_token_details"]["audio_tokens"] == 200
        assert first["input_token_details"]["text_tokens"] == 250
        await client.send("response.create", response={"instructions": "x" * 1000})
        second = (await client.until("response.done"))["response"]["usage"]
        assert second["input_token_details"]["audio_tokens"] == 200
        assert second["input_token_details"]["cached_tokens"] == 192
        assert second["total_tokens"] == second["input_tokens"] + second["output_tokens"]


async def test_a_tool_is_called_and_answered(autojump_clock: MockClock) -> None:
    """The call's events, then its output is taken only after response.done, then it is a turn."""
    call = CallTool("lookup", json.dumps({"q": "opening hours on Sundays"}), "call_1")
    script = Script([[call, Wait(500)], [LONG]])
    output = {"type": "function_call_output", "call_id": "call_1", "output": '{"ok":true}'}
    async with connected(SimulatedRealtime(script)) as client:
        await client.send("response.create")
        done = await client.until("response.function_call_arguments.done")
        assert (done["name"], done["arguments"]) == ("lookup", call.arguments)
        deltas = [e["delta"] for e in client.events if e["type"].endswith("arguments.delta")]
        assert "".join(deltas) == call.arguments
        error = await client.refused("conversation.item.create", item=output)
        assert error["code"] == "invalid_tool_call_id"
        item = (await client.until("response.done"))["response"]["output"][0]
        assert (item["type"], item["status"]) == ("function_call", "completed")
        await client.send("conversation.item.create", item=output)
        await client.until("conversation.item.done")
        await client.send("response.create")
        await client.until("response.done")
        assert script.turns[1].function_outputs == (("call_1", '{"ok":true}'),)
        script.assert_complete()


async def test_a_cancelled_tool_call_is_incomplete(autojump_clock: MockClock) -> None:
    """A response with a spoken preamble and a call, cancelled in between, has both items right."""
    steps: list[Step] = [
        Say(tone(100), 24_000, "Let me see."),
        CallTool("lookup", "{}"),
        Hang(cancellable=True),
    ]
    async with connected(SimulatedRealtime(Script([steps]))) as client:
        await client.send("response.create")
        await client.until("response.function_call_arguments.done")
        await client.send("response.cancel")
        done = (await client.until("response.done"))["response"]
        assert done["status"] == "cancelled"
        assert [item["type"] for item in done["output"]] == ["message", "function_call"]
        indexes = [
            e["output_index"]
            for e in client.events
            if e["type"].endswith("item.added") and e["type"].startswith("response")
        ]
        assert indexes == [0, 1]
