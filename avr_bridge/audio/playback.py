"""Which item the caller is hearing, and how many milliseconds of it were really heard.

Beside the pacer, at the end of an answer's road: it is told what was sent, in order, and asked
how much of it was played when the last so-and-so many milliseconds were not. Frames are the
unit, because only whole frames are sent. It knows no clock and no message.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import attrs

from avr_bridge.audio.format import FRAME_MS

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Heard", "PlaybackLedger"]

RECENT_FRAMES = 100
"""Two seconds: more than any transport sends ahead that cannot tell what was played."""


@attrs.frozen
class Heard:
    """How much of one item was heard, as far as it was played when everything stopped."""

    item_id: str
    heard_ms: int
    whole: bool
    """Nothing of what is known of the item was left unheard."""


class PlaybackLedger:
    """What was sent of each item that is not over yet.

    Args:
        recent_frames: How many of the last frames may still be unplayed: none of these is
            forgotten.
    """

    def __init__(self, recent_frames: int = RECENT_FRAMES) -> None:
        self._most_recent = recent_frames
        self._sent: dict[str, int] = {}
        self._recent: deque[tuple[str, int]] = deque()
        self._recent_frames = 0

    def sent(self, pieces: Iterable[tuple[str, int]]) -> None:
        """Record frames that went out: item and number, in order."""
        for item_id, frames in pieces:
            self._sent[item_id] = self._sent.get(item_id, 0) + frames
            self._recent.append((item_id, frames))
            self._recent_frames += frames
        while self._recent and self._recent_frames - self._recent[0][1] > self._most_recent:
            item_id, frames = self._recent.popleft()
            self._recent_frames -= frames
            if all(item_id != kept for kept, _ in self._recent):
                del self._sent[item_id]

    def stop(self, unplayed_ms: float, waiting: Iterable[str]) -> list[Heard]:
        """Everything stops now: what was heard of each item that was not over.

        Args:
            unplayed_ms: How much of what was sent the caller will not hear.
            waiting: Items of which sound was waiting to be sent, in order.

        Returns:
            One entry for each item that was sent lately or was waiting, in the order of playing.
            Afterwards nothing is known of any of them.
        """
        unplayed = self._unplayed_by_item(unplayed_ms)
        waiting = list(waiting)
        items = list(dict.fromkeys([item for item, _ in self._recent] + waiting))
        heard = [
            Heard(
                item,
                max(round(self._sent.get(item, 0) * FRAME_MS - unplayed.get(item, 0.0)), 0),
                whole=item not in waiting and unplayed.get(item, 0.0) <= 0,
            )
            for item in items
        ]
        self._sent.clear()
        self._recent.clear()
        self._recent_frames = 0
        return heard

    def _unplayed_by_item(self, unplayed_ms: float) -> dict[str, float]:
        """Share the unplayed end of what was sent among its items, last first."""
        shares: dict[str, float] = {}
        for item_id, frames in reversed(self._recent):
            if unplayed_ms <= 0:
                break
            share = min(unplayed_ms, float(frames * FRAME_MS))
            shares[item_id] = shares.get(item_id, 0.0) + share
            unplayed_ms -= share
        return shares
