"""The resamplers: quality in stream mode, bit-exactness for any chunking, alignment, saturation."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from avr_bridge.audio.resample import (
    AudioopResampler,
    FirDownsampler,
    FirUpsampler,
    PassThrough,
    Resampler,
    make_resampler,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

UP, DOWN = (8_000, 24_000), (24_000, 8_000)
BOTH_WAYS = pytest.mark.parametrize("rates", [UP, DOWN], ids=["up", "down"])
EVERY_KIND = pytest.mark.parametrize("kind", ["fir", "audioop"])
TONES_HZ = [300, 307, 1_009, 2_003, 3_001, 3_301, 3_399, 3_400]
AMPLITUDE = 32767 * 10 ** (-6 / 20)

MIN_SINAD_DB = 65
MAX_LEVEL_ERROR_DB = 0.5
MAX_ALIAS_DB = -65
MAX_DELAY_MS = 3


def pcm16(samples: Iterable[float] | NDArray[np.float64]) -> bytes:
    """Whole numbers to PCM16 LE."""
    return np.rint(np.asarray(samples, float)).astype("<i2").tobytes()


def values(pcm: bytes) -> NDArray[np.float64]:
    """PCM16 LE to numbers."""
    return np.frombuffer(pcm, "<i2").astype(float)


def tone(freq_hz: float, rate_hz: int, seconds: float = 1.0) -> bytes:
    """A sine at -6 dBFS."""
    t = np.arange(int(rate_hz * seconds)) / rate_hz
    return pcm16(AMPLITUDE * np.sin(2 * np.pi * freq_hz * t))


def stream(resampler: Resampler, pcm: bytes, chunk_bytes: int) -> bytes:
    """Everything that `process` returns, chunk by chunk; no flush."""
    chunks = (pcm[i : i + chunk_bytes] for i in range(0, len(pcm), chunk_bytes))
    return b"".join(resampler.process(chunk) for chunk in chunks)


def cut(pcm: bytes, sizes: Iterable[int]) -> list[bytes]:
    """Chunks of `sizes` samples in turn, around and around."""
    chunks: list[bytes] = []
    start = 0
    for size in itertools.cycle(sizes):
        if start >= len(pcm):
            return chunks
        chunks.append(pcm[start : start + 2 * size])
        start += 2 * size
    return chunks


def decibel(ratio: float) -> float:
    """A ratio of amplitudes in dB."""
    return float(20 * np.log10(max(ratio, 1e-12)))


@BOTH_WAYS
@pytest.mark.parametrize("freq_hz", TONES_HZ)
def test_the_phone_band_passes_clean_and_level(rates: tuple[int, int], freq_hz: int) -> None:
    """300 to 3,400 Hz in 20 ms chunks: SINAD 65 dB or more, level within half a dB."""
    src_hz, dst_hz = rates
    resampler = make_resampler("fir", src_hz, dst_hz)
    out = values(stream(resampler, tone(freq_hz, src_hz), src_hz // 50 * 2))
    out = out[len(out) // 4 : 3 * len(out) // 4]
    phase = 2 * np.pi * freq_hz * np.arange(len(out)) / dst_hz
    basis = np.column_stack([np.sin(phase), np.cos(phase)])
    fit = np.linalg.lstsq(basis, out, rcond=None)[0]
    amplitude = float(np.hypot(*fit))
    rest = float(np.sqrt(2 * np.mean((out - basis @ fit) ** 2)))
    assert decibel(amplitude / max(rest, 1e-9)) >= MIN_SINAD_DB
    assert abs(decibel(amplitude / AMPLITUDE)) <= MAX_LEVEL_ERROR_DB


@pytest.mark.parametrize("freq_hz", [4_600, 5_500, 5_503, 7_001, 9_007, 11_003])
def test_what_a_phone_cannot_carry_does_not_fold_into_its_band(freq_hz: int) -> None:
    """A tone above 4.6 kHz is 65 dB down after 24 -> 8 kHz."""
    out = values(stream(make_resampler("fir", *DOWN), tone(freq_hz, 24_000), 960))
    left = float(np.sqrt(2 * np.mean(out[1_000:-1_000] ** 2)))
    assert decibel(left / AMPLITUDE) <= MAX_ALIAS_DB


def test_audioop_folds_sibilants_into_the_band() -> None:
    """Why fir is the default: `audioop.ratecv` leaves a 5.5 kHz tone as loud as it was."""
    out = values(stream(make_resampler("audioop", *DOWN), tone(5_503, 24_000), 960))
    assert decibel(float(np.sqrt(2 * np.mean(out**2))) / AMPLITUDE) > -1


@BOTH_WAYS
def test_a_pulse_comes_out_at_the_stated_delay(rates: tuple[int, int]) -> None:
    """The filter is symmetric: the peak lies exactly `delay_ms` late, and that is at most 3 ms."""
    src_hz, dst_hz = rates
    resampler = make_resampler("fir", src_hz, dst_hz)
    pulse = np.zeros(src_hz // 10)
    at = src_hz // 20
    pulse[at] = 30_000
    out = values(resampler.process(pcm16(pulse)))
    late_s = int(np.argmax(out)) / dst_hz - at / src_hz
    assert late_s * 1000 == pytest.approx(resampler.delay_ms)
    assert resampler.delay_ms <= MAX_DELAY_MS


@given(
    samples=st.lists(st.integers(-32768, 32767), max_size=300),
    sizes=st.lists(st.integers(1, 70), min_size=1, max_size=12),
    rates=st.sampled_from([UP, DOWN]),
    kind=st.sampled_from(["fir", "audioop"]),
)
def test_any_chunking_gives_the_bytes_of_one_shot(
    samples: list[int], sizes: list[int], rates: tuple[int, int], kind: str
) -> None:
    """Bit for bit, flush included, however the input is cut."""
    pcm = pcm16(samples)
    whole, parts = make_resampler(kind, *rates), make_resampler(kind, *rates)
    expected = whole.process(pcm) + whole.flush()
    assert b"".join(map(parts.process, cut(pcm, sizes))) + parts.flush() == expected


@BOTH_WAYS
@pytest.mark.parametrize("sizes", [[1], [2], [160], [480, 7], [6_000], [479, 481]])
def test_long_loud_noise_is_exact_too(rates: tuple[int, int], sizes: list[int]) -> None:
    """Chunk sizes that take other paths inside a linear-algebra library change no bit."""
    pcm = np.random.default_rng(7).integers(-32768, 32768, 12_000).astype("<i2").tobytes()
    whole, parts = make_resampler("fir", *rates), make_resampler("fir", *rates)
    assert b"".join(map(parts.process, cut(pcm, sizes))) == whole.process(pcm)


@given(n=st.integers(1, 400), size=st.integers(1, 50))
def test_lengths_up(n: int, size: int) -> None:
    """n samples give 3 n at once, in every chunk, and the flush gives the delay's 48."""
    resampler = FirUpsampler()
    for chunk in cut(bytes(2 * n), [size]):
        assert len(resampler.process(chunk)) == 3 * len(chunk)
    assert len(resampler.flush()) == 2 * 48


