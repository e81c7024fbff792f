"""How many pages one address may ask for: health checks and curiosity, not a flood.

A page costs a millisecond of the event loop in which all calls run. Calls do not come through
here; `admission.py` and `guard.py` bound those.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import trio

from avr_bridge.caller.budget import Budget

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["PageBudget"]

PAGES_PER_S = 20.0
BURST_PAGES = 50.0
"""A load balancer asks every second or two, a monitor more rarely."""

WAIT_S = 1.0
"""Before the refusal: a client that asks anew at each answer is slowed to one page a second."""

MOST_ADDRESSES = 1000
"""Remembered; the one that asked longest ago is forgotten."""


class PageBudget:
    """An ASGI application before another one: a page too many has status 429.

    Args:
        app: What answers.
        counts: Whether a scope is a page that counts.
    """

    def __init__(
        self,
        app: Callable[[Any, Any, Any], Awaitable[None]],
        counts: Callable[[Any], bool],
    ) -> None:
        self._app = app
        self._counts = counts
        self._budgets: OrderedDict[str, Budget] = OrderedDict()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """One request."""
        if not self._counts(scope) or self._has_left(str((scope.get("client") or ("",))[0])):
            await self._app(scope, receive, send)
            return
        await trio.sleep(WAIT_S)
        headers = [(b"retry-after", b"1"), (b"content-length", b"0")]
        await send({"type": "http.response.start", "status": 429, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    def _has_left(self, address: str) -> bool:
        now_s = trio.current_time()
        budget = self._budgets.get(address)
        if budget is None:
            budget = self._budgets[address] = Budget(BURST_PAGES, PAGES_PER_S, now_s)
            if len(self._budgets) > MOST_ADDRESSES:
                self._budgets.popitem(last=False)
        self._budgets.move_to_end(address)
        return budget.spend(1, now_s)
