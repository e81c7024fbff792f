"""The end of a soak run in words on the terminal, and its files.

Arranges what `avr_bridge.soak` has found and formatted.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import click
import msgspec
from rich.table import Table
from rich.text import Text

from avr_bridge.soak.figures import figure_rows, headline, verdict_lines
from avr_bridge.soak.junit import junit
from avr_bridge.soak.page import limit_page, page
from avr_bridge.soak.verdict import exit_code

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console

    from avr_bridge.soak.limit import LimitReport, Step
    from avr_bridge.soak.results import Report

__all__ = ["ReportFiles", "say_limit", "say_report", "say_step"]

STYLES = {0: "bold green", 1: "bold red", 3: "bold yellow"}


@attrs.frozen
class ReportFiles:
    """Where the report goes; None: nowhere."""

    json: Path | None
    html: Path | None
    junit: Path | None

    def check(self) -> None:
        """Find out before the run, not when it is over and its figures lost.

        Raises:
            click.BadParameter: One cannot be written.
        """
        for option, path in attrs.asdict(self).items():
            if path is None:
                continue
            there = path.exists()
            try:
                path.open("ab").close()
                if not there:
                    path.unlink()
            except OSError as error:
                words = f"{path}: {error.strerror or error}"
                raise click.BadParameter(words, param_hint=f"--{option}") from None

    def write(self, report: Report) -> list[str]:
        """Write a run; what could not be written, in words."""
        return self._write(report, lambda: page(report), report)

    def write_limit(self, found: LimitReport) -> list[str]:
        """Write a search; as JUnit the run at the limit, or the one that SIGTERM ended."""
        judged = found.steps[-1].report if found.terminated else found.best
        return self._write(found, lambda: limit_page(found), judged)

    def _write(self, whole: msgspec.Struct, html: Callable[[], str], judged: Report) -> list[str]:
        makers: list[tuple[Path | None, Callable[[], bytes]]] = [
            (self.json, lambda: msgspec.json.encode(whole)),
            (self.html, lambda: html().encode()),
            (self.junit, lambda: junit(judged)),
        ]
        failures = []
        for path, make in makers:
            if path is not None:
                try:
                    path.write_bytes(make())
                except OSError as error:
                    failures.append(f"{path} could not be written: {error.strerror or error}")
        return failures


def say_report(console: Console, report: Report) -> None:
    """The table of figures, and the verdict last."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column()
    for name, value in figure_rows(report):
        table.add_row(name, Text(value))
    console.print()
    console.print(table)
    console.print()
    for line in verdict_lines(report):
        console.print(Text(line), soft_wrap=True)
    console.print(Text(headline(report), style=STYLES[exit_code(report.verdict)]))


def say_step(console: Console, step: Step) -> None:
    """One step of a search, in a line."""
    report = step.report
    verdict = report.verdict
    why = "; ".join(verdict.facts or verdict.void or verdict.missed)
    again = " (second try)" if step.again else ""
    words = f"{step.calls:6} calls  {step.outcome}{again}"
    figures = f"p99 {report.probes_ms.p99:.1f} ms, heard {report.heard_share_least:.2%}"
    console.print(Text(f"{words}  {figures}" + (f"  {why}" if why else "")), soft_wrap=True)


def say_limit(console: Console, found: LimitReport) -> None:
    """The steps as a table, and the limit last."""
    table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0))
    for name in ("calls", "outcome", "p99 ms", "heard", "ms/call-s", "container", "generator"):
        table.add_column(name, justify="left" if name == "outcome" else "right")
    for step in found.steps:
        report, subject = step.report, step.report.subject
        table.add_row(
            str(step.calls),
            step.outcome + (", second try" if step.again else ""),
            f"{report.probes_ms.p99:.1f}",
            f"{report.heard_share_least:.2%}",
            f"{subject.cpu_ms_per_call_s:.2f}" if subject else "",
            f"{subject.cpu_share:.0%}" if subject else "",
            f"{report.generator_cpu:.0%}",
        )
    console.print()
    console.print(table)
    console.print()
    console.print(Text(f"limit: {found.words}", style="bold"), soft_wrap=True)
