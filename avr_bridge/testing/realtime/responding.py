"""One response of the simulated model: the order of its events, from `created` to `done`.

Synchronous, without a clock: `speaking.py` decides when to say what, this decides which events that
makes. Sources of the order are the API's guides and recorded sessions (GA dialect).
"""

from __future__ import annotations

import base64
import math
from typing import TYPE_CHECKING, Any, Literal, Protocol

import attrs

from avr_bridge.testing.realtime.conversation import (
    ASSISTANT_TOKEN_MS,
    Conversation,
    Item,
    text_tokens,
)

if TYPE_CHECKING:
    from avr_bridge.testing.realtime.settings import ResponsePlan

__all__ = ["Desk", "ResponseWriter"]

CACHE_BLOCK = 64
"""Cached tokens come in multiples of this, as in real usage reports."""


class Desk(Protocol):
    """What a response needs from its session."""

    @property
    def conversation(self) -> Conversation:
        """The items."""

    cached_input: tuple[int, int]
    """Text and audio tokens that an earlier response has already read."""

    def emit(self, event: dict[str, Any]) -> None:
        """Send an event; it gets its id on the way."""

    def new_id(self, kind: str) -> str:
        """A fresh id such as `item_…`."""

    def audio_sent(self, ms: float) -> None:
        """So much assistant audio went out; the voice is locked from now on."""

    def response_ended(self, writer: ResponseWriter) -> None:
        """Everything of this response has been sent."""


@attrs.define(eq=False)
class _Open:
    """The output item that is being written."""

    item: Item
    index: int
    said: str = ""


