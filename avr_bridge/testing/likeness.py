"""Is that what was said? Measures on recordings: likeness of speech, levels of tones.

Stands at the very end of the road, behind the caller's ear. Whole recordings only, PCM16 LE mono;
nothing here knows a call or a clock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import audioop
import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    type Samples = npt.NDArray[np.float64]

__all__ = [
    "AUDIBLE_RMS",
    "Likeness",
    "dominant_tone_hz",
    "is_audible",
    "likeness",
    "speech_ms",
    "tone_level_db",
]

AUDIBLE_RMS = 100
"""From this level on a frame counts as sound: -50 dBFS, above G.711's and the line's noise."""

FLOOR_DB = -120.0
"""What digital silence is reported as."""

_FRAME_MS = 20
_BLOCK_MS = 200
"""Fidelity is judged in blocks of this length: some words' worth of pitch periods, so that two
voices do not agree by chance, and short enough to tell how much of the speech is missing."""
_QUIET_WINDOW = 1e-3
"""Windows with less than this share of the loudest one's energy cannot be where the speech is."""


@attrs.frozen
class Likeness:
    """How much of what was said is in what was heard.

    Attributes:
        correlation: 1 is the same sound at any level; 0 is nothing of it. Half of the speech,
            unharmed, is about 0.5: each block counts as much as it has energy.
        offset_ms: Where `said` begins within `heard`; negative if its beginning is missing.
    """

    correlation: float
    offset_ms: float


def is_audible(frame: bytes) -> bool:
    """Whether one frame of PCM16 is sound rather than silence or line noise."""
    return audioop.rms(frame, 2) >= AUDIBLE_RMS


def speech_ms(pcm: bytes, rate_hz: int = 8_000) -> float:
    """The length of what is audible, in whole frames of 20 ms, pauses left out."""
    frame_bytes = rate_hz * _FRAME_MS // 1000 * 2
    frames = (pcm[at : at + frame_bytes] for at in range(0, len(pcm) - 1, frame_bytes))
    return float(sum(_FRAME_MS for frame in frames if is_audible(frame[: len(frame) // 2 * 2])))


def likeness(said: bytes, heard: bytes, rate_hz: int = 8_000) -> Likeness:
    """Find `said` within `heard` and say how much of it is there, and how true.

    Silence around `said`, its level and the delay do not matter. The alignment is one for all of
    it: what comes after a hole in `heard` is out of step and counts as missing.
    """
    lead, speech = _trimmed(said, rate_hz)
    listened = _samples(heard)
    if not len(speech) or not np.any(listened):
        return Likeness(0.0, 0.0)
    # Room on both sides, so that a beginning or an end that was cut off can still be aligned.
    n = len(speech)
    padded = np.concatenate([np.zeros(n), listened, np.zeros(n)])
    lag, fraction = _best_lag(speech, padded)
    window = _shifted(padded[lag : lag + n], fraction)
    offset = lag + fraction - n - lead
    return Likeness(_fidelity(speech, window, rate_hz), round(offset * 1000 / rate_hz, 3))


def tone_level_db(pcm: bytes, freq_hz: float, rate_hz: int = 8_000) -> float:
    """Level of one frequency in dBFS; a full-scale sine is 0 dB, nothing is -120 dB.

    A Goertzel filter, which is one bin of the Fourier transform, under a Hann window.
    """
    samples = _samples(pcm)
    if not len(samples):
        return FLOOR_DB
    window = np.hanning(len(samples) + 2)[1:-1]
    turns = np.exp(-2j * np.pi * freq_hz / rate_hz * np.arange(len(samples)))
    amplitude = 2 * abs(np.sum(samples * window * turns)) / np.sum(window) / 32_768
    return max(FLOOR_DB, float(20 * np.log10(max(amplitude, 1e-12))))


def dominant_tone_hz(pcm: bytes, rate_hz: int = 8_000) -> float | None:
    """The strongest frequency, to a fraction of a bin (1 / length); None if nothing is audible."""
    samples = _samples(pcm)
    if len(samples) < 16 or not is_audible(pcm[: len(pcm) // 2 * 2]):
        return None
    spectrum = np.abs(np.fft.rfft((samples - samples.mean()) * np.hanning(len(samples))))
    peak = int(np.argmax(spectrum))
    shift = 0.0
    if 0 < peak < len(spectrum) - 1:
        below, top, above = np.log(spectrum[peak - 1 : peak + 2] + 1e-9)
        shift = float((below - above) / (2 * (below - 2 * top + above) or 1.0))
    return (peak + shift) * rate_hz / len(samples)


def _samples(pcm: bytes) -> Samples:
    return np.frombuffer(pcm[: len(pcm) // 2 * 2], "<i2").astype(np.float64)


def _trimmed(pcm: bytes, rate_hz: int) -> tuple[int, Samples]:
    """What is audible from its first to its last frame, and how many samples came before it."""
    step = rate_hz * _FRAME_MS // 1000
    samples = _samples(pcm)
    loud = [
        at
        for at in range(0, len(samples), step)
        if is_audible(pcm[at * 2 : min(at + step, len(samples)) * 2])
    ]
    if not loud:
        return 0, samples[:0]
    return loud[0], samples[loud[0] : loud[-1] + step]


def _best_lag(speech: Samples, padded: Samples) -> tuple[int, float]:
    """Where the normalised cross-correlation peaks: whole samples, and the fraction beyond."""
    n = len(speech)
    n_fft = 1 << (len(padded) + n).bit_length()
    cross = np.fft.rfft(padded, n_fft) * np.conj(np.fft.rfft(speech, n_fft))
    products = np.fft.irfft(cross, n_fft)[: len(padded) - n + 1]
    sums = np.concatenate([[0.0], np.cumsum(padded**2)])
    energy = sums[n:] - sums[:-n]
    energy = np.maximum(energy, _QUIET_WINDOW * energy.max())
    lag = int(np.argmax(products / np.sqrt(energy)))
    # Between samples: half a sample off costs a tenth of the correlation at 1 kHz already.
    fractions = np.linspace(-0.5, 0.5, 21)
    window = padded[lag : lag + n]
    scores = [float(np.dot(speech, _shifted(window, fraction))) for fraction in fractions]
    return lag, float(fractions[int(np.argmax(scores))])


def _shifted(window: Samples, fraction: float) -> Samples:
    """The window read `fraction` of a sample later."""
    if fraction == 0:
        return window
    spectrum = np.fft.rfft(window)
    turns = np.exp(2j * np.pi * fraction * np.arange(len(spectrum)) / len(window))
    return np.fft.irfft(spectrum * turns, len(window))


def _fidelity(speech: Samples, window: Samples, rate_hz: int) -> float:
    """Each block's correlation, weighed by the block's energy in the original."""
    step = rate_hz * _BLOCK_MS // 1000
    total = score = 0.0
    for at in range(0, len(speech), step):
        ours, theirs = speech[at : at + step], window[at : at + step]
        energy = float(np.dot(ours, ours))
        total += energy
        size = np.sqrt(energy * np.dot(theirs, theirs))
        if size > 0:
            score += energy * float(np.dot(ours, theirs) / size)
    return min(1.0, max(0.0, score / total)) if total else 0.0
