"""A worker's place under its parent: who is in it, how it is started again, told, and ended.

Whether it may go on is decided in `workers_parent.py`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from avr_bridge.server.workers_orders import OPEN

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["WorkerPlace", "restart_pause_s", "status_words", "worker_command"]

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 10.0


def restart_pause_s(deaths: int) -> float:
    """How long to wait before a worker is replaced that died so often in a row, from 1 on."""
    return float(min(FIRST_PAUSE_S * 2 ** min(deaths - 1, 10), LONGEST_PAUSE_S))


def worker_command(arguments: Sequence[str]) -> list[str]:
    """How this program is started again, in the way that it was, with other arguments."""
    script = Path(sys.argv[0])
    if script.name != "__main__.py" and script.stem == "avr-bridge" and script.is_file():
        return [sys.executable, str(script), *arguments]
    return [sys.executable, "-m", "avr_bridge", *arguments]


@attrs.define(eq=False)
class WorkerPlace:
    """A worker's place, and who is in it now: `process` and `channel`, or nobody."""

    number: int
    process: subprocess.Popen[bytes] | None = None
    channel: socket.socket | None = None
    ready: bool = False
    started_s: float = 0.0
    begun_s: float = 0.0
    hangs: bool = False
    killed: bool = False
    due_s: float = 0.0
    deaths: int = 0

    def begin(self) -> None:
        """Have it accept connections."""
        self.begun_s = time.monotonic()
        self.tell(OPEN)

    def tell(self, order: bytes) -> None:
        """Give it an order, if there is anybody."""
        if self.channel is not None:
            with contextlib.suppress(OSError):  # it is dying: its end is seen elsewhere
                self.channel.send(order)

    def kill(self, number: signal.Signals) -> None:
        """Send it a signal, if there is anybody."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.process.pid, number)


def status_words(code: int) -> str:
    """An exit status, such as ``exit code 1`` or ``SIGKILL``."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
