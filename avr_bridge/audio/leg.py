"""Caller -> bridge, off a leg that does not say what it carries: slin, µ-law or A-law at 8 kHz.

Asterisk's AudioSocket marks every codec but the higher slin rates as the same kind of frame, so the
bytes themselves have to tell. The sound stays at 8 kHz; sockets are unknown here.

How it is told
--------------
G.711 is a scale of 255 steps, finer near zero. On that scale, sound that is read rightly stays
around the middle, and each sample follows from those before it: that is what makes speech and tones
compressible. Read wrongly it does not: the two laws order their codes in ways that differ by a
pattern of bits, a sample's low byte is noise, and the silence of one reading is a constant far from
zero in another. So each reading is scored by what cannot be predicted of it, and by its distance
from the middle, and the calmest one is right. The length of a frame is a hint beside that: Asterisk
sends 20 ms, so 320 bytes are hardly G.711.

Noise cannot be predicted in any reading, and of some loudness it looks calmer in the wrong law.
Then the amplitudes tell the laws apart: whatever the noise, a greater one is rarer than a smaller
one, so of the sixteen steps of each segment the lower eight are used more. The pattern by which the
laws differ has the bit of these eight in it: in the wrong law it is the upper eight, by as much.
That holds for noise around zero only, which has both signs alike.

What decides
------------
Quiet sound cannot: a constant with a little noise, as a line with an offset has, may be calmer in
the wrong law, and µ-law's code for an offset of 716 is A-law's for silence, bit by bit. It is
decoded as what it seems to be, and nothing is kept of that. Lively sound decides, which moves in
every reading. It is judged apart from the quiet, so what comes before it does not count, and more
by what cannot be predicted, less by the distance from the middle. What was found by lively sound is
replaced by nothing less, and half a second of it, surely the same, ends the search.
"""

from __future__ import annotations

import enum
from typing import Final

import numpy as np

from avr_bridge.audio import codec
from avr_bridge.audio.format import ALAW_8K, PCM16_8K, ULAW_8K, Encoding

__all__ = ["LegDecoder", "guess_encoding"]

_PAST: Final = 12
"""Samples from which the next is predicted: enough for the resonances of a voice."""

_LEAST_BYTES: Final = ULAW_8K.bytes_of_ms(100)
"""For a verdict that is sure; and from one look to the next, once all that is judged was seen."""

_JUDGED_BYTES: Final = PCM16_8K.bytes_of_ms(200)
"""The newest; more costs time and tells no more."""

_SEEMS_BYTES: Final = ULAW_8K.bytes_of_ms(1000)
"""From one look at quiet sound to the next, once it surely seemed something: a look takes 1 ms, a
caller may listen for minutes, and nothing is decided by it."""

_STANDS_BYTES: Final = {law.encoding: law.bytes_of_ms(500) for law in (ULAW_8K, ALAW_8K, PCM16_8K)}
"""Surely the same, of lively sound, for an encoding to stand."""

_LIVELY_STEPS: Final = 4.0
"""RMS around the mean of 20 ms in their calmest reading: white noise of 32 (µ-law) or 64 (A-law)
around zero, of more on an offset. Speech at a tenth of its level has more."""

_OFF_MIDDLE: Final = 1 / 2
_OFF_MIDDLE_LIVELY: Final = 1 / 8
"""What a step of distance from the middle counts beside one that cannot be predicted. Silence has
little else to tell it by; lively sound on an offset is off the middle in its right reading."""

_CALMER: Final = 0.7
_CALMER_STEPS: Final = 4.0
"""The best reading is sure with at most this share of the next one's score, and so much less."""

_UNLIKELY: Final = 2.0
"""What the score of a reading is multiplied by that does not fit the length of the frames."""

_NOISE_SHARE: Final = 0.9
"""Noise is what can be predicted in no law to less than this share of its level (RMS). Speech and
tones, read rightly, come to 0.1 to 0.7."""

_ONE_SIGN: Final = 0.3
"""Noise around zero has at least this share of either sign, in any reading; other noise sits on an
offset, and its amplitudes tell nothing."""

