"""The beta dialect: Azure's preview, older gateways, and servers made after the beta.

The same machine as GA with flat sessions and older names. OpenAI itself refuses it since May 2026.
Sources: the `openai` package 1.109 (`types/beta/realtime`) against 3.x (`types/realtime`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from avr_bridge.upstream.dialects.answers import AnswerBook
from avr_bridge.upstream.dialects.base import DialectName, JsonObject
from avr_bridge.upstream.dialects.shapes import (
    ANSWER_RENAMES,
    answer_kind,
    both_kinds,
    ga_item,
    is_mcp,
    without_mcp_tools,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["BetaDialect"]

_FORMATS = {"audio/pcm": "pcm16", "audio/pcmu": "g711_ulaw", "audio/pcma": "g711_alaw"}

_GA_FORMATS: Mapping[tuple[str, str], JsonObject] = {
    (side, name): fmt
    for side in ("input", "output")
    for name, fmt in (
        ("pcm16", {"type": "audio/pcm", "rate": 24_000}),
        ("g711_ulaw", {"type": "audio/pcmu"}),
        ("g711_alaw", {"type": "audio/pcma"}),
    )
} | {
    # look-alikes (Qwen-Omni) hear 16 kHz and speak 24 kHz, and call both so
    ("input", "pcm"): {"type": "audio/pcm", "rate": 16_000},
    ("output", "pcm"): {"type": "audio/pcm", "rate": 24_000},
}

_NOT_IN_BETA = frozenset(
    ("type", "reasoning", "truncation", "parallel_tool_calls", "include", "prompt")
)
"""Left out in silence: the whole update is lost for one unknown name. (`type` is refused too.)"""

_TRANSCRIPTION_FIELDS = ("model", "language", "prompt")

ITEMS_KEPT = 32
"""Items of answers that are followed from their first event to their last."""

_CAP = "max_response_output_tokens"
_PARTS = {"output_text": "text", "output_audio": "audio"}


class BetaDialect:
    """Flat sessions, older names, one event for an item instead of two."""

    name = DialectName.BETA
    passes_audio_append = True
    renames = ANSWER_RENAMES

    def __init__(self) -> None:
        self._answers = AnswerBook(aside=True)
        self._open_items: dict[str, Any] = {}
        self._tool_names: dict[str, Any] = {}
        self._decoders: dict[str, Callable[[JsonObject], list[JsonObject]]] = {
            "session.created": self._session,
            "session.updated": self._session,
            "conversation.item.created": self._item_created,
            "conversation.item.retrieved": self._item_retrieved,
            "response.created": self._response_created,
            "response.output_item.added": self._output_added,
            "response.output_item.done": self._output_done,
            "response.function_call_arguments.done": self._arguments_done,
            "response.done": self._response_done,
        }
        self.touched = frozenset(self._decoders)

    # -- to the server --------------------------------------------------------------------

    def encode(self, event: JsonObject) -> JsonObject | None:
        """Beta's shape of a GA client event."""
        match event.get("type"):
            case "session.update":
                return event | {"session": _flat_session(event["session"])}
            case "response.create" if isinstance(event.get("response"), dict):
                return event | {"response": _flat_response(event["response"])}
            case "conversation.item.create":
                if is_mcp(event.get("item")):
                    return None
                return event | {"item": _beta_item(event["item"])}
        return event

    def welcome(self, text: str, *, interruptible: bool = False) -> list[JsonObject] | None:
        """None: a model says it in its own words."""
        return None

    # -- from the server ------------------------------------------------------------------

    def decode(self, event: JsonObject) -> list[JsonObject]:
        """GA's shape of a beta server event."""
        kind = str(event.get("type"))
        if kind in ANSWER_RENAMES:
            return [event | {"type": ANSWER_RENAMES[kind]}]
        decoder = self._decoders.get(kind)
        return decoder(event) if decoder else [event]

    def _session(self, event: JsonObject) -> list[JsonObject]:
        session = event.get("session")
        return [event | {"session": _ga_session(session)} if isinstance(session, dict) else event]

    def _item_created(self, event: JsonObject) -> list[JsonObject]:
        """GA tells of an item twice. One that is still being written is done later."""
        item = ga_item(event.get("item"))
        added = event | {"type": "conversation.item.added", "item": item}
        if isinstance(item, dict) and item.get("status") == "in_progress":
            self._open_items[str(item.get("id"))] = event.get("previous_item_id")
            _forget_oldest(self._open_items)
            return [added]
        return [added, added | {"type": "conversation.item.done"}]

    def _item_retrieved(self, event: JsonObject) -> list[JsonObject]:
        return [event | {"item": ga_item(event.get("item"))}]

    def _response_created(self, event: JsonObject) -> list[JsonObject]:
        return self._answers.begun(_with_ga_response(event))

    def _output_added(self, event: JsonObject) -> list[JsonObject]:
        item = ga_item(event.get("item"))
        if isinstance(item, dict) and "name" in item:
            self._tool_names[str(item.get("id"))] = item["name"]
            _forget_oldest(self._tool_names)
        return [event | {"item": item}]

    def _output_done(self, event: JsonObject) -> list[JsonObject]:
        item = ga_item(event.get("item"))
        event = event | {"item": item}
        self._answers.item_finished(event)
        item_id = str(item.get("id")) if isinstance(item, dict) else ""
        if item_id not in self._open_items:
            return [event]
        done = {
            "type": "conversation.item.done",
            "event_id": event.get("event_id"),
            "previous_item_id": self._open_items.pop(item_id),
            "item": item,
        }
        return [done, event]

    def _arguments_done(self, event: JsonObject) -> list[JsonObject]:
        """Beta does not say whose arguments these are."""
        name = self._tool_names.pop(str(event.get("item_id")), None)
        return [event if "name" in event or name is None else event | {"name": name}]

    def _response_done(self, event: JsonObject) -> list[JsonObject]:
        return self._answers.ended(_with_ga_response(event))


