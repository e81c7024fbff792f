"""The transcript in the order of the conversation, not in the order in which its texts come.

The caller's words are transcribed beside the answer and often arrive after it; the answer's text
arrives long before it is heard, or cut. Each item is put behind the one that the server says
precedes it. A line leaves when its text and its fate are known, and everything before it left.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["CUT_MARK", "Fate", "Line", "TranscriptOrder"]

CUT_MARK = " [interrupted]"
"""Behind the text of an answer that the caller did not hear to its end; the text itself is that
of the whole answer, since nobody knows which words were heard."""

MOST_ITEMS = 64
"""Items that wait. More means that their texts are not coming; the oldest is given up."""


class Fate(enum.Enum):
    """What became of an item's sound."""

    HEARD = "heard"
    CUT = "cut"
    UNHEARD = "unheard"


@attrs.frozen
class Line:
    """One finished piece; `role` is ``user`` or ``agent``. Of one that was cut `text` ends with
    `CUT_MARK`."""

    role: str
    text: str
    cut: bool = False


@attrs.define(eq=False)
class _Entry:
    item_id: str
    role: str = "agent"
    text: str | None = None
    fate: Fate | None = None

    def line(self) -> Line | None:
        if not self.text or self.fate is Fate.UNHEARD:
            return None
        if self.fate is Fate.CUT:
            return Line(self.role, self.text + CUT_MARK, cut=True)
        return Line(self.role, self.text)


class TranscriptOrder:
    """Items in order. Every method that may free lines is followed by `release`."""

    def __init__(self) -> None:
        self._entries: list[_Entry] = []

    def expect(self, item_id: str, previous_item_id: str | None = None) -> None:
        """An item that will have a text; `previous_item_id` is where it belongs."""
        self._entry(item_id, previous_item_id)

    def user_text(self, item_id: str, text: str) -> None:
        """What the caller said; "" if it will never be known."""
        entry = self._entry(item_id)
        if entry.text is None:
            entry.role, entry.text, entry.fate = "user", text, Fate.HEARD

    def agent_text(self, item_id: str, text: str) -> None:
        """What an answer says."""
        entry = self._entry(item_id)
        if entry.text is None:
            entry.text = text

    def fate(self, item_id: str, fate: Fate) -> None:
        """What became of an answer's sound; the first word counts."""
        entry = self._find(item_id)
        if entry is not None and entry.fate is None:
            entry.fate = fate

    def response_over(
        self,
        item_ids: Iterable[str],
        is_playing: Callable[[str], bool],
        silent: Fate = Fate.HEARD,
    ) -> None:
        """No more text of these items comes; `silent` is the fate of those without sound."""
        for item_id in item_ids:
            entry = self._find(item_id)
            if entry is None:
                continue
            entry.text = entry.text or ""
            if entry.fate is None and not is_playing(item_id):
                entry.fate = silent

    def release(self) -> list[Line]:
        """Take out all lines that may leave now."""
        lines = []
        while self._entries:
            first = self._entries[0]
            given_up = len(self._entries) > MOST_ITEMS
            if not given_up and (first.text is None or first.fate is None):
                break
            del self._entries[0]
            line = first.line()
            if line is not None:
                lines.append(line)
        return lines

    def _entry(self, item_id: str, previous_item_id: str | None = None) -> _Entry:
        found = self._find(item_id)
        if found is not None:
            return found
        at = len(self._entries)
        for index, entry in enumerate(self._entries):
            if entry.item_id == previous_item_id:
                at = index + 1
        made = _Entry(item_id)
        self._entries.insert(at, made)
        return made

    def _find(self, item_id: str) -> _Entry | None:
        return next((entry for entry in self._entries if entry.item_id == item_id), None)
