"""The budget of pages, in virtual time: a flood of one address is slowed, others are not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio

from avr_bridge.server.pages import BURST_PAGES, MOST_ADDRESSES, PAGES_PER_S, WAIT_S, PageBudget

if TYPE_CHECKING:
    from trio.testing import MockClock as Clock


async def answer(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200})


async def ask(budget: PageBudget, address: str, kind: str = "http") -> int:
    """The status of one page."""
    seen: list[int] = []

    async def send(message: dict[str, Any]) -> None:
        await trio.lowlevel.checkpoint()
        seen.append(message.get("status", 0))

    await budget({"type": kind, "client": (address, 1)}, None, send)
    return seen[0]


async def test_a_flood_is_slowed(autojump_clock: Clock) -> None:
    """Behind the burst each page takes a second and is refused; others are answered at once; after
    some quiet the address is answered again."""
    budget = PageBudget(answer, lambda scope: scope["type"] == "http")
    statuses = [await ask(budget, "a") for _ in range(int(BURST_PAGES))]
    assert set(statuses) == {200}
    before_s = trio.current_time()
    assert await ask(budget, "b") == 200
    assert trio.current_time() == before_s
    assert await ask(budget, "a") == 429
    assert trio.current_time() - before_s >= WAIT_S
    await trio.sleep(BURST_PAGES / PAGES_PER_S)
    assert await ask(budget, "a") == 200


async def test_only_pages_count(autojump_clock: Clock) -> None:
    """A call is never slowed here."""
    budget = PageBudget(answer, lambda scope: scope["type"] == "http")
    for _ in range(int(BURST_PAGES) * 3):
        assert await ask(budget, "a", "websocket") == 200
    assert await ask(budget, "a") == 200


async def test_addresses_are_forgotten(autojump_clock: Clock) -> None:
    """The oldest first: memory is bounded."""
    budget = PageBudget(answer, lambda scope: True)
    for _ in range(int(BURST_PAGES) + 1):
        await ask(budget, "first")
    for number in range(MOST_ADDRESSES):
        await ask(budget, str(number))
    assert await ask(budget, "first") == 200
