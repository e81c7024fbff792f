"""Resampling for wideband legs: level, purity and place of a tone; the same for any chunks."""

from __future__ import annotations

import numpy as np
import pytest

from avr_bridge.audio.polyphase import PolyphaseResampler
from avr_bridge.audio.resample import make_resampler

PAIRS = [(16_000, 24_000), (24_000, 16_000), (16_000, 8_000), (8_000, 16_000)]


def tone(hz: float, rate_hz: int) -> bytes:
    """A second at half of full level."""
    wave = 16_000 * np.sin(2 * np.pi * hz * np.arange(rate_hz) / rate_hz)
    return bytes(np.rint(wave).astype("<i2").tobytes())


@pytest.mark.parametrize(("src_hz", "dst_hz"), PAIRS)
@pytest.mark.parametrize("hz", [307, 1009, 3001])
def test_a_tone_stays_what_and_where_it_was(src_hz: int, dst_hz: int, hz: int) -> None:
    """65 dB and better against the same tone at the other rate, `delay_ms` later."""
    made = make_resampler("fir", src_hz, dst_hz)
    assert isinstance(made, PolyphaseResampler)
    out = made.process(tone(hz, src_hz)) + made.flush()
    late = round(made.delay_ms * dst_hz / 1000)
    assert len(out) // 2 == dst_hz + late
    heard = np.frombuffer(out, "<i2").astype(float)[late:]
    wanted = np.frombuffer(tone(hz, dst_hz), "<i2").astype(float)
    inner = slice(200, -200)
    error = heard[inner] - wanted[inner]
    assert 10 * np.log10((wanted[inner] ** 2).sum() / (error**2).sum()) > 65
    assert made.delay_ms <= 2


@pytest.mark.parametrize(
    ("src_hz", "dst_hz", "hz"), [(24_000, 16_000, 9_500), (16_000, 8_000, 5_500)]
)
def test_what_the_lower_rate_cannot_have_is_gone(src_hz: int, dst_hz: int, hz: int) -> None:
    """An alias would sound like something else: under -60 dB of the tone it comes from."""
    made = make_resampler("fir", src_hz, dst_hz)
    out = np.frombuffer(made.process(tone(hz, src_hz)), "<i2").astype(float)[400:]
    assert np.sqrt((out**2).mean()) < 11_300 / 1000


@pytest.mark.parametrize(("src_hz", "dst_hz"), PAIRS)
@pytest.mark.parametrize("step_bytes", [2, 14, 640, 5_002])
def test_any_chunking_gives_the_same(src_hz: int, dst_hz: int, step_bytes: int) -> None:
    """No click between two chunks; and after a flush it is as new."""
    sound = tone(1009, src_hz)[:12_000]
    made, whole = make_resampler("fir", src_hz, dst_hz), make_resampler("fir", src_hz, dst_hz)
    once = whole.process(sound) + whole.flush()
    for _ in range(2):
        parts = [
            made.process(sound[at : at + step_bytes]) for at in range(0, len(sound), step_bytes)
        ]
        found = np.frombuffer(b"".join(parts) + made.flush(), "<i2").astype(int)
        assert np.abs(found - np.frombuffer(once, "<i2").astype(int)).max() <= 1
    assert made.process(b"") == b""
    assert made.flush() == b""


def test_half_a_sample_is_refused() -> None:
    """As by the other resamplers."""
    with pytest.raises(ValueError, match="middle of a sample"):
        make_resampler("fir", 16_000, 24_000).process(b"\0\0\0")
