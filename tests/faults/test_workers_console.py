"""The console with ``--workers 2``: each process' feed tells of its own calls, says which process
it is, and counts those of the others, as docs/console.md says."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import trio

from tests.faults.conftest import open_bridge
from tests.faults.test_workers import talking_calls, wait_logged, worker_of
from tests.wire.test_console import Watcher, watch

if TYPE_CHECKING:
    from tests.faults.conftest import Bridge

LIMIT_S = 60
MOST_FEEDS = 8


async def feeds_of_all(stack: AsyncExitStack, bridge: Bridge) -> dict[int, tuple[Any, Watcher]]:
    """Listen until each process has answered: by its number what it said first, and its feed."""
    found: dict[int, tuple[Any, Watcher]] = {}
    for _ in range(MOST_FEEDS):
        feed = await stack.enter_async_context(watch(bridge.url))
        hello = await anext(feed)
        found.setdefault(hello["worker"], (hello, feed))
        if len(found) == hello["workers"]:
            break
    return found


async def moments_until(feed: Watcher, kind: str) -> list[Any]:
    """What it tells of calls, up to the first moment of this kind."""
    moments = []
    async for message in feed:
        if message["type"] == "moment":
            moments.append(message)
            if message["kind"] == kind:
                break
    return moments


async def test_each_process_lists_its_own_calls_and_counts_all() -> None:
    """Four calls: every one is in exactly one list, that of the process which carries it. A fifth
    one is told of by its process alone. Who listens to all has the complete list."""
    with trio.fail_after(LIMIT_S):
        async with (
            open_bridge(AVR_WORKERS="2", AVR_CONSOLE="on") as bridge,
            talking_calls(bridge, "a", "b", "c", "d"),
            AsyncExitStack() as stack,
        ):
            feeds = await feeds_of_all(stack, bridge)
            assert sorted(feeds) == [1, 2]
            for number, (hello, _) in feeds.items():
                listed = sorted(view["call"] for view in hello["calls"])
                assert listed == [uuid for uuid in "abcd" if worker_of(bridge, uuid) == number]
                assert hello["workers"] == 2
                assert hello["pulse"]["calls"] == len(listed)
                assert hello["pulse"]["calls_of_all"] == 4
            everything = [view["call"] for hello, _ in feeds.values() for view in hello["calls"]]
            assert sorted(everything) == list("abcd")

            async with talking_calls(bridge, "fifth"):
                pass
            await wait_logged(bridge, "call ended", call="fifth")
            carries = worker_of(bridge, "fifth")
            _, feed = feeds[carries]
            moments = [one for one in await moments_until(feed, "call_ended") if one["view"]]
            assert "call_began" in [one["kind"] for one in moments if one["call"] == "fifth"]
            _, others = feeds[3 - carries]
            async for message in others:
                assert message.get("call") != "fifth"
                if message["type"] == "pulse":  # every 2 s: the fifth one is over
                    break
