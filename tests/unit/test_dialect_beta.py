"""Beta, against the documents of the protocol sheet: what goes out, and what comes in as GA."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from avr_bridge.upstream.dialect import DialectName, make_dialect

TOOL = {"type": "function", "name": "transfer_call", "parameters": {"type": "object"}}
MCP = {"type": "mcp", "server_label": "crm", "server_url": "https://mcp.example.com"}
VAD = {
    "type": "server_vad",
    "threshold": 0.5,
    "prefix_padding_ms": 300,
    "silence_duration_ms": 500,
    "create_response": True,
    "interrupt_response": True,
}


def encode(event: dict[str, Any]) -> Any:
    """Encoded by a fresh dialect, which must leave its argument alone."""
    before = copy.deepcopy(event)
    encoded = make_dialect(DialectName.BETA).encode(event)
    assert event == before
    return encoded


def encode_session(**session: Any) -> Any:
    return encode({"type": "session.update", "session": {"type": "realtime", **session}})["session"]


def decode(*events: dict[str, Any]) -> list[dict[str, Any]]:
    """All that one fresh dialect makes of some events."""
    dialect = make_dialect(DialectName.BETA)
    return [decoded for event in events for decoded in dialect.decode(event)]


def item(status: str | None = "completed", **fields: Any) -> dict[str, Any]:
    body = {"id": "item_A1", "object": "realtime.item", "type": "message", **fields}
    return body if status is None else body | {"status": status}


def created(response_id: str, **fields: Any) -> dict[str, Any]:
    response = {"id": response_id, "status": "in_progress", "conversation_id": "conv_1", **fields}
    return {"type": "response.created", "event_id": "e", "response": response}


def done(response_id: str, **fields: Any) -> dict[str, Any]:
    response = {"id": response_id, "status": "completed", "output": [], **fields}
    return {"type": "response.done", "event_id": "e", "response": response}


# --- session.update


def test_the_whole_session_of_the_sheet() -> None:
    """The sheet's telephony session in GA becomes its beta twin: flat, no `type`, no truncation."""
    ga = {
        "type": "session.update",
        "event_id": "br-0001",
        "session": {
            "type": "realtime",
            "output_modalities": ["audio"],
            "instructions": "You answer the phone.",
            "audio": {
                "input": {
                    "format": {"type": "audio/pcmu"},
                    "noise_reduction": {"type": "near_field"},
                    "transcription": {"model": "whisper-1", "language": "en"},
                    "turn_detection": VAD,
                },
                "output": {"format": {"type": "audio/pcmu"}, "voice": "alloy", "speed": 1.0},
            },
            "tools": [TOOL],
            "tool_choice": "auto",
            "max_output_tokens": 2048,
            "truncation": {"type": "retention_ratio", "retention_ratio": 0.8},
        },
    }
    assert encode(ga) == {
        "type": "session.update",
        "event_id": "br-0001",
        "session": {
            "modalities": ["text", "audio"],
            "instructions": "You answer the phone.",
            "voice": "alloy",
            "input_audio_format": "g711_ulaw",
            "output_audio_format": "g711_ulaw",
            "input_audio_noise_reduction": {"type": "near_field"},
            "input_audio_transcription": {"model": "whisper-1", "language": "en"},
            "turn_detection": VAD,
            "tools": [TOOL],
            "tool_choice": "auto",
            "max_response_output_tokens": 2048,
        },
    }


@pytest.mark.parametrize(
    ("fmt", "name"),
    [
        ({"type": "audio/pcm", "rate": 24_000}, "pcm16"),
        ({"type": "audio/pcmu"}, "g711_ulaw"),
        ({"type": "audio/pcma"}, "g711_alaw"),
    ],
)
def test_formats_alone(fmt: dict[str, Any], name: str) -> None:
    """A partial update stays partial."""
    sent = encode_session(audio={"input": {"format": fmt}, "output": {"format": fmt}})
    assert sent == {"input_audio_format": name, "output_audio_format": name}


def test_null_stays_null() -> None:
    """It is what switches a thing off; left out, the thing would stay on."""
    off = {"turn_detection": None, "transcription": None, "noise_reduction": None}
    assert encode_session(audio={"input": off}) == {
        "turn_detection": None,
        "input_audio_transcription": None,
        "input_audio_noise_reduction": None,
    }


