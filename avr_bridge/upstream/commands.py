"""Client events of the Realtime API (GA) that the bridge sends, and their JSON.

Structs in, text frames out. When to send which is decided in `conversation.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import msgspec

from avr_bridge.audio.format import AudioFormat, Encoding

if TYPE_CHECKING:
    from avr_bridge.config import ModelConfig

__all__ = [
    "MARK",
    "AppendAudio",
    "CancelResponse",
    "Command",
    "CreateItem",
    "CreateResponse",
    "DeleteItem",
    "SpeakWords",
    "TruncateItem",
    "UpdateSession",
    "audio_format_object",
    "audio_formats_only",
    "encode_command",
    "function_call",
    "function_output",
    "plain_command",
    "session_object",
    "text_item",
    "turn_detection_only",
]


class AppendAudio(msgspec.Struct, frozen=True, tag="input_audio_buffer.append"):
    """A piece of the caller's sound in the session's input format; sent as base64."""

    audio: bytes


class UpdateSession(msgspec.Struct, frozen=True, tag="session.update"):
    """Change the session; only the fields given change."""

    session: dict[str, Any]
    event_id: str


class CreateItem(msgspec.Struct, frozen=True, tag="conversation.item.create"):
    """Add an item to the conversation."""

    item: dict[str, Any]
    event_id: str


class CreateResponse(msgspec.Struct, frozen=True, omit_defaults=True, tag="response.create"):
    """Ask for an answer now; `response` overrides the session's settings for it."""

    event_id: str
    response: dict[str, Any] | None = None


class SpeakWords(msgspec.Struct, frozen=True):
    """Say exactly these words. GA has no such event: it becomes a `response.create` with
    `instructions`, which is as near as that API comes; xAI promises the very words."""

    text: str
    instructions: str
    event_id: str


class CancelResponse(msgspec.Struct, frozen=True, omit_defaults=True, tag="response.cancel"):
    """Stop generating an answer."""

    event_id: str
    response_id: str | None = None


class TruncateItem(msgspec.Struct, frozen=True, tag="conversation.item.truncate"):
    """The caller heard no more of this spoken item than `audio_end_ms`."""

    item_id: str
    content_index: int
    audio_end_ms: int
    event_id: str


class DeleteItem(msgspec.Struct, frozen=True, tag="conversation.item.delete"):
    """The caller heard nothing of this item."""

    item_id: str
    event_id: str


Command = (
    AppendAudio
    | UpdateSession
    | CreateItem
    | CreateResponse
    | SpeakWords
    | CancelResponse
    | TruncateItem
    | DeleteItem
)

MARK = "avr_bridge"
"""Name of the metadata of our requests for an answer."""

_encoder = msgspec.json.Encoder()


def encode_command(command: Command, *, marked: bool = True) -> str:
    """The text frame of a command, in GA.

    Args:
        marked: Requests for an answer carry `MARK` in their metadata, which comes back with the
            response: it tells ours from the server's own.
    """
    if type(command) is SpeakWords:
        wish = {"instructions": command.instructions, "tool_choice": "none"}
        command = CreateResponse(command.event_id, wish)
    if type(command) is CreateResponse and marked:
        wish = (command.response or {}) | {"metadata": {MARK: command.event_id}}
        command = CreateResponse(command.event_id, wish)
    return _encoder.encode(command).decode("ascii" if type(command) is AppendAudio else "utf-8")


def plain_command(command: Command) -> dict[str, Any]:
    """A command as plain values, in GA, without a mark; audio is base64."""
    plain: dict[str, Any] = msgspec.json.decode(encode_command(command, marked=False))
    return plain


def audio_format_object(fmt: AudioFormat) -> dict[str, Any]:
    """The API's name for a format. PCM must carry its rate and G.711 must not."""
    if fmt.encoding is Encoding.PCM16:
        return {"type": fmt.encoding.value, "rate": fmt.rate_hz}
    return {"type": fmt.encoding.value}


def turn_detection_object(config: ModelConfig, *, interruptible: bool) -> dict[str, Any]:
    """Turn detection in full: real sessions have shown other defaults than the documentation,
    and what becomes of fields left out of a later update is documented nowhere."""
    turn_detection: dict[str, Any] = {
        "type": config.turn_detection,
        "create_response": True,
        "interrupt_response": interruptible and config.interruptible,
    }
    if config.turn_detection == "semantic_vad":
        if config.eagerness:
            turn_detection["eagerness"] = config.eagerness
        return turn_detection
    turn_detection |= {
        "threshold": config.vad_threshold,
        "prefix_padding_ms": config.vad_prefix_padding_ms,
        "silence_duration_ms": config.vad_silence_ms,
    }
    if config.vad_idle_timeout_ms:
        turn_detection["idle_timeout_ms"] = config.vad_idle_timeout_ms
    return turn_detection


def turn_detection_only(config: ModelConfig) -> dict[str, Any]:
    """A partial session that lets the caller interrupt from now on."""
    turn_detection = turn_detection_object(config, interruptible=True)
    return {"type": "realtime", "audio": {"input": {"turn_detection": turn_detection}}}


def session_object(
    config: ModelConfig,
    instructions: str,
    fmt: AudioFormat,
    *,
    tools: list[dict[str, Any]] | None = None,
    interruptible: bool = True,
) -> dict[str, Any]:
    """The one complete session that a call asks for, both directions in `fmt`.

    Only what the model takes: `reasoning` makes models that do not reason refuse the whole
    update, so it goes to `gpt-realtime-2` and newer alone; `temperature` is gone from the API.
    """
    transcription = {"model": config.transcription_model}
    if config.language:
        transcription["language"] = config.language
    format_object = audio_format_object(fmt)
    session: dict[str, Any] = {
        "type": "realtime",
        "output_modalities": ["audio"],
        "instructions": instructions,
        "audio": {
            "input": {
                "format": format_object,
                "transcription": transcription,
                "turn_detection": turn_detection_object(config, interruptible=interruptible),
            },
            "output": {"format": format_object, "voice": config.voice, "speed": config.speed},
        },
        "tools": tools or [],
        "tool_choice": "auto",
        "max_output_tokens": config.max_tokens or "inf",
    }
    if config.noise_reduction != "off":
        session["audio"]["input"]["noise_reduction"] = {"type": config.noise_reduction}
    if config.model.startswith("gpt-realtime-2"):
        session["reasoning"] = {"effort": config.reasoning_effort}
    return session


def audio_formats_only(fmt: AudioFormat) -> dict[str, Any]:
    """A partial session that changes both audio formats and nothing else."""
    format_object = audio_format_object(fmt)
    return {
        "type": "realtime",
        "audio": {"input": {"format": format_object}, "output": {"format": format_object}},
    }


def function_output(call_id: str, output: str) -> dict[str, Any]:
    """The item that answers a function call; a call without one leaves the model waiting."""
    kind: Literal["function_call_output"] = "function_call_output"
    return {"type": kind, "call_id": call_id, "output": output}


def function_call(call_id: str, name: str, arguments: str) -> dict[str, Any]:
    """A call that the model made in a session that is gone; `arguments` is JSON text."""
    kind: Literal["function_call"] = "function_call"
    return {"type": kind, "call_id": call_id, "name": name, "arguments": arguments}


def text_item(role: str, text: str) -> dict[str, Any]:
    """A message in words: of the caller, of the agent, or of the bridge (``system``)."""
    kind = "output_text" if role == "assistant" else "input_text"
    return {"type": "message", "role": role, "content": [{"type": kind, "text": text}]}
