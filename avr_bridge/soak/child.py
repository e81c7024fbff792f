"""A process that the soak run starts: bound to its core, its trouble kept, ended for certain.

Knows nothing of what the process does.
"""

from __future__ import annotations

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


_END_WITH_US = 'read -r _; kill -s TERM -- "-$0"'
"""A shell that reads from us gets to the end of its input when we are gone, however we ended, and
then ends the process group that it was told. The kernel's own way (prctl's PR_SET_PDEATHSIG) takes
the thread that started a process for its parent: Trio's, which ends when it was idle for ten
seconds, and the process with it."""


@asynccontextmanager
async def open_child(
    command: Sequence[str],
    *,
    cores: frozenset[int] = frozenset(),
    env: Mapping[str, str] | None = None,
    piped: bool = False,
) -> AsyncIterator[Child]:
    """Start a process; behind the body it gets SIGTERM, and SIGKILL if that does not help.

    It has a session of its own: Ctrl-C in the terminal is for us, who end it politely. If we are
    killed without a word it gets SIGTERM too, and spoils no later run.

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
        )
        try:
            if cores:
                bind(process.pid, cores)
            async with _ended_with_us(process.pid):
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


@asynccontextmanager
async def _ended_with_us(group: int) -> AsyncIterator[None]:
    watcher = await trio.lowlevel.open_process(
        ["sh", "-c", _END_WITH_US, str(group)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    assert watcher.stdin is not None
    try:
        yield
    finally:
        watcher.kill()
        with trio.move_on_after(REAP_S, shield=True):
            await watcher.wait()
            await watcher.stdin.aclose()
