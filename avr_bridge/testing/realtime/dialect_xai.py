"""The simulated server's xAI: a mixed session, forced words, and xAI's gaps.

The gaps are always there, so that a client which lives with them lives with the real server: an
interrupted answer has no `response.done`, usage stands beside the response, a transcript's `done`
has no words, items are told of once, and pings come in between.
"""

from __future__ import annotations

import itertools
from typing import Any

from avr_bridge.testing.realtime.checks import (
    anything,
    array,
    boolean,
    literal,
    mapping,
    nullable,
    number,
    string,
    tagged,
)
from avr_bridge.testing.realtime.dialects import ForcedWords, renamed_error

__all__ = ["Xai"]

DEFAULT_VOICE = "eve"
FIRST_PING_MS = 1_795_000_000_000
PING_EVERY_MS = 10_000

_FIELDS = {
    "session.audio.input.turn_detection": "session.turn_detection",
    "session.audio.output.voice": "session.voice",
    "response.output_modalities": "response.modalities",
}

_side_formats = {"format": anything}
_detection = nullable(
    tagged(
        "type",
        {
            "server_vad": mapping(
                {
                    "type": anything,
                    "threshold": number(0.1, 0.9),
                    "prefix_padding_ms": anything,
                    "silence_duration_ms": anything,
                    "idle_timeout_ms": anything,
                    "create_response": anything,
                    "interrupt_response": anything,
                }
            )
        },
    )
)
_transcription = mapping(
    {"model": literal("grok-transcribe"), "language_hint": string(), "keyterms": array(string(50))}
)
_session = mapping(
    {
        "model": anything,
        "instructions": anything,
        "voice": string(),
        "turn_detection": _detection,
        "audio": mapping(
            {
                "input": mapping(_side_formats | {"transcription": _transcription}),
                "output": mapping(_side_formats | {"speed": number(0.7, 1.5)}),
            }
        ),
        "tools": anything,
        "tool_choice": anything,
        "max_output_tokens": anything,
    }
)
_response = mapping(
    {
        "modalities": array(literal("text", "audio")),
        "instructions": anything,
        "metadata": anything,
        "conversation": anything,
        "input": anything,
        "tools": anything,
        "tool_choice": anything,
        "max_output_tokens": anything,
    }
)
_force_message = mapping(
    {
        "type": anything,
        "role": literal("assistant"),
        "interruptible": boolean,
        "content": array(
            tagged(
                "type",
                {"output_text": mapping({"type": anything, "text": string()}, required=("text",))},
            )
        ),
    },
    required=("role", "content"),
)


