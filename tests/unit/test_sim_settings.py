"""session.update of the simulated API, and everything that a client can get wrong."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import trio
from openai.types.realtime.realtime_client_event import RealtimeClientEvent
from pydantic import TypeAdapter, ValidationError

from avr_bridge.testing.realtime import Say, Script, Silence, SimulatedRealtime, SimulatorOptions
from tests.sim_client import PCM, ULAW, connected, quiet, tone

if TYPE_CHECKING:
    from trio.testing import MockClock

OLD_MODEL = "ws://model.test/v1/realtime?model=gpt-realtime-2025-08-28"
_CLIENT_EVENT: TypeAdapter[Any] = TypeAdapter(RealtimeClientEvent)


def update(**session: Any) -> dict[str, Any]:
    return {"type": "session.update", "session": {"type": "realtime", **session}}


def vad(**fields: Any) -> dict[str, Any]:
    return update(audio={"input": {"turn_detection": {"type": "server_vad", **fields}}})


def input_format(**fields: Any) -> dict[str, Any]:
    return update(audio={"input": {"format": fields}})


WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({"type": "session.update", "session": {}}, "missing_required_parameter", "session.type"),
    ({"type": "session.update"}, "missing_required_parameter", "session"),
    (update(temperature=0.8), "unknown_parameter", "session.temperature"),
    (update(modalities=["audio"]), "unknown_parameter", "session.modalities"),
    (update(voice="marin"), "unknown_parameter", "session.voice"),
    (update(output_modalities=["audio", "text"]), "invalid_value", "session.output_modalities"),
    (
        input_format(type="audio/pcm"),
        "missing_required_parameter",
        "session.audio.input.format.rate",
    ),
    (
        input_format(type="audio/pcm", rate=8000),
        "integer_below_min_value",
        "session.audio.input.format.rate",
    ),
    (input_format(type="g711_ulaw"), "invalid_value", "session.audio.input.format.type"),
    (
        vad(create_response=None),
        "invalid_type",
        "session.audio.input.turn_detection.create_response",
    ),
    (
        vad(idle_timeout_ms=4999),
        "integer_below_min_value",
        "session.audio.input.turn_detection.idle_timeout_ms",
    ),
    (vad(threshold=1.5), "decimal_above_max_value", "session.audio.input.turn_detection.threshold"),
    (update(instructions=None), "invalid_type", "session.instructions"),
    (update(model="gpt-other"), "invalid_value", "session.model"),
    (update(tools=[{"type": "function"}]), "missing_required_parameter", "session.tools[0].name"),
    (
        update(tool_choice={"type": "function", "function": {"name": "f"}}),
        "missing_required_parameter",
        "session.tool_choice.name",
    ),
    (update(audio={"output": {"voice": "nobody"}}), "invalid_value", "session.audio.output.voice"),
    (update(max_output_tokens=0), "integer_below_min_value", "session.max_output_tokens"),
    (
        {"type": "response.create", "response": {"modalities": ["text"]}},
        "unknown_parameter",
        "response.modalities",
    ),
    (
        {"type": "response.create", "response": {"metadata": {"a": 1}}},
        "invalid_type",
        "response.metadata.a",
    ),
    ({"type": "input_audio_buffer.append", "audio": "%%%"}, "invalid_value", "audio"),
    ({"type": "input_audio_buffer.append"}, "missing_required_parameter", "audio"),
    ({"type": "input_audio_buffer.append", "audio": None}, "invalid_type", "audio"),
    ({"type": "no.such.event"}, "invalid_value", "type"),
    ({"session": {}}, "missing_required_parameter", "type"),
    ({"type": 7}, "invalid_type", "type"),
    ({"type": "response.cancel", "response_id": 5}, "invalid_type", "response_id"),
    ({"type": "conversation.item.create", "item": {"type": "poem"}}, "invalid_value", "item.type"),
    ({"type": "conversation.item.delete", "item_id": []}, "invalid_type", "item_id"),
]


@pytest.mark.parametrize(("event", "code", "param"), WRONG, ids=lambda v: str(v)[:60])
async def test_each_mistake_has_its_code_and_changes_nothing(
    autojump_clock: MockClock, event: dict[str, Any], code: str, param: str
) -> None:
    """The API's error code and the faulty path; afterwards the session is as it was, and lives."""
    async with connected(SimulatedRealtime(Silence())) as client:
        before = client.events[0]["session"]
        await client.socket.send_message(json.dumps(event | {"event_id": "mine"}))
        error = (await client.until("error"))["error"]
        assert (error["code"], error["param"], error["event_id"]) == (code, param, "mine")
        assert error["type"] == "invalid_request_error"
        assert await client.update() == before
        await client.send("response.create")
        await client.until("response.done")


