"""Packages of npm for tests: exactly those of a folder's lock file, or the test is skipped."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["install_packages"]

INSTALL_S = 240


def install_packages(folder: Path) -> None:
    """Install what package-lock.json names, if that was not done yet; else skip the test."""
    if not (shutil.which("node") and shutil.which("npm")):
        pytest.skip("node or npm is not installed")
    with (folder / "package-lock.json").open("rb") as file:
        # Several processes run tests; npm begins by removing what another one has just installed.
        fcntl.flock(file, fcntl.LOCK_EX)
        _install(folder, file.read())


def _install(folder: Path, lock: bytes) -> None:
    stamp = folder / "node_modules" / ".installed-from"
    if stamp.is_file() and stamp.read_bytes() == lock:
        return
    command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    try:
        subprocess.run(
            command,
            cwd=folder,
            check=True,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=INSTALL_S,
        )
    except subprocess.TimeoutExpired:
        pytest.skip(f"npm ci did not end within {INSTALL_S} s")
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode(errors="replace").strip().splitlines()
        pytest.skip(f"npm ci failed: {said[0] if said else 'without a word'}")
    stamp.write_bytes(lock)
