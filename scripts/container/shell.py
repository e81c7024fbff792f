"""Other programs, and the two ways in which the test ends early."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Failed", "Skipped", "find_program", "run"]

SHOWN_LINES = 40


class Skipped(Exception):
    """The test cannot run here; says why."""


class Failed(Exception):
    """Something is wrong with the image; says what."""


def find_program(name: str) -> str:
    """Its path, root's folders included.

    Raises:
        Skipped: It is not installed.
    """
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if found is None:
        raise Skipped(f"{name} is not installed")
    return found


def run(*command: str, limit_s: float, env: Mapping[str, str] | None = None) -> str:
    """What a program wrote to its standard output.

    Args:
        limit_s: Seconds after which it is killed.
        env: Variables besides those of this process.

    Raises:
        Failed: It failed, or took too long; with the end of what it wrote.
    """
    try:
        ran = subprocess.run(
            command,
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=limit_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise Failed(f"not done after {limit_s:g} s: {' '.join(command)}") from None
    if ran.returncode != 0:
        lines = (ran.stdout + ran.stderr).splitlines()[-SHOWN_LINES:]
        raise Failed(f"exit code {ran.returncode}: {' '.join(command)}\n" + "\n".join(lines))
    return ran.stdout
