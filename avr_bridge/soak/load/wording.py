"""The model stand-in's words: events of the Realtime API (GA) as a server sends them.

Between the stand-in and its socket. It decides nothing. What is sent ten times a second, the delta,
is put together from bytes; everything else is rare and goes through msgspec.
"""

from __future__ import annotations

from typing import Any

from avr_bridge.soak.load.sounds import Sound

__all__ = [
    "ResponseWords",
    "agreed_sound",
    "arguments_for",
    "first_tool",
    "new_session",
    "updated_session",
]

PCM_24K = Sound("audio/pcm", 24_000)
_G711 = {
    "audio/pcmu": Sound("audio/pcmu", 8_000),
    "audio/pcma": Sound("audio/pcma", 8_000),
}
_NEVER_CALLED = ("hangup", "hang_up", "transfer", "end_call")
"""Tools that would end the call, by parts of their names."""

_SAMPLES: dict[str, Any] = {
    "string": "soak",
    "number": 1,
    "integer": 1,
    "boolean": True,
    "array": [],
    "object": {},
    "null": None,
}


def new_session(session_id: str) -> dict[str, Any]:
    """The session of a new connection: 24 kHz PCM16 both ways, voice detection."""
    fmt = {"type": "audio/pcm", "rate": 24_000}
    return {
        "type": "realtime",
        "object": "realtime.session",
        "id": session_id,
        "model": "soak",
        "output_modalities": ["audio"],
        "instructions": "",
        "tools": [],
        "tool_choice": "auto",
        "audio": {
            "input": {
                "format": fmt,
                "turn_detection": {
                    "type": "server_vad",
                    "threshold": 0.5,
                    "prefix_padding_ms": 300,
                    "silence_duration_ms": 200,
                    "create_response": True,
                    "interrupt_response": True,
                },
            },
            "output": {"format": dict(fmt), "voice": "marin", "speed": 1.0},
        },
    }


def updated_session(session: dict[str, Any], asked: dict[str, Any], codec: str) -> dict[str, Any]:
    """`session` with what was asked for in it, in GA's shape and in xAI's.

    Args:
        codec: ``pcm``: sound is 24 kHz PCM16 whatever was asked; ``any``: as asked.
    """
    merged = _merged(session, asked)
    for side in ("input", "output"):
        fmt = merged["audio"][side].get("format")
        if codec == "pcm" or not isinstance(fmt, dict) or fmt.get("type") not in _G711:
            rate = fmt.get("rate", 24_000) if isinstance(fmt, dict) and codec != "pcm" else 24_000
            merged["audio"][side]["format"] = {"type": "audio/pcm", "rate": rate}
    return merged


def agreed_sound(session: dict[str, Any], side: str) -> Sound:
    """What a session speaks (``output``) or hears (``input``)."""
    fmt = session["audio"][side]["format"]
    return _G711.get(fmt["type"]) or Sound("audio/pcm", int(fmt.get("rate", 24_000)))


def first_tool(session: dict[str, Any]) -> dict[str, Any] | None:
    """The first function that does not end the call."""
    for tool in session.get("tools") or ():
        name = str(tool.get("name", "")).lower()
        ends_call = any(part in name for part in _NEVER_CALLED)
        if tool.get("type") == "function" and name and not ends_call:
            return dict(tool)
    return None


def arguments_for(tool: dict[str, Any]) -> dict[str, Any]:
    """The least that a tool's own schema asks for."""
    parameters = tool.get("parameters") or {}
    fields = parameters.get("properties") or {}
    return {name: _sample(fields.get(name) or {}) for name in parameters.get("required") or ()}


