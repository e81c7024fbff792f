"""Signals while the process starts: SIGTERM and SIGINT end it with exit code 0, until it listens.

Before everything else, so it imports nothing that takes time, and nothing of ours. Only the
command line calls it: a program that embeds the bridge keeps its own handlers. It knows no drain;
`cli/serve.py` takes the signals over as soon as there may be calls.
"""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType

__all__ = ["SIGNALS", "hand_over", "heed", "ignore"]

SIGNALS = (signal.SIGTERM, signal.SIGINT)

_handed_over = False


def heed() -> None:
    """End the process at the first signal. Also as process 1, which gets no others than those that
    it has a handler for."""
    global _handed_over
    _handed_over = False
    for number in SIGNALS:
        signal.signal(number, _end)


def hand_over() -> None:
    """From now on do nothing: another handler is in place, which may give signals back that nobody
    took."""
    global _handed_over
    _handed_over = True


def ignore() -> None:
    """For the very end: one signal more is no reason to die of it. Python's last act is to take
    away its handlers, but not this."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _end(number: int, _frame: FrameType | None) -> None:
    if _handed_over:
        return
    # Not by an exception: it would come out of the middle of an import, or of Trio, changed. There
    # is no call, no connection and no file to finish.
    name = signal.Signals(number).name
    try:
        os.write(2, f"avr-bridge: {name} during the start: ended\n".encode())
    finally:
        os._exit(0)