def test_what_beta_does_not_know_is_left_out() -> None:
    """One unknown name loses the whole update; so none is sent, and nobody complains."""
    assert encode_session(
        reasoning={"effort": "low"},
        truncation="auto",
        parallel_tool_calls=True,
        include=[],
        prompt=None,
        tools=[MCP],
        tool_choice={"type": "mcp", "server_label": "crm"},
    ) == {"tools": []}


def test_details_that_beta_does_not_know() -> None:
    """New fields of objects that beta has: strength, keywords, delay, a custom voice."""
    heard = {
        "noise_reduction": {"type": "far_field", "strength": 2},
        "transcription": {"model": "m", "prompt": "p", "keywords": ["k"], "delay": "low"},
    }
    sent = encode_session(audio={"input": heard, "output": {"voice": {"id": "voice_1"}}})
    assert sent == {
        "input_audio_noise_reduction": {"type": "far_field"},
        "input_audio_transcription": {"model": "m", "prompt": "p"},
    }


def test_speed_is_sent_only_where_it_is_set() -> None:
    """Older servers refuse the name; 1.0 is what they do anyway."""
    assert encode_session(audio={"output": {"speed": 1.0}}) == {}
    assert encode_session(audio={"output": {"speed": 1.2}}) == {"speed": 1.2}


def test_temperature_is_sent_only_where_it_is_given() -> None:
    """Beta still has it."""
    assert encode_session(temperature=0.7) == {"temperature": 0.7}


def test_text_sessions_and_uncapped_ones() -> None:
    """`["text"]` and `inf` mean the same in both."""
    sent = encode_session(output_modalities=["text"], max_output_tokens="inf", instructions="")
    assert sent == {
        "modalities": ["text"],
        "max_response_output_tokens": "inf",
        "instructions": "",
    }


# --- the other client events


def test_response_create() -> None:
    """Names change, unknown ones go, the input's items change like other items."""
    said = {"type": "message", "role": "assistant"}
    ga = {
        "conversation": "none",
        "output_modalities": ["audio"],
        "audio": {"output": {"format": {"type": "audio/pcma"}, "voice": "alloy"}},
        "max_output_tokens": 300,
        "instructions": "Say goodbye.",
        "metadata": {"purpose": "farewell"},
        "reasoning": {"effort": "minimal"},
        "tools": [MCP, TOOL],
        "tool_choice": "none",
        "input": [
            {"type": "item_reference", "id": "item_U1"},
            {"type": "mcp_call", "id": "m"},
            said | {"content": [{"type": "output_text", "text": "Nine."}]},
        ],
    }
    assert encode({"type": "response.create", "event_id": "br-2", "response": ga}) == {
        "type": "response.create",
        "event_id": "br-2",
        "response": {
            "conversation": "none",
            "modalities": ["text", "audio"],
            "output_audio_format": "g711_alaw",
            "voice": "alloy",
            "max_response_output_tokens": 300,
            "instructions": "Say goodbye.",
            "metadata": {"purpose": "farewell"},
            "tools": [TOOL],
            "tool_choice": "none",
            "input": [
                {"type": "item_reference", "id": "item_U1"},
                said | {"content": [{"type": "text", "text": "Nine."}]},
            ],
        },
    }


def test_what_the_agent_said_is_text() -> None:
    """A replayed answer's part is `text`; what users and the system say stays `input_text`."""

    def sent(role: str, kind: str) -> Any:
        content = [{"type": kind, "text": "We open at nine."}]
        body = {"type": "message", "role": role, "content": content}
        (part,) = encode({"type": "conversation.item.create", "item": body})["item"]["content"]
        return part["type"]

    assert sent("assistant", "output_text") == "text"
    assert sent("user", "input_text") == "input_text"
    assert sent("system", "input_text") == "input_text"


def test_an_item_of_mcp_has_no_counterpart() -> None:
    """Nothing is sent."""
    approval = {"type": "mcp_approval_response", "approval_request_id": "a", "approve": True}
    assert encode({"type": "conversation.item.create", "item": approval}) is None


@pytest.mark.parametrize(
    "event",
    [
        {"type": "input_audio_buffer.append", "audio": "f39/"},
        {"type": "input_audio_buffer.commit", "event_id": "1"},
        {"type": "input_audio_buffer.clear"},
        {"type": "response.create", "event_id": "2"},
        {"type": "response.create", "response": None},
        {"type": "response.cancel", "response_id": "resp_1"},
        {
            "type": "conversation.item.truncate",
            "item_id": "i",
            "content_index": 0,
            "audio_end_ms": 9,
        },
        {"type": "conversation.item.delete", "item_id": "i"},
        {"type": "conversation.item.retrieve", "item_id": "i"},
        {
            "type": "conversation.item.create",
            "item": {"type": "function_call_output", "call_id": "c", "output": "{}"},
        },
    ],
    ids=lambda event: str(event["type"]),
)
def test_events_that_are_the_same(event: dict[str, Any]) -> None:
    """Most are."""
    assert encode(event) == event


