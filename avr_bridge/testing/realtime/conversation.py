"""The conversation as the server keeps it: items in order, and the rules for changing them.

Pure. Items change here; the events that tell of it are made in `dialogue.py` and `responding.py`.
"""

from __future__ import annotations

import base64
import copy
import math
from typing import Any

import attrs

from avr_bridge.audio.format import AudioFormat
from avr_bridge.testing.realtime.refusal import Refusal

__all__ = ["Conversation", "Item", "text_tokens"]

CALLER_TOKEN_MS = 100
"""One audio token of input stands for this much of the caller's audio."""

ASSISTANT_TOKEN_MS = 50
"""One audio token of output stands for this much of the assistant's audio."""

AUDIO_KEPT_ITEMS = 8
"""Only the newest items keep their audio for `conversation.item.retrieve`: some MB at most."""


def text_tokens(text: str) -> int:
    """A rough count: four characters a token."""
    return math.ceil(len(text) / 4)


@attrs.define(eq=False)
class Item:
    """One item.

    Attributes:
        body: The item as events show it, without audio.
        audio: Its audio as it was sent or heard, in `audio_format`; may have been let go.
        audio_bytes: Length of that audio, also after it was let go.
        in_response: The response that still writes this item.
    """

    body: dict[str, Any]
    audio_format: AudioFormat | None = None
    audio: bytearray = attrs.field(factory=bytearray, repr=False)
    audio_bytes: int = 0
    in_response: str | None = None

    @property
    def id(self) -> str:
        """The item's id."""
        return str(self.body["id"])

    @property
    def audio_ms(self) -> float:
        """Length of its audio in ms."""
        return self.audio_format.ms(self.audio_bytes) if self.audio_format else 0.0

    @property
    def from_caller(self) -> bool:
        """Whether its audio is the caller's."""
        return self.body.get("role") == "user"

    def add_audio(self, data: bytes) -> None:
        """Append encoded audio."""
        self.audio += data
        self.audio_bytes += len(data)

    @property
    def summary(self) -> tuple[str, str]:
        """Role or kind, and text; audio is its transcript, or nothing where that was cut off."""
        kind = str(self.body["type"])
        if kind == "function_call":
            return kind, f"{self.body['name']}({self.body['arguments']})"
        if kind == "function_call_output":
            return kind, str(self.body["output"])
        parts = self.body.get("content", [])
        words = [part.get("text") or part.get("transcript") or "" for part in parts]
        return str(self.body["role"]), " ".join(filter(None, words))

    def shown(self) -> dict[str, Any]:
        """A copy for an event."""
        return copy.deepcopy(self.body)

    def shown_with_audio(self) -> dict[str, Any]:
        """A copy for `conversation.item.retrieved`."""
        body = self.shown()
        if self.audio and body.get("content"):
            body["content"][0]["audio"] = base64.b64encode(self.audio).decode()
        return body

    def tokens(self) -> tuple[int, int]:
        """What it costs as input of a response: text tokens, audio tokens."""
        token_ms = CALLER_TOKEN_MS if self.from_caller else ASSISTANT_TOKEN_MS
        texts = [self.body.get("arguments", ""), self.body.get("output", "")]
        texts += [part.get("text", "") for part in self.body.get("content", [])]
        return sum(map(text_tokens, texts)), math.ceil(self.audio_ms / token_ms)


class Conversation:
    """The items of a session, oldest first."""

    def __init__(self) -> None:
        self._items: list[Item] = []

    def __len__(self) -> int:
        return len(self._items)

    @property
    def items(self) -> tuple[Item, ...]:
        """The items, oldest first."""
        return tuple(self._items)

    def find(self, item_id: str) -> Item | None:
        """The item with this id."""
        return next((item for item in self._items if item.id == item_id), None)

    def add(self, item: Item, after: str | None = None) -> str | None:
        """Insert an item after the one named (`root`: in front; None: at the end).

        Returns:
            The id of the item before it.

        Raises:
            Refusal: The place is unknown, or the id is taken.
        """
        if self.find(item.id):
            raise Refusal(
                "item_create_duplicate_item_id",
                f"Error creating item: an item with id '{item.id}' already exists.",
                "item.id",
            )
        if after is None:
            place = len(self._items)
        elif after == "root":
            place = 0
        else:
            before = self.find(after)
            if before is None:
                raise Refusal(
                    "item_create_invalid_previous_item_id",
                    f"Error creating item: previous item with id '{after}' not found.",
                    "previous_item_id",
                )
            place = self._items.index(before) + 1
        self._items.insert(place, item)
        for old in self._items[:-AUDIO_KEPT_ITEMS]:
            old.audio.clear()
        return self._items[place - 1].id if place else None

    def before(self, item: Item) -> str | None:
        """The id of the item before this one; None if it is the first or gone."""
        place = self._items.index(item) if item in self._items else 0
        return self._items[place - 1].id if place else None

    def delete(self, item_id: str) -> None:
        """Remove an item.

        Raises:
            Refusal: There is none with this id.
        """
        self._items.remove(self.need(item_id, "delete"))

    def need(self, item_id: str, deed: str) -> Item:
        """The item with this id, for `deed` (`delete`, `retrieve`, `truncate`).

        Raises:
            Refusal: There is none.
        """
        item = self.find(item_id)
        if item is None:
            raise Refusal(
                f"item_{deed}_invalid_item_id",
                f"Error: cannot {deed} item, an item with id '{item_id}' was not found.",
                "item_id",
            )
        return item

    def truncate(self, item_id: str, content_index: int, audio_end_ms: int) -> None:
        """Cut the audio of an assistant item, and drop its transcript.

        Raises:
            Refusal: No such item, no audio of the model in it, or not that much.
        """
        item = self.need(item_id, "truncate")
        if item.body.get("role") != "assistant" or not item.audio_bytes:
            raise Refusal(
                "unsupported_content_type",
                "Only model output audio messages can be truncated",
                "item_id",
            )
        if content_index >= len(item.body["content"]):
            raise Refusal("invalid_value", f"No content at index {content_index}.", "content_index")
        if audio_end_ms > item.audio_ms:
            raise Refusal(
                "invalid_value",
                f"Audio content of {int(item.audio_ms)}ms is already shorter than {audio_end_ms}ms",
                "audio_end_ms",
            )
        assert item.audio_format is not None
        item.audio_bytes = item.audio_format.bytes_of_ms(audio_end_ms)
        del item.audio[item.audio_bytes :]
        item.body["content"][content_index].pop("transcript", None)

    def has_call(self, call_id: str) -> bool:
        """Whether a function call with this id is complete: its response has ended."""
        return any(
            item.body["type"] == "function_call"
            and item.body.get("call_id") == call_id
            and item.in_response is None
            for item in self._items
        )

    def tokens(self) -> tuple[int, int]:
        """Text and audio tokens of all items, as input of a response."""
        costs = [item.tokens() for item in self._items]
        return sum(text for text, _ in costs), sum(audio for _, audio in costs)
