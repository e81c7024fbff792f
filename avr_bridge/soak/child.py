"""A process that the soak run starts: bound to its core, its trouble kept, ended for certain.

Knows nothing of what the process does.
"""

from __future__ import annotations

import ctypes
import signal
import subprocess
import tempfile
from contextlib import asynccontextmanager, suppress
from typing import IO, TYPE_CHECKING

import attrs
import trio

from avr_bridge.soak.layout import bind

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

__all__ = ["Child", "open_child"]

END_S = 5.0
"""For a process that was asked to end; then it is killed."""
REAP_S = 1.0
"""For the system to bury one that was killed."""
LAST_BYTES = 4_000
LAST_LINES = 8


@attrs.frozen(eq=False)
class Child:
    """A running process; `open_child` ends it."""

    process: trio.Process
    stderr: IO[bytes]

    def last_words(self, lines: int = LAST_LINES) -> str:
        """The last lines of its standard error."""
        self.stderr.seek(0, 2)
        self.stderr.seek(max(0, self.stderr.tell() - LAST_BYTES))
        text = self.stderr.read().decode(errors="replace")
        return "\n".join(text.strip().splitlines()[-lines:])


_prctl = getattr(ctypes.CDLL(None), "prctl", None)
"""Linux's. Elsewhere a child outlives a parent that is killed without a word."""

_PR_SET_PDEATHSIG = 1


def _end_with_parent() -> None:
    """In the child: SIGTERM if we are killed, so that nothing stays behind and spoils the next
    run."""
    assert _prctl is not None
    _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


@asynccontextmanager
async def open_child(
    command: Sequence[str],
    *,
    cores: frozenset[int] = frozenset(),
    env: Mapping[str, str] | None = None,
    piped: bool = False,
) -> AsyncIterator[Child]:
    """Start a process; behind the body it gets SIGTERM, and SIGKILL if that does not help.

    It has a session of its own: Ctrl-C in the terminal is for us, who end it politely.

    Args:
        command: Program and arguments.
        cores: The only ones it may run on, with its children; none: any.
        env: Its environment; None: ours.
        piped: Whether its standard input and output are ours to write and read; else there is
            nothing.
    """
    with tempfile.TemporaryFile() as stderr:
        process = await trio.lowlevel.open_process(
            command,
            stdin=subprocess.PIPE if piped else subprocess.DEVNULL,
            stdout=subprocess.PIPE if piped else subprocess.DEVNULL,
            stderr=stderr,
            env=env,
            start_new_session=True,
            preexec_fn=_end_with_parent if _prctl else None,
        )
        try:
            if cores:
                bind(process.pid, cores)
            yield Child(process, stderr)
            with suppress(ProcessLookupError):
                process.terminate()
            with trio.move_on_after(END_S):
                await process.wait()
        finally:
            if process.poll() is None:
                process.kill()
            with trio.move_on_after(REAP_S, shield=True):
                await process.wait()
                for pipe in (process.stdin, process.stdout):
                    if pipe is not None:
                        await pipe.aclose()
