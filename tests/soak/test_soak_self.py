"""A short real soak: our own bridge, the generator, and everything between them."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any

import trio

if TYPE_CHECKING:
    from pathlib import Path

LIMIT_S = 90
CORRECT = ("--min-heard", "0.99", "--max-errors", "0", "--max-lost-probes", "0")
NOT_AT_FAULT = ("bottleneck", "late", "others used")
"""Words of a busy test machine, in a verdict: what is missed in time is not the bridge's then."""


async def soak(tmp_path: Path, *args: str) -> dict[str, Any]:
    """Run the command; its report. What it printed is shown if the test fails."""
    path = tmp_path / "soak.json"
    command = [sys.executable, "-m", "avr_bridge", "soak", "--self", "--no-pin", *CORRECT]
    with trio.fail_after(LIMIT_S):
        ended = await trio.run_process(
            [*command, "--json", str(path), *args],
            capture_stdout=True,
            capture_stderr=True,
            check=False,
            env=_bare_environ(),
        )
    print(ended.stdout.decode(), ended.stderr.decode())
    assert ended.returncode in (0, 1, 3)
    report: dict[str, Any] = json.loads(path.read_text())
    return report


def _bare_environ() -> dict[str, str]:
    """Without settings of the machine's own."""
    return {k: v for k, v in os.environ.items() if not k.startswith(("OPENAI_", "AVR_", "PORT"))}


def serious(report: dict[str, Any]) -> list[str]:
    """What made the run void, but for a machine that had too much to do."""
    return [
        words
        for words in report["verdict"]["void"]
        if not any(harmless in words for harmless in NOT_AT_FAULT)
    ]


async def test_twenty_calls_hold(tmp_path: Path) -> None:
    """All are up to the end, both ends hear all, no probe is lost; nothing is left open."""
    report = await soak(
        tmp_path, "--calls", "20", "--ramp", "10/s", "--settle", "2s", "--duration", "20s"
    )
    assert serious(report) == []
    assert report["calls_held"] == 20
    assert report["errors"] == {}
    assert report["probes_ms"]["count"] > 100
    if not report["verdict"]["void"]:  # else this machine was too busy to tell
        assert report["verdict"]["missed"] == []
        assert report["heard_share_least"] >= 0.99
        assert report["model_heard_share_least"] >= 0.99
    subject = report["subject"]
    assert subject["cpu_ms_per_call_s"] > 0
    assert subject["descriptors_after"] <= subject["descriptors_idle"] + 2


async def test_a_life_of_calls_over_http_without_an_error(tmp_path: Path) -> None:
    """Short calls come and go beside those that stay, callers hang up, and the model uses tools."""
    report = await soak(
        tmp_path,
        *("--transport", "http", "--calls", "5", "--settle", "2s", "--duration", "10s"),
        *("--arrivals", "2/s", "--arrival-length", "1s", "--hangups", "6/min", "--tools", "12/min"),
    )
    assert serious(report) == []
    assert report["errors"] == {}
    assert report["arrivals"] > 5
    assert report["arrivals_failed"] == 0
    assert sum(call["tools_answered"] for call in report["calls"]) > 0
