"""What the image must say of itself, and what its files must be, without running anything."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

from avr_bridge import __version__
from avr_bridge.config import ServerConfig, ToolsConfig

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from scripts.container.image import Image

__all__ = ["faults_of_files", "faults_of_image"]

AVR_APP_WAITS_S = 15
"""Its CONNECTOR_READINESS_TIMEOUT_MS; then it gives up a container that is not healthy."""

COMPILERS = ("cc", "gcc", "g++", "clang", "cpp", "as", "ld", "make", "rustc", "cargo")
LEFTOVERS = (
    "src",
    "tmp/wheel",
    "opt/build",
    "opt/ours",
    "etc/pip.conf",
    "root/.config/pip",
    "root/.cache",
)
FOR_MOUNTS = (ToolsConfig().directory, "/usr/src/app/avr_tools")
OPEN_TO_ALL = ("tmp", "var/tmp", "run/lock")
"""Debian's; on a read-only root nobody can write there either."""


def faults_of_image(image: Image, index: str) -> Iterator[str]:
    """What is wrong with the words of an image that was built with this package index."""
    uid, _, gid = image.user.partition(":")
    if not (uid.isdigit() and gid.isdigit() and int(uid) and int(gid)):
        yield f"USER {image.user!r} is not a number that Kubernetes can tell from root"
    if image.ports != {f"{ServerConfig().port}/tcp"}:
        yield f"EXPOSE {set(image.ports)} is not the default of PORT"
    if image.stop_signal != "SIGTERM":
        yield f"STOPSIGNAL {image.stop_signal!r}"
    if image.command != ("avr-bridge", "serve"):
        yield f"it runs {image.command}"
    if image.labels.get("org.opencontainers.image.version") != __version__:
        yield f"its label says another version than {__version__}"
    if image.healthcheck is None:
        yield "it has no HEALTHCHECK"
    elif image.healthcheck.interval * 2 > AVR_APP_WAITS_S * 1e9:
        yield "avr-app would give it up before a second HEALTHCHECK"
    if strays := [name for name in image.env if name.startswith("PIP_")]:
        yield f"variables of the build are left: {strays}"
    if index in "".join(image.steps):
        yield "its history tells where packages came from"


def faults_of_files(root: Path, image: Image) -> Iterator[str]:
    """What is wrong with its files."""
    for folder in image.env["PATH"].split(":"):
        for name in COMPILERS:
            if (root / folder.lstrip("/") / name).exists():
                yield f"{folder}/{name}: a compiler"
    for name in LEFTOVERS:
        if (root / name).exists():
            yield f"/{name} is left of the build"
    for folder in FOR_MOUNTS:
        if not (root / folder.lstrip("/")).is_dir():
            yield f"{folder} is missing: there tools are mounted"
    uid = int(image.user.partition(":")[0])
    for path in root.rglob("*"):
        if path.is_symlink() or str(path.relative_to(root)) in OPEN_TO_ALL:
            continue
        about = path.stat()
        if about.st_uid == uid or (about.st_mode & stat.S_IWOTH and not path.is_char_device()):
            yield f"/{path.relative_to(root)} can be changed by the program"
