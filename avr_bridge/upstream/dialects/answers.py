"""The book of the running answer: what a server left out of its events is filled in from it.

GA promises one `response.done` for each `response.created`, with all output in it. Others
do not; here is what makes the promise true:

- a new answer begins while the old one has not ended → the old one ends as cancelled, first;
- `response.done` without output → the items that `response.output_item.done` told of;
- `response.done` with its usage beside the response → inside it;
- a late `response.done` of an answer that was ended here → nothing.

An answer that never ends *and* has no successor (look-alikes send nothing after
`response.cancel`) needs a clock: whoever waits for `response.done` must bound that wait, and end
the answer itself.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from avr_bridge.upstream.dialects.base import JsonObject

__all__ = ["AnswerBook"]

ENDED_KEPT = 16
"""Answers ended here whose late `response.done` is still known; it comes within seconds."""


class AnswerBook:
    """Follows the one answer of the default conversation.

    Args:
        aside: Whether a response with the `conversation_id` null is one beside the conversation,
            which may run at the same time as another.
    """

    def __init__(self, *, aside: bool) -> None:
        self._aside = aside
        self._running: str | None = None
        self._finished_items: list[JsonObject] = []
        self._ended_here: deque[str] = deque(maxlen=ENDED_KEPT)

    def begun(self, event: JsonObject) -> list[JsonObject]:
        """`response.created`, with the end of the answer before it where that is missing."""
        response = event.get("response")
        if not isinstance(response, dict) or not isinstance(response.get("id"), str):
            return [event]
        if self._aside and response.get("conversation_id", "") is None:
            return [event]
        missing = self._end_of_old(event) if self._running not in (None, response["id"]) else []
        self._running = response["id"]
        return [*missing, event]

    def item_finished(self, event: JsonObject) -> None:
        """`response.output_item.done` of the running answer."""
        item = event.get("item")
        ours = event.get("response_id") in (None, self._running)
        if self._running is not None and ours and isinstance(item, dict):
            self._finished_items.append(item)

    def ended(self, event: JsonObject) -> list[JsonObject]:
        """`response.done`, complete; nothing if that answer was ended already."""
        response = event.get("response")
        if not isinstance(response, dict):
            return [event]
        answer = response.get("id")
        if answer in self._ended_here:
            return []
        full = dict(response)
        if not full.get("usage") and event.get("usage"):
            full["usage"] = event["usage"]
        if answer in (None, self._running):
            if not isinstance(full.get("output"), list):
                full["output"] = list(self._finished_items)
            self._running = None
            self._finished_items.clear()
        return [
            {name: value for name, value in event.items() if name != "usage"} | {"response": full}
        ]

    def _end_of_old(self, event: JsonObject) -> list[JsonObject]:
        assert self._running is not None
        self._ended_here.append(self._running)
        done = {
            "type": "response.done",
            "event_id": event.get("event_id"),
            "response": {
                "object": "realtime.response",
                "id": self._running,
                "status": "cancelled",
                "status_details": {"type": "cancelled", "reason": "turn_detected"},
                "output": list(self._finished_items),
            },
        }
        self._finished_items.clear()
        return [done]
