"""Which processor core does what in a soak run, and what the machine is, in words.

Chooses; the binding itself is one system call, made where a process is started.
"""

from __future__ import annotations

import contextlib
import os
import platform
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["Layout", "bind", "bound", "machine_words"]


@attrs.frozen
class Layout:
    """Cores of the processes.

    Attributes:
        generators: How many generator processes.
        bridge_cores: The bridge's, if we start it; none: left to the system.
        generator_cores: The generators', one entry for each; None: left to the system.
    """

    generators: int
    bridge_cores: frozenset[int]
    generator_cores: tuple[int | None, ...]

    @classmethod
    def unbound(cls, generators: int) -> Layout:
        """All is left to the system."""
        return cls(generators, frozenset(), (None,) * generators)

    @classmethod
    def bound(cls, generators: int, bridge: int = 1) -> Layout | None:
        """The bridge alone on the first cores, the generators on the others in turn.

        `bridge` is how many it needs, one for each of its worker processes. None where that cannot
        be: no Linux, or no core beyond those.
        """
        if not hasattr(os, "sched_getaffinity"):
            return None
        cores = sorted(os.sched_getaffinity(0))
        own, others = cores[:bridge], cores[bridge:]
        if not others:
            return None
        turns = tuple(others[number % len(others)] for number in range(generators))
        return cls(generators, frozenset(own), turns)

    @property
    def words(self) -> str:
        """Such as ``bridge on core 0, generator on core 1``."""
        if not self.bridge_cores:
            return "no process bound to a core"
        own, others = self.bridge_cores, {core for core in self.generator_cores if core is not None}
        return f"bridge on core {_listed(own)}, generator on core {_listed(others)}"


def _listed(cores: Iterable[int]) -> str:
    return ", ".join(str(core) for core in sorted(cores))


def bind(pid: int, cores: frozenset[int]) -> None:
    """Keep a process on these cores. One that is gone already has no need of it."""
    with contextlib.suppress(ProcessLookupError):
        os.sched_setaffinity(pid, cores)


@contextlib.contextmanager
def bound(layout: Layout) -> Iterator[None]:
    """Keep this thread, which collects, off the bridge's cores while the body runs."""
    cores = {core for core in layout.generator_cores if core is not None}
    if not layout.bridge_cores or not cores:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def machine_words(layout: Layout) -> str:
    """Such as ``2 cores, Linux 6.1, Python 3.13.0; bridge on core 0, generator on core 1``."""
    release = ".".join(platform.release().split("-")[0].split(".")[:2])
    return (
        f"{os.cpu_count()} cores, {platform.system()} {release}, "
        f"Python {platform.python_version()}; {layout.words}"
    )
