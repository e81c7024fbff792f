"""The shipped clips, and the recordings' functions that tests use beside them."""

from __future__ import annotations

import importlib.resources
from pathlib import Path

from avr_bridge.audio.wav import read_wav, resample_pcm, write_wav

__all__ = ["clip", "read_wav", "resample_pcm", "write_wav"]


def clip(name: str) -> Path:
    """The path of a shipped clip: ``"question"``, ``"greeting"`` and others; `clips/README.md`.

    Raises:
        ValueError: There is no such clip.
    """
    path = Path(str(importlib.resources.files("avr_bridge.testing") / "clips" / f"{name}.wav"))
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in path.parent.glob("*.wav")))
        raise ValueError(f"no clip is called {name!r}; there are: {known}")
    return path
