"""Items of the conversation, as the client changes them: create, truncate, delete, retrieve.

The rules of the list itself are in `conversation.py`; this makes requests and events of them.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from avr_bridge.testing.realtime.conversation import Item
from avr_bridge.testing.realtime.listening import decode
from avr_bridge.testing.realtime.refusal import Refusal

if TYPE_CHECKING:
    from avr_bridge.testing.realtime.state import SessionState

__all__ = ["ItemDesk"]


class ItemDesk:
    """Takes the client events `conversation.item.*`."""

    def __init__(self, state: SessionState) -> None:
        self._state = state
        self._replayed_calls: set[str] = set()  # made by the client: their results are history

    def create(self, event: dict[str, Any]) -> None:
        """`conversation.item.create`. Raises: Refusal."""
        given = event["item"]
        if given["type"] == "function_call_output" and not self._state.conversation.has_call(
            given["call_id"]
        ):
            raise Refusal(
                "invalid_tool_call_id",
                f"Tool call ID '{given['call_id']}' not found in conversation.",
                "item.call_id",
            )
        body = {
            "id": given.get("id") or self._state.new_id("item"),
            "object": "realtime.item",
            "status": "completed",
        } | {name: value for name, value in given.items() if name not in ("id", "status")}
        if given["type"] == "function_call" and "call_id" not in given:
            body["call_id"] = self._state.new_id("call")
        item = Item(body)
        texts, audio = self._content_of(item)
        previous = self._state.conversation.add(item, event.get("previous_item_id"))
        if given["type"] == "function_call":
            self._replayed_calls.add(body["call_id"])
        if given["type"] == "function_call_output" and given["call_id"] not in self._replayed_calls:
            self._state.pending.outputs.append((given["call_id"], given["output"]))
        if body.get("role") == "user":
            self._state.pending.texts += texts
            if audio:
                self._state.pending.add_audio(audio, self._state.input_format.rate_hz)
        self._state.show_item(item, previous)

    def _content_of(self, item: Item) -> tuple[list[str], bytes]:
        """Take texts and audio out of a message that the client made; the audio leaves its body."""
        texts: list[str] = []
        spoken = b""
        parts = [dict(part) for part in item.body.get("content", [])]
        for part in parts:
            if "text" in part:
                texts.append(part["text"])
            elif "audio" in part:
                data = base64.b64decode(part.pop("audio"))
                item.audio_format = self._state.input_format
                item.add_audio(data)
                spoken += decode(data, self._state.input_format)
        if parts:
            item.body["content"] = parts
        return texts, spoken

    def truncate(self, event: dict[str, Any]) -> None:
        """`conversation.item.truncate`. Raises: Refusal."""
        place = {name: event[name] for name in ("item_id", "content_index", "audio_end_ms")}
        self._state.conversation.truncate(**place)
        self._state.emit({"type": "conversation.item.truncated", **place})

    def delete(self, event: dict[str, Any]) -> None:
        """`conversation.item.delete`. Raises: Refusal."""
        self._state.conversation.delete(event["item_id"])
        self._state.emit({"type": "conversation.item.deleted", "item_id": event["item_id"]})

    def retrieve(self, event: dict[str, Any]) -> None:
        """`conversation.item.retrieve`. Raises: Refusal."""
        item = self._state.conversation.need(event["item_id"], "retrieve")
        self._state.emit({"type": "conversation.item.retrieved", "item": item.shown_with_audio()})
