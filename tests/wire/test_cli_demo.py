"""`avr-bridge demo`, the first thing that anybody runs."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from avr_bridge.testing import clip, likeness, read_wav, write_wav

if TYPE_CHECKING:
    from pathlib import Path

LIMIT_S = 60


def run_demo(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("OPENAI_", "AVR_", "PORT"))}
    return subprocess.run(
        [sys.executable, "-m", "avr_bridge", "demo", *arguments],
        env={**kept, **variables},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )


@pytest.mark.parametrize("transport", ["ws", "http"])
def test_the_demo_is_heard(tmp_path: Path, transport: str) -> None:
    """Without a key: exit 0, a live conversation, a summary, and the reply in the WAV."""
    out = tmp_path / "heard.wav"
    ran = run_demo("--transport", transport, "--out", str(out))
    assert ran.returncode == 0, ran.stdout + ran.stderr
    for words in (
        "call placed",
        "agent speaks",
        "caller speaks",
        "Summary",
        "lost frames",
        "alike",
    ):
        assert words in ran.stdout
    if transport == "ws":
        assert "caller: Hello, this is a test call." in ran.stdout
    assert likeness(read_wav(clip("question")), read_wav(out)).correlation > 0.7
    assert ran.stderr == ""


def test_a_model_that_refuses_is_not_heard(tmp_path: Path) -> None:
    """Nobody answers at the model's address: exit 1 and a reason, no traceback."""
    out = str(tmp_path / "heard.wav")
    ran = run_demo("--out", out, OPENAI_ENDPOINT="ws://127.0.0.1:1/v1", OPENAI_API_KEY="k")
    assert ran.returncode == 1
    assert "the model cannot be reached" in ran.stdout
    assert "Traceback" not in ran.stderr


def test_a_wav_without_speech_is_refused(tmp_path: Path) -> None:
    """It could never be heard back."""
    silent = tmp_path / "silent.wav"
    write_wav(silent, bytes(16_000))
    ran = run_demo("--wav", str(silent))
    assert ran.returncode == 2
    assert "no speech" in ran.stderr