@given(n=st.integers(1, 400), size=st.integers(1, 50))
def test_lengths_down(n: int, size: int) -> None:
    """n samples give ceil(n / 3) in all, as early as possible, and the flush gives 16 more."""
    resampler = FirDownsampler()
    n_in = n_out = 0
    for chunk in cut(bytes(2 * n), [size]):
        n_in += len(chunk) // 2
        n_out += len(resampler.process(chunk)) // 2
        assert n_out == -(-n_in // 3)
    assert len(resampler.flush()) == 2 * 16


@pytest.mark.parametrize("n", [480, 481, 482])
def test_the_flush_loses_no_sound(n: int) -> None:
    """Without its first 16 samples, 24 -> 8 kHz stands exactly on the input, to its last sample."""
    t = np.arange(n) / 24_000
    resampler = FirDownsampler()
    sound = 8_000 * np.sin(2 * np.pi * 500 * t) * np.hanning(n)
    out = values(resampler.process(pcm16(sound)) + resampler.flush())
    assert np.abs(out[16:] - sound[::3]).max() < 10


def test_a_third_of_the_upsampled_stream_is_the_input_itself() -> None:
    """Without its first 48 samples, 8 -> 24 kHz holds the caller's samples bit for bit."""
    pcm = np.random.default_rng(3).integers(-32768, 32768, 500).astype("<i2").tobytes()
    resampler = FirUpsampler()
    out = resampler.process(pcm) + resampler.flush()
    assert pcm16(values(out)[48::3]) == pcm


@BOTH_WAYS
@pytest.mark.parametrize("level", [0, 1, -1, 12_345, 32_767, -32_768])
def test_a_constant_stays_that_constant(rates: tuple[int, int], level: int) -> None:
    """All phases have exactly unit gain: no hum, and silence is digital silence."""
    out = values(make_resampler("fir", *rates).process(pcm16([level] * 960)))
    assert set(out[200:]) == {level}


@BOTH_WAYS
@EVERY_KIND
def test_full_scale_saturates_and_never_wraps(rates: tuple[int, int], kind: str) -> None:
    """A full-scale square overshoots in the filter; its plateaus keep their sign."""
    src_hz, dst_hz = rates
    half = src_hz // 200
    square = np.where(np.arange(src_hz // 4) // half % 2, -32768.0, 32767.0)
    out = values(make_resampler(kind, src_hz, dst_hz).process(pcm16(square)))
    late = make_resampler(kind, src_hz, dst_hz).delay_ms / 1000
    position = (np.arange(len(out)) / dst_hz - late) % 0.01
    plateau = np.abs(position % 0.005 - 0.0025) < 0.0015
    plateau[: dst_hz // 100] = False
    expected_sign = np.where(position < 0.005, 1, -1)
    assert (np.sign(out)[plateau] == expected_sign[plateau]).all()
    assert out.max() == 32767
    assert out.min() == -32768


@BOTH_WAYS
@EVERY_KIND
def test_after_flush_or_reset_it_is_as_new(rates: tuple[int, int], kind: str) -> None:
    """Nothing of the old sound is heard in the new."""
    pcm = tone(1_009, rates[0], 0.05)
    fresh = make_resampler(kind, *rates).process(pcm)
    used = make_resampler(kind, *rates)
    used.process(tone(2_003, rates[0], 0.05)[:-2])
    used.flush()
    assert used.process(pcm) == fresh
    used.reset()
    assert used.flush() == b""
    assert used.process(pcm) == fresh


@BOTH_WAYS
@EVERY_KIND
def test_half_a_sample_is_refused_and_changes_nothing(rates: tuple[int, int], kind: str) -> None:
    """ValueError; the stream goes on as if the call had not been made."""
    pcm = tone(1_009, rates[0], 0.04)
    whole, resampler = make_resampler(kind, *rates), make_resampler(kind, *rates)
    first = resampler.process(pcm[:300])
    with pytest.raises(ValueError, match="middle of a sample"):
        resampler.process(b"\1\2\3")
    assert resampler.process(b"") == b""
    assert first + resampler.process(pcm[300:]) == whole.process(pcm)


def test_ratecv_with_state_is_short_in_the_first_chunk_only() -> None:
    """Characterises audioop: 478 samples, then 480 each; without state, every chunk is short."""
    resampler = AudioopResampler(*UP)
    sizes = [len(resampler.process(bytes(320))) // 2 for _ in range(10)]
    assert sizes == [478] + [480] * 9


def test_equal_rates_pass_through() -> None:
    """The same object, no delay, nothing held back; half a sample is refused here as well."""
    resampler = make_resampler("fir", 8_000, 8_000)
    assert isinstance(resampler, PassThrough)
    pcm = bytes(range(32))
    assert resampler.process(pcm) is pcm
    resampler.reset()
    assert resampler.flush() == b""
    assert resampler.delay_ms == 0
    with pytest.raises(ValueError, match="middle of a sample"):
        resampler.process(b"\0")


@pytest.mark.parametrize(
    ("kind", "src_hz", "dst_hz"),
    [
        ("sinc", 8_000, 24_000),
        ("sinc", 8_000, 8_000),
        ("fir", 8_000, 44_100),
        ("audioop", 0, 8_000),
    ],
)
def test_what_cannot_be_built_is_refused(kind: str, src_hz: int, dst_hz: int) -> None:
    """Unknown kinds (even where none is needed), pairs beyond fir, rates that are none."""
    with pytest.raises(ValueError, match=r"resampler|rates|converts"):
        make_resampler(kind, src_hz, dst_hz)
