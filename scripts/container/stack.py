"""The Compose example, started: a call from a real Asterisk through every container of it.

Only ours and Asterisk are what they are in production; avr-core and avr-ami have stand-ins, under
the names that the example gives, and the model is the simulated one. `neighbours/` holds them.
"""

from __future__ import annotations

import json
import resource
import shutil
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from avr_bridge.testing import clip, likeness, read_wav
from scripts.asterisk import ROOT, why_not
from scripts.container.shell import Failed, Skipped, run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from scripts.container.docker import Docker
    from scripts.container.image import Buildah

__all__ = ["StackFindings", "try_stack"]

NEIGHBOURS = Path(__file__).parent / "neighbours"
ASTERISK = "localhost/asterisk"
PROJECT = "avr-bridge-test"
BRIDGE, CORE, SWITCH = "avr-sts-openai", "avr-core", "avr-asterisk"
IMPORT_S = 240
UP_S = 120
CALL_S = 40
ENDED_S = 5
POLL_S = 0.25
STOP_S = 60
ALIKE = 0.9
WANTED_FILES = 65_536


@attrs.frozen
class StackFindings:
    """What was measured."""

    up_after_s: float
    alike: float
    stopped_after_s: float


def try_stack(docker: Docker, buildah: Buildah, image: str, example: Path) -> StackFindings:
    """Start the example, place a call, stop it.

    Args:
        image: The bridge's, as buildah knows it.
        example: The folder of the Compose file.

    Raises:
        Skipped: There is no Asterisk here.
        Failed: Something is not as it should be.
    """
    if why := why_not():
        raise Skipped(why)
    with tempfile.TemporaryDirectory(prefix="avr-stack-") as scratch:
        _load(docker, buildah, image, Path(scratch))
        folder = Path(scratch) / "compose"
        shutil.copytree(example, folder)
        shutil.copy(folder / ".env.example", folder / ".env")
        with _up(docker, folder) as stack:
            up_after_s = stack.wait_up()
            stack.check_box()
            alike = stack.call(Path(scratch))
            stopped_after_s = stack.stop()
    return StackFindings(up_after_s, alike, stopped_after_s)


def _load(docker: Docker, buildah: Buildah, image: str, scratch: Path) -> None:
    """Give the daemon the image, an Asterisk, and what stands in for the others."""
    archive = scratch / "avr-bridge.tar"
    buildah.save(image, archive, "avr-bridge:latest")
    docker.run("load", "--quiet", "--input", str(archive))
    archive.unlink()
    tag = f"{ASTERISK}:{ROOT.name}"
    if not docker.has(tag):
        packed = scratch / "asterisk.tar"
        run("tar", "-C", str(ROOT), "--exclude=./tmp/*", "-cf", str(packed), ".", limit_s=IMPORT_S)
        docker.run("import", str(packed), tag, limit_s=IMPORT_S)
        packed.unlink()
    docker.run("tag", tag, ASTERISK)
    for name in ("asterisk", "core", "ami"):
        context = scratch / name
        context.mkdir()
        if (NEIGHBOURS / name).is_dir():
            shutil.copytree(NEIGHBOURS / name, context, dirs_exist_ok=True)
        (context / "question.sln").write_bytes(read_wav(clip("question")))
        file = NEIGHBOURS / f"{name}.Containerfile"
        tagged = f"agentvoiceresponse/avr-{name}"
        docker.run("build", "--quiet", "--tag", tagged, "--file", str(file), str(context))
    docker.run("image", "prune", "--force")  # those of former runs


@contextmanager
def _up(docker: Docker, folder: Path) -> Iterator[_Stack]:
    stack = _Stack(docker, folder)
    try:
        stack.compose("up", "--detach", "--no-build", limit_s=UP_S)
        yield stack
    except Failed as failed:
        logs = stack.compose("logs", "--no-color", "--tail=15")
        raise Failed(f"{failed}\n{logs}") from None
    finally:
        stack.compose("down", "--volumes", "--timeout=2")