def _forget_oldest(items: dict[str, Any]) -> None:
    while len(items) > ITEMS_KEPT:
        del items[next(iter(items))]


# -- GA to beta ---------------------------------------------------------------------------


def _flat_session(session: JsonObject) -> JsonObject:
    """A GA session object as beta takes it; of a partial one, the same part."""
    flat: JsonObject = {}
    for name, value in session.items():
        match name:
            case "output_modalities":
                flat["modalities"] = both_kinds(value)
            case "max_output_tokens":
                flat[_CAP] = value
            case "audio":
                flat |= _flat_audio(value)
            case "tools" | "tool_choice":
                flat |= without_mcp_tools({name: value})
            case _ if name not in _NOT_IN_BETA:
                flat[name] = value
    return flat


def _flat_audio(audio: JsonObject) -> JsonObject:
    flat: JsonObject = {}
    heard: JsonObject = audio.get("input") or {}
    if "format" in heard:
        flat["input_audio_format"] = _FORMATS[heard["format"]["type"]]
    if "noise_reduction" in heard:
        flat["input_audio_noise_reduction"] = _only(heard["noise_reduction"], ("type",))
    if "transcription" in heard:
        flat["input_audio_transcription"] = _only(heard["transcription"], _TRANSCRIPTION_FIELDS)
    if "turn_detection" in heard:
        flat["turn_detection"] = heard["turn_detection"]
    spoken: JsonObject = audio.get("output") or {}
    if spoken.get("speed", 1.0) != 1.0:  # older servers know no speed, and lose the whole update
        flat["speed"] = spoken["speed"]
    return flat | _flat_output(spoken)


def _flat_output(spoken: JsonObject) -> JsonObject:
    flat: JsonObject = {}
    if "format" in spoken:
        flat["output_audio_format"] = _FORMATS[spoken["format"]["type"]]
    if isinstance(spoken.get("voice"), str):  # a custom voice is an object, and GA only
        flat["voice"] = spoken["voice"]
    return flat


def _only(fields: JsonObject | None, names: tuple[str, ...]) -> JsonObject | None:
    """Some of the fields; None, which switches the thing off, stays None."""
    return None if fields is None else {name: fields[name] for name in names if name in fields}


def _flat_response(response: JsonObject) -> JsonObject:
    flat: JsonObject = {}
    for name, value in response.items():
        match name:
            case "output_modalities":
                flat["modalities"] = both_kinds(value)
            case "max_output_tokens":
                flat[_CAP] = value
            case "audio":
                flat |= _flat_output(value.get("output") or {})
            case "tools" | "tool_choice":
                flat |= without_mcp_tools({name: value})
            case "input" if isinstance(value, list):
                flat["input"] = [_beta_item(item) for item in value if not is_mcp(item)]
            case _ if name not in _NOT_IN_BETA:
                flat[name] = value
    return flat


def _beta_item(item: JsonObject) -> JsonObject:
    if item.get("role") != "assistant" or not isinstance(item.get("content"), list):
        return item
    parts = [part | {"type": _PARTS.get(part["type"], part["type"])} for part in item["content"]]
    return item | {"content": parts}


# -- beta to GA ---------------------------------------------------------------------------


def _ga_session(flat: JsonObject) -> JsonObject:
    """A beta session object in GA's shape; what the server did not show stays unshown."""
    session: JsonObject = {"type": "realtime"}
    heard: JsonObject = {}
    spoken: JsonObject = {}
    for name, value in flat.items():
        match name:
            case "modalities":
                session |= answer_kind(flat)
            case "max_response_output_tokens":
                session["max_output_tokens"] = value
            case "input_audio_format":
                heard["format"] = _ga_format("input", value)
            case "input_audio_noise_reduction":
                heard["noise_reduction"] = value
            case "input_audio_transcription":
                heard["transcription"] = value
            case "turn_detection":
                heard["turn_detection"] = value
            case "output_audio_format":
                spoken["format"] = _ga_format("output", value)
            case "voice" | "speed":
                spoken[name] = value
            case _ if name not in ("temperature", "type"):
                session[name] = value
    if heard or spoken:
        session["audio"] = {"input": heard, "output": spoken}
    return session


def _ga_format(side: str, name: Any) -> JsonObject:
    """A name that nobody knows is shown as it is, for `conversation.py` to give up on."""
    return dict(_GA_FORMATS.get((side, str(name)), {"type": str(name)}))


def _with_ga_response(event: JsonObject) -> JsonObject:
    flat = event.get("response")
    if not isinstance(flat, dict):
        return event
    response: JsonObject = {}
    spoken: JsonObject = {}
    for name, value in flat.items():
        match name:
            case "modalities":
                response |= answer_kind(flat)
            case "max_response_output_tokens":
                response["max_output_tokens"] = value
            case "voice":
                spoken["voice"] = value
            case "output_audio_format":
                spoken["format"] = _ga_format("output", value)
            case "output" if isinstance(value, list):
                response["output"] = [ga_item(item) for item in value]
            case _ if name != "temperature":
                response[name] = value
    if spoken:
        response["audio"] = {"output": spoken}
    return event | {"response": response}
