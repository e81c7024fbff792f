"""xAI's Grok voice: its mixed session, its gaps, and words that are said as given."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from avr_bridge.upstream.dialect import DialectName, make_dialect

ULAW = {"type": "audio/pcmu"}
TOOL = {"type": "function", "name": "f", "parameters": {}}
SEARCH = {"type": "web_search"}
MCP = {"type": "mcp", "server_label": "crm"}


def encode(event: dict[str, Any]) -> Any:
    """Encoded by a fresh dialect, which must leave its argument alone."""
    before = copy.deepcopy(event)
    encoded = make_dialect(DialectName.XAI).encode(event)
    assert event == before
    return encoded


def encode_session(**session: Any) -> Any:
    return encode({"type": "session.update", "session": {"type": "realtime", **session}})["session"]


def encode_vad(**detection: Any) -> Any:
    return encode_session(audio={"input": {"turn_detection": detection}})["turn_detection"]


def decode(*events: dict[str, Any]) -> list[dict[str, Any]]:
    """All that one fresh dialect makes of some events."""
    dialect = make_dialect(DialectName.XAI)
    return [decoded for event in events for decoded in dialect.decode(event)]


# --- session.update


def test_the_session_of_the_sheet() -> None:
    """Voice and turn detection at the top, formats below `audio`, nothing that only GA has."""
    detection = {
        "type": "server_vad",
        "threshold": 0.6,
        "silence_duration_ms": 500,
        "prefix_padding_ms": 300,
    }
    sent = encode_session(
        output_modalities=["audio"],
        instructions="You answer the phone.",
        audio={
            "input": {
                "format": ULAW,
                "transcription": {"model": "whisper-1"},
                "noise_reduction": {"type": "near_field"},
                "turn_detection": detection,
            },
            "output": {"format": ULAW, "voice": "eve"},
        },
        tools=[],
        max_output_tokens="inf",
        reasoning={"effort": "low"},
        truncation="auto",
    )
    assert sent == {
        "instructions": "You answer the phone.",
        "voice": "eve",
        "turn_detection": detection,
        "audio": {"input": {"format": ULAW}, "output": {"format": ULAW}},
        "tools": [],
    }


def test_only_server_vad_within_its_bounds() -> None:
    """`semantic_vad` becomes `server_vad` with its defaults; thresholds are kept in 0.1 to 0.9."""
    assert encode_vad(type="semantic_vad", eagerness="low", create_response=True) == {
        "type": "server_vad",
        "create_response": True,
    }
    assert encode_vad(type="server_vad", threshold=0.0)["threshold"] == 0.1
    assert encode_vad(type="server_vad", threshold=1.0)["threshold"] == 0.9
    manual = encode_session(audio={"input": {"turn_detection": None}})
    assert manual == {"turn_detection": None}


@pytest.mark.parametrize(("speed", "sent"), [(0.25, 0.7), (1.2, 1.2), (1.5, 1.5)])
def test_speed_within_its_bounds(speed: float, sent: float) -> None:
    """0.7 to 1.5 there."""
    assert encode_session(audio={"output": {"speed": speed}}) == {
        "audio": {"output": {"speed": sent}}
    }


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ({"model": "whisper-1"}, {}),
        ({"model": "whisper-1", "language": "de"}, {"language_hint": "de"}),
        ({"keywords": ["Grok"]}, {"keyterms": ["Grok"]}),
        ({"model": "grok-transcribe"}, {"model": "grok-transcribe"}),
    ],
)
def test_transcription_has_other_names(given: dict[str, Any], sent: dict[str, Any]) -> None:
    """Only xAI's own model is named; what is left over is not sent at all."""
    expected = {"audio": {"input": {"transcription": sent}}} if sent else {}
    assert encode_session(audio={"input": {"transcription": given}}) == expected


