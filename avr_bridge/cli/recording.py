"""The demo's recording: both sides of one call in a stereo WAV file, so that a person can hear it.

Left is the caller: what was said, and the keys as the tones of a telephone. Right is what the
caller heard of the agent, with silence where nothing came. Both run on the call's own time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from avr_bridge.testing.wav import write_wav

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    import numpy.typing as npt

__all__ = ["key_tone", "write_call"]

RATE_HZ = 8_000
KEY_MS = 150
"""Long enough to be heard as a key; senders use 40 ms and more (ITU-T Q.24)."""

_KEY_LEVEL = 4_000
"""Of each of the two tones: about -18 dBFS, beside speech that peaks at -6."""

_ROWS_HZ, _COLUMNS_HZ = (697, 770, 852, 941), (1209, 1336, 1477, 1633)
_KEYS = ("123A", "456B", "789C", "*0#D")
"""ITU-T Q.23."""


def key_tone(key: str) -> bytes:
    """The tone of a key, PCM16 LE mono, 8 kHz.

    Raises:
        ValueError: There is no such key.
    """
    row = next((number for number, keys in enumerate(_KEYS) if key in keys), None)
    if row is None or len(key) != 1:
        raise ValueError(f"{key!r} is no key")
    at = np.arange(RATE_HZ * KEY_MS // 1000) / RATE_HZ
    tones = (_ROWS_HZ[row], _COLUMNS_HZ[_KEYS[row].index(key)])
    sound = sum(np.sin(2 * np.pi * hz * at) for hz in tones) * _KEY_LEVEL
    return bytes(np.rint(sound).astype("<i2").tobytes())


def write_call(path: Path, said: bytes, heard: bytes, keys: Iterable[tuple[float, str]]) -> None:
    """Write the call.

    Args:
        path: The file, replaced if it is there.
        said: The caller, PCM16 LE mono, 8 kHz, from the start of the call.
        heard: The agent as the caller heard it, likewise.
        keys: The call's time in ms at which each key was pressed, and the key.

    Raises:
        OSError: The file cannot be written.
    """
    left, right = _samples(said), _samples(heard)
    tones = [(round(at_ms * RATE_HZ / 1000), _samples(key_tone(key))) for at_ms, key in keys]
    length = max([len(left), len(right), *(at + len(tone) for at, tone in tones)])
    both = np.zeros((length, 2))
    both[: len(left), 0] += left
    both[: len(right), 1] += right
    for at, tone in tones:
        both[at : at + len(tone), 0] += tone
    pcm = np.clip(both, -32_768, 32_767).astype("<i2").tobytes()
    write_wav(path, pcm, RATE_HZ, channels=2)


def _samples(pcm: bytes) -> npt.NDArray[np.float64]:
    return np.frombuffer(pcm, "<i2").astype(np.float64)
