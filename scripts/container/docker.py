"""A Docker daemon that lives as long as a block: Debian's, in namespaces of its own.

Networks, mounts and processes are the daemon's own, so nothing of it is seen on this machine,
nothing meets an engine that runs here already, and all of it ends together. Images stay in its
folder.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.container.shell import Failed, Skipped, find_program, run

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["Docker", "open_docker"]

START_S = 30
STOP_S = 10
STEP_S = 120
ASKED_S = 0.2
LOG_LINES = 5
OWN = ("--net", "--mount", "--pid", "--mount-proc", "--fork", "--kill-child")

UNTIL_TOLD = '"$@" & read -r _; kill -KILL "$!"; wait "$!"; exit 0'
"""Runs a program until standard input ends: with us, however we end. unshare heeds no gentler
signal; by then nothing runs in the daemon any more."""


class Docker:
    """The engine, by its command line; made by `open_docker`."""

    def __init__(self, socket: Path) -> None:
        self._env = {"DOCKER_HOST": f"unix://{socket}", "DOCKER_BUILDKIT": "0"}
        self._docker = find_program("docker")
        self._compose = self._find_compose()

    def _find_compose(self) -> tuple[str, ...]:
        """The plugin; where there is none the older program, which is Debian's."""
        try:
            run(self._docker, "compose", "version", limit_s=STEP_S)
        except Failed:
            return (find_program("docker-compose"),)
        return (self._docker, "compose")

    def run(self, *words: str, limit_s: float = STEP_S) -> str:
        """``docker ...``: what it writes.

        Raises:
            Failed: It failed, or took too long.
        """
        return run(self._docker, *words, limit_s=limit_s, env=self._env).strip()

    def compose(
        self, *words: str, limit_s: float = STEP_S, env: Mapping[str, str] | None = None
    ) -> str:
        """``docker compose ...``: what it writes."""
        return run(*self._compose, *words, limit_s=limit_s, env={**self._env, **(env or {})})

    def inspect(self, container: str, what: str) -> str:
        """One value of what the engine knows of a container, such as ``.State.ExitCode``."""
        return self.run("inspect", "--format", f"{{{{{what}}}}}", container)

    def has(self, image: str) -> bool:
        """Whether there is an image of that name."""
        return bool(self.run("images", "--quiet", image))


@contextmanager
def open_docker(folder: Path) -> Iterator[Docker]:
    """Run a daemon until the block ends; what it stores is in `folder`, and stays.

    Raises:
        Skipped: It is not installed, or does not run here.
    """
    with tempfile.TemporaryDirectory(prefix="avr-docker-") as place:
        docker = Docker(Path(place) / "socket")
        log = Path(place) / "log"
        with log.open("wb") as writing, _running(folder, Path(place), writing.fileno()) as daemon:
            _wait_started(docker, daemon, log)
            yield docker


@contextmanager
def _running(folder: Path, place: Path, log: int) -> Iterator[subprocess.Popen[bytes]]:
    daemon = " ".join(
        (
            "ip link set lo up; exec",
            find_program("dockerd"),
            f"--data-root '{folder}' --exec-root '{place}/exec' --pidfile '{place}/pid'",
            f"--host 'unix://{place}/socket'",
        )
    )
    find_program("ip")
    find_program("iptables")
    process = subprocess.Popen(
        ["/bin/sh", "-c", UNTIL_TOLD, "until-told", "unshare", *OWN, "/bin/sh", "-c", daemon],
        # /usr/sbin, too: the daemon looks for iptables.
        env={**os.environ, "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"},
        stdin=subprocess.PIPE,
        stdout=log,
        stderr=log,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            process.wait()


def _wait_started(docker: Docker, daemon: subprocess.Popen[bytes], log: Path) -> None:
    since = time.monotonic()
    while time.monotonic() - since < START_S:
        try:
            docker.run("version", limit_s=START_S)
        except Failed:
            time.sleep(ASKED_S)
        else:
            return
        if daemon.poll() is not None:
            break
    last = " / ".join(log.read_text(errors="replace").splitlines()[-LOG_LINES:])
    raise Skipped(f"no Docker daemon runs here: {last}")
