"""A base image without a registry: Debian trixie, which has Python 3.13, by debootstrap.

It stands in for `python:3.13-slim`, and is made like it where that matters: no documentation, and
a standard library that is not compiled.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.container.shell import Failed, Skipped, find_program, run

if TYPE_CHECKING:
    from scripts.container.image import Buildah

__all__ = ["have_base"]

NAME = "localhost/avr-bridge-base"
SUITE = "trixie"
PACKAGES = ("python3-venv", "python-is-python3", "ca-certificates", "netbase", "tzdata")
LEFT_OUT = (
    "usr/share/doc",
    "usr/share/man",
    "usr/share/locale",
    "var/cache/apt",
    "var/lib/apt/lists",
)
BOOTSTRAP_S = 300


def have_base(buildah: Buildah) -> str:
    """Make the base image unless it is there. Its name.

    Raises:
        Skipped: There is no Debian mirror, or it does not answer.
        Failed: The image cannot be made.
    """
    recipe = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:12]
    name = f"{NAME}:{SUITE}-{recipe}"
    if name not in (names := buildah.names()):
        with tempfile.TemporaryDirectory(prefix="avr-bridge-base-") as folder:
            root = Path(folder) / "root"
            _bootstrap(root)
            _make_slim(root)
            buildah.commit_root(root, name)
        for former in names:
            if former.startswith(f"{NAME}:"):
                buildah.forget(former)
    return name


def _bootstrap(root: Path) -> None:
    try:
        run(
            find_program("debootstrap"),
            "--variant=minbase",
            f"--include={','.join(PACKAGES)}",
            SUITE,
            str(root),
            _mirror(),
            limit_s=BOOTSTRAP_S,
            env=_proxy(),
        )
    except Failed as failed:
        raise Skipped(f"debootstrap could not make a base image: {failed}") from None


def _mirror() -> str:
    """Where apt gets Debian from on this machine."""
    try:
        listed = run(
            find_program("apt-get"),
            "indextargets",
            "--format",
            "$(ORIGIN) $(LABEL) $(REPO_URI)",
            "Created-By: Packages",
            limit_s=30,
        )
    except Failed:
        listed = ""
    for line in listed.splitlines():
        origin, label, *uri = line.split()
        if (origin, label) == ("Debian", "Debian") and uri and uri[0].startswith("http"):
            return uri[0]
    raise Skipped("apt has no list of a Debian mirror (apt-get update)")


def _proxy() -> dict[str, str]:
    """The proxy that apt uses, for debootstrap's own downloads."""
    asked = subprocess.run(
        ["apt-config", "shell", "proxy", "Acquire::http::Proxy"],
        capture_output=True,
        text=True,
        check=False,
    )
    address = asked.stdout.strip().removeprefix("proxy=").strip("'")
    return {"http_proxy": address} if address else {}


def _make_slim(root: Path) -> None:
    for folder in LEFT_OUT:
        shutil.rmtree(root / folder, ignore_errors=True)
        (root / folder).mkdir(parents=True, exist_ok=True)
    for compiled in [*root.rglob("__pycache__")]:
        shutil.rmtree(compiled)