class _Stack:
    def __init__(self, docker: Docker, folder: Path) -> None:
        self._docker = docker
        self._folder = folder
        self._since = time.monotonic()

    def compose(self, *words: str, limit_s: float = STOP_S) -> str:
        """A command of the example's Compose file, with ours beside it."""
        files = (self._folder / "compose.yaml", NEIGHBOURS / "with-model.yaml")
        _, most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
        given = [word for file in files for word in ("--file", str(file))]
        return self._docker.compose(
            *("--project-name", PROJECT, "--project-directory", str(self._folder), *given, *words),
            limit_s=limit_s,
            env={"NOFILE": str(min(most_files, WANTED_FILES))},
        )

    def _container(self, service: str) -> str:
        return self.compose("ps", "--quiet", service).strip()

    def _asterisk(self, command: str) -> str:
        return self._docker.run("exec", self._container(SWITCH), "asterisk", "-rx", command)

    def wait_up(self) -> float:
        """Until Asterisk takes calls; avr-core was started when the bridge was healthy, and not
        before. Seconds since the start."""
        self._until(lambda: "fully booted" in self._asterisk("core waitfullybooted"), UP_S)
        up_after_s = time.monotonic() - self._since
        bridge = self._container(BRIDGE)
        if (health := self._docker.inspect(bridge, ".State.Health.Status")) != "healthy":
            raise Failed(f"the bridge is {health}")
        known = self._asterisk("pjsip show endpoints")
        if missing := [name for name in ("1000", "1001") if name not in known]:
            raise Failed(f"Asterisk knows no telephone {missing}: {known}")
        return up_after_s

    def check_box(self) -> None:
        """What the example takes from the bridge's container is taken."""
        bridge = self._container(BRIDGE)
        status = self._docker.run("exec", bridge, "cat", "/proc/self/status").splitlines()
        said = dict(line.split(":", 1) for line in status)
        if (rights := int(said["CapBnd"], 16)) or said["NoNewPrivs"].strip() != "1":
            raise Failed(f"the bridge could have rights: {rights:x}, {said['NoNewPrivs']}")
        try:
            self._docker.run("exec", bridge, "touch", "/usr/src/app/written")
        except Failed as failed:
            if "Read-only file system" in str(failed):
                return
            raise
        raise Failed("the bridge's root file system can be written")

    def call(self, scratch: Path) -> float:
        """One call to 5001. How like what was heard is to what was said."""
        question = read_wav(clip("question"))
        self._asterisk("channel originate Local/5001@demo/n extension 1@caller")
        switch = self._container(SWITCH)
        self._until(lambda: self._has(switch, "/recorded/done"), CALL_S)
        heard = scratch / "heard.wav"
        self._docker.run("cp", f"{switch}:/recorded/heard.wav", str(heard))
        alike = likeness(question, read_wav(heard)).correlation
        if alike < ALIKE:
            raise Failed(f"the caller heard something else: {alike:.2f} alike")
        ended = self._ended_line()
        if ended["reason"] != "caller_hung_up" or ended["metadata_keys"] != ["from", "to"]:
            raise Failed(f"a call of another kind: {ended}")
        return alike

    def _has(self, container: str, path: str) -> bool:
        try:
            self._docker.run("exec", container, "test", "-e", path)
        except Failed:
            return False
        return True

    def _ended_line(self) -> dict[str, Any]:
        """What the bridge's log says of the call."""
        found: list[dict[str, Any]] = []

        def look() -> bool:
            log = self.compose("logs", "--no-color", BRIDGE).splitlines()
            said = [line.partition("| ")[2] for line in log]
            lines = [json.loads(line) for line in said if line.startswith("{")]
            found[:] = [line for line in lines if line["event"] == "call ended"]
            return bool(found)

        self._until(look, ENDED_S)
        return found[0]

    def stop(self) -> float:
        """All of it; the bridge ends by itself. In seconds."""
        since, bridge = time.monotonic(), self._container(BRIDGE)
        self.compose("stop", limit_s=STOP_S)
        took_s = time.monotonic() - since
        if (code := self._docker.inspect(bridge, ".State.ExitCode")) != "0":
            raise Failed(f"the bridge ended with exit code {code}")
        return took_s

    def _until(self, true: Callable[[], bool], limit_s: float) -> None:
        since = time.monotonic()
        last = "nothing"
        while time.monotonic() - since < limit_s:
            try:
                if true():
                    return
            except Failed as failed:
                last = str(failed)
            time.sleep(POLL_S)
        raise Failed(f"not so after {limit_s} s; last: {last}")
