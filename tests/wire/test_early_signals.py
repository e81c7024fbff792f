"""SIGTERM and SIGINT while `avr-bridge serve` starts, at places where it is held up on purpose."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.wire.test_cli_serve import bare_environ

if TYPE_CHECKING:
    from collections.abc import Iterator

LIMIT_S = 30
LINE = "avr-bridge: {} during the start: ended"

HOLD_UP = """
import os, sys, time
def hold_up():
    os.write(2, b"held up\\n")
    while True:
        time.sleep(0.1)
"""
SITE = f"""{HOLD_UP}
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == os.environ["HOLD_UP_AT"]:
            hold_up()
sys.meta_path.insert(0, Finder())
"""
"""Python imports a `sitecustomize` of its own accord; this one never finishes a certain import."""

TOOL = f"{HOLD_UP}\nhold_up()\n"

COMMANDS = {
    "module": [sys.executable, "-m", "avr_bridge"],
    "script": [str(Path(sys.executable).with_name("avr-bridge"))],
}
SERVE = ["serve", "--host", "127.0.0.1", "--port", "0"]


@contextmanager
def held_up(
    folder: Path, at: str, command: list[str]
) -> Iterator[tuple[subprocess.Popen[bytes], bytes]]:
    """A process that has come to the import of `at`, or of a tool, and what it wrote until then."""
    site, tools = folder / "site", folder / "tools"
    site.mkdir()
    tools.mkdir()
    (site / "sitecustomize.py").write_text(SITE)
    if at == "a tool":
        (tools / "slow.py").write_text(TOOL)
    process = subprocess.Popen(
        command,
        env=bare_environ(
            OPENAI_API_KEY="k", AVR_TOOLS_DIR=str(tools), PYTHONPATH=str(site), HOLD_UP_AT=at
        ),
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    assert process.stderr is not None
    try:
        yield process, process.stderr.readline()
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    "at", ["avr_bridge.cli", "click", "trio", "numpy", "avr_bridge.cli.serve", "quart", "a tool"]
)
def test_a_signal_during_the_start(command: str, at: str, tmp_path: Path) -> None:
    """Wherever the imports are: exit code 0 at once, one line on standard error, no traceback."""
    number = signal.SIGINT if at == "trio" else signal.SIGTERM
    with held_up(tmp_path, at, [*COMMANDS[command], *SERVE]) as (process, written):
        assert written == b"held up\n"
        process.send_signal(number)
        assert process.wait(LIMIT_S) == 0
        assert process.stderr is not None
        assert process.stderr.read().decode().splitlines() == [LINE.format(number.name)]


@pytest.mark.parametrize("at", ["numpy", "a tool"])
def test_a_signal_during_the_start_of_process_1(at: str, tmp_path: Path) -> None:
    """In a container without an init the kernel delivers it all the same."""
    isolated = ["unshare", "--pid", "--fork", "--kill-child"]
    isolated += [] if os.geteuid() == 0 else ["--map-root-user"]
    if subprocess.run([*isolated, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("no process namespaces here")
    with held_up(tmp_path, at, [*isolated, *COMMANDS["module"], *SERVE]) as (process, written):
        assert written == b"held up\n"
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        assert len(children) == 1
        os.kill(int(children[0]), signal.SIGTERM)
        assert process.wait(LIMIT_S) == 0
        assert process.stderr is not None
        assert process.stderr.read().decode().splitlines() == [LINE.format("SIGTERM")]


def test_other_commands_are_left_alone(tmp_path: Path) -> None:
    """Nobody waits for the exit code of a demo: a signal ends it as any program."""
    with held_up(tmp_path, "click", [*COMMANDS["module"], "demo"]) as (process, _):
        process.send_signal(signal.SIGTERM)
        assert process.wait(LIMIT_S) == -signal.SIGTERM