# --- sessions from the server


def test_the_session_comes_in_as_ga() -> None:
    """The sheet's `session.created`: formats as GA objects, under `audio`; no temperature."""
    flat = {
        "id": "sess_1",
        "object": "realtime.session",
        "model": "gpt-4o-realtime-preview-2025-06-03",
        "expires_at": 1795000000,
        "modalities": ["audio", "text"],
        "instructions": "d",
        "voice": "alloy",
        "input_audio_format": "pcm16",
        "output_audio_format": "g711_alaw",
        "input_audio_transcription": None,
        "turn_detection": VAD,
        "tools": [],
        "tool_choice": "auto",
        "temperature": 0.8,
        "max_response_output_tokens": "inf",
    }
    event = {"type": "session.created", "event_id": "event_1", "session": flat}
    assert decode(event) == [
        {
            "type": "session.created",
            "event_id": "event_1",
            "session": {
                "type": "realtime",
                "id": "sess_1",
                "object": "realtime.session",
                "model": "gpt-4o-realtime-preview-2025-06-03",
                "expires_at": 1795000000,
                "output_modalities": ["audio"],
                "instructions": "d",
                "tools": [],
                "tool_choice": "auto",
                "max_output_tokens": "inf",
                "audio": {
                    "input": {
                        "format": {"type": "audio/pcm", "rate": 24_000},
                        "transcription": None,
                        "turn_detection": VAD,
                    },
                    "output": {"voice": "alloy", "format": {"type": "audio/pcma"}},
                },
            },
        }
    ]


@pytest.mark.parametrize(
    ("name", "heard", "spoken"),
    [
        (
            "pcm",
            {"type": "audio/pcm", "rate": 16_000},
            {"type": "audio/pcm", "rate": 24_000},
        ),
        ("opus", {"type": "opus"}, {"type": "opus"}),
    ],
)
def test_formats_of_look_alikes(name: str, heard: dict[str, Any], spoken: dict[str, Any]) -> None:
    """Shown for what they are, so that a call whose sound cannot be read is given up."""
    session = {"input_audio_format": name, "output_audio_format": name}
    (event,) = decode({"type": "session.updated", "session": session})
    assert event["session"]["audio"] == {"input": {"format": heard}, "output": {"format": spoken}}


def test_a_session_that_shows_no_format_shows_none() -> None:
    """What the server did not say is not made up."""
    (event,) = decode({"type": "session.updated", "session": {"instructions": "x"}})
    assert event["session"] == {"type": "realtime", "instructions": "x"}


# --- items


def test_a_finished_item_is_added_and_done() -> None:
    """GA tells twice; a missing status means finished."""
    for status in ("completed", None):
        body = item(status, role="user", content=[{"type": "input_audio", "transcript": None}])
        event = {
            "type": "conversation.item.created",
            "event_id": "e",
            "previous_item_id": None,
            "item": body,
        }
        assert decode(event) == [
            event | {"type": "conversation.item.added"},
            event | {"type": "conversation.item.done"},
        ]


def test_an_item_in_progress_is_done_when_it_is() -> None:
    """Added at once; done, with its content, just before `response.output_item.done`."""
    begun = {
        "type": "conversation.item.created",
        "event_id": "1",
        "previous_item_id": "item_U1",
        "item": item("in_progress", role="assistant", content=[]),
    }
    body = item(role="assistant", content=[{"type": "audio", "transcript": "Nine."}])
    over = {
        "type": "response.output_item.done",
        "event_id": "2",
        "response_id": "resp_R1",
        "output_index": 0,
        "item": body,
    }
    ga_body = item(role="assistant", content=[{"type": "output_audio", "transcript": "Nine."}])
    assert decode(begun, over) == [
        begun | {"type": "conversation.item.added"},
        {
            "type": "conversation.item.done",
            "event_id": "2",
            "previous_item_id": "item_U1",
            "item": ga_body,
        },
        over | {"item": ga_body},
    ]


