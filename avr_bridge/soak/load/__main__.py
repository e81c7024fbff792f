"""`python -m avr_bridge.soak.load`: one generator process, spoken to by lines of JSON.

The first line of stdin is a `SoakPlan`. ``ready`` is written when the model stand-in listens; the
line ``go`` starts the calls, ``stop`` or the end of stdin ends them. Ticks and records go to
stdout, and ``done`` at last; trouble in words goes to stderr.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import resource
import socket
import sys
import threading
from contextlib import suppress
from random import Random
from typing import TYPE_CHECKING, Any

import msgspec
import uvloop
from picows import ws_create_server

from avr_bridge.soak.load.clock import FrameClock
from avr_bridge.soak.load.model import StandIn
from avr_bridge.soak.load.run import Run
from avr_bridge.soak.plan import SoakPlan

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["main"]

STDIN = 0
PARTING_S = 0.3
"""For the container to close its sessions before the stand-in goes."""


def main() -> None:
    """Run until the plan is done, or until told to stop."""
    # Writing to a peer that has just gone is no trouble: the line's end is told in its record.
    logging.basicConfig(level=logging.ERROR)
    _take_all_descriptors()
    uvloop.run(_run())


def _take_all_descriptors() -> None:
    """Raise the soft limit, often 1,024, to the hard one: with its model a call takes two."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # macOS has a hard limit that it does not grant
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def _run() -> None:
    lines: asyncio.Queue[bytes | None] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    tell = lambda line: loop.call_soon_threadsafe(lines.put_nowait, line)  # noqa: E731
    threading.Thread(target=_read_lines, args=(tell,), daemon=True).start()
    first = await lines.get()
    if first is None:
        return
    plan = msgspec.json.decode(first, type=SoakPlan)
    gc.disable()
    clock = FrameClock()
    clock.start()
    stand_in = server = url = None
    if plan.model_port is not None:
        stand_in = StandIn(plan, clock, Random(plan.seed + 1))
        server = await ws_create_server(
            lambda request: stand_in.new_session(),
            sock=_listening(plan.model_host, plan.model_port),
        )
        port = server.sockets[0].getsockname()[1]
        url = f"ws://{plan.model_host}:{port}/v1/realtime"
    _write({"type": "ready", "model_url": url})
    stop = asyncio.Event()
    if await _wait_for_go(lines):
        watcher = asyncio.ensure_future(_wait_for_stop(lines, stop))
        await Run(plan, clock, stand_in, _write).run(stop)
        watcher.cancel()
        await asyncio.sleep(PARTING_S)
    if stand_in and server:
        for session in list(stand_in.sessions):
            session.close()
        server.close()
    clock.stop()
    _write({"type": "done"})


def _listening(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.bind((host, port))
    listener.listen(1024)
    listener.setblocking(False)
    return listener


async def _wait_for_go(lines: asyncio.Queue[bytes | None]) -> bool:
    while (line := await lines.get()) is not None:
        if line == b"go":
            return True
        if line == b"stop":
            return False
    return False


async def _wait_for_stop(lines: asyncio.Queue[bytes | None], stop: asyncio.Event) -> None:
    while await lines.get() not in (b"stop", None):
        pass
    stop.set()


def _read_lines(tell: Callable[[bytes | None], Any]) -> None:
    """Past `sys.stdin`, whose lock a thread that waits in it would hold at the end."""
    waiting = b""
    while data := os.read(STDIN, 65_536):
        *whole, waiting = (waiting + data).split(b"\n")
        for line in whole:
            tell(line.strip())
    tell(None)


def _write(message: Any) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(message) + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
