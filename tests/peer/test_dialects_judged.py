"""The official openai package judges what the bridge's dialects make of other servers' events.

The events are those of the protocol sheet, beta and xAI; what comes out must be GA to openai's own
types, strictly. What GA itself sends is judged in `test_bridge_events.py`.
"""

from __future__ import annotations

from typing import Any

import pytest

from avr_bridge.upstream.dialect import DialectName, make_dialect
from tests.sim_client import check_server_event

pytestmark = pytest.mark.peer

PLACE = {"response_id": "resp_R1", "item_id": "item_A1", "output_index": 0, "content_index": 0}
USAGE = {
    "total_tokens": 253,
    "input_tokens": 132,
    "output_tokens": 121,
    "input_token_details": {"text_tokens": 119, "audio_tokens": 13, "cached_tokens": 64},
    "output_token_details": {"text_tokens": 30, "audio_tokens": 91},
}
HEAD: dict[str, Any] = {"object": "realtime.item", "type": "message", "role": "assistant"}
SAID = HEAD | {
    "id": "item_A1",
    "status": "completed",
    "content": [{"type": "audio", "transcript": "We open at nine."}],
}
CALL = {
    "id": "item_F1",
    "object": "realtime.item",
    "type": "function_call",
    "status": "completed",
    "name": "lookup",
    "call_id": "call_1",
    "arguments": "{}",
}
FLAT = {
    "object": "realtime.response",
    "id": "resp_R1",
    "status_details": None,
    "conversation_id": "conv_1",
    "modalities": ["text", "audio"],
    "voice": "alloy",
    "output_audio_format": "g711_ulaw",
    "temperature": 0.8,
    "max_output_tokens": "inf",
    "metadata": None,
}
SESSION = {
    "id": "sess_1",
    "object": "realtime.session",
    "model": "gpt-4o-realtime-preview-2025-06-03",
    "expires_at": 1795000000,
    "modalities": ["audio", "text"],
    "instructions": "d",
    "voice": "alloy",
    "input_audio_format": "pcm16",
    "output_audio_format": "g711_ulaw",
    "input_audio_transcription": None,
    "turn_detection": {"type": "server_vad", "threshold": 0.5, "silence_duration_ms": 200},
    "tools": [],
    "tool_choice": "auto",
    "temperature": 0.8,
    "max_response_output_tokens": "inf",
}

BETA: list[dict[str, Any]] = [
    {"type": "session.created", "session": SESSION},
    {"type": "conversation.created", "conversation": {"id": "conv_1"}},
    {"type": "session.updated", "session": SESSION},
    {
        "type": "conversation.item.created",
        "previous_item_id": None,
        "item": {
            "id": "item_U1",
            "object": "realtime.item",
            "type": "message",
            "status": "completed",
            "role": "user",
            "content": [{"type": "input_audio", "transcript": None}],
        },
    },
    {
        "type": "response.created",
        "response": FLAT | {"status": "in_progress", "output": [], "usage": None},
    },
    {
        "type": "response.output_item.added",
        "response_id": "resp_R1",
        "output_index": 0,
        "item": HEAD | {"id": "item_A1", "status": "in_progress", "content": []},
    },
    {
        "type": "conversation.item.created",
        "previous_item_id": "item_U1",
        "item": HEAD | {"id": "item_A1", "status": "in_progress", "content": []},
    },
    {"type": "response.audio_transcript.delta", **PLACE, "delta": "We open"},
    {"type": "response.audio.delta", **PLACE, "delta": "f39/f38="},
    {"type": "response.audio.done", **PLACE},
    {"type": "response.audio_transcript.done", **PLACE, "transcript": "We open at nine."},
    {
        "type": "response.output_item.done",
        "response_id": "resp_R1",
        "output_index": 0,
        "item": SAID,
    },
    {
        "type": "response.output_item.added",
        "response_id": "resp_R1",
        "output_index": 1,
        "item": CALL,
    },
    {
        "type": "response.function_call_arguments.done",
        "response_id": "resp_R1",
        "item_id": "item_F1",
        "output_index": 1,
        "call_id": "call_1",
        "arguments": "{}",
    },
    {
        "type": "response.done",
        "response": FLAT | {"status": "completed", "output": [SAID, CALL], "usage": USAGE},
    },
    {"type": "response.text.delta", **PLACE, "delta": "sales"},
    {"type": "response.text.done", **PLACE, "text": "sales"},
    {"type": "conversation.item.retrieved", "item": SAID},
    {
        "type": "response.created",
        "response": FLAT | {"status": "in_progress", "output": [], "usage": None},
    },
    {
        "type": "response.created",
        "response": FLAT | {"id": "resp_R2", "status": "in_progress", "output": []},
    },
]

XAI: list[dict[str, Any]] = [
    {"type": "conversation.created", "conversation": {"id": "conv_1"}},
    {
        "type": "session.created",
        "session": {
            "id": "sess_1",
            "voice": "eve",
            "turn_detection": {"type": "server_vad", "threshold": 0.6},
            "instructions": "x",
            "audio": {"input": {"format": {"type": "audio/pcmu"}}},
        },
    },
    {"type": "ping", "timestamp": 1795000000000},
    {
        "type": "conversation.item.input_audio_transcription.updated",
        "item_id": "item_U1",
        "transcript": "When",
    },
    {"type": "response.created", "response": {"id": "r1", "status": "in_progress", "output": []}},
    {"type": "response.output_audio_transcript.delta", **PLACE, "delta": "Nine."},
    {"type": "response.output_audio_transcript.done", **PLACE},
    {"type": "response.text.delta", **PLACE, "delta": "Nine."},
    {"type": "response.created", "response": {"id": "r2", "status": "in_progress", "output": []}},
    {
        "type": "response.done",
        "response": {"id": "r2", "status": "completed", "output": [SAID], "usage": {}},
        "usage": USAGE,
    },
]


@pytest.mark.parametrize(
    ("name", "events", "count"),
    # beta: two items told of twice each, one made-up end; xAI: two left out, one opening and one
    # end made up
    [(DialectName.BETA, BETA, len(BETA) + 3), (DialectName.XAI, XAI, len(XAI))],
    ids=["beta", "xai"],
)
def test_decoded_events_are_ga(name: DialectName, events: list[dict[str, Any]], count: int) -> None:
    """Every event that comes out of a session's worth of events, made-up ones included."""
    dialect = make_dialect(name)
    decoded = [
        one
        for number, event in enumerate(events)
        for one in dialect.decode({"event_id": f"event_{number}"} | event)
    ]
    for event in decoded:
        check_server_event(event)
    assert len(decoded) == count