MANGLED = [None, 7, -1, 1.5, "", "x", [], [None], {}, {"type": "x"}, True]
GOOD: list[dict[str, Any]] = [
    update(
        instructions="x",
        output_modalities=["audio"],
        tools=[{"type": "function", "name": "f", "parameters": {}}],
        tool_choice="auto",
        max_output_tokens=100,
        truncation="auto",
        tracing="auto",
        reasoning={"effort": "low"},
        audio={
            "input": {
                "format": PCM,
                "noise_reduction": {"type": "near_field"},
                "transcription": {"model": "gpt-transcribe"},
                "turn_detection": {"type": "server_vad", "threshold": 0.5},
            },
            "output": {"format": PCM, "voice": "marin", "speed": 1.0},
        },
    ),
    {"type": "input_audio_buffer.append", "audio": "AAAA"},
    {"type": "input_audio_buffer.commit"},
    {
        "type": "conversation.item.create",
        "previous_item_id": "root",
        "item": {
            "type": "message",
            "role": "user",
            "content": [{"type": "input_text", "text": "x"}],
        },
    },
    {
        "type": "conversation.item.create",
        "item": {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
    },
    {"type": "conversation.item.truncate", "item_id": "x", "content_index": 0, "audio_end_ms": 5},
    {"type": "conversation.item.retrieve", "item_id": "x"},
    {"type": "response.create", "response": {"conversation": "none", "input": [], "tools": []}},
    {"type": "response.cancel", "response_id": "x"},
]


def mangled(value: Any) -> list[Any]:
    """Every variant of a JSON value with one field replaced or left out."""
    variants: list[Any] = list(MANGLED)
    if isinstance(value, dict):
        for name, inner in value.items():
            variants += [value | {name: variant} for variant in mangled(inner)]
            variants.append({key: entry for key, entry in value.items() if key != name})
    elif isinstance(value, list):
        for at, inner in enumerate(value):
            variants += [[*value[:at], variant, *value[at + 1 :]] for variant in mangled(inner)]
    return variants


@pytest.mark.parametrize("good", GOOD, ids=lambda event: str(event["type"]))
async def test_what_openai_types_refuse_is_an_error_here(
    autojump_clock: MockClock, good: dict[str, Any]
) -> None:
    """Of all single mutations of good events, those that the `openai` types refuse get exactly one
    error; none, refused or not, ends the session or breaks an event."""
    refused = 0
    server = SimulatedRealtime(Silence())
    async with connected(server) as client:
        for event in mangled(good):
            await client.socket.send_message(json.dumps(event))
            await client.send("input_audio_buffer.clear")
            mark = len(client.events)
            await client.until("input_audio_buffer.cleared")
            try:
                _CLIENT_EVENT.validate_python(event)
            except ValidationError:
                refused += 1
                assert client.types[mark:].count("error") == 1, event
        await client.settle()
    assert refused > 10
    assert server.faults == []


async def test_broken_json_is_an_error_event(autojump_clock: MockClock) -> None:
    """Half a document, no object, deep nesting, bytes that are no text: an error each, no more."""
    async with connected(SimulatedRealtime()) as client:
        for garbage in ('{"type":', "[1]", "null", '"x"', "", "[" * 100_000, b"\xff\xfe"):
            await client.socket.send_message(garbage)
            error = (await client.until("error"))["error"]
            assert error["type"] == "invalid_request_error"
        await client.update(instructions="still here")


async def test_updates_are_partial(autojump_clock: MockClock) -> None:
    """Only what is sent changes; empty clears; null switches off; the answer shows the whole."""
    async with connected(SimulatedRealtime()) as client:
        first = await client.update(
            instructions="Be kind.",
            tools=[{"type": "function", "name": "f"}],
            audio={
                "input": {
                    "format": ULAW,
                    "transcription": {"model": "gpt-transcribe"},
                    "turn_detection": {"type": "server_vad", "silence_duration_ms": 700},
                }
            },
        )
        assert first["audio"]["input"]["turn_detection"]["prefix_padding_ms"] == 300
        assert first["audio"]["output"]["format"] == PCM
        second = await client.update(instructions="", tools=[])
        assert second == first | {"instructions": "", "tools": []}
        third = await client.update(
            audio={"input": {"turn_detection": None, "transcription": None}}
        )
        assert third["audio"]["input"] == {
            "format": ULAW,
            "transcription": None,
            "noise_reduction": None,
            "turn_detection": None,
        }
        fourth = await client.update(audio={"input": {"turn_detection": {"type": "server_vad"}}})
        assert fourth["audio"]["input"]["turn_detection"]["silence_duration_ms"] == 200


async def test_the_voice_is_locked_by_the_first_audio(autojump_clock: MockClock) -> None:
    """Before: free. After: another voice loses the whole update; the same voice does not."""
    script = Script([[Say(tone(100), 24_000, "hi")]])
    async with connected(SimulatedRealtime(script)) as client:
        await client.update(audio={"output": {"voice": "cedar"}})
        await client.send("response.create")
        await client.until("response.done")
        refused = {
            "type": "realtime",
            "instructions": "lost",
            "audio": {"output": {"voice": "ash"}},
        }
        error = await client.refused("session.update", session=refused)
        assert error["code"] == "cannot_update_voice"
        now = await client.update(audio={"output": {"voice": "cedar"}})
        assert now["instructions"] != "lost"


@pytest.mark.parametrize("kind", ["session.update", "response.create"])
async def test_reasoning_is_for_reasoning_models(autojump_clock: MockClock, kind: str) -> None:
    """gpt-realtime-2.1 takes it; gpt-realtime-2025-08-28, in spite of its name, does not."""
    wish = {"reasoning": {"effort": "low"}}
    event = {"session": {"type": "realtime"} | wish} if "session" in kind else {"response": wish}
    async with connected(SimulatedRealtime(Silence()), OLD_MODEL) as client:
        assert "reasoning" in (await client.refused(kind, **event))["param"]
    async with connected(SimulatedRealtime(Silence())) as client:
        await client.send(kind, **event)
        await client.read()
        assert "error" not in client.types


@pytest.mark.parametrize(
    ("g711", "shown", "sample_bytes"),
    [("honoured", "audio/pcmu", 1), ("refused", "audio/pcm", 6), ("ignored", "audio/pcmu", 6)],
)
async def test_g711_may_be_honoured_refused_or_ignored(
    autojump_clock: MockClock, g711: Any, shown: str, sample_bytes: int
) -> None:
    """What session.updated claims, and what 500 ms of speech really come out as."""
    script = Script([[Say(tone(500, 8_000), 8_000, "hi")]])
    server = SimulatedRealtime(script, SimulatorOptions(g711=g711))
    async with connected(server) as client:
        updated = await client.update(audio={"input": {"format": ULAW}, "output": {"format": ULAW}})
        assert updated["audio"]["output"]["format"]["type"] == shown
        assert updated["audio"]["input"]["format"]["type"] == shown
        await client.send("response.create")
        await client.until("response.done")
        assert len(client.audio()) == 4_000 * sample_bytes


async def test_late_and_missing_answers_to_session_update(autojump_clock: MockClock) -> None:
    """Late: the old settings hold until then, and a refusal is late too. Never: nothing at all."""
    late = SimulatedRealtime(options=SimulatorOptions(updated_delay_s=2))
    async with connected(late) as client:
        await client.send("session.update", session={"type": "realtime", "instructions": "new"})
        await client.append(quiet(300) + tone(300) + quiet(300))
        created = await client.until("response.created")
        assert created["response"]["audio"]["output"]["format"] == PCM
        assert trio.current_time() < 1
        await client.until("session.updated")
        assert trio.current_time() == pytest.approx(2)
        await client.refused("session.update", session={"type": "realtime", "model": "other"})
        assert trio.current_time() == pytest.approx(4)
    never = SimulatedRealtime(options=SimulatorOptions(answer_session_update=False))
    async with connected(never) as client:
        await client.send("session.update", session={"type": "realtime"})
        await client.settle(60)
        assert client.types == ["session.created"]
