"""Tells the answer to a probe from everything else that a caller hears. Arithmetic, no clock.

At the end of the sound's road. An answer is what `sounds.py` makes: 15 ms of 1 kHz, loud, with
quiet on both sides. A container's own clips, another model's speech, beeps and keypad tones are
loud as well; none of them is so short and so pure at once. Whose answer it is, and whether it came
in time, is `caller.py`'s question.
"""

from __future__ import annotations

import math
from array import array
from sys import byteorder

from avr_bridge.soak.load.sounds import LOUD, TONE_HZ, level_of

__all__ = ["ProbeSeeker"]

PER_MS = 8
"""Samples of a caller's sound."""

SHORTEST, LONGEST = 13 * PER_MS, 18 * PER_MS
"""From the first loud sample to the last. The tone has 15 ms; a container's filters take a little
of its edges, or let it ring."""

RINGING = 3 * PER_MS
"""On each side of the tone, where a container's filter may have left anything."""

BEFORE, AFTER = 20 * PER_MS, 40 * PER_MS
"""How long it is quiet around the tone. Whoever speaks is not loud for 15 ms alone."""

STILL = LOUD // 2
"""No peak in those times: 21 dB above the model's speech, 15 dB below the tone."""

PURE = 0.8
"""Of the tone's energy, at 1 kHz: what 17 Hz more or less leave of it. Filters and G.711 take less
than a hundredth."""

NO_MORE_S = 0.5
"""A tone that no sound follows for so long has silence behind it: the model waits for a tool."""

_COSINES = [math.cos(math.tau * TONE_HZ * n / (1000 * PER_MS)) for n in range(PER_MS)]
_SINES = [math.sin(math.tau * TONE_HZ * n / (1000 * PER_MS)) for n in range(PER_MS)]


class ProbeSeeker:
    """Follows what one caller hears: PCM16 LE, 8 kHz, in pieces of any length."""

    def __init__(self) -> None:
        self._before = b""
        self._window = b""
        self._since_s = 0.0
        self._come = 0

    def skip(self, pcm: bytes) -> None:
        """Sound came while no answer was waited for."""
        self._window = b""
        self._keep(pcm)

    def hear(self, pcm: bytes, now_s: float) -> float | None:
        """Sound came.

        Returns:
            When the answer began, once there is enough behind it to know it for one; else None.
        """
        if self._window:
            self._window += pcm
        elif level_of(pcm) > LOUD:
            self._window = self._before + pcm
            self._since_s, self._come = now_s, len(self._before) // 2
        self._keep(pcm)
        return self._judge(0) if self._window else None

    def settle(self, now_s: float) -> float | None:
        """No sound came up to now; the same as `hear` of silence, if it is long enough."""
        if self._window and now_s - self._since_s > NO_MORE_S:
            return self._judge(LONGEST + AFTER)
        return None

    def _keep(self, pcm: bytes) -> None:
        most = 2 * BEFORE
        self._before = (pcm if len(pcm) >= most else self._before + pcm)[-most:]

    def _judge(self, silence: int) -> float | None:
        wave = array("h", self._window[: len(self._window) & ~1])
        if byteorder == "big":
            wave.byteswap()
        wave.extend([0] * silence)
        first = next(n for n in range(self._come, len(wave)) if abs(wave[n]) > LOUD)
        if len(wave) - first < LONGEST + AFTER:
            return None
        self._window = b""
        return self._since_s if _is_answer(wave, first) else None


def _is_answer(wave: array[int], first: int) -> bool:
    """Whether the loud sound that begins at `first` is short, alone and pure."""
    end = first + LONGEST
    last = max(n for n in range(first, end) if abs(wave[n]) > LOUD)
    tone = wave[first : last + 1]
    if first < BEFORE - RINGING or len(tone) < SHORTEST:
        return False
    before = wave[max(first - BEFORE, 0) : first - RINGING]
    after = wave[last + 1 + RINGING : last + 1 + AFTER]
    return _is_still(before) and _is_still(after) and _purity(tone) > PURE


def _is_still(wave: array[int]) -> bool:
    return level_of(wave.tobytes()) <= STILL


def _purity(tone: array[int]) -> float:
    """The share of its energy that is at 1 kHz, of which a period is 8 samples."""
    sums = [sum(tone[n::PER_MS]) for n in range(PER_MS)]
    cosine = math.sumprod(sums, _COSINES)
    sine = math.sumprod(sums, _SINES)
    energy = math.sumprod(tone, tone)
    return 2 * (cosine**2 + sine**2) / (len(tone) * energy)
