"""What the model has sent of each of its spoken items, and what the caller has heard of them.

Decides what the model is to be told about an item that was interrupted (OpenAI's guide on
interruption over WebSockets: the client owns playback, so only it knows).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from avr_bridge.audio.format import AudioFormat
    from avr_bridge.audio.playback import Heard

__all__ = ["Answers", "Cut"]

LEAST_TRUNCATED_MS = 20
"""Less than a frame heard is nothing heard: the item is deleted, since truncating an item at 0
is refused where it has no audio yet."""

MOST_ITEMS = 64
"""Spoken items that are not heard yet; a reasoning model speaks a few in one response."""


@attrs.define(eq=False)
class _Answer:
    content_index: int
    received_bytes: int = 0
    complete: bool = False
    disowned: bool = False


@attrs.frozen
class Cut:
    """What to tell the model: forget what was said after `audio_end_ms`, or (None) the item.

    Attributes:
        share: How much of the item was heard, 0 to 1.
        disowned: It is an item of an earlier session; in this one there is no such sound.
    """

    item_id: str
    content_index: int
    audio_end_ms: int | None
    share: float = 0.0
    disowned: bool = False


class Answers:
    """Spoken items from their first delta until they were heard or cut."""

    def __init__(self) -> None:
        self._open: dict[str, _Answer] = {}

    @property
    def unheard(self) -> bool:
        """Whether the caller has still to hear something."""
        return bool(self._open)

    @property
    def open_items(self) -> frozenset[str]:
        """The items that the caller has still to hear something of."""
        return frozenset(self._open)

    def is_unheard(self, item_id: str) -> bool:
        """Whether the caller has still to hear something of this item."""
        return item_id in self._open

    def is_open(self, item_id: str) -> bool:
        """Whether more sound of this item may come."""
        answer = self._open.get(item_id)
        return answer is not None and not answer.complete

    def received(self, item_id: str, content_index: int, n_bytes: int) -> None:
        """Sound of an item came in the session's output format."""
        answer = self._open.setdefault(item_id, _Answer(content_index))
        answer.received_bytes += n_bytes
        if len(self._open) > MOST_ITEMS:
            del self._open[next(iter(self._open))]

    def complete(self, item_id: str) -> None:
        """No more sound of this item will come."""
        if item_id in self._open:
            self._open[item_id].complete = True

    def disown(self) -> None:
        """The session that made these items is gone: what is left of them is still to be heard,
        but no server knows them any more."""
        for answer in self._open.values():
            answer.complete = answer.disowned = True

    def heard(self, item_id: str) -> None:
        """The caller has heard the item to its end."""
        self._open.pop(item_id, None)

    def stopped(
        self, heard: list[Heard], fmt: AudioFormat, items: frozenset[str] | None = None
    ) -> list[Cut]:
        """Playback stopped at once: what the model must learn of each item, in order.

        Args:
            items: Those that were to be stopped; others have begun since. None: all.
        """
        cuts = []
        for position in heard:
            answer = self._open.pop(position.item_id, None)
            if answer is None or (position.whole and answer.complete):
                continue
            received_ms = int(fmt.ms(answer.received_bytes))
            end_ms: int | None = min(position.heard_ms, received_ms)
            if end_ms is not None and end_ms < LEAST_TRUNCATED_MS:
                end_ms = None
            share = (end_ms or 0) / max(received_ms, 1)
            cuts.append(Cut(position.item_id, answer.content_index, end_ms, share, answer.disowned))
        for item_id in [item for item in self._open if items is None or item in items]:
            answer = self._open.pop(item_id)
            cuts.append(Cut(item_id, answer.content_index, None, disowned=answer.disowned))
        return cuts
