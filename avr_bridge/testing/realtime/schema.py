"""Every client event of the GA dialect, field by field.

Shape only: whether an event makes sense at its time is decided in `dialogue.py`. Stricter than the
`openai` package's types, as the real server is: unknown fields are refused.
"""

from __future__ import annotations

from typing import Any

from avr_bridge.testing.realtime.checks import (
    Check,
    anything,
    array,
    base64_audio,
    boolean,
    choice,
    first_of,
    integer,
    literal,
    mapping,
    nullable,
    number,
    string,
    tagged,
)
from avr_bridge.testing.realtime.refusal import Refusal

__all__ = ["CLIENT_EVENTS", "check_client_event"]

MAX_APPEND_BYTES = 15 * 2**20
"""Audio in one `input_audio_buffer.append` (the API's own limit)."""

MAX_ITEM_ID = 32
"""Characters of an item id that the client chose."""

PCM_RATE_HZ = 24_000
"""The only rate of audio/pcm."""

MODEL_OUTPUT_TOKENS = 32_000
"""No cap on an answer is higher than this."""

_text = string()
_event_id = nullable(string(512))
_audio = base64_audio(MAX_APPEND_BYTES)

_format = tagged(
    "type",
    {
        "audio/pcm": mapping(
            {"type": anything, "rate": integer(PCM_RATE_HZ, PCM_RATE_HZ)},
            required=("rate",),
        ),
        "audio/pcmu": mapping({"type": anything}),
        "audio/pcma": mapping({"type": anything}),
    },
)

_vad_common: dict[str, Check] = {
    "type": anything,
    "create_response": boolean,
    "interrupt_response": boolean,
}
_turn_detection = tagged(
    "type",
    {
        "server_vad": mapping(
            _vad_common
            | {
                "threshold": number(0, 1),
                "prefix_padding_ms": integer(0),
                "silence_duration_ms": integer(0),
                "idle_timeout_ms": nullable(integer(5_000, 30_000)),
            }
        ),
        "semantic_vad": mapping(
            _vad_common | {"eagerness": literal("low", "medium", "high", "auto")}
        ),
    },
)

_transcription = mapping(
    {
        "model": _text,
        "language": _text,
        "prompt": _text,
        "languages": array(_text),
        "keywords": array(_text),
        "delay": literal("minimal", "low", "medium", "high", "xhigh"),
    }
)
_noise_reduction = mapping(
    {"type": literal("near_field", "far_field"), "strength": number()}, required=("type",)
)
_named_voice = literal(
    "alloy", "ash", "ballad", "coral", "echo", "sage", "shimmer", "verse", "marin", "cedar"
)
_own_voice = mapping({"id": _text}, required=("id",))
_voice = first_of(lambda value: _own_voice if isinstance(value, dict) else _named_voice)

_function = mapping(
    {"type": anything, "name": string(64), "description": _text, "parameters": anything},
    required=("name",),
)
_mcp_free: dict[str, Check] = dict.fromkeys(
    (
        *("type", "server_description", "server_url", "connector_id", "tunnel_id", "headers"),
        *("allowed_tools", "allowed_callers", "defer_loading", "require_approval"),
    ),
    anything,
)
_mcp = mapping(
    _mcp_free | {"server_label": _text, "authorization": nullable(_text)},
    required=("server_label",),
)
_tools = array(tagged("type", {"function": _function, "mcp": _mcp}))
_tool_choice = choice(
    "auto",
    "none",
    "required",
    otherwise=tagged(
        "type",
        {
            "function": mapping({"type": anything, "name": _text}, required=("name",)),
            "mcp": mapping(
                {"type": anything, "server_label": _text, "name": nullable(_text)},
                required=("server_label",),
            ),
        },
    ),
)
_modalities = array(literal("text", "audio"))
_cap = choice("inf", otherwise=integer(1, MODEL_OUTPUT_TOKENS))
_reasoning = mapping({"effort": literal("minimal", "low", "medium", "high", "xhigh")})
_truncation = choice(
    "auto",
    "disabled",
    otherwise=mapping(
        {
            "type": literal("retention_ratio"),
            "retention_ratio": number(0, 1),
            "token_limits": mapping({"post_instructions": integer(0)}),
        },
        required=("type", "retention_ratio"),
    ),
)
_tracing = nullable(
    choice(
        "auto",
        otherwise=mapping({"workflow_name": _text, "group_id": _text, "metadata": anything}),
    )
)
_prompt = nullable(
    mapping({"id": _text, "version": nullable(_text), "variables": anything}, required=("id",))
)


def _metadata(value: Any, path: str) -> None:
    names = list(value) if isinstance(value, dict) else []
    nullable(mapping({name: string(512) for name in names}))(value, path)
    for name in names:
        string(64)(name, f"{path}.{name}")
    if len(names) > 16:
        raise Refusal("invalid_value", f"Invalid '{path}': more than 16 pairs.", path)


