"""Model -> caller, before the decoder: is what was announced as G.711 really PCM16 at 24 kHz?

A gateway may accept a request for µ-law and send PCM16 all the same, which the caller would hear
as loud noise. This module judges bytes and remembers nothing; it neither converts nor decides what
happens next.

What gives PCM16 away
---------------------
Bytes of G.711 are one signal: those at even and at odd places have the same statistics. Bytes of
PCM16 are two signals in turn: high bytes, which move slowly and near zero, and low bytes, which
jump about. So the measure is the mean step between neighbours at even places against that at odd
places (steps go around, 255 -> 0 is 1). It lies near 1 for G.711 and near 0 for speech in PCM16.
Either parity may hold the high bytes, so a start in the middle of a sample does not matter.

Each verdict needs more than that: "PCM16" that the 16-bit samples hang together, cross zero as
sound does, and have many different low bytes; "G.711" that both parities use the same codes, and
use them as unevenly as sound does, since equal steps alone are also what loud noise in PCM16 has.
Blocks of 10 ms (of PCM16) vote; with votes on both sides, nothing is decided.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from avr_bridge.audio.format import Encoding

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["looks_like_pcm16"]

_BLOCK_PAIRS: Final = 240
"""Pairs of bytes in a block: 10 ms of PCM16 at 24 kHz, a period of the lowest voice; 60 ms of
G.711. Shorter blocks miss zero crossings of voices and let the measure stray further from 1."""

_MAX_BLOCKS: Final = 32
"""Blocks looked at, after the leading silence: bounds the work to about half a millisecond."""

_IDLE: Final = b"\x00\xff\x7f\x55\xd5"
"""Bytes of digital silence in any of the encodings; a run of them at the start tells nothing."""

_ZEROS_BYTES: Final = 960
"""Zeros that cannot be G.711: 20 ms of PCM silence, but 120 ms of a full-scale constant."""

_SILENCE_BYTES: Final = 160
"""G.711 silence that cannot be PCM16: 20 ms of it."""

_PCM_STEP_RATIO: Final = 0.2
"""High bytes step at most this much of the low bytes' steps. Synthetic speech of five voices:
under 0.13 in 99 % of the blocks as PCM16; as G.711 never under 0.28, and that when very quiet."""

_PCM_LOW_STEP: Final = 4.0
"""Low bytes step at least this much in the mean, and half of it in the median: clicks do not."""

_PCM_LOW_VALUES: Final = 12
"""Different low bytes in a block: pulse trains in G.711 have fewer."""

_PCM_SIGN_SHARE: Final = 0.08
"""Share of samples on the rarer side of zero: sound crosses zero, G.711 codes at rest do not."""

_PCM_CORRELATION: Final = 0.5
"""Correlation of neighbouring 16-bit samples; voiced speech at 24 kHz has over 0.9."""

_G711_STEP_RATIO: Final = 0.6
"""Steps at the calmer parity are at least this much of the other's: the same speech has
over 0.68 in 95 % of the blocks as G.711."""

_G711_DISTANCE: Final = 0.3
"""Share of codes that one parity uses and the other does not, by their upper four bits."""

_G711_UNEVEN: Final = 0.15
"""Chi-square per byte of the three segment bits against an even spread, which low bytes have."""

_G711_AROUND_ZERO: Final = 0.7
"""Share of codes from 0xF0 around to 0x0F: nearly all of the bytes of very quiet PCM16, whose two
parities step alike too, but in G.711 the rare meeting of two ends of the scale."""

_COARSE: Final = 16
_SEGMENTS: Final = 8


def looks_like_pcm16(data: bytes, encoding: Encoding) -> bool | None:
    """Judge bytes that were announced as G.711 at 8 kHz.

    Give it all bytes so far rather than the last few: it needs 480 bytes of sound (60 ms of G.711,
    10 ms of PCM16 at 24 kHz) for any verdict. Leading digital silence is skipped. Takes well under
    a millisecond.

    Args:
        data: The bytes, which may start in the middle of a sample.
        encoding: What was announced: `ULAW` or `ALAW`.

    Returns:
        True for PCM16 LE, False for G.711, None as long as it might be either. A None where the
        answer was clear to the ear is possible; a wrong True is what the thresholds are made
        against.

    Raises:
        ValueError: `encoding` is not G.711.
    """
    if encoding is Encoding.PCM16:
        raise ValueError("only bytes announced as G.711 can be judged")
    sound = data.lstrip(_IDLE)
    n_blocks = min(len(sound) // (2 * _BLOCK_PAIRS), _MAX_BLOCKS)
    if not n_blocks:
        return _judge_silence(data[: len(data) - len(sound)], encoding)
    codes = np.frombuffer(sound, np.uint8, n_blocks * 2 * _BLOCK_PAIRS)
    even = codes[0::2].reshape(n_blocks, _BLOCK_PAIRS)
    odd = codes[1::2].reshape(n_blocks, _BLOCK_PAIRS)
    even_steps, odd_steps = _steps(even), _steps(odd)
    is_pcm = _any_pcm(even, odd, even_steps, odd_steps) or _any_pcm(
        # The other alignment: the low byte of a sample stands before its high byte.
        odd[:, :-1],
        even[:, 1:],
        odd_steps,
        even_steps,
    )
    is_g711 = _any_g711(even, odd, even_steps, odd_steps)
    return None if is_pcm == is_g711 else is_pcm


def _judge_silence(idle: bytes, encoding: Encoding) -> bool | None:
    """Judge bytes of digital silence alone; runs of 0xFF fit PCM16 (-1) and µ-law alike."""
    if len(idle) >= _ZEROS_BYTES and not idle.strip(b"\x00"):
        return True
    own = b"\xff\x7f" if encoding is Encoding.ULAW else b"\xd5\x55"
    if len(idle) >= _SILENCE_BYTES and not idle.strip(own) and idle.strip(b"\xff"):
        return False
    return None


def _steps(codes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Distance of each byte from the one before it in its block, around the circle: 0 to 128."""
    forth = codes[:, 1:] - codes[:, :-1]
    around: NDArray[np.uint8] = np.minimum(forth, -forth)
    return around