def test_a_retrieved_answer_has_gas_parts() -> None:
    """`text` and `audio` of the agent; the caller's `input_audio` as it is."""
    parts = [{"type": "text", "text": "a"}, {"type": "audio"}, {"type": "input_audio"}]
    event = {"type": "conversation.item.retrieved", "item": item(role="assistant", content=parts)}
    (decoded,) = decode(event)
    kinds = [part["type"] for part in decoded["item"]["content"]]
    assert kinds == ["output_text", "output_audio", "input_audio"]


# --- answers


@pytest.mark.parametrize("stage", ["delta", "done"])
@pytest.mark.parametrize("what", ["audio", "audio_transcript", "text"])
def test_the_events_of_an_answer_are_renamed(what: str, stage: str) -> None:
    """The name and nothing else."""
    event = {"type": f"response.{what}.{stage}", "item_id": "i", "delta": "x", "text": "x"}
    assert decode(event) == [event | {"type": f"response.output_{what}.{stage}"}]


def test_the_parts_of_an_answer_are_the_same() -> None:
    """`response.content_part.*` says `audio` in both dialects."""
    event = {"type": "response.content_part.added", "part": {"type": "audio", "transcript": ""}}
    assert decode(event) == [event]


def test_a_response_object_comes_in_as_ga() -> None:
    """Modalities, voice and format move; usage stays where it is; temperature goes."""
    usage = {"total_tokens": 253, "output_token_details": {"audio_tokens": 91}}
    flat = done(
        "resp_R1",
        modalities=["text", "audio"],
        voice="alloy",
        output_audio_format="g711_ulaw",
        temperature=0.8,
        max_output_tokens="inf",
        usage=usage,
        metadata=None,
        output=[item(role="assistant", content=[{"type": "audio", "transcript": "Nine."}])],
    )
    (event,) = decode(flat)
    assert event["response"] == {
        "id": "resp_R1",
        "status": "completed",
        "output_modalities": ["audio"],
        "audio": {"output": {"voice": "alloy", "format": {"type": "audio/pcmu"}}},
        "max_output_tokens": "inf",
        "usage": usage,
        "metadata": None,
        "output": [
            item(role="assistant", content=[{"type": "output_audio", "transcript": "Nine."}])
        ],
    }


def test_arguments_get_the_name_of_their_tool() -> None:
    """Beta leaves it out of `arguments.done`; the item's first event had it."""
    call = {"id": "item_F1", "type": "function_call", "name": "lookup", "call_id": "c"}
    added = {"type": "response.output_item.added", "response_id": "r", "item": call}
    over = {
        "type": "response.function_call_arguments.done",
        "item_id": "item_F1",
        "call_id": "c",
        "arguments": "{}",
    }
    assert decode(added, over) == [added, over | {"name": "lookup"}]
    assert decode(over) == [over]


def test_a_new_answer_ends_the_old_one() -> None:
    """`response.done` that never came is made up, cancelled, before the new answer begins; if it
    comes late it says nothing any more."""
    events = decode(created("resp_1"), created("resp_2"), done("resp_1"), done("resp_2"))
    seen = [(e["type"], e["response"]["id"], e["response"]["status"]) for e in events]
    assert seen == [
        ("response.created", "resp_1", "in_progress"),
        ("response.done", "resp_1", "cancelled"),
        ("response.created", "resp_2", "in_progress"),
        ("response.done", "resp_2", "completed"),
    ]
    assert events[1]["response"]["status_details"] == {
        "type": "cancelled",
        "reason": "turn_detected",
    }


def test_an_answer_beside_the_conversation_ends_nobody() -> None:
    """Its `conversation_id` is null; both run at once."""
    aside = created("resp_2", conversation_id=None)
    events = decode(created("resp_1"), aside, done("resp_2"), done("resp_1"))
    assert [e["type"].removeprefix("response.") for e in events] == [
        "created",
        "created",
        "done",
        "done",
    ]


def test_an_end_without_output_gets_the_items_that_were_finished() -> None:
    """Some servers leave `output` out; tools are run from it."""
    call = {"id": "item_F1", "type": "function_call", "name": "f", "status": "completed"}
    over = {"type": "response.output_item.done", "response_id": "resp_1", "item": call}
    bare = done("resp_1")
    del bare["response"]["output"]
    *_, last = decode(created("resp_1"), over, bare)
    assert last["response"]["output"] == [call]


def test_an_end_that_nobody_saw_begin_passes() -> None:
    """Seen during interruptions."""
    assert decode(done("resp_9")) == [done("resp_9")]