@pytest.mark.parametrize("voice", ["alloy", "marin"])
def test_voices_of_openai_are_not_asked_for(voice: str) -> None:
    """The setting's default must not lose the update: xAI's own default speaks."""
    assert encode_session(audio={"output": {"voice": voice}}) == {}
    assert encode_session(audio={"output": {"voice": {"id": "own"}}}) == {"voice": "own"}


def test_tools_of_mcp_are_left_out() -> None:
    """Without an error; functions and xAI's own tools stay, and so does a numeric cap."""
    sent = encode_session(tools=[TOOL, MCP, SEARCH], tool_choice="auto", max_output_tokens=100)
    assert sent == {"tools": [TOOL, SEARCH], "tool_choice": "auto", "max_output_tokens": 100}
    assert encode_session(tool_choice={"type": "mcp", "server_label": "crm"}) == {}


# --- the other client events


def test_response_create() -> None:
    """`modalities` as in beta; format, voice and reasoning are not for one answer there."""
    wish = {
        "output_modalities": ["audio"],
        "instructions": "Say goodbye.",
        "audio": {"output": {"voice": "eve"}},
        "reasoning": {"effort": "low"},
        "max_output_tokens": 100,
        "input": [{"type": "mcp_call"}, {"type": "item_reference", "id": "i"}],
    }
    assert encode({"type": "response.create", "event_id": "1", "response": wish}) == {
        "type": "response.create",
        "event_id": "1",
        "response": {
            "modalities": ["text", "audio"],
            "instructions": "Say goodbye.",
            "max_output_tokens": 100,
            "input": [{"type": "item_reference", "id": "i"}],
        },
    }


def test_a_wish_of_which_nothing_is_left_is_a_plain_request() -> None:
    """An empty `response` is not sent."""
    event = {"type": "response.create", "response": {"reasoning": {"effort": "low"}}}
    assert encode(event) == {"type": "response.create"}


def test_items_keep_gas_parts() -> None:
    """`output_text` as in GA; an item of MCP is not sent."""
    said = {"type": "message", "role": "assistant", "content": [{"type": "output_text"}]}
    event = {"type": "conversation.item.create", "item": said}
    assert encode(event) == event
    assert encode({"type": "conversation.item.create", "item": {"type": "mcp_call"}}) is None


def test_given_words_are_a_forced_message() -> None:
    """The exact event of the sheet; it survives `encode`, should it pass there."""
    dialect = make_dialect(DialectName.XAI)
    (event,) = dialect.welcome("Example Dental, how can I help?") or []
    assert event == {
        "type": "conversation.item.create",
        "item": {
            "type": "force_message",
            "role": "assistant",
            "interruptible": False,
            "content": [{"type": "output_text", "text": "Example Dental, how can I help?"}],
        },
    }
    assert dialect.encode(event) == event
    (other,) = dialect.welcome("x", interruptible=True) or []
    assert other["item"]["interruptible"] is True


# --- from the server


def test_the_mixed_session_comes_in_as_ga() -> None:
    """Voice and turn detection move below `audio`, beside the formats that are there already."""
    mixed = {
        "id": "sess_1",
        "voice": "eve",
        "turn_detection": {"type": "server_vad"},
        "instructions": "x",
        "audio": {"input": {"format": ULAW}, "output": {"format": {"type": "audio/pcm"}}},
    }
    (event,) = decode({"type": "session.updated", "session": mixed})
    assert event["session"] == {
        "type": "realtime",
        "id": "sess_1",
        "instructions": "x",
        "audio": {
            "input": {"format": ULAW, "turn_detection": {"type": "server_vad"}},
            "output": {"format": {"type": "audio/pcm"}, "voice": "eve"},
        },
    }