def _any_pcm(
    low: NDArray[np.uint8],
    high: NDArray[np.uint8],
    low_steps: NDArray[np.uint8],
    high_steps: NDArray[np.uint8],
) -> bool:
    """Whether a block is PCM16, if these are the low and the high bytes of its samples."""
    low_mean = low_steps.mean(axis=1)
    candidates = (low_mean >= _PCM_LOW_STEP) & (
        high_steps.mean(axis=1) <= _PCM_STEP_RATIO * low_mean
    )
    return any(
        2 * np.count_nonzero(low_steps[block] >= _PCM_LOW_STEP / 2) >= low_steps.shape[1]
        and np.count_nonzero(np.bincount(low[block])) >= _PCM_LOW_VALUES
        and _hangs_together(low[block], high[block])
        for block in np.flatnonzero(candidates)
    )


def _hangs_together(low: NDArray[np.uint8], high: NDArray[np.uint8]) -> bool:
    """Whether bytes make 16-bit samples that cross zero and resemble their neighbours."""
    samples = low + 256.0 * high.view(np.int8)
    n_negative = int(np.count_nonzero(samples < 0))
    if min(n_negative, len(samples) - n_negative) < _PCM_SIGN_SHARE * len(samples):
        return False
    samples -= samples.mean()
    power = float(samples @ samples)
    return power > 0 and float(samples[1:] @ samples[:-1]) >= _PCM_CORRELATION * power


def _any_g711(
    even: NDArray[np.uint8],
    odd: NDArray[np.uint8],
    even_steps: NDArray[np.uint8],
    odd_steps: NDArray[np.uint8],
) -> bool:
    """Whether a block is G.711: both parities step alike and make the same choice of codes."""
    even_mean, odd_mean = even_steps.mean(axis=1), odd_steps.mean(axis=1)
    alike = np.minimum(even_mean, odd_mean) >= _G711_STEP_RATIO * np.maximum(even_mean, odd_mean)
    even_codes, odd_codes = _histogram(even), _histogram(odd)
    distance = np.abs(even_codes - odd_codes).sum(axis=1) / 2
    uneven = np.minimum(_unevenness(even_codes), _unevenness(odd_codes))
    around_zero = np.maximum(even_codes, odd_codes)[:, [0, -1]].sum(axis=1)
    return bool(
        np.any(
            alike
            & (distance <= _G711_DISTANCE)
            & (uneven >= _G711_UNEVEN)
            & (around_zero <= _G711_AROUND_ZERO)
        )
    )


def _histogram(codes: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Shares of the upper four bits (sign and segment of G.711), block by block."""
    n_blocks, n_codes = codes.shape
    index = (codes >> 4) + _COARSE * np.arange(n_blocks)[:, None]
    counts = np.bincount(index.ravel(), minlength=_COARSE * n_blocks)
    shares: NDArray[np.float64] = counts.reshape(n_blocks, _COARSE) / n_codes
    return shares


def _unevenness(shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Chi-square per byte of the segments, both signs together, against an even spread."""
    segments = shares[:, :_SEGMENTS] + shares[:, _SEGMENTS:]
    unevenness: NDArray[np.float64] = np.square(segments).sum(axis=1) * _SEGMENTS - 1
    return unevenness
