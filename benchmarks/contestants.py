"""Off the road: what `benchmarks.calls` measures, each started for one run and ended behind it.

The yardstick, our bridge twice (µ-law and PCM), and whatever a command line starts. It places no
call and measures nothing.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

import attrs
import trio

from avr_bridge.soak.child import open_child
from avr_bridge.soak.container import Container, ContainerFailed, open_own_bridge, wait_port

if TYPE_CHECKING:
    import os
    from collections.abc import AsyncIterator, Mapping, Sequence

YARDSTICK = "yardstick"
START_S = 30.0
"""For a command's container to take connections, on a machine that is busy."""
TRY_S = 0.5
OURS = ("OPENAI_", "AVR_")
BOUND = (
    "import os, sys; os.sched_setaffinity(0, {int(sys.argv[1])}); "
    "os.execvp(sys.argv[2], sys.argv[2:])"
)
"""Binds before the program begins: threads that it starts at once are bound with it."""

type Opener = Callable[[str | None, int, int | None], AbstractAsyncContextManager[Container]]
"""Given the stand-in's address, a free port and a core, serves calls there while the body runs."""


@attrs.frozen
class Contestant:
    """One column of the table.

    Attributes:
        codec: What the stand-in agrees to, as in `SoakPlan`.
    """

    name: str
    codec: str
    open: Opener


def only(core: int | None) -> frozenset[int]:
    """The cores of a container that has this one; none: the system chooses."""
    return frozenset() if core is None else frozenset({core})


def contestants(also: Sequence[str]) -> list[Contestant]:
    """All of them, the yardstick first.

    Args:
        also: ``NAME=command``; in the command ``{port}`` becomes the port to serve at and
            ``{model}`` the stand-in's address. The stand-in speaks 24 kHz PCM to it.

    Raises:
        ValueError: One is not of that form, or its name is taken.
    """
    yardstick = (sys.executable, "-m", "benchmarks.yardstick", "{port}", "{model}")
    found = [
        Contestant(YARDSTICK, "any", partial(_open_command, yardstick)),
        Contestant("bridge", "any", partial(_open_bridge, "any")),
        Contestant("bridge pcm", "pcm", partial(_open_bridge, "pcm")),
    ]
    for one in also:
        name, _, command = (part.strip() for part in one.partition("="))
        if not name or not command:
            raise ValueError(f"expected NAME=command, not {one!r}")
        if any(name == other.name for other in found):
            raise ValueError(f"there is a {name!r} already")
        found.append(Contestant(name, "pcm", partial(_open_command, shlex.split(command))))
    return found


def forget_settings(environ: dict[str, str] | os._Environ[str]) -> None:
    """Take our own settings out: a figure that goes by them could not be compared."""
    for name in [name for name in environ if name.startswith(OURS)]:
        del environ[name]


def filled(command: Sequence[str], values: Mapping[str, str]) -> list[str]:
    """The command with each ``{name}`` replaced; other braces are the command's own."""
    words = list(command)
    for name, value in values.items():
        words = [word.replace(f"{{{name}}}", value) for word in words]
    return words


def _open_bridge(
    codec: str, model_url: str | None, port: int, core: int | None
) -> AbstractAsyncContextManager[Container]:
    assert model_url is not None
    return open_own_bridge(model_url, port, cores=only(core), codec=codec)


@asynccontextmanager
async def _open_command(
    command: Sequence[str], model_url: str | None, port: int, core: int | None
) -> AsyncIterator[Container]:
    assert model_url is not None
    words = filled(command, {"port": str(port), "model": model_url})
    if core is not None:
        words = [sys.executable, "-c", BOUND, str(core), *words]
    async with open_child(words, cores=only(core)) as child:
        until_s = trio.current_time() + START_S
        while not await _serves(port):
            if child.process.poll() is not None or trio.current_time() > until_s:
                raise ContainerFailed(f"{command[0]} did not start:\n{child.last_words()}")
        yield Container(child.process.pid, child.last_words)


async def _serves(port: int) -> bool:
    try:
        await wait_port(f"ws://127.0.0.1:{port}", TRY_S)
    except ContainerFailed:
        return False
    return True
