"""Sounds of the bridge's own: one for waiting, and what it says where the model cannot.

Beside the road: the outbound pump plays them while nothing else is there to be heard. The spoken
clips ship in `clips/`, where a README says how they were made.
"""

from __future__ import annotations

import functools
import importlib.resources
import random
from pathlib import Path

import numpy as np

from avr_bridge.audio.format import PCM16_8K
from avr_bridge.audio.wav import read_wav

__all__ = ["TYPING", "read_clip", "waiting_sound"]

TYPING = "typing"
_LOOP_S = 6
_LEVEL = 2_500
"""About -22 dBFS at the loudest: heard, and not mistaken for speech by anyone's turn detection."""


@functools.lru_cache(maxsize=4)
def read_clip(name: str) -> bytes:
    """A shipped clip as PCM16 LE mono, 8 kHz, whole frames: ``"fallback"`` or ``"farewell"``.

    Raises:
        ValueError: There is no such clip.
    """
    path = Path(str(importlib.resources.files("avr_bridge.audio") / "clips" / f"{name}.wav"))
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in path.parent.glob("*.wav")))
        raise ValueError(f"no clip is called {name!r}; there are: {known}")
    pcm = read_wav(path)
    return pcm + bytes(-len(pcm) % PCM16_8K.frame_bytes)


@functools.lru_cache(maxsize=8)
def waiting_sound(kind: str) -> bytes:
    """A loop of whole frames, PCM16 LE mono, 8 kHz: `TYPING`, or a WAV file's path.

    Raises:
        OSError: There is no such file.
        ValueError: It is no WAV that we can read, or an empty one.
    """
    pcm = _typing() if kind == TYPING else read_wav(kind)
    if not pcm:
        raise ValueError("there is no sound in it")
    return pcm + bytes(-len(pcm) % PCM16_8K.frame_bytes)


def _typing() -> bytes:
    """Bursts of key strokes: short clicks of decaying noise, the same in every process."""
    rate_hz = PCM16_8K.rate_hz
    chance = random.Random(20)
    noise = np.random.default_rng(20)
    sound = np.zeros(_LOOP_S * rate_hz)
    at_s = 0.1
    while at_s < _LOOP_S - 0.2:
        start, length = int(at_s * rate_hz), int(0.025 * rate_hz)
        click = noise.standard_normal(length) * np.exp(-np.arange(length) / (0.004 * rate_hz))
        sound[start : start + length] += click * chance.uniform(0.3, 1.0)
        at_s += chance.choice([0.11, 0.14, 0.17, 0.2, 0.6])
    sound *= _LEVEL / np.abs(sound).max()
    return bytes(np.rint(sound).astype("<i2").tobytes())
