"""Images, by buildah: build one, and read what it says of itself. It needs no daemon.

chroot isolation asks nothing of the machine but root; how layers are stored is buildah's choice.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import msgspec

from scripts.container.shell import Failed, find_program, run

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Buildah", "Healthcheck", "Image", "Layer"]

BUILD_S = 420
STEP_S = 180
MOST_IMAGES = 100

type _Words = list[str]


class Healthcheck(msgspec.Struct, rename="pascal"):
    """HEALTHCHECK; times in nanoseconds."""

    test: _Words
    interval: int = 0
    timeout: int = 0
    start_period: int = 0
    retries: int = 0


class _Config(msgspec.Struct, rename="pascal"):
    user: str = ""
    exposed_ports: dict[str, dict[str, str]] = {}
    env: _Words = []
    entrypoint: _Words | None = None
    cmd: _Words | None = None
    working_dir: str = "/"
    labels: dict[str, str] | None = None
    stop_signal: str = ""
    healthcheck: Healthcheck | None = None


class _RootFs(msgspec.Struct):
    diff_ids: _Words


class _Step(msgspec.Struct):
    created_by: str = ""
    empty_layer: bool = False


class _Docker(msgspec.Struct):
    config: _Config
    rootfs: _RootFs
    history: list[_Step]


class _Inspected(msgspec.Struct):
    docker: _Docker = msgspec.field(name="Docker")


class _StoredLayer(msgspec.Struct, rename="kebab"):
    diff_digest: str = ""
    diff_size: int = 0


@attrs.frozen
class Layer:
    """One layer, and the step of the Containerfile that made it."""

    step: str
    size_bytes: int


@attrs.frozen
class Image:
    """What an image says of itself."""

    name: str
    user: str
    ports: frozenset[str]
    env: Mapping[str, str]
    command: tuple[str, ...]
    folder: str
    labels: Mapping[str, str]
    stop_signal: str
    healthcheck: Healthcheck | None
    layers: tuple[Layer, ...]
    steps: tuple[str, ...]

    @property
    def size_bytes(self) -> int:
        """All layers together, not compressed."""
        return sum(layer.size_bytes for layer in self.layers)


class Buildah:
    """Debian's buildah, with a storage of its own.

    Args:
        storage: Where images are kept from one run to the next.

    Raises:
        Skipped: It is not installed.
    """

    def __init__(self, storage: Path) -> None:
        self._storage = storage
        self._program = find_program("buildah")

    def _run(self, *words: str, limit_s: float = STEP_S) -> str:
        where = ("--root", str(self._storage / "root"), "--runroot", str(self._storage / "run"))
        env = {"BUILDAH_ISOLATION": "chroot"}
        return run(self._program, *where, *words, limit_s=limit_s, env=env).strip()

    def names(self) -> list[str]:
        """Of all images that are stored."""
        return self._run("images", "--format", "{{.Name}}:{{.Tag}}").splitlines()

    def fetch(self, name: str) -> None:
        """Have an image of somebody else's, from where it is if it is not here."""
        self._run("pull", "--quiet", "--policy", "missing", name, limit_s=BUILD_S)

    def forget(self, name: str) -> None:
        """Remove an image."""
        self._run("rmi", name)

    def commit_root(self, root: Path, name: str) -> None:
        """Make an image of a root file system."""
        container = self._run("from", "scratch")
        try:
            self._run("add", "--quiet", container, str(root), "/")
            self._run(
                "config",
                "--env",
                "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                container,
            )
            self._run("commit", "--quiet", "--rm", container, name)
        except Failed:
            self._run("rm", container)
            raise

    def build(self, checkout: Path, name: str, arguments: Mapping[str, str]) -> None:
        """Build the Containerfile, with its layers kept for the next time."""
        given = [word for pair in arguments.items() for word in ("--build-arg", "=".join(pair))]
        self._run(
            *("bud", "--layers", "--pull-never", "--format", "docker", "--tag", name),
            *given,
            *("--file", str(checkout / "Containerfile"), str(checkout)),
            limit_s=BUILD_S,
        )

    def save(self, name: str, archive: Path, as_name: str) -> None:
        """Write an image to a file that ``docker load`` takes, under another name."""
        self._run("push", "--quiet", name, f"docker-archive:{archive}:{as_name}")

    def tidy(self) -> None:
        """Remove what a run that was ended left, and former builds once there are many: a few are
        the next one's cache."""
        self._run("rm", "--all")
        if len(self._run("images", "--all", "--quiet").splitlines()) > MOST_IMAGES:
            self._run("rmi", "--prune", "--force")

    def inspect(self, name: str) -> Image:
        """What an image says of itself."""
        said = self._run("inspect", "--type", "image", name)
        docker = msgspec.json.decode(said, type=_Inspected).docker
        config = docker.config
        steps = [step.created_by for step in docker.history if not step.empty_layer]
        sizes = self._layer_sizes()
        return Image(
            name=name,
            user=config.user,
            ports=frozenset(config.exposed_ports),
            env=dict(pair.split("=", 1) for pair in config.env),
            command=(*(config.entrypoint or ()), *(config.cmd or ())),
            folder=config.working_dir,
            labels=config.labels or {},
            stop_signal=config.stop_signal,
            healthcheck=config.healthcheck,
            layers=tuple(
                Layer(_in_short(step), sizes[digest])
                for step, digest in zip(steps, docker.rootfs.diff_ids, strict=True)
            ),
            steps=tuple(step.created_by for step in docker.history),
        )

    def _layer_sizes(self) -> dict[str, int]:
        (index,) = (self._storage / "root").glob("*-layers/layers.json")
        stored = msgspec.json.decode(index.read_bytes(), type=list[_StoredLayer])
        return {layer.diff_digest: layer.diff_size for layer in stored}

    @contextmanager
    def mounted(self, name: str) -> Iterator[Path]:
        """A copy of the image's files until the block ends."""
        container = self._run("from", "--pull-never", name)
        try:
            yield Path(os.path.realpath(self._run("mount", container)))
        finally:
            self._run("rm", container)


def _in_short(step: str) -> str:
    """A step without the shell's name, digests, and the values of arguments."""
    step = re.sub(r"^(\|\d+( \w+=\S*)*)? ?/bin/sh( -c)?( #\(nop\))?", "", step)
    step = re.sub(r"\b(dir|file|multi):[0-9a-f]+ in", "->", step)
    return " ".join(step.split()) or "the base image"
