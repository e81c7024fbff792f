"""Debian's Chromium in front of the console, driven by `drive.mjs`; its microphone plays a file."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trio

from avr_bridge.testing.wav import write_wav
from tests.peer.npm import install_packages

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["drive", "prepare_browser", "write_microphone"]

HERE = Path(__file__).parent
PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
LIMIT_S = 120

type Step = Mapping[str, Any]


def prepare_browser() -> None:
    """Have what is needed, or skip the test and say why."""
    if _chromium() is None:
        pytest.skip("chromium is not installed")
    install_packages(HERE)


def _chromium() -> str | None:
    found = (shutil.which(name) for name in PROGRAMS)
    return next((path for path in found if path), None)


def write_microphone(path: Path, *pieces: bytes | float) -> str:
    """A file for the microphone to play: speech (PCM16 LE mono, 8 kHz) and pauses in seconds."""
    pcm = b"".join(
        piece if isinstance(piece, bytes) else bytes(2 * round(piece * 8000)) for piece in pieces
    )
    write_wav(path, pcm, 8000)
    return str(path)


async def drive(url: str, steps: Sequence[Step], **options: Any) -> dict[str, Any]:
    """Open `url`, take the steps, and give what was seen; `drive.mjs` says of what."""
    given = {"chromium": _chromium(), "url": url, "steps": list(steps), **options}
    with trio.fail_after(LIMIT_S):
        done = await trio.run_process(
            ["node", str(HERE / "drive.mjs"), json.dumps(given)],
            capture_stdout=True,
            capture_stderr=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr.decode()
    seen: dict[str, Any] = json.loads(done.stdout)
    return seen
