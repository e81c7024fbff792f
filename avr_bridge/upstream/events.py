"""Server events of the Realtime API (GA) that the bridge acts on; all others are `Unknown`.

Text frames in, structs out. Lenient by intent: unknown fields are dropped and unknown or
misshapen events never raise, because servers add both without notice. What an event *means* is
decided in `conversation.py`.
"""

from __future__ import annotations

from typing import Any

import msgspec

from avr_bridge.upstream.commands import MARK
from avr_bridge.upstream.usage import MOST_TOKENS

__all__ = [
    "AudioDelta",
    "AudioDone",
    "CallerTranscript",
    "CallerTranscriptFailed",
    "Committed",
    "ErrorDetail",
    "ErrorEvent",
    "ItemAdded",
    "ResponseCreated",
    "ResponseDone",
    "ServerEvent",
    "SessionCreated",
    "SessionUpdated",
    "SpeechStarted",
    "SpeechStopped",
    "TranscriptDelta",
    "TranscriptDone",
    "Unknown",
    "decode_event",
    "event_of",
]


MS_PER_AUDIO_TOKEN = 50
"""Of generated sound (OpenAI's guide on costs); the caller's sound has 100 ms to a token."""


class SessionCreated(msgspec.Struct, frozen=True, tag="session.created"):
    """First event of a connection; `session` is the server's default session."""

    session: dict[str, Any]


class SessionUpdated(msgspec.Struct, frozen=True, tag="session.updated"):
    """A `session.update` took effect; `session` is the full session now in force."""

    session: dict[str, Any]


class ErrorDetail(msgspec.Struct, frozen=True):
    """The inner object of an `error` event and of a failed response."""

    message: str | None = None
    code: str | None = None
    type: str | None = None
    param: str | None = None
    event_id: str | None = None


class ErrorEvent(msgspec.Struct, frozen=True, tag="error"):
    """Something was refused or failed; most of these do not harm the session."""

    error: ErrorDetail


class SpeechStarted(msgspec.Struct, frozen=True, tag="input_audio_buffer.speech_started"):
    """The server hears the caller speak: the moment of a barge-in."""

    item_id: str | None = None
    audio_start_ms: int | None = None


class SpeechStopped(msgspec.Struct, frozen=True, tag="input_audio_buffer.speech_stopped"):
    """The caller's turn ended, as the server hears it."""

    item_id: str | None = None
    audio_end_ms: int | None = None


class CallerTranscript(
    msgspec.Struct, frozen=True, tag="conversation.item.input_audio_transcription.completed"
):
    """What the caller said, as text; may arrive before, during or after the answer."""

    transcript: str
    item_id: str | None = None
    usage: Any = None


class CallerTranscriptFailed(
    msgspec.Struct, frozen=True, tag="conversation.item.input_audio_transcription.failed"
):
    """What the caller said will not be known as text."""

    item_id: str | None = None


class Committed(msgspec.Struct, frozen=True, tag="input_audio_buffer.committed"):
    """The caller's turn became an item of the conversation."""

    item_id: str | None = None
    previous_item_id: str | None = None


class ItemAdded(msgspec.Struct, frozen=True, tag="conversation.item.added"):
    """An item stands in the conversation, behind `previous_item_id`."""

    item: dict[str, Any]
    previous_item_id: str | None = None

    @property
    def item_id(self) -> str:
        """The item's id."""
        return str(self.item.get("id"))

    @property
    def role(self) -> str | None:
        """``user``, ``assistant`` or ``system``; None for calls of tools and their outputs."""
        role = self.item.get("role")
        return role if isinstance(role, str) else None


