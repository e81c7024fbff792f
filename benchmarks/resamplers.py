"""Off the road: measure the resamplers as a call uses them, and print the table of docs/audio.md.

Chunks of 20 ms, state kept. Run `python -m benchmarks.resamplers` in the project's folder. Quality
is the same on any machine; only the times differ. It does not judge:
`tests/unit/test_resample.py` does.
"""

from __future__ import annotations

import timeit
from typing import TYPE_CHECKING

import numpy as np

from avr_bridge.audio.resample import make_resampler

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from avr_bridge.audio.resample import Resampler

LOW_HZ, HIGH_HZ = 8_000, 24_000
# Odd frequencies: at 2,000 Hz, say, the rounding errors repeat with the tone and look like zero.
TONES_HZ = (307, 1_009, 2_003, 3_001, 3_399)
ALIASES_HZ = (4_603, 5_503, 7_001, 11_003)
AMPLITUDE = 32767 * 10 ** (-6 / 20)
SECONDS = 2
CHUNK_MS = 20
LARGE_CHUNK_MS = 250
KINDS = ("fir", "audioop")

type Samples = NDArray[np.float64]


def tone(freq_hz: float, rate_hz: int) -> bytes:
    """A sine at -6 dBFS, PCM16 LE mono."""
    t = np.arange(rate_hz * SECONDS) / rate_hz
    return np.rint(AMPLITUDE * np.sin(2 * np.pi * freq_hz * t)).astype("<i2").tobytes()


def stream(resampler: Resampler, pcm: bytes, chunk_bytes: int) -> Samples:
    """Run `pcm` through in chunks and return the middle second, away from both ends."""
    chunks = (pcm[i : i + chunk_bytes] for i in range(0, len(pcm), chunk_bytes))
    out = np.frombuffer(b"".join(map(resampler.process, chunks)), "<i2").astype(float)
    quarter = len(out) // 4
    return out[quarter : 3 * quarter]


def fit(samples: Samples, freq_hz: float, rate_hz: int) -> tuple[float, float]:
    """Amplitude of the tone, and the mean square of everything else."""
    phase = 2 * np.pi * freq_hz * np.arange(len(samples)) / rate_hz
    basis = np.column_stack([np.sin(phase), np.cos(phase), np.ones_like(phase)])
    coefficients = np.linalg.lstsq(basis, samples, rcond=None)[0]
    rest = samples - basis @ coefficients
    return float(np.hypot(*coefficients[:2])), float(np.mean(rest**2))


def decibel(ratio: float) -> float:
    """A ratio of amplitudes in dB."""
    return float(20 * np.log10(max(ratio, 1e-9)))


def chunk_bytes_of(rate_hz: int, chunk_ms: int) -> int:
    """Bytes of one chunk of PCM16."""
    return rate_hz * chunk_ms // 1000 * 2


def measure_tone(kind: str, src_hz: int, dst_hz: int, freq_hz: float) -> str:
    """SINAD and level of one tone that must pass."""
    chunk_bytes = chunk_bytes_of(src_hz, CHUNK_MS)
    out = stream(make_resampler(kind, src_hz, dst_hz), tone(freq_hz, src_hz), chunk_bytes)
    amplitude, rest = fit(out, freq_hz, dst_hz)
    sinad = decibel(amplitude / np.sqrt(2 * rest))
    return f"{sinad:.1f} dB, {decibel(amplitude / AMPLITUDE):+.2f} dB"


def measure_alias(kind: str, freq_hz: float) -> str:
    """What is left at 8 kHz of a tone above the phone band, against the tone itself."""
    chunk_bytes = chunk_bytes_of(HIGH_HZ, CHUNK_MS)
    out = stream(make_resampler(kind, HIGH_HZ, LOW_HZ), tone(freq_hz, HIGH_HZ), chunk_bytes)
    return f"{decibel(float(np.sqrt(2 * np.mean(out**2))) / AMPLITUDE):.1f} dB"


def measure_delay(kind: str, src_hz: int, dst_hz: int) -> str:
    """Where the middle of a single pulse comes out, against where it went in."""
    chunk_bytes = chunk_bytes_of(src_hz, CHUNK_MS)
    pulse = np.zeros(src_hz)
    pulse[src_hz // 2] = 16_000
    resampler = make_resampler(kind, src_hz, dst_hz)
    pcm = pulse.astype("<i2").tobytes()
    chunks = (pcm[i : i + chunk_bytes] for i in range(0, len(pcm), chunk_bytes))
    out = np.frombuffer(b"".join(map(resampler.process, chunks)), "<i2").astype(float)
    centre_s = float(np.sum(np.arange(len(out)) * out) / np.sum(out)) / dst_hz
    return f"{(centre_s - 0.5) * 1000:.2f} ms"


def measure_cost(kind: str, src_hz: int, dst_hz: int, chunk_ms: int) -> str:
    """Best time for a chunk of `chunk_ms`, in microseconds per 20 ms of sound."""
    resampler = make_resampler(kind, src_hz, dst_hz)
    rng = np.random.default_rng(1)
    pcm = rng.integers(-8_000, 8_000, src_hz * chunk_ms // 1000).astype("<i2").tobytes()
    number = 2_000 * CHUNK_MS // chunk_ms
    best_s = min(timeit.repeat(lambda: resampler.process(pcm), number=number, repeat=7)) / number
    return f"{best_s * 1e6 * CHUNK_MS / chunk_ms:.1f} µs"


def row(cells: Iterable[str]) -> str:
    """One line of a Markdown table."""
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    """Print the table."""
    up, down = (LOW_HZ, HIGH_HZ), (HIGH_HZ, LOW_HZ)
    columns = [(kind, *rates) for rates in (up, down) for kind in KINDS]
    print(row(["", *(f"{kind}, {src // 1000} -> {dst // 1000} kHz" for kind, src, dst in columns)]))
    print(row(["---"] * (len(columns) + 1)))
    for freq_hz in TONES_HZ:
        cells = (measure_tone(*column, freq_hz) for column in columns)
        print(row([f"{freq_hz:,} Hz: SINAD, level", *cells]))
    for freq_hz in ALIASES_HZ:
        cells = (measure_alias(c[0], freq_hz) if c[1] == HIGH_HZ else "" for c in columns)
        print(row([f"{freq_hz:,} Hz: alias left", *cells]))
    print(row(["delay", *(measure_delay(*column) for column in columns)]))
    for chunk_ms in (CHUNK_MS, LARGE_CHUNK_MS):
        cells = (measure_cost(*column, chunk_ms) for column in columns)
        print(row([f"time per 20 ms, in chunks of {chunk_ms} ms", *cells]))


if __name__ == "__main__":
    main()