class Xai:
    """One xAI session."""

    def __init__(self) -> None:
        self._heard_so_far: dict[str, str] = {}
        self._pings = itertools.count(FIRST_PING_MS, PING_EVERY_MS)

    def default_session(self, session: dict[str, Any]) -> dict[str, Any]:
        """With xAI's own voice, which stands as an own voice inside, and transcription on."""
        session["audio"]["output"]["voice"] = {"id": DEFAULT_VOICE}
        session["audio"]["input"]["transcription"] = {}
        return session

    def opening(
        self, session: dict[str, Any], conversation: dict[str, Any]
    ) -> list[dict[str, Any]]:
        """The conversation, then, as newer servers do, the session; and a first ping."""
        return [
            {"type": "conversation.created", "conversation": conversation},
            {"type": "session.created", "session": session},
            self._ping(),
        ]

    def _ping(self) -> dict[str, Any]:
        return {"type": "ping", "timestamp": next(self._pings)}

    # --- from the client

    def to_core(self, event: dict[str, Any]) -> dict[str, Any] | ForcedWords:
        """An xAI client event as GA. Raises: Refusal."""
        kind = event.get("type")
        if kind == "session.update" and "session" in event:
            _session(event["session"], "session")
            return event | {"session": _session_to_core(event["session"])}
        if kind == "response.create" and event.get("response") is not None:
            _response(event["response"], "response")
            return event | {"response": _response_to_core(event["response"])}
        item = event.get("item")
        if isinstance(item, dict) and item.get("type") == "force_message":
            _force_message(item, "item")
            text = "".join(part["text"] for part in item["content"])
            return ForcedWords(text, item.get("interruptible", True))
        return event

    # --- to the client

    def to_wire(self, event: dict[str, Any]) -> list[dict[str, Any]]:
        """A GA server event as xAI."""
        match event.get("type"):
            case "error":
                return [renamed_error(event, _FIELDS)]
            case "session.created" | "session.updated":
                return [event | {"session": _mixed_session(event["session"])}]
            case "conversation.item.done":
                return []
            case "conversation.item.input_audio_transcription.delta":
                return [self._cumulative(event)]
            case "conversation.item.input_audio_transcription.completed":
                self._heard_so_far.pop(event["item_id"], None)
            case "response.output_audio_transcript.done":
                return [{name: event[name] for name in event if name != "transcript"}]
            case "response.created":
                return [self._ping(), event | {"response": _xai_response(event["response"])}]
            case "response.done":
                return _xai_done(event)
        return [event]

    def _cumulative(self, event: dict[str, Any]) -> dict[str, Any]:
        so_far = self._heard_so_far.get(event["item_id"], "") + event["delta"]
        self._heard_so_far[event["item_id"]] = so_far
        kept = {name: event[name] for name in event if name != "delta"}
        kind = "conversation.item.input_audio_transcription.updated"
        return kept | {"type": kind, "transcript": so_far}


def _session_to_core(mixed: dict[str, Any]) -> dict[str, Any]:
    audio: dict[str, Any] = mixed.get("audio", {})
    heard, spoken = dict(audio.get("input", {})), dict(audio.get("output", {}))
    if "transcription" in heard:
        names = {"language_hint": "language", "keyterms": "keywords", "model": "model"}
        given = heard["transcription"]
        heard["transcription"] = {names[name]: value for name, value in given.items()}
    if "turn_detection" in mixed:
        heard["turn_detection"] = mixed["turn_detection"]
    if "voice" in mixed:
        spoken["voice"] = {"id": mixed["voice"]}
    kept = {
        name: value
        for name, value in mixed.items()
        if name not in ("audio", "voice", "turn_detection")
    }
    return {"type": "realtime", "audio": {"input": heard, "output": spoken}} | kept


def _response_to_core(wish: dict[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in wish.items() if name != "modalities"}
    if "modalities" not in wish:
        return kept
    return kept | {"output_modalities": ["audio"] if "audio" in wish["modalities"] else ["text"]}


def _mixed_session(session: dict[str, Any]) -> dict[str, Any]:
    heard, spoken = session["audio"]["input"], session["audio"]["output"]
    same = ("id", "object", "model", "expires_at", "instructions", "tools")
    transcription: dict[str, Any] = heard["transcription"] or {}
    names = {"language": "language_hint", "keywords": "keyterms", "model": "model"}
    shown = {names[name]: value for name, value in transcription.items() if name in names}
    return {name: session[name] for name in same} | {
        "voice": spoken["voice"]["id"],
        "turn_detection": heard["turn_detection"],
        "audio": {
            "input": {"format": heard["format"], "transcription": shown},
            "output": {"format": spoken["format"], "speed": spoken["speed"]},
        },
    }


def _xai_response(response: dict[str, Any]) -> dict[str, Any]:
    dropped = ("output_modalities", "audio", "usage", "conversation_id")
    return {name: value for name, value in response.items() if name not in dropped}


def _xai_done(event: dict[str, Any]) -> list[dict[str, Any]]:
    response = event["response"]
    details = response["status_details"] or {}
    if details.get("reason") == "turn_detected":
        return []
    shaped = _xai_response(response) | {"usage": {}}
    return [event | {"response": shaped, "usage": response["usage"]}]