def test_a_conversation_alone_opens_the_session() -> None:
    """Older servers send no `session.created`; where one came first, none is made up."""
    opening = {"type": "conversation.created", "event_id": "e", "conversation": {"id": "conv_1"}}
    made, passed = decode(opening)
    assert (made["type"], made["session"]["type"]) == ("session.created", "realtime")
    assert passed == opening
    session = {"type": "session.created", "session": {"id": "sess_1"}}
    assert [event["type"] for event in decode(session, opening)] == [
        "session.created",
        "conversation.created",
    ]


def test_pings_ask_for_nothing() -> None:
    """Dropped."""
    assert decode({"type": "ping", "event_id": "e1", "timestamp": 1795000000000}) == []


def test_cumulative_transcripts_wait_for_the_whole() -> None:
    """`updated` repeats everything so far, as does a `completed` in progress; one line is left."""
    kind = "conversation.item.input_audio_transcription"
    whole = {"type": f"{kind}.completed", "item_id": "i", "transcript": "When do you open?"}
    events = decode(
        {"type": f"{kind}.updated", "item_id": "i", "transcript": "When"},
        {"type": f"{kind}.updated", "item_id": "i", "transcript": "When do you"},
        whole | {"transcript": "When do you", "status": "in_progress"},
        whole,
    )
    assert events == [whole]


@pytest.mark.parametrize(
    "prefix", ["response.output_audio_transcript", "response.audio_transcript"]
)
def test_a_transcripts_end_gets_its_words(prefix: str) -> None:
    """xAI may end it without them; they are those of its deltas."""
    place = {"response_id": "r", "item_id": "item_1"}
    *_, over = decode(
        {"type": f"{prefix}.delta", **place, "delta": "We open "},
        {"type": f"{prefix}.delta", **place, "delta": "at nine."},
        {"type": f"{prefix}.done", **place},
    )
    assert over == {
        "type": "response.output_audio_transcript.done",
        **place,
        "transcript": "We open at nine.",
    }


def test_a_transcripts_end_with_words_keeps_them() -> None:
    """The server's own are the best."""
    over = {"type": "response.output_audio_transcript.done", "item_id": "i", "transcript": "Nine."}
    assert decode(over) == [over]


def test_both_names_of_text_are_one() -> None:
    """`response.text.delta` and `response.output_text.delta` are both sent there."""
    old, new = (
        {"type": f"response.{kind}.delta", "delta": "x"} for kind in ("text", "output_text")
    )
    assert decode(old, new) == [new, new]


def test_usage_beside_the_response_moves_into_it() -> None:
    """And an empty one is none."""
    usage = {"total_tokens": 12}
    event = {"type": "response.done", "response": {"id": "r", "usage": {}}, "usage": usage}
    assert decode(event) == [{"type": "response.done", "response": {"id": "r", "usage": usage}}]
    bare = {"type": "response.done", "response": {"id": "r", "usage": {}}}
    assert decode(bare)[0]["response"]["usage"] is None


def test_an_abandoned_answer_ends_when_the_next_begins() -> None:
    """An interrupted answer may have no `response.done`: it gets one, with what was finished."""

    def begun(name: str) -> dict[str, Any]:
        return {"type": "response.created", "event_id": "e", "response": {"id": name}}

    call = {"id": "item_F", "type": "function_call", "name": "f", "status": "completed"}
    over = {"type": "response.output_item.done", "response_id": "r1", "item": call}
    events = decode(begun("r1"), over, begun("r2"))
    assert [event["type"] for event in events] == [
        "response.created",
        "response.output_item.done",
        "response.done",
        "response.created",
    ]
    ended = events[2]["response"]
    assert (ended["id"], ended["status"], ended["output"]) == ("r1", "cancelled", [call])


def test_agents_items_have_gas_parts() -> None:
    """Whichever name the server uses."""
    said = {"id": "i", "role": "assistant", "content": [{"type": "audio", "transcript": "x"}]}
    for kind in ("conversation.item.added", "response.output_item.added"):
        (event,) = decode({"type": kind, "item": said})
        assert event["item"]["content"] == [{"type": "output_audio", "transcript": "x"}]
