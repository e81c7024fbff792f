"""The live display of a soak run: a panel on a terminal, a line every ten seconds elsewhere.

Shows what it is told; whether that is good is said at the end, by `soak_text.py`.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from avr_bridge.soak.collect import Progress

__all__ = ["Display", "open_display"]

LINE_EVERY_S = 10
FRAMES_PER_S = 2
"""The display costs processor time on the generator's core."""
WORDS = {"ramp": "calls are being placed", "settle": "settling", "measure": "measuring"}


class Display:
    """Takes each second of a run."""

    def __init__(self, console: Console, live: Live | None) -> None:
        self._console = console
        self._live = live
        self._title = ""
        self._lined_s = 0.0

    def begin(self, title: str) -> None:
        """A run begins; its name stands above."""
        self._title = title
        self._lined_s = 0.0
        if self._live is None:
            self._console.print(title, markup=False, highlight=False, soft_wrap=True)
        else:
            self._live.start()

    def show(self, progress: Progress) -> None:
        """One second."""
        if self._live is not None:
            self._live.update(self._panel(progress))
        elif progress.tick.at_s - self._lined_s >= LINE_EVERY_S:
            self._lined_s = progress.tick.at_s
            self._console.print(_line(progress), markup=False, highlight=False, soft_wrap=True)

    def _panel(self, progress: Progress) -> Group:
        table = Table.grid(padding=(0, 2))
        table.add_column(style="dim")
        table.add_column()
        for name, value in _facts(progress):
            table.add_row(name, Text(value))
        phase = Table.grid(padding=(0, 2))
        bar = ProgressBar(total=1.0, completed=progress.share, width=40)
        phase.add_row(Text(WORDS.get(progress.phase, progress.phase)), bar)
        return Group(Text(self._title, style="bold"), phase, table)


@contextmanager
def open_display(console: Console) -> Iterator[Display]:
    """A display while the body runs; what it showed is wiped at the end."""
    if not console.is_terminal:
        yield Display(console, None)
        return
    live = Live(console=console, refresh_per_second=FRAMES_PER_S, transient=True)
    try:
        yield Display(console, live)
    finally:
        live.stop()


def _facts(progress: Progress) -> list[tuple[str, str]]:
    tick, probes = progress.tick, progress.probes_ms
    short = f" and {tick.short_up} short ones" if tick.short_up else ""
    errors = ", ".join(f"{kind} ({count})" for kind, count in sorted(progress.errors.items()))
    facts = [
        ("calls up", f"{tick.up}{short}"),
        ("round trip", f"p50 {probes.p50:.1f} ms, p99 {probes.p99:.1f} ms of {probes.count}"),
        ("errors", errors or "none"),
    ]
    sample = progress.sample
    if sample is not None:
        share = "" if progress.cpu_share is None else f"{progress.cpu_share:.0%} of a core, "
        facts.append(("container", f"{share}{sample.rss_mb:.1f} MB"))
    facts.append(("generator", f"{tick.cpu:.0%} of its core, late {tick.lag_ms:.1f} ms"))
    return facts


def _line(progress: Progress) -> str:
    facts = "; ".join(f"{name}: {value}" for name, value in _facts(progress))
    word = WORDS.get(progress.phase, progress.phase)
    return f"{progress.tick.at_s:6.0f} s  {word} ({progress.share:.0%}); {facts}"
