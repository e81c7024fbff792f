"""The conversation as text, so that a new session can be told what was said in an old one.

No server resumes a session (OpenAI, Azure): a client opens another and puts the items there anew,
the caller's turns as `input_text`, the agent's as `output_text`, calls of tools with their
outputs. Of an answer that was cut, only the part goes over that the caller heard.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from avr_bridge.upstream.commands import function_call, text_item

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["History"]

MOST_ITEMS = 120
"""Items kept, the newest. A call of an hour has more; what was said half an hour ago matters less
than a quick switch, and each item is paid for with every answer."""

MOST_CHARS = 40_000
"""Text that goes over: about 10,000 tokens."""

UNTRANSCRIBED = "[The caller spoke; there is no transcript]"


@attrs.define(eq=False)
class _Entry:
    key: str
    role: str = ""
    text: str | None = None
    share: float = 1.0
    item: dict[str, Any] | None = None

    def replayed(self) -> dict[str, Any] | None:
        """The item as text; None for one that says nothing."""
        if self.item is not None:
            return self.item
        text = self.heard()
        if self.role == "user" and self.text is None:
            text = UNTRANSCRIBED
        return text_item(self.role, text) if text else None

    def heard(self) -> str:
        """What the caller heard of it, cut behind a word."""
        text = self.text or ""
        if self.share >= 1.0:
            return text
        return text[: int(len(text) * self.share)].rpartition(" ")[0]


class History:
    """Items in conversation order, oldest first, with a bound."""

    def __init__(self) -> None:
        self._entries: list[_Entry] = []

    def expect(self, item_id: str, role: str, previous_item_id: str | None = None) -> None:
        """The server made an item; its text comes later, or never."""
        if self._find(item_id) is None:
            self._insert(_Entry(item_id, role), previous_item_id)

    def put(self, item: dict[str, Any], key: str = "") -> None:
        """An item of our own, or a call of a tool: complete as it is."""
        self._insert(_Entry(key, item=item), None)

    def call(self, call_id: str, name: str, arguments: str) -> None:
        """The model called a tool."""
        self.put(function_call(call_id, name, arguments), key=call_id)

    def add_text(self, item_id: str, text: str) -> None:
        """More of an answer's words, while it is made."""
        entry = self._find(item_id)
        if entry is not None:
            entry.text = (entry.text or "") + text

    def set_text(self, item_id: str, text: str) -> None:
        """All words of an item."""
        entry = self._find(item_id)
        if entry is not None:
            entry.text = text

    def cut(self, item_id: str, share: float) -> str:
        """The caller heard this share of an answer, 0 to 1; returns those words."""
        entry = self._find(item_id)
        if entry is None:
            return ""
        entry.share = share
        return entry.heard()

    def forget(self, item_id: str) -> None:
        """An item that is no longer part of the conversation."""
        entry = self._find(item_id)
        if entry is not None:
            self._entries.remove(entry)

    def items(self) -> list[dict[str, Any]]:
        """What a new session is to be told, in order: the newest that fit."""
        kept: list[dict[str, Any]] = []
        chars = 0
        for item in self._newest_first():
            chars += len(str(item))
            if chars > MOST_CHARS:
                break
            kept.append(item)
        kept.reverse()
        calls = {item["call_id"] for item in kept if item["type"] == "function_call"}
        return [
            item
            for item in kept
            if item["type"] != "function_call_output" or item["call_id"] in calls
        ]

    def _newest_first(self) -> Iterator[dict[str, Any]]:
        for entry in reversed(self._entries):
            item = entry.replayed()
            if item is not None:
                yield item

    def _insert(self, entry: _Entry, previous_item_id: str | None) -> None:
        at = len(self._entries)
        for index, other in enumerate(self._entries):
            if previous_item_id and other.key == previous_item_id:
                at = index + 1
        self._entries.insert(at, entry)
        del self._entries[:-MOST_ITEMS]

    def _find(self, item_id: str) -> _Entry | None:
        for entry in reversed(self._entries):
            if entry.key == item_id and entry.item is None:
                return entry
        return None
