"""xAI's Grok voice: GA's event names around a session that is half GA and half flat.

What differs, and what becomes of it here:

- `voice` and `turn_detection` stand at the top of the session, the formats under `audio`;
- transcription takes `language_hint` and `keyterms` and is always on;
- its voices are others: a name of OpenAI's is left out, and xAI's own default speaks;
- voice detection is `server_vad` only, its threshold 0.1 to 0.9; speed is 0.7 to 1.5;
- `...input_audio_transcription.updated` repeats all words so far and is left out, because
  `completed` comes with the whole; so is a `completed` that is still `in_progress`;
- `response.output_audio_transcript.done` may come without its words: they are put together here;
- older servers begin with `conversation.created` alone: it opens the session then;
- `ping` asks for nothing; usage and the end of an answer: see `answers.py`.

Sources: docs.x.ai (Voice Agent API), the xAI plug-ins of livekit/agents and pipecat.
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
    from collections.abc import Callable

__all__ = ["XaiDialect"]

_NOT_IN_XAI = frozenset(
    (
        *("type", "output_modalities", "reasoning", "truncation", "tracing", "prompt", "include"),
        "parallel_tool_calls",
    )
)
"""Left out in silence. (`reasoning.effort` has other values there than GA's.)"""

_MEANS_NOTHING = frozenset(("ping", "conversation.item.input_audio_transcription.updated"))

LEAST_THRESHOLD, MOST_THRESHOLD = 0.1, 0.9
LEAST_SPEED, MOST_SPEED = 0.7, 1.5
OPENAI_VOICES = frozenset(
    "alloy ash ballad coral echo sage shimmer verse marin cedar".split()  # noqa: SIM905
)
"""Not spoken there. A setting left at its default must not lose the update: xAI's own is taken."""

TRANSCRIPTS_KEPT = 8
"""Items of one answer whose words are put together; an answer has one, rarely two."""


class XaiDialect:
    """GA's names, a mixed session, and words that are spoken as given."""

    name = DialectName.XAI
    passes_audio_append = True
    renames = ANSWER_RENAMES

    def __init__(self) -> None:
        self._answers = AnswerBook(aside=False)
        self._opened = False
        self._words: dict[str, str] = {}
        self._decoders: dict[str, Callable[[JsonObject], list[JsonObject]]] = {
            "session.created": self._session_created,
            "session.updated": self._session,
            "conversation.created": self._conversation_created,
            "conversation.item.added": self._item,
            "conversation.item.done": self._item,
            "conversation.item.retrieved": self._item,
            "conversation.item.input_audio_transcription.completed": self._caller_transcript,
            "response.created": self._response_created,
            "response.output_item.added": self._item,
            "response.output_item.done": self._output_done,
            "response.output_audio_transcript.delta": self._transcript_delta,
            "response.audio_transcript.delta": self._transcript_delta,
            "response.output_audio_transcript.done": self._transcript_done,
            "response.audio_transcript.done": self._transcript_done,
            "response.done": self._response_done,
        }
        self.touched = frozenset(self._decoders) | _MEANS_NOTHING

    # -- to the server --------------------------------------------------------------------

    def encode(self, event: JsonObject) -> JsonObject | None:
        """xAI's shape of a GA client event."""
        match event.get("type"):
            case "session.update":
                return event | {"session": _mixed_session(event["session"])}
            case "response.create" if isinstance(event.get("response"), dict):
                wish = _xai_response(event["response"])
                rest = {name: value for name, value in event.items() if name != "response"}
                return rest | ({"response": wish} if wish else {})
            case "conversation.item.create" if is_mcp(event.get("item")):
                return None
        return event

    def welcome(self, text: str, *, interruptible: bool = False) -> list[JsonObject] | None:
        """A `force_message`: spoken word by word, without the model and without being asked."""
        item = {
            "type": "force_message",
            "role": "assistant",
            "interruptible": interruptible,
            "content": [{"type": "output_text", "text": text}],
        }
        return [{"type": "conversation.item.create", "item": item}]

    # -- from the server ------------------------------------------------------------------

    def decode(self, event: JsonObject) -> list[JsonObject]:
        """GA's shape of an xAI server event."""
        kind = str(event.get("type"))
        if kind in _MEANS_NOTHING:
            return []
        decoder = self._decoders.get(kind)
        decoded = decoder(event) if decoder else [event]
        if kind in ANSWER_RENAMES:
            return [one | {"type": ANSWER_RENAMES[kind]} for one in decoded]
        return decoded

    def _session_created(self, event: JsonObject) -> list[JsonObject]:
        self._opened = True
        return self._session(event)

    def _session(self, event: JsonObject) -> list[JsonObject]:
        session = event.get("session")
        return [event | {"session": _ga_session(session)} if isinstance(session, dict) else event]

    def _conversation_created(self, event: JsonObject) -> list[JsonObject]:
        """A `session.created` that follows all the same is harmless: only the first one counts."""
        if self._opened:
            return [event]
        self._opened = True
        session = {"type": "realtime", "object": "realtime.session"}
        created = {
            "type": "session.created",
            "event_id": event.get("event_id"),
            "session": session,
        }
        return [created, event]

    def _item(self, event: JsonObject) -> list[JsonObject]:
        return [event | {"item": ga_item(event.get("item"))}]

    def _caller_transcript(self, event: JsonObject) -> list[JsonObject]:
        return [] if event.get("status") == "in_progress" else [event]

    def _response_created(self, event: JsonObject) -> list[JsonObject]:
        self._words.clear()
        return self._answers.begun(_with_ga_response(event))

    def _output_done(self, event: JsonObject) -> list[JsonObject]:
        (event,) = self._item(event)
        self._answers.item_finished(event)
        return [event]

    def _transcript_delta(self, event: JsonObject) -> list[JsonObject]:
        item = str(event.get("item_id"))
        if item in self._words or len(self._words) < TRANSCRIPTS_KEPT:
            self._words[item] = self._words.get(item, "") + str(event.get("delta", ""))
        return [event]

    def _transcript_done(self, event: JsonObject) -> list[JsonObject]:
        words = self._words.pop(str(event.get("item_id")), "")
        return [
            event if isinstance(event.get("transcript"), str) else event | {"transcript": words}
        ]

    def _response_done(self, event: JsonObject) -> list[JsonObject]:
        return self._answers.ended(_with_ga_response(event))


# -- GA to xAI ----------------------------------------------------------------------------


def _mixed_session(session: JsonObject) -> JsonObject:
    mixed: JsonObject = {}
    for name, value in session.items():
        match name:
            case "audio":
                mixed |= _mixed_audio(value)
            case "tools" | "tool_choice":
                mixed |= without_mcp_tools({name: value})
            case "max_output_tokens" if value == "inf":
                continue  # no cap is what there is without the field
            case _ if name not in _NOT_IN_XAI:
                mixed[name] = value
    return mixed


def _mixed_audio(audio: JsonObject) -> JsonObject:
    mixed: JsonObject = {}
    heard: JsonObject = audio.get("input") or {}
    spoken: JsonObject = audio.get("output") or {}
    voice: Any = spoken.get("voice")
    if isinstance(voice, dict):
        voice = voice["id"]  # own voices are plain ids there
    if voice is not None and voice not in OPENAI_VOICES:
        mixed["voice"] = voice
    if "turn_detection" in heard:
        mixed["turn_detection"] = _turn_detection(heard["turn_detection"])
    to_server = {"format": heard["format"]} if "format" in heard else {}
    if transcription := _transcription(heard.get("transcription") or {}):
        to_server["transcription"] = transcription
    from_server = {"format": spoken["format"]} if "format" in spoken else {}
    if "speed" in spoken:
        from_server["speed"] = min(max(spoken["speed"], LEAST_SPEED), MOST_SPEED)
    sides = {"input": to_server, "output": from_server}
    if kept := {side: fields for side, fields in sides.items() if fields}:
        mixed["audio"] = kept
    return mixed


def _turn_detection(detection: JsonObject | None) -> JsonObject | None:
    if detection is None:
        return None
    kept = {name: value for name, value in detection.items() if name != "eagerness"}
    kept["type"] = "server_vad"
    if "threshold" in kept:
        kept["threshold"] = min(max(kept["threshold"], LEAST_THRESHOLD), MOST_THRESHOLD)
    return kept


def _transcription(transcription: JsonObject) -> JsonObject:
    """Only xAI's own model may be named; naming it is what switches `...updated` on."""
    kept: JsonObject = {}
    if str(transcription.get("model", "")).startswith("grok"):
        kept["model"] = transcription["model"]
    if "language" in transcription:
        kept["language_hint"] = transcription["language"]
    if "keywords" in transcription:
        kept["keyterms"] = transcription["keywords"]
    return kept


def _xai_response(response: JsonObject) -> JsonObject:
    wish: JsonObject = {}
    for name, value in response.items():
        match name:
            case "output_modalities":
                wish["modalities"] = both_kinds(value)
            case "tools" | "tool_choice":
                wish |= without_mcp_tools({name: value})
            case "input" if isinstance(value, list):
                wish["input"] = [item for item in value if not is_mcp(item)]
            case "max_output_tokens" if value == "inf":
                continue
            case "audio":
                continue  # format and voice are the session's alone
            case _ if name not in _NOT_IN_XAI:
                wish[name] = value
    return wish


# -- xAI to GA ----------------------------------------------------------------------------


def _ga_session(mixed: JsonObject) -> JsonObject:
    lifted = ("voice", "turn_detection", "modalities")
    session = {name: value for name, value in mixed.items() if name not in lifted}
    session |= {"type": "realtime"} | answer_kind(mixed)
    audio = mixed.get("audio")
    sides: dict[str, Any] = dict(audio) if isinstance(audio, dict) else {}
    for name, side in (("turn_detection", "input"), ("voice", "output")):
        if name in mixed:
            shown = sides.get(side)
            sides[side] = (shown if isinstance(shown, dict) else {}) | {name: mixed[name]}
    if sides:
        session["audio"] = sides
    return session


def _with_ga_response(event: JsonObject) -> JsonObject:
    mixed = event.get("response")
    if not isinstance(mixed, dict):
        return event
    response = {name: value for name, value in mixed.items() if name != "modalities"}
    response |= answer_kind(mixed)
    if isinstance(response.get("output"), list):
        response["output"] = [ga_item(item) for item in response["output"]]
    if not response.get("usage"):
        response["usage"] = None  # seen as {}, which says nothing
    return event | {"response": response}
