"""The simulated server's beta: flat sessions, older event names, and beta's own refusals.

It stands for Azure's preview and for servers made after the beta. Shapes and refusals are those of
the `openai` package 1.109 and of field reports; see the tests for whole documents.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from avr_bridge.testing.realtime.checks import (
    Check,
    anything,
    array,
    literal,
    mapping,
    nullable,
    number,
    string,
    tagged,
)
from avr_bridge.testing.realtime.dialects import renamed_error
from avr_bridge.testing.realtime.refusal import Refusal

if TYPE_CHECKING:
    from avr_bridge.testing.realtime.dialects import ForcedWords

__all__ = ["Beta"]

DEFAULT_TEMPERATURE = 0.8

_FORMAT_NAMES = {"audio/pcm": "pcm16", "audio/pcmu": "g711_ulaw", "audio/pcma": "g711_alaw"}
_FORMATS: dict[str, dict[str, Any]] = {
    "pcm16": {"type": "audio/pcm", "rate": 24_000},
    "g711_ulaw": {"type": "audio/pcmu"},
    "g711_alaw": {"type": "audio/pcma"},
}

_EVENT_NAMES = {
    "response.output_audio.delta": "response.audio.delta",
    "response.output_audio.done": "response.audio.done",
    "response.output_audio_transcript.delta": "response.audio_transcript.delta",
    "response.output_audio_transcript.done": "response.audio_transcript.done",
    "response.output_text.delta": "response.text.delta",
    "response.output_text.done": "response.text.done",
    "conversation.item.added": "conversation.item.created",
}
_UNKNOWN_TO_BETA = ("conversation.item.done", "input_audio_buffer.timeout_triggered")

_FIELDS = {
    "session.audio.input.format": "session.input_audio_format",
    "session.audio.input.noise_reduction": "session.input_audio_noise_reduction",
    "session.audio.input.transcription": "session.input_audio_transcription",
    "session.audio.input.turn_detection": "session.turn_detection",
    "session.audio.output.format": "session.output_audio_format",
    "session.audio.output.voice": "session.voice",
    "session.audio.output.speed": "session.speed",
    "session.output_modalities": "session.modalities",
    "session.max_output_tokens": "session.max_response_output_tokens",
    "response.audio.output.format": "response.output_audio_format",
    "response.audio.output.voice": "response.voice",
    "response.output_modalities": "response.modalities",
    "response.max_output_tokens": "response.max_response_output_tokens",
}
"""Where a field of GA stands in beta."""


def _modalities(value: Any, path: str) -> None:
    array(literal("text", "audio"))(value, path)
    if sorted(value) not in (["text"], ["audio", "text"]):
        raise Refusal(
            "invalid_value",
            f"Invalid modalities: {value}. Supported combinations are: ['text'] and "
            "['audio', 'text'].",
            path,
        )


_format = literal(*_FORMATS)
_voice = literal("alloy", "ash", "ballad", "coral", "echo", "sage", "shimmer", "verse")
_tools = array(tagged("type", {"function": anything}))
_common: dict[str, Check] = {
    "modalities": _modalities,
    "instructions": anything,
    "voice": _voice,
    "output_audio_format": _format,
    "tools": _tools,
    "tool_choice": anything,
    "temperature": number(0.6, 1.2),
    "max_response_output_tokens": anything,
}
_session = mapping(
    _common
    | {
        "model": anything,
        "input_audio_format": _format,
        "input_audio_noise_reduction": nullable(mapping({"type": anything}, required=("type",))),
        "input_audio_transcription": nullable(
            mapping({"model": string(), "language": string(), "prompt": string()})
        ),
        "turn_detection": anything,
        "speed": anything,
        "tracing": anything,
    }
)
_response = mapping(
    _common | {"conversation": anything, "metadata": anything, "input": array(anything)}
)
_answer_parts = array(tagged("type", {"text": anything}))


class Beta:
    """One beta session."""

    def __init__(self) -> None:
        self._temperature: float = DEFAULT_TEMPERATURE

    def default_session(self, session: dict[str, Any]) -> dict[str, Any]:
        """With a voice that the older models have."""
        session["audio"]["output"]["voice"] = "alloy"
        return session

    def opening(
        self, session: dict[str, Any], conversation: dict[str, Any]
    ) -> list[dict[str, Any]]:
        """The session, then its conversation."""
        return [
            {"type": "session.created", "session": session},
            {"type": "conversation.created", "conversation": conversation},
        ]

    # --- from the client

    def to_core(self, event: dict[str, Any]) -> dict[str, Any] | ForcedWords:
        """A beta client event as GA. Raises: Refusal."""
        kind = event.get("type")
        if kind == "session.update" and "session" in event:
            return event | {"session": self._session_to_core(event["session"])}
        if kind == "response.create" and event.get("response") is not None:
            _response(event["response"], "response")
            return event | {"response": _response_to_core(event["response"])}
        if kind == "conversation.item.create":
            return event | {"item": _item_to_core(event.get("item"), "item")}
        return event

    def _session_to_core(self, flat: Any) -> dict[str, Any]:
        _session(flat, "session")
        self._temperature = flat.get("temperature", self._temperature)
        heard: dict[str, Any] = {}
        for name, field in (
            ("input_audio_noise_reduction", "noise_reduction"),
            ("input_audio_transcription", "transcription"),
            ("turn_detection", "turn_detection"),
        ):
            if name in flat:
                heard[field] = flat[name]
        if "input_audio_format" in flat:
            heard["format"] = _FORMATS[flat["input_audio_format"]]
        spoken = _output_to_core(flat)
        if "speed" in flat:
            spoken["speed"] = flat["speed"]
        kept = ("model", "instructions", "tools", "tool_choice", "tracing")
        return (
            {"type": "realtime", "audio": {"input": heard, "output": spoken}}
            | {name: flat[name] for name in kept if name in flat}
            | _limits_to_core(flat)
        )

    # --- to the client

    def to_wire(self, event: dict[str, Any]) -> list[dict[str, Any]]:
        """A GA server event as beta."""
        kind = str(event.get("type"))
        if kind in _UNKNOWN_TO_BETA:
            return []
        event = event | {"type": _EVENT_NAMES.get(kind, kind)}
        if kind == "error":
            return [renamed_error(event, _FIELDS)]
        if "session" in event:
            event["session"] = self._flat_session(event["session"])
        if "response" in event:
            event["response"] = self._flat_response(event["response"])
        if "item" in event:
            event["item"] = _item_to_wire(event["item"])
        if kind == "response.function_call_arguments.done":
            del event["name"]
        return [event]

    def _flat_session(self, session: dict[str, Any]) -> dict[str, Any]:
        heard, spoken = session["audio"]["input"], session["audio"]["output"]
        noise = heard["noise_reduction"]
        same = ("id", "object", "model", "expires_at", "instructions", "tools", "tool_choice")
        return {name: session[name] for name in same} | {
            "modalities": _both(session["output_modalities"]),
            "voice": spoken["voice"],
            "input_audio_format": _FORMAT_NAMES[heard["format"]["type"]],
            "output_audio_format": _FORMAT_NAMES[spoken["format"]["type"]],
            "input_audio_noise_reduction": noise and {"type": noise["type"]},
            "input_audio_transcription": heard["transcription"],
            "turn_detection": heard["turn_detection"],
            "speed": spoken["speed"],
            "temperature": self._temperature,
            "max_response_output_tokens": session["max_output_tokens"],
        }

    def _flat_response(self, response: dict[str, Any]) -> dict[str, Any]:
        flat = dict(response)
        flat["modalities"] = _both(flat.pop("output_modalities"))
        spoken = flat.pop("audio")["output"]
        flat["voice"] = spoken["voice"]
        flat["output_audio_format"] = _FORMAT_NAMES[spoken["format"]["type"]]
        flat["temperature"] = self._temperature
        flat["output"] = [_item_to_wire(item) for item in flat["output"]]
        return flat


def _output_to_core(flat: dict[str, Any]) -> dict[str, Any]:
    spoken: dict[str, Any] = {}
    if "output_audio_format" in flat:
        spoken["format"] = _FORMATS[flat["output_audio_format"]]
    if "voice" in flat:
        spoken["voice"] = flat["voice"]
    return spoken


def _limits_to_core(flat: dict[str, Any]) -> dict[str, Any]:
    core: dict[str, Any] = {}
    if "modalities" in flat:
        core["output_modalities"] = ["audio"] if "audio" in flat["modalities"] else ["text"]
    if "max_response_output_tokens" in flat:
        core["max_output_tokens"] = flat["max_response_output_tokens"]
    return core


def _response_to_core(flat: dict[str, Any]) -> dict[str, Any]:
    kept = ("instructions", "tools", "tool_choice", "conversation", "metadata")
    core = {name: flat[name] for name in kept if name in flat} | _limits_to_core(flat)
    if spoken := _output_to_core(flat):
        core["audio"] = {"output": spoken}
    if "input" in flat:
        core["input"] = [
            _item_to_core(item, f"response.input[{at}]") for at, item in enumerate(flat["input"])
        ]
    return core


def _item_to_core(item: Any, path: str) -> Any:
    if not isinstance(item, dict) or item.get("type") != "message" or "content" not in item:
        return item
    if item.get("role") != "assistant":
        return item
    _answer_parts(item["content"], f"{path}.content")
    return item | {"content": [part | {"type": "output_text"} for part in item["content"]]}


def _item_to_wire(item: dict[str, Any]) -> dict[str, Any]:
    if item.get("role") != "assistant":
        return item
    names = {"output_text": "text", "output_audio": "audio"}
    parts = [part | {"type": names.get(part["type"], part["type"])} for part in item["content"]]
    return item | {"content": parts}


def _both(output_modalities: list[str]) -> list[str]:
    return ["text", "audio"] if output_modalities == ["audio"] else output_modalities