class ResponseInfo(msgspec.Struct, frozen=True):
    """The response object of `response.created` and `response.done`."""

    id: str | None = None
    status: str | None = None
    status_details: Any = None
    output: list[dict[str, Any]] | None = None
    usage: dict[str, Any] | None = None
    metadata: Any = None

    @property
    def item_ids(self) -> list[str]:
        """The items that this response made."""
        return [str(item["id"]) for item in self.output or [] if "id" in item]

    @property
    def function_calls(self) -> list[tuple[str, str, str]]:
        """Call id, name and arguments of each tool that is to run: none of a response that was
        cut off, and of one that ran out of tokens those that are whole."""
        if self.status not in ("completed", "incomplete"):
            return []
        whole = (
            ("completed",) if self.status == "incomplete" else ("completed", "in_progress", None)
        )
        return [
            (str(item.get("call_id")), str(item.get("name")), str(item.get("arguments") or ""))
            for item in self.output or []
            if item.get("type") == "function_call" and item.get("status") in whole
        ]

    @property
    def mark(self) -> str | None:
        """What our request was marked with; None if it is not ours, or the server echoes none."""
        return self.metadata.get(MARK) if isinstance(self.metadata, dict) else None

    @property
    def billed_audio_ms(self) -> int:
        """Sound that the bill of this response shows, one token for 50 ms; 0 if unknown."""
        details = (self.usage or {}).get("output_token_details")
        tokens = details.get("audio_tokens") if isinstance(details, dict) else None
        if not isinstance(tokens, int) or not 0 < tokens <= MOST_TOKENS:
            return 0
        return tokens * MS_PER_AUDIO_TOKEN

    @property
    def error(self) -> ErrorDetail | None:
        """Why a failed response failed; the field has been seen as object, text and null."""
        details = self.status_details
        if isinstance(details, str):
            return ErrorDetail(message=details)
        inner = details.get("error") if isinstance(details, dict) else None
        try:
            return msgspec.convert(inner, ErrorDetail) if isinstance(inner, dict) else None
        except msgspec.ValidationError:
            return ErrorDetail(message=str(inner))


class ResponseCreated(msgspec.Struct, frozen=True, tag="response.created"):
    """An answer begins, ours or one that the server's turn detection asked for."""

    response: ResponseInfo


class ResponseDone(msgspec.Struct, frozen=True, tag="response.done"):
    """An answer is generated, cut or failed; its sound may play on for many seconds."""

    response: ResponseInfo


class AudioDelta(msgspec.Struct, frozen=True, tag="response.output_audio.delta"):
    """A piece of an answer's sound, in the session's output format and of any length."""

    delta: bytes
    item_id: str
    response_id: str | None = None
    content_index: int = 0


class AudioDone(msgspec.Struct, frozen=True, tag="response.output_audio.done"):
    """No more sound for this item."""

    item_id: str
    response_id: str | None = None
    content_index: int = 0


class TranscriptDelta(msgspec.Struct, frozen=True, tag="response.output_audio_transcript.delta"):
    """More words of an answer; they lead its sound."""

    delta: str
    item_id: str


class TranscriptDone(msgspec.Struct, frozen=True, tag="response.output_audio_transcript.done"):
    """What the answer says, as text."""

    transcript: str
    item_id: str
    response_id: str | None = None


class Unknown(msgspec.Struct, frozen=True):
    """An event that we do not act on. `fault` says why, where a known one was misshapen."""

    type: str
    fault: str | None = None


ServerEvent = (
    SessionCreated
    | SessionUpdated
    | ErrorEvent
    | SpeechStarted
    | SpeechStopped
    | CallerTranscript
    | CallerTranscriptFailed
    | Committed
    | ItemAdded
    | ResponseCreated
    | ResponseDone
    | AudioDelta
    | AudioDone
    | TranscriptDelta
    | TranscriptDone
)


class _Head(msgspec.Struct):
    type: str


_decoder: msgspec.json.Decoder[ServerEvent] = msgspec.json.Decoder(ServerEvent)
_head_decoder = msgspec.json.Decoder(_Head)
_KNOWN = frozenset(str(kind.__struct_config__.tag) for kind in ServerEvent.__args__)


def event_of(value: dict[str, Any]) -> ServerEvent | Unknown:
    """Read an event that is decoded already. Never raises."""
    try:
        event: ServerEvent = msgspec.convert(value, ServerEvent)
    except msgspec.ValidationError as misfit:
        kind = str(value.get("type"))
        return Unknown(kind, str(misfit) if kind in _KNOWN else None)
    return event


def decode_event(message: bytes | str) -> ServerEvent | Unknown:
    """Read one text frame. Base64 audio comes out as bytes. Never raises."""
    try:
        return _decoder.decode(message)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as misfit:
        fault = str(misfit)
    try:
        kind = _head_decoder.decode(message).type
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return Unknown("", fault)
    return Unknown(kind, fault if kind in _KNOWN else None)