class ResponseWords:
    """The events of one response that says one thing.

    Attributes:
        item_id: Of its spoken item.
    """

    def __init__(self, number: int, session_id: str, metadata: Any) -> None:
        self.response_id = f"resp_{session_id}_{number}"
        self.item_id = f"item_{session_id}_{number}"
        self._metadata = metadata
        self._place = {
            "response_id": self.response_id,
            "item_id": self.item_id,
            "output_index": 0,
            "content_index": 0,
        }
        self._delta = (
            '{"type":"response.output_audio.delta","event_id":"event_'
            f'{self.item_id}","response_id":"{self.response_id}","item_id":"{self.item_id}",'
            '"output_index":0,"content_index":0,"delta":"'
        ).encode()

    def delta(self, sound64: bytes) -> bytes:
        """A piece of its sound, as JSON."""
        return b'%b%b"}' % (self._delta, sound64)

    def begin(self) -> list[dict[str, Any]]:
        """Up to the first sound."""
        item = self._item("in_progress", None)
        part = {"type": "audio", "transcript": ""}
        return [
            {"type": "response.created", "response": self._response("in_progress", [])},
            {
                "type": "response.output_item.added",
                "response_id": self.response_id,
                "output_index": 0,
                "item": item,
            },
            {"type": "conversation.item.added", "previous_item_id": None, "item": item},
            {"type": "response.content_part.added", **self._place, "part": part},
            {"type": "response.output_audio_transcript.delta", **self._place, "delta": WORDS},
        ]

    def end(self, calls: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """All was said; `calls` are function calls that follow it."""
        spoken = self._item("completed", WORDS)
        part = {"type": "audio", "transcript": WORDS}
        events: list[dict[str, Any]] = [
            {"type": "response.output_audio.done", **self._place},
            {"type": "response.output_audio_transcript.done", **self._place, "transcript": WORDS},
            {"type": "response.content_part.done", **self._place, "part": part},
            {"type": "conversation.item.done", "previous_item_id": None, "item": spoken},
            self._item_done(spoken, 0),
        ]
        for index, call in enumerate(calls, 1):
            events += self._call_events(call, index)
        done = self._response("completed", [spoken, *calls])
        return [*events, {"type": "response.done", "response": done}]

    def cancelled(self, reason: str) -> list[dict[str, Any]]:
        """It was stopped: ``turn_detected`` or ``client_cancelled``."""
        spoken = self._item("incomplete", WORDS)
        response = self._response("cancelled", [spoken])
        response["status_details"] = {"type": "cancelled", "reason": reason}
        return [
            {"type": "response.output_audio.done", **self._place},
            self._item_done(spoken, 0),
            {"type": "response.done", "response": response},
        ]

    def _call_events(self, call: dict[str, Any], index: int) -> list[dict[str, Any]]:
        place = {"response_id": self.response_id, "output_index": index}
        written = {"item_id": call["id"], "call_id": call["call_id"], **place}
        added = call | {"status": "in_progress", "arguments": ""}
        arguments = call["arguments"]
        done = "response.function_call_arguments.done"
        return [
            {"type": "response.output_item.added", **place, "item": added},
            {"type": "conversation.item.added", "previous_item_id": self.item_id, "item": added},
            {"type": "response.function_call_arguments.delta", **written, "delta": arguments},
            {"type": done, **written, "name": call["name"], "arguments": arguments},
            {"type": "conversation.item.done", "previous_item_id": self.item_id, "item": call},
            self._item_done(call, index),
        ]

    def _item_done(self, item: dict[str, Any], index: int) -> dict[str, Any]:
        return {
            "type": "response.output_item.done",
            "response_id": self.response_id,
            "output_index": index,
            "item": item,
        }

    def _item(self, status: str, words: str | None) -> dict[str, Any]:
        content = [] if words is None else [{"type": "output_audio", "transcript": words}]
        return {
            "id": self.item_id,
            "object": "realtime.item",
            "type": "message",
            "status": status,
            "role": "assistant",
            "content": content,
        }

    def _response(self, status: str, output: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "object": "realtime.response",
            "id": self.response_id,
            "status": status,
            "status_details": None,
            "output": output,
            "output_modalities": ["audio"],
            "usage": None,
            "metadata": self._metadata,
        }


WORDS = "This is the model, speaking without pause."


def _merged(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    merged = dict(old)
    for name, value in new.items():
        before = merged.get(name)
        both = isinstance(before, dict) and isinstance(value, dict) and name != "format"
        merged[name] = _merged(before, value) if both and isinstance(before, dict) else value
    return merged


def _sample(schema: dict[str, Any]) -> Any:
    if schema.get("enum"):
        return schema["enum"][0]
    kind = schema.get("type", "string")
    return _SAMPLES.get(kind[0] if isinstance(kind, list) else kind, "soak")
