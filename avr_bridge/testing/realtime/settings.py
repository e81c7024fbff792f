"""The session object: its defaults, what one `session.update` changes, what a response inherits.

Pure: values in, values out. The fields' shapes are in `schema.py`.
"""

from __future__ import annotations

import copy
import re
from typing import Any, Literal

import attrs

from avr_bridge.audio.format import PCM16_24K, AudioFormat, Encoding
from avr_bridge.testing.realtime.refusal import Refusal

__all__ = ["ResponsePlan", "audio_format", "default_session", "plan_response", "update_session"]

_PCM: dict[str, Any] = {"type": "audio/pcm", "rate": 24_000}

_VAD_DEFAULTS: dict[str, dict[str, Any]] = {
    "server_vad": {
        "type": "server_vad",
        "threshold": 0.5,
        "prefix_padding_ms": 300,
        "silence_duration_ms": 200,  # what real sessions show; the documents say 500
        "idle_timeout_ms": None,
        "create_response": True,
        "interrupt_response": True,
    },
    "semantic_vad": {
        "type": "semantic_vad",
        "eagerness": "auto",
        "create_response": True,
        "interrupt_response": True,
    },
}

_REASONING_MODEL = re.compile(r"gpt-realtime-2(?:$|[.\-])")  # but not gpt-realtime-2025-08-28


def default_session(session_id: str, model: str, expires_at: int) -> dict[str, Any]:
    """The session object of a new connection. `expires_at` is in unix seconds."""
    return {
        "type": "realtime",
        "object": "realtime.session",
        "id": session_id,
        "model": model,
        "output_modalities": ["audio"],
        "instructions": "You are a simulated voice assistant.",
        "tools": [],
        "tool_choice": "auto",
        "max_output_tokens": "inf",
        "tracing": None,
        "truncation": "auto",
        "prompt": None,
        "expires_at": expires_at,
        "audio": {
            "input": {
                "format": dict(_PCM),
                "transcription": None,
                "noise_reduction": None,
                "turn_detection": dict(_VAD_DEFAULTS["server_vad"]),
            },
            "output": {"format": dict(_PCM), "voice": "marin", "speed": 1.0},
        },
        "include": None,
    }


def audio_format(wire: dict[str, Any]) -> AudioFormat:
    """The audio format that a `format` object of the API means."""
    encoding = Encoding(wire["type"])
    return PCM16_24K if encoding is Encoding.PCM16 else AudioFormat(encoding, 8_000)


def update_session(
    session: dict[str, Any],
    patch: dict[str, Any],
    *,
    voice_locked: bool,
    g711: Literal["honoured", "refused", "ignored"],
) -> dict[str, Any]:
    """The session after a well-formed `session.update`; the old one is left as it was.

    Raises:
        Refusal: Something in the patch cannot be, so nothing of it applies.
    """
    _check_modalities(patch, "session")
    _check_reasoning(patch, "session", session["model"])
    if patch.get("model", session["model"]) != session["model"]:
        raise Refusal("invalid_value", "The model of a session cannot change.", "session.model")
    _check_voice(patch.get("audio", {}).get("output", {}), session, voice_locked)
    new = copy.deepcopy(session)
    for name, value in patch.items():
        if name != "audio":
            new[name] = copy.deepcopy(value)
    audio = patch.get("audio", {})
    for side in ("input", "output"):
        for name, value in audio.get(side, {}).items():
            new["audio"][side][name] = _merged(name, new["audio"][side].get(name), value)
        if g711 == "refused":
            new["audio"][side]["format"] = dict(_PCM)
    return new


def _merged(name: str, old: Any, new: Any) -> Any:
    if not isinstance(new, dict):
        return new
    if name == "turn_detection":
        # whether left-out fields keep their values is not documented; here they do
        same = isinstance(old, dict) and old["type"] == new["type"]
        return (old if same else _VAD_DEFAULTS[new["type"]]) | new
    if name == "noise_reduction":
        return {"strength": 1} | (old or {}) | new
    return copy.deepcopy(new)


def _check_modalities(patch: dict[str, Any], path: str) -> None:
    wanted = patch.get("output_modalities", ["audio"])
    if wanted not in (["audio"], ["text"]):
        raise Refusal(
            "invalid_value",
            f"Invalid modalities: {wanted}. Supported combinations are: ['text'] and ['audio'].",
            f"{path}.output_modalities",
        )


def _check_reasoning(patch: dict[str, Any], path: str, model: str) -> None:
    if "reasoning" in patch and not _REASONING_MODEL.match(model):
        raise Refusal(
            "unsupported_parameter",
            f"Unsupported parameter: '{path}.reasoning' is not supported with this model.",
            f"{path}.reasoning",
        )


def _check_voice(output: dict[str, Any], session: dict[str, Any], voice_locked: bool) -> None:
    now = session["audio"]["output"]["voice"]
    if voice_locked and output.get("voice", now) != now:
        raise Refusal(
            "cannot_update_voice",
            "Cannot update a conversation's voice if assistant audio is present.",
        )


@attrs.frozen(kw_only=True)
class ResponsePlan:
    """What one response is made with: the session's settings under those of `response.create`."""

    modalities: list[str]
    wire_format: dict[str, Any]
    spoken: AudioFormat
    voice: Any
    max_output_tokens: int | str
    instructions: str
    tools: list[Any]
    metadata: dict[str, str] | None
    out_of_band: bool


def plan_response(
    session: dict[str, Any],
    wish: dict[str, Any],
    *,
    voice_locked: bool,
    g711: Literal["honoured", "refused", "ignored"],
) -> ResponsePlan:
    """Combine a session with the `response` object of a `response.create` (or an empty one).

    Raises:
        Refusal: The wish cannot be.
    """
    _check_modalities(wish, "response")
    _check_reasoning(wish, "response", session["model"])
    output = wish.get("audio", {}).get("output", {})
    _check_voice(output, session, voice_locked)
    wire = output.get("format", session["audio"]["output"]["format"])
    if g711 == "refused":
        wire = dict(_PCM)
    return ResponsePlan(
        modalities=wish.get("output_modalities", session["output_modalities"]),
        wire_format=wire,
        spoken=PCM16_24K if g711 == "ignored" else audio_format(wire),
        voice=output.get("voice", session["audio"]["output"]["voice"]),
        max_output_tokens=wish.get("max_output_tokens", session["max_output_tokens"]),
        instructions=wish.get("instructions", session["instructions"]),
        tools=wish.get("tools", session["tools"]),
        metadata=wish.get("metadata"),
        out_of_band=wish.get("conversation") == "none",
    )
