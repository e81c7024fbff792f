"""`RunningCalls`: the calls that a process carries now, for who counts or ends them.

Filled by `run_call`. Knows no signal and no server; when the process has to stop is decided in
`server/`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from avr_bridge.call.farewell import say_farewell
from avr_bridge.telemetry import SeldomLog

if TYPE_CHECKING:
    from avr_bridge.call.ending import EndReason
    from avr_bridge.call.line import CallLine

__all__ = ["RunningCalls"]


class RunningCalls:
    """Calls from their first byte until their transport was closed.

    Attributes:
        nameless: Logs the ends of those that never said which call they are. Whoever finds the port
            can make any number of them: a scanner, or a load balancer that looks whether it is
            open.
    """

    def __init__(self) -> None:
        self.nameless = SeldomLog()
        self._lines: dict[int, CallLine] = {}
        self._none = trio.Event()
        self._none.set()
        self._over: tuple[EndReason, str] | None = None

    @property
    def count(self) -> int:
        """How many calls run."""
        return len(self._lines)

    @property
    def lines(self) -> list[CallLine]:
        """Those that run now."""
        return list(self._lines.values())

    def add(self, line: CallLine) -> None:
        """A call begins."""
        self._lines[id(line)] = line
        if self._none.is_set():
            self._none = trio.Event()
        if self._over is not None:
            line.ending.end(*self._over)

    def remove(self, line: CallLine) -> None:
        """A call is over."""
        self._lines.pop(id(line), None)
        if not self._lines:
            self._none.set()

    async def wait_none(self) -> None:
        """Wait until no call runs."""
        while self._lines:
            await self._none.wait()
        await trio.lowlevel.checkpoint()

    def say_farewell(
        self, clip_pcm: bytes, reason: EndReason, detail: str = "", *, finish_for_s: float = 0.0
    ) -> int:
        """Let every call hear `clip_pcm` (PCM16 LE mono, 8 kHz) and end: `farewell.say_farewell`.

        Returns:
            How many calls; those whose end was planned already are left alone.
        """
        return sum(
            say_farewell(line, clip_pcm, reason, detail, finish_for_s=finish_for_s)
            for line in self.lines
        )

    def end(self, reason: EndReason, detail: str = "") -> int:
        """End every call now, whatever is being said, and every one that still begins.

        Returns:
            How many calls there were.
        """
        self._over = (reason, detail)
        lines = self.lines
        for line in lines:
            line.ending.end(reason, detail)
        return len(lines)
