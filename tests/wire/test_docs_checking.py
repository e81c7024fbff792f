"""docs/checking.md says what happens: each of its commands runs, beside a bridge that runs."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from avr_bridge.cli.check import EXIT_MODEL, EXIT_NEIGHBOURS
from avr_bridge.testing import SimulatedAmi, SimulatedRealtime
from tests.wire.conftest import open_bridge

PAGE = (Path(__file__).parents[2] / "docs" / "checking.md").read_text()
LIMIT_S = 60
COMMANDS = [
    line
    for block in re.findall(r"^```sh\n(.*?)^```", PAGE, re.M | re.S)
    for line in block.splitlines()
]


def environment(**variables: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("OPENAI_", "AVR_", "PORT"))}
    return {**kept, "OPENAI_API_KEY": "k" * 20, "AVR_HOST": "127.0.0.1", **variables}


def test_the_page_has_commands_for_each_of_the_three() -> None:
    """And one that serves."""
    named = {shlex.split(line)[-1 if "serve" in line else 1] for line in COMMANDS}
    assert named == {"health", "explain", "check", "serve"}


@pytest.mark.parametrize("line", [one for one in COMMANDS if "serve" not in one])
async def test_a_command_of_the_page_runs(line: str) -> None:
    """With exit code 0, against a bridge, a model and an avr-ami that are well."""
    simulator = SimulatedRealtime()
    with trio.fail_after(LIMIT_S):
        async with open_bridge(simulator) as bridge, trio.open_nursery() as nursery:
            endpoint = await nursery.start(simulator.serve)
            ami = await nursery.start(SimulatedAmi([]).serve)
            port = bridge.http.rpartition(":")[2]
            program, *arguments = shlex.split(line.replace(":6030", f":{port}"))
            assert program == "avr-bridge"
            done: subprocess.CompletedProcess[bytes] = await trio.run_process(
                [sys.executable, "-m", "avr_bridge", *arguments],
                env=environment(PORT=port, OPENAI_ENDPOINT=endpoint, AMI_URL=ami),
                capture_stdout=True,
                stderr=subprocess.STDOUT,
                check=False,
            )
            nursery.cancel_scope.cancel()
    assert done.returncode == 0, done.stdout.decode()


async def test_the_command_that_serves_runs() -> None:
    """With the setting as the page writes it."""
    (line,) = [one for one in COMMANDS if "serve" in one]
    assignment, program, *arguments = shlex.split(line)
    assert program == "avr-bridge"
    name, _, value = assignment.partition("=")
    with trio.fail_after(LIMIT_S):
        process = await trio.lowlevel.open_process(
            [sys.executable, "-m", "avr_bridge", *arguments],
            env=environment(PORT="0", **{name: value}),
            stderr=subprocess.PIPE,
        )
        assert process.stderr is not None
        async with process.stderr:
            out = b""
            while b"listening" not in out:
                out += await process.stderr.receive_some()
            process.send_signal(signal.SIGTERM)
            assert await process.wait() == 0


def test_the_pages_exit_codes_are_the_codes() -> None:
    """In the table at the head of the page."""
    row = next(line for line in PAGE.splitlines() if line.startswith("| `avr-bridge check`"))
    assert f"{EXIT_MODEL} the model" in row
    assert f"{EXIT_NEIGHBOURS} beside the model" in row
    assert "2 a setting" in row