class ResponseWriter:
    """Writes the events of one response.

    States: created → (item open ⇄ no item open) → ended. Once ended, every method does nothing, so
    a task that speaks need not know who ended it.
    """

    def __init__(
        self, desk: Desk, plan: ResponsePlan, response_id: str, conversation_id: str
    ) -> None:
        self.id = response_id
        self.plan = plan
        self.ended = False
        self.output_audio_ms = 0.0
        self._conversation_id = None if plan.out_of_band else conversation_id
        self._desk = desk
        self._output: list[Item] = []
        self._open: _Open | None = None
        self._text_out = 0
        self._audio_out = 0
        self._input = self._count_input()

    def created(self) -> None:
        """`response.created`."""
        self._desk.emit({"type": "response.created", "response": self._body("in_progress", None)})

    @property
    def tokens_left(self) -> float:
        """What the cap on the answer still allows."""
        cap = self.plan.max_output_tokens
        return math.inf if isinstance(cap, str) else cap - self._text_out - self._audio_out

    # --- messages

    def open_message(self) -> None:
        """Begin an assistant message with one content part, audio or text."""
        item = self._begin({"type": "message", "role": "assistant", "content": []})
        if item is None:
            return
        kind = self.plan.modalities[0]
        part = (
            {"type": "audio", "transcript": ""} if kind == "audio" else {"type": "text", "text": ""}
        )
        field = "transcript" if kind == "audio" else "text"
        item.body["content"].append({"type": f"output_{kind}", field: ""})
        if kind == "audio":
            item.audio_format = self.plan.spoken
        self._emit("response.content_part.added", content_index=0, part=part)

    def text(self, delta: str) -> None:
        """Some words: of the transcript, or of a text answer."""
        if self.ended or self._open is None:
            return
        self._open.said += delta
        kind = "output_text" if self.plan.modalities == ["text"] else "output_audio_transcript"
        self._emit(f"response.{kind}.delta", content_index=0, delta=delta)

    def audio(self, data: bytes) -> None:
        """Some audio, encoded as the response's format says."""
        if self.ended or self._open is None:
            return
        self._open.item.add_audio(data)
        encoded = base64.b64encode(data).decode()
        self._emit("response.output_audio.delta", content_index=0, delta=encoded)
        self._desk.audio_sent(self.plan.spoken.ms(len(data)))

    # --- function calls

    def open_call(self, name: str, call_id: str) -> None:
        """Begin a function call."""
        self._begin({"type": "function_call", "name": name, "call_id": call_id, "arguments": ""})

    def arguments(self, delta: str) -> None:
        """Some of the arguments' JSON text."""
        if self.ended or self._open is None:
            return
        self._open.said += delta
        call_id = self._open.item.body["call_id"]
        self._emit("response.function_call_arguments.delta", call_id=call_id, delta=delta)

    # --- ends

    def close_item(self, status: Literal["completed", "incomplete"] = "completed") -> None:
        """End the open item, if any, with all its `done` events."""
        if self.ended or self._open is None:
            return
        item, said = self._open.item, self._open.said
        self._text_out += text_tokens(said)
        if item.body["type"] == "function_call":
            item.body["arguments"] = said
            self._emit(
                "response.function_call_arguments.done",
                call_id=item.body["call_id"],
                name=item.body["name"],
                arguments=said,
            )
        elif self.plan.modalities == ["text"]:
            item.body["content"][0]["text"] = said
            self._emit("response.output_text.done", content_index=0, text=said)
            self._part_done({"type": "text", "text": said})
        else:
            self._audio_out += math.ceil(item.audio_ms / ASSISTANT_TOKEN_MS)
            self.output_audio_ms += item.audio_ms
            item.body["content"][0]["transcript"] = said
            self._emit("response.output_audio.done", content_index=0)
            self._emit("response.output_audio_transcript.done", content_index=0, transcript=said)
            self._part_done({"type": "audio", "transcript": said})
        item.body["status"] = status
        if not self.plan.out_of_band:
            previous = self._desk.conversation.before(item)
            self._desk.emit(
                {
                    "type": "conversation.item.done",
                    "previous_item_id": previous,
                    "item": item.shown(),
                }
            )
        self._desk.emit(
            {
                "type": "response.output_item.done",
                "response_id": self.id,
                "output_index": self._open.index,
                "item": item.shown(),
            }
        )
        self._open = None

    def end(self, status: str, details: dict[str, Any] | None = None) -> None:
        """End the response: the open item, then `response.done` and `rate_limits.updated`."""
        if self.ended:
            return
        self.close_item("completed" if status == "completed" else "incomplete")
        self.ended = True
        for item in self._output:
            item.in_response = None
        self._desk.emit({"type": "response.done", "response": self._body(status, details)})
        self._desk.emit(
            {
                "type": "rate_limits.updated",
                "rate_limits": [
                    {"name": "tokens", "limit": 40_000, "remaining": 38_800, "reset_seconds": 1.8}
                ],
            }
        )
        self._desk.response_ended(self)

    # --- helpers

    def _begin(self, body: dict[str, Any]) -> Item | None:
        if self.ended:
            return None
        self.close_item()
        head = {
            "id": self._desk.new_id("item"),
            "object": "realtime.item",
            "status": "in_progress",
        }
        item = Item(head | body, in_response=self.id)
        self._open = _Open(item, len(self._output))
        self._output.append(item)
        self._desk.emit(
            {
                "type": "response.output_item.added",
                "response_id": self.id,
                "output_index": self._open.index,
                "item": item.shown(),
            }
        )
        if not self.plan.out_of_band:
            previous = self._desk.conversation.add(item)
            self._desk.emit(
                {
                    "type": "conversation.item.added",
                    "previous_item_id": previous,
                    "item": item.shown(),
                }
            )
        return item

    def _part_done(self, part: dict[str, Any]) -> None:
        self._emit("response.content_part.done", content_index=0, part=part)

    def _emit(self, event_type: str, **fields: Any) -> None:
        assert self._open is not None
        self._desk.emit(
            {
                "type": event_type,
                "response_id": self.id,
                "item_id": self._open.item.id,
                "output_index": self._open.index,
                **fields,
            }
        )

    def _count_input(self) -> tuple[int, int]:
        text, audio = self._desk.conversation.tokens()
        tools = sum(text_tokens(str(tool)) for tool in self.plan.tools)
        return text + text_tokens(self.plan.instructions) + tools, audio

    def _usage(self) -> dict[str, Any]:
        text_in, audio_in = self._input
        text_seen, audio_seen = self._desk.cached_input
        text_cached = min(text_seen, text_in) // CACHE_BLOCK * CACHE_BLOCK
        audio_cached = min(audio_seen, audio_in) // CACHE_BLOCK * CACHE_BLOCK
        self._desk.cached_input = self._input
        return {
            "total_tokens": text_in + audio_in + self._text_out + self._audio_out,
            "input_tokens": text_in + audio_in,
            "output_tokens": self._text_out + self._audio_out,
            "input_token_details": {
                "text_tokens": text_in,
                "audio_tokens": audio_in,
                "image_tokens": 0,
                "cached_tokens": text_cached + audio_cached,
                "cached_tokens_details": {
                    "text_tokens": text_cached,
                    "audio_tokens": audio_cached,
                    "image_tokens": 0,
                },
            },
            "output_token_details": {
                "text_tokens": self._text_out,
                "audio_tokens": self._audio_out,
            },
        }

    def _body(self, status: str, details: dict[str, Any] | None) -> dict[str, Any]:
        return {
            "object": "realtime.response",
            "id": self.id,
            "status": status,
            "status_details": details,
            "output": [item.shown() for item in self._output],
            "conversation_id": self._conversation_id,
            "output_modalities": self.plan.modalities,
            "max_output_tokens": self.plan.max_output_tokens,
            "audio": {"output": {"format": self.plan.wire_format, "voice": self.plan.voice}},
            "usage": None if status in ("in_progress", "failed") else self._usage(),
            "metadata": self.plan.metadata,
        }
