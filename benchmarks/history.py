"""Off the road: the benchmark's record, `results.jsonl`, a line of JSON for each run.

`python -m benchmarks.history` prints how the ratios to the yardstick went from commit to commit.
It measures nothing.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from benchmarks.contestants import YARDSTICK
from benchmarks.figures import Row

if TYPE_CHECKING:
    from collections.abc import Iterable

RESULTS = Path(__file__).with_name("results.jsonl")
PACKAGES = ("trio", "trio-websocket", "wsproto", "audioop-lts")
"""What the yardstick stands on: a ratio that jumps with one of them may be its doing."""
COMMIT_CHARS = 12


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """Where it ran; `packages` are versions of what the yardstick stands on."""

    cores: int
    processor: str
    system: str
    python: str
    packages: dict[str, str]


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """One run of the benchmark.

    Attributes:
        commit: What was measured; ends in ``+`` if files differed from it.
        date: ISO 8601, UTC.
        rounds: Of each row.
        duration_s: Of each run's measurement.
        bound: Whether container and generator had a core each.
    """

    commit: str
    date: str
    machine: Machine
    rounds: int
    duration_s: float
    bound: bool
    rows: list[Row]


def new_result(rows: list[Row], *, rounds: int, duration_s: float, bound: bool) -> Result:
    """Rows with the commit, the machine and the time that they are of."""
    return Result(
        commit=commit_words(_git("rev-parse", "HEAD"), _git("status", "--porcelain")),
        date=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        machine=Machine(
            cores=os.cpu_count() or 1,
            processor=_processor(),
            system=f"{platform.system()} {platform.release()}",
            python=platform.python_version(),
            packages={name: importlib.metadata.version(name) for name in PACKAGES},
        ),
        rounds=rounds,
        duration_s=duration_s,
        bound=bound,
        rows=rows,
    )


def commit_words(commit: str, status: str) -> str:
    """The commit, with ``+`` where `status` tells of a change other than to the record itself."""
    changed = [line for line in status.splitlines() if not line.endswith(RESULTS.name)]
    return (commit.strip()[:COMMIT_CHARS] or "unknown") + ("+" if changed else "")


def append(result: Result, path: Path = RESULTS) -> None:
    """Write a line behind the others."""
    with path.open("ab") as file:
        file.write(msgspec.json.encode(result) + b"\n")


def read(path: Path = RESULTS) -> list[Result]:
    """All lines, the oldest first; none if there is no record yet."""
    if not path.exists():
        return []
    lines = path.read_bytes().splitlines()
    return [msgspec.json.decode(line, type=Result) for line in lines if line.strip()]


def history(results: Iterable[Result]) -> list[str]:
    """Ratios to the yardstick in Markdown: a line for each row of each run."""
    head = ("date", "commit", "calls", "what", "CPU", "p50", "p99", "memory", "set-up", "cores")
    lines = [_line(head), _line(["---"] * len(head))]
    for result in results:
        for row in result.rows:
            if row.name != YARDSTICK:
                lines.append(_line(_cells(result, row)))
    return lines


def _cells(result: Result, row: Row) -> list[str]:
    names = ("cpu_ms", "p50_ms", "p99_ms", "mb_per_call", "set_up_ms")
    ratios = (row.ratios.get(name) for name in names)
    return [
        result.date[:10],
        result.commit,
        str(row.calls or "set-up"),
        row.name,
        *("" if ratio is None else f"{ratio:.2f}" for ratio in ratios),
        f"{result.machine.cores} {result.machine.processor}",
    ]


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _git(*args: str) -> str:
    try:
        ended = subprocess.run(
            ["git", *args], cwd=RESULTS.parent, capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        return ""
    return ended.stdout


def _processor() -> str:
    """The model's name where Linux tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def main() -> None:
    """Print the table."""
    print("\n".join(history(read())))


if __name__ == "__main__":
    main()
