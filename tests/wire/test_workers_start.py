"""The process above the workers, with workers that hang before they are ready. It is the real one;
only its patience is shorter, and what it starts are small programs in place of bridges."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LIMIT_S = 30

PARENT = """
import sys
from avr_bridge import BridgeConfig, LogConfig, ModelConfig, ServerConfig
from avr_bridge.server.workers_parent import WorkersParent
from avr_bridge.server.workers_watch import Patience
from avr_bridge.telemetry import configure_logging

configure_logging(LogConfig(format="json"))
config = BridgeConfig(server=ServerConfig(host="127.0.0.1", port=0))
command = [sys.executable, *sys.argv[1:]]
parent = WorkersParent(config, 2, command, starting=Patience(told_s=2.0, killed_s=4.0))
print("exit code", parent.run(), flush=True)
"""

WORKER = """
import pathlib, socket, sys, threading, time
from avr_bridge.server.workers_board import Board, Seat

folder, hangs_at, words = sys.argv[1:]
place, board, listening, channel = words.split(":")
number, _, workers = place.partition("/")
starts = pathlib.Path(folder, number)
start = len(starts.read_text()) + 1 if starts.exists() else 1
starts.write_text("x" * start)
if f"{number}.{start}" in hangs_at.split(","):
    time.sleep(600)
seat = Seat(Board(int(board), int(workers)), int(number))
channel = socket.socket(fileno=int(channel))
channel.send(b"r")
assert channel.recv(1) == b"o"
seat.begin()
if number == "1" and start == 1 and "1.2" in hangs_at:
    raise SystemExit(3)  # dies, so that its place is taken anew
channel.settimeout(0.1)
while True:
    seat.beat(refuses=False)
    try:
        if channel.recv(1) in (b"d", b""):
            raise SystemExit(0)
    except TimeoutError:
        pass
"""


@contextmanager
def started(folder: Path, hangs_at: str) -> Iterator[tuple[subprocess.Popen[str], list[Any]]]:
    """A parent of two workers, and its log, which `read_until` fills. `hangs_at` names the starts
    that hang: ``1.2`` is the second start of the first worker."""
    (folder / "parent.py").write_text(PARENT)
    (folder / "worker.py").write_text(WORKER)
    (folder / "starts").mkdir()
    words = [str(folder / "worker.py"), str(folder / "starts"), hangs_at]
    process = subprocess.Popen(
        [sys.executable, str(folder / "parent.py"), *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process, []
    finally:
        process.kill()
        process.communicate()


def read_until(process: subprocess.Popen[str], log: list[Any], event: str) -> dict[str, Any]:
    """Read its log up to the first line of this kind."""
    assert process.stderr is not None
    for line in process.stderr:
        log.append(json.loads(line))
        if log[-1]["event"] == event:
            found: dict[str, Any] = log[-1]
            return found
    raise AssertionError(f"no {event!r} in {log}")


def test_a_worker_that_is_never_ready_ends_the_start(tmp_path: Path) -> None:
    """Of two one hangs: it is told of, then killed, and the bridge gives up with 1. A bridge that
    never listens would be found out by its callers."""
    with started(tmp_path, "2.1") as (process, log):
        late = read_until(process, log, "a worker is not ready")
        assert (late["level"], late["worker"]) == ("warning", 2)
        killed = read_until(process, log, "a worker hangs and is killed")
        assert (killed["level"], killed["worker"]) == ("error", 2)
        assert killed["silent_s"] >= 4
        died = read_until(process, log, "a worker died")
        assert (died["worker"], died["status"]) == (2, "SIGKILL")
        out, _ = process.communicate(timeout=LIMIT_S)
    assert out == "exit code 1\n"
    assert not [line for line in log if line["event"] == "listening"]
    assert [line["worker"] for line in log if line["event"] == "a worker is not ready"] == [2]


def test_a_successor_that_is_never_ready_is_replaced(tmp_path: Path) -> None:
    """One died, and its successor hangs before it is ready: a third one takes the place, the other
    worker goes on, and the bridge ends as usual with 0."""
    with started(tmp_path, "1.2") as (process, log):
        read_until(process, log, "listening")
        died = read_until(process, log, "a worker died")
        assert (died["worker"], died["status"]) == (1, "exit code 3")
        late = read_until(process, log, "a worker is not ready")
        assert (late["level"], late["worker"]) == ("warning", 1)
        killed = read_until(process, log, "a worker hangs and is killed")
        assert (killed["worker"], killed["calls"]) == (1, 0)
        replaced = read_until(process, log, "a worker was replaced")
        assert replaced["worker"] == 1
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=LIMIT_S)
    assert out == "exit code 0\n"
    assert {line["worker"] for line in log if "worker" in line} == {1}
