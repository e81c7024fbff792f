"""Run by `test_leaks.py`: several bridges in one process, which says what it holds.

Takes the settings of each by its name, as JSON, in its one argument. On standard output: first the
addresses by name; then, for each line on standard input, what there is now. The log is on
standard error. Limits of several seconds are a fraction of that here, so that many calls fit into
a minute; which limit ends which call is shown by other tests.
"""

from __future__ import annotations

import gc
import json
import os
import sys
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import trio

from avr_bridge import BridgeConfig, serve
from avr_bridge.call import conversation, inbound
from avr_bridge.server import guarded_websocket
from avr_bridge.telemetry import configure_logging, seldom
from avr_bridge.upstream import answering

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from avr_bridge.upstream.socket import MessageSocket

SHORT_LIMITS: list[tuple[Any, str, float]] = [
    (guarded_websocket, "MESSAGE_LIMIT_S", 2.5),
    (inbound, "INIT_LIMIT_S", 1.0),
    (answering, "FIRST_AUDIO_LIMIT_S", 1.0),
    (conversation, "SESSION_LIMIT_S", 1.5),
    (seldom, "EVERY_S", 0.0),
]
BUG = "bug"
"""The bridge of this name has a bug: it fails where it connects to the model."""

SETTLED = ("avr_bridge", "quart", "hypercorn", "trio_websocket", "wsproto", "h11")
"""Packages whose objects belong to a call or to a connection, and must be gone with it."""

MADE_ONCE = "hypercorn.logging.Logger"
"""Each server makes one when it first needs it, perhaps after the warm-up."""


async def main() -> None:
    """Serve until cancelled."""
    settings: dict[str, dict[str, str]] = json.loads(sys.argv[1])
    configs = {name: BridgeConfig.from_env(env) for name, env in settings.items()}
    for config in configs.values():
        configure_logging(config.log)
    for module, name, value in SHORT_LIMITS:
        assert getattr(module, name) > value, name
        setattr(module, name, value)
    addresses: dict[str, str] = {}
    async with trio.open_nursery() as nursery:
        for name, config in configs.items():
            dial = _dial_with_a_bug if name == BUG else None
            (addresses[name],) = await nursery.start(partial(serve, config, dial=dial))
        print(json.dumps(addresses), flush=True)
        async with trio.lowlevel.FdStream(os.dup(sys.stdin.fileno())) as questions:
            async for asked in questions:
                for _ in range(asked.count(b"\n")):
                    print(json.dumps(held()), flush=True)
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def _dial_with_a_bug(
    url: str, headers: Sequence[tuple[str, str]]
) -> AsyncGenerator[MessageSocket]:
    await trio.lowlevel.checkpoint()
    if url:
        raise ZeroDivisionError("a planted bug")
    yield attrs.NOTHING  # type: ignore[misc]


def held() -> dict[str, Any]:
    """What this process holds: tasks by name, descriptors by target, objects by class."""
    gc.collect()
    blocks = sys.getallocatedblocks()
    objects: dict[str, int] = {}
    for thing in gc.get_objects():
        kind = type(thing)
        if str(kind.__module__).partition(".")[0] in SETTLED:
            name = f"{kind.__module__}.{kind.__qualname__}"
            if name == MADE_ONCE:
                continue
            objects[name] = objects.get(name, 0) + 1
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return {
        "tasks": sorted(_names_below(trio.lowlevel.current_root_task())),
        "descriptors": sorted(_descriptors()),
        "objects": objects,
        "blocks": blocks,
        "rss_mb": pages * os.sysconf("SC_PAGE_SIZE") / 1e6,
    }


def _names_below(task: trio.lowlevel.Task | None) -> list[str]:
    if task is None:
        return []
    names = [task.name]
    for nursery in task.child_nurseries:
        for child in nursery.child_tasks:
            names += _names_below(child)
    return names


def _descriptors() -> list[str]:
    """Without numbers of sockets, so that two lists can be compared; without the listing's own."""
    folder = "/proc/self/fd"
    targets = []
    for number in os.listdir(folder):
        try:
            targets.append(os.readlink(f"{folder}/{number}").partition(":[")[0])
        except FileNotFoundError:
            continue
    return targets


if __name__ == "__main__":
    trio.run(main)