_UPPER_EIGHT: Final = 0x08
_TELLING: Final = 2.0
_SURELY_TELLING: Final = 5.0
"""Standard deviations of a fair coin, by which the lower eight steps are used more or less. Fewer
tell nothing, so many are sure."""

_ORDER: Final = (Encoding.ULAW, Encoding.ALAW, Encoding.PCM16)
"""The first of equals: runs of 0xFF are µ-law's silence, and as slin they would be nearly that."""


class _Firmness(enum.IntEnum):
    """What an encoding was found by; one that is less firm does not replace it."""

    GUESSED = 0  # from quiet sound
    SEEMING = 1  # surely, from quiet sound
    HEARD = 2  # a guess from lively sound
    CONFIRMED = 3  # surely, from lively sound


def _scale(inverted: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Where each code of a law stands: -127 to 127, in the order of what is heard."""
    codes = np.arange(256)
    steps = (codes ^ inverted) & 0x7F
    return np.where(codes & 0x80, steps, -steps).astype(np.float64)


_STEPS: Final = {Encoding.ULAW: _scale(0xFF), Encoding.ALAW: _scale(0x55)}


def guess_encoding(data: bytes, frame_bytes: int = 0) -> tuple[Encoding, bool]:
    """Say which of slin, µ-law and A-law these bytes are, and whether that is sure.

    Args:
        data: From the beginning of a sample on.
        frame_bytes: The length of the frames that they came in; 0: unknown.
    """
    off_middle = _OFF_MIDDLE_LIVELY if _is_lively(data) else _OFF_MIDDLE
    judged = {kind: _judged(data, kind, off_middle) for kind in _ORDER}
    scores = {kind: score for kind, (score, _) in judged.items()}
    if frame_bytes:
        for kind in _ORDER:
            is_likely = (frame_bytes >= PCM16_8K.frame_bytes) == (kind is Encoding.PCM16)
            scores[kind] *= 1.0 if is_likely else _UNLIKELY
    best, second = sorted(_ORDER, key=scores.__getitem__)[:2]
    sure = (
        len(data) >= _LEAST_BYTES
        and scores[best] <= _CALMER * scores[second]
        and scores[second] - scores[best] >= _CALMER_STEPS
    )
    if best is not Encoding.PCM16 and min(judged[law][1] for law in _STEPS) >= _NOISE_SHARE:
        return _law_of_noise(data, best)
    return best, sure


def _is_lively(data: bytes) -> bool:
    """Whether these bytes move as speech does, whichever of the three they are.

    A constant with a little noise is calm in its own reading, and so is not lively.
    """
    heard = [_STEPS[law][np.frombuffer(data, np.uint8)] for law in _STEPS]
    heard.append(_heard(data, Encoding.PCM16))
    return min(float(steps.std()) if len(steps) else 0.0 for steps in heard) >= _LIVELY_STEPS


def _law_of_noise(data: bytes, calmer: Encoding) -> tuple[Encoding, bool]:
    """Which law noise is in, by its amplitudes, and whether that is sure; `calmer` if they tell
    nothing."""
    negative = float(np.mean(np.frombuffer(data, np.uint8) < 0x80))  # in either law
    if min(negative, 1 - negative) < _ONE_SIGN:
        return calmer, False
    upper = int(np.count_nonzero(~np.frombuffer(data, np.uint8) & _UPPER_EIGHT))  # of µ-law
    deviations = (len(data) - 2 * upper) / len(data) ** 0.5
    if abs(deviations) < _TELLING:
        return calmer, False
    law = Encoding.ULAW if deviations > 0 else Encoding.ALAW
    return law, len(data) >= _LEAST_BYTES and abs(deviations) >= _SURELY_TELLING


def _judged(data: bytes, encoding: Encoding, off_middle: float) -> tuple[float, float]:
    """How restless the bytes are if this is what they are, 0 is digital silence; and which share of
    their level cannot be predicted, 0 where there is none."""
    heard = _heard(data, encoding)
    if not len(heard):
        return 0.0, 0.0
    unpredicted, level = _unpredicted(heard), float(heard.std())
    restless = unpredicted + off_middle * abs(float(heard.mean()))
    return restless, unpredicted / level if level else 0.0


def _heard(data: bytes, encoding: Encoding) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """The sound on the scale of its law if this is what the bytes are; slin on that of µ-law."""
    if encoding is Encoding.PCM16:
        data = codec.encode(data[: len(data) & ~1], Encoding.ULAW)
        encoding = Encoding.ULAW
    return _STEPS[encoding][np.frombuffer(data, np.uint8)]


def _unpredicted(heard: np.ndarray[tuple[int], np.dtype[np.float64]]) -> float:
    """What is left (RMS) when each sample is predicted from the `_PAST` ones before, as well as a
    linear combination can."""
    if len(heard) < 4 * _PAST:
        return float(np.abs(np.diff(heard, prepend=0.0)).mean())
    windows = np.lib.stride_tricks.sliding_window_view(heard, _PAST + 1)
    past, now = windows[:, :_PAST], windows[:, _PAST]
    weights = np.linalg.solve(past.T @ past + np.eye(_PAST), past.T @ now)
    return float(np.sqrt(np.mean(np.square(now - past @ weights))))


class LegDecoder:
    """One call's sound from its leg to PCM16 LE mono, 8 kHz.

    Args:
        encoding: What the leg carries; None: to be found out. The sound is then judged until half a
            second of lively sound was surely the same. Quiet sound is decoded as what it seems to
            be, but decides nothing.

    Attributes:
        encoding: What it is taken for; None before the first sound.
        sure: Whether that stands for the rest of the call.
    """

    def __init__(self, encoding: Encoding | None = None) -> None:
        self.encoding = encoding
        self.sure = encoding is not None
        self._quiet = self._lively = b""
        self._firmness = _Firmness.GUESSED
        self._confirmed_bytes = 0
        self._unjudged_bytes = 0

    def decode(self, data: bytes, frame_bytes: int = 0) -> bytes:
        """Convert the next bytes: whole samples, any number of them.

        Args:
            data: What came.
            frame_bytes: The length of the frames that it came in; 0: unknown.

        Returns:
            PCM16 LE mono, 8 kHz. Half a sample at the end is dropped.
        """
        if not self.sure:
            self._judge(data, frame_bytes)
        encoding = self.encoding or Encoding.PCM16
        if encoding is Encoding.PCM16 and len(data) % PCM16_8K.sample_bytes:
            data = data[:-1]
        return codec.decode(data, encoding)

    def _judge(self, data: bytes, frame_bytes: int) -> None:
        """Look at what came, with what came before of its kind: quiet, or lively."""
        before = self._quiet
        self._quiet = (before + data)[-_JUDGED_BYTES:]
        if self._quiet == before:  # digital silence, which says the same as ever
            return
        lively = _is_lively(self._quiet[-max(len(data), ULAW_8K.frame_bytes) :])
        if lively:
            self._lively = (self._lively + data)[-_JUDGED_BYTES:]
            self._quiet = b""
        elif self._firmness >= _Firmness.HEARD:
            return
        judged = self._lively if lively else self._quiet
        self._unjudged_bytes += len(data)
        seems = not lively and self._firmness is _Firmness.SEEMING
        enough_bytes = _SEEMS_BYTES if seems else _LEAST_BYTES
        if len(judged) == _JUDGED_BYTES and self._unjudged_bytes < enough_bytes:
            return
        looked_bytes, self._unjudged_bytes = self._unjudged_bytes, 0
        encoding, sure = guess_encoding(judged, frame_bytes)
        firmness = _Firmness(2 * lively + sure)
        if firmness < self._firmness:
            return
        if encoding is not self.encoding:
            self._confirmed_bytes = 0
        self.encoding, self._firmness = encoding, firmness
        if firmness is _Firmness.CONFIRMED:
            self._confirmed_bytes += looked_bytes
            self.sure = self._confirmed_bytes >= _STANDS_BYTES[encoding]
            if self.sure:
                self._quiet = self._lively = b""
