"""A stream written by a thread: whoever does not read the log holds up no call.

A pipe is full after 64 kB; a log collector that stalls would otherwise stop the event loop, and
with it every call of the process.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import queue
import threading
from typing import TextIO

__all__ = ["BackgroundStream"]

MOST_LINES = 10_000
"""Lines that wait, at about 300 bytes each 3 MB. More are lost, and counted."""

LAST_LINES_S = 1.0
"""How long the end of the program waits for the lines that are left."""


class BackgroundStream:
    """Takes whole lines without waiting; a thread of its own writes them to `stream`."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lines: queue.Queue[str | None] = queue.Queue(MOST_LINES)
        self._lost = 0
        self._thread = threading.Thread(target=self._write_all, name="log", daemon=True)
        self._thread.start()
        atexit.register(self.close)

    def write(self, text: str) -> None:
        """Queue a line; it is lost if too many wait."""
        try:
            self._lines.put_nowait(text)
        except queue.Full:
            self._lost += 1

    def flush(self) -> None:
        """Lines are flushed as they are written."""

    def close(self) -> None:
        """Write what is left, for a second at the most."""
        with contextlib.suppress(queue.Full):
            self._lines.put_nowait(None)
            self._thread.join(LAST_LINES_S)

    def _write_all(self) -> None:
        while (line := self._lines.get()) is not None:
            lost, self._lost = self._lost, 0
            if lost:
                line = f"{lost} log lines were lost: nobody read them\n{line}"
            with contextlib.suppress(OSError, ValueError):
                self._stream.write(line)
                if self._lines.empty():
                    self._stream.flush()
        try:
            self._stream.flush()
        except (OSError, ValueError):
            self._give_up()

    def _give_up(self) -> None:
        """What the stream could not be rid of goes nowhere: Python would try it once more at the
        very end, and for its failure change the exit code to 120."""
        with contextlib.suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)