_session = mapping(
    {
        "type": literal("realtime"),
        "model": _text,
        "output_modalities": _modalities,
        "instructions": _text,
        "audio": mapping(
            {
                "input": mapping(
                    {
                        "format": _format,
                        "noise_reduction": nullable(_noise_reduction),
                        "transcription": nullable(_transcription),
                        "turn_detection": nullable(_turn_detection),
                    }
                ),
                "output": mapping({"format": _format, "voice": _voice, "speed": number(0.25, 1.5)}),
            }
        ),
        "tools": _tools,
        "tool_choice": _tool_choice,
        "parallel_tool_calls": boolean,
        "reasoning": _reasoning,
        "max_output_tokens": _cap,
        "truncation": _truncation,
        "tracing": _tracing,
        "prompt": _prompt,
        "include": nullable(array(literal("item.input_audio_transcription.logprobs"))),
    },
    required=("type",),
)

_item_common: dict[str, Check] = {
    "type": anything,
    "id": nullable(string(MAX_ITEM_ID)),
    "object": literal("realtime.item"),
    "status": literal("completed", "incomplete", "in_progress"),
}
_input_text = mapping({"type": anything, "text": _text}, required=("text",))
_input_audio = mapping(
    {"type": anything, "audio": _audio, "transcript": nullable(_text)}, required=("audio",)
)
_input_image = mapping(
    {"type": anything, "image_url": _text, "detail": literal("auto", "low", "high")},
    required=("image_url",),
)


def _message(kinds: dict[str, Check]) -> Check:
    return mapping(
        _item_common | {"role": anything, "content": array(tagged("type", kinds))},
        required=("content",),
    )


_item_kinds: dict[str, Check] = {
    "message": tagged(
        "role",
        {
            "system": _message({"input_text": _input_text}),
            "user": _message(
                {
                    "input_text": _input_text,
                    "input_audio": _input_audio,
                    "input_image": _input_image,
                }
            ),
            # assistant audio cannot be made by a client
            "assistant": _message({"output_text": _input_text}),
        },
    ),
    "function_call": mapping(
        _item_common | {"call_id": string(MAX_ITEM_ID), "name": _text, "arguments": _text},
        required=("name", "arguments"),
    ),
    "function_call_output": mapping(
        _item_common | {"call_id": _text, "output": _text}, required=("call_id", "output")
    ),
}
_item = tagged("type", _item_kinds)
_input = array(
    tagged(
        "type",
        _item_kinds
        | {"item_reference": mapping({"type": anything, "id": _text}, required=("id",))},
    )
)

_response = mapping(
    {
        "instructions": _text,
        "output_modalities": _modalities,
        "audio": mapping({"output": mapping({"format": _format, "voice": _voice})}),
        "conversation": literal("auto", "none"),
        "input": _input,
        "metadata": _metadata,
        "max_output_tokens": _cap,
        "tools": _tools,
        "tool_choice": _tool_choice,
        "parallel_tool_calls": boolean,
        "reasoning": _reasoning,
        "prompt": _prompt,
    }
)


def _event(fields: dict[str, Check] | None = None, *, required: tuple[str, ...] = ()) -> Check:
    return mapping({"type": anything, "event_id": _event_id} | (fields or {}), required=required)


CLIENT_EVENTS: dict[str, Check] = {
    "session.update": _event({"session": _session}, required=("session",)),
    "input_audio_buffer.append": _event({"audio": _audio}, required=("audio",)),
    "input_audio_buffer.commit": _event(),
    "input_audio_buffer.clear": _event(),
    "conversation.item.create": _event(
        {"previous_item_id": nullable(_text), "item": _item}, required=("item",)
    ),
    "conversation.item.truncate": _event(
        {"item_id": _text, "content_index": integer(0), "audio_end_ms": integer(0)},
        required=("item_id", "content_index", "audio_end_ms"),
    ),
    "conversation.item.delete": _event({"item_id": _text}, required=("item_id",)),
    "conversation.item.retrieve": _event({"item_id": _text}, required=("item_id",)),
    "response.create": _event({"response": nullable(_response)}),
    "response.cancel": _event({"response_id": nullable(_text)}),
    "output_audio_buffer.clear": _event(),
}
"""One check for each type of client event."""

_any_event = tagged("type", CLIENT_EVENTS)


def check_client_event(event: Any) -> None:
    """Check the shape of one decoded client event.

    Raises:
        Refusal: With the API's code for the first fault that is found.
    """
    if not isinstance(event, dict):
        raise Refusal("invalid_type", "Invalid event: expected a JSON object.")
    _any_event(event, "")
