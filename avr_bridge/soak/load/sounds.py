"""What callers and model say to each other, made once: quiet speech, a loud tone, a loud burst.

At both ends of the road. Also tells loud sound from quiet, by level alone, which survives G.711 and
any resampler. It sends nothing and knows no message.

The tone of a probe is 15 ms of 1 kHz at -3 dBFS in the middle of a frame of 20 ms, so however a
container cuts and filters it, it touches two pieces of 20 ms at most. A barge-in is 100 ms of it:
never fewer than four pieces.
"""

from __future__ import annotations

import math
from array import array
from base64 import b64encode
from functools import cache
from sys import byteorder

import attrs
import audioop

__all__ = ["BURST_PIECES", "FRAME_MS", "LOUD", "PCM_8K", "LoudRun", "Sound", "level_of"]

FRAME_MS = 20
QUIET_PEAK = 330
"""-40 dBFS."""

LOUD_PEAK = 23_197
"""-3 dBFS."""

LOUD = 8_000
"""What a peak must exceed to be loud: 28 dB above the speech, 9 dB below the tone."""

TONE_HZ = 1_000
TONE_MS = 15
BURST_PIECES = 3
"""So many loud pieces in a row are a barge-in; a probe makes two at most."""

BURST_MS = 50
"""The same in pieces of any length up to 20 ms: a probe touches 40 ms of them at most."""

_HUM = ((180, 0.4), (430, 0.3), (710, 0.2), (1_190, 0.1))


@attrs.frozen
class Sound:
    """An encoding: the name that the Realtime API gives it, and the rate in Hz."""

    name: str
    rate_hz: int

    @property
    def bytes_per_ms(self) -> int:
        """16 of PCM16 at 8 kHz, 48 at 24 kHz, 8 of G.711."""
        return self.rate_hz // 1000 * (2 if self.name == "audio/pcm" else 1)

    def encode(self, pcm: bytes) -> bytes:
        """PCM16 LE of this rate in this encoding."""
        match self.name:
            case "audio/pcmu":
                return audioop.lin2ulaw(pcm, 2)
            case "audio/pcma":
                return audioop.lin2alaw(pcm, 2)
        return pcm

    def decode(self, data: bytes) -> bytes:
        """PCM16 LE of this rate; half a sample at the end is dropped."""
        match self.name:
            case "audio/pcmu":
                return audioop.ulaw2lin(data, 2)
            case "audio/pcma":
                return audioop.alaw2lin(data, 2)
        return data[: len(data) & ~1]

    def speech(self, from_ms: int, ms: int) -> bytes:
        """Quiet speech, encoded, out of a loop of one second."""
        loop, width = _speech_loop(self), self.bytes_per_ms
        start = from_ms % 1000 * width
        end = start + ms * width
        return (loop * (1 + end // len(loop)))[start:end]

    def speech64(self, from_ms: int, ms: int) -> bytes:
        """The same in base64."""
        return _speech64(self, from_ms % 1000, ms)

    def probe(self) -> bytes:
        """A frame of 20 ms with the tone of a probe in it, encoded."""
        return self.encode(_tone(self.rate_hz, TONE_MS))

    def burst(self) -> bytes:
        """A loud frame of 20 ms from edge to edge, encoded."""
        return self.encode(_tone(self.rate_hz, FRAME_MS))

    def probe64(self) -> bytes:
        """The frame of a probe in base64."""
        return _probe64(self)


PCM_8K = Sound("audio/pcm", 8_000)
"""What callers speak and hear."""


def level_of(pcm: bytes) -> int:
    """The peak of PCM16 LE; half a sample at its end is left out."""
    return audioop.max(pcm[: len(pcm) & ~1], 2)


class LoudRun:
    """Follows the sound of one direction and says when a probe, or a barge-in, is in it.

    Args:
        rate_hz: Of its PCM16.
    """

    QUIET_AFTER_MS = 60
    """So much quiet sound ends a loud run."""

    def __init__(self, rate_hz: int) -> None:
        self._piece_bytes = rate_hz // 1000 * FRAME_MS * 2
        self._loud_ms = 0.0
        self._quiet_ms = float(self.QUIET_AFTER_MS)

    def quiet(self, ms: float) -> None:
        """Sound came, all of it quiet."""
        self._quiet_ms += ms
        if self._quiet_ms >= self.QUIET_AFTER_MS:
            self._loud_ms = 0.0

    def loud(self, pcm: bytes) -> tuple[bool, bool]:
        """Sound came, PCM16 LE, at least some of it loud.

        Returns:
            Whether a loud run begins in it, and whether one has just become a barge-in.
        """
        begins = burst = False
        for at in range(0, len(pcm), self._piece_bytes):
            piece = pcm[at : at + self._piece_bytes]
            ms = FRAME_MS * len(piece) / self._piece_bytes
            if level_of(piece) <= LOUD:
                self.quiet(ms)
                continue
            begins = begins or self._loud_ms == 0
            burst = burst or self._loud_ms < BURST_MS <= self._loud_ms + ms
            self._loud_ms += ms
            self._quiet_ms = 0.0
        return begins, burst


@cache
def _speech_loop(sound: Sound) -> bytes:
    rate = sound.rate_hz
    wave = array("h")
    for n in range(rate):
        hum = sum(share * math.sin(math.tau * hz * n / rate) for hz, share in _HUM)
        # Four syllables a second.
        wave.append(round(QUIET_PEAK * hum * (0.6 - 0.4 * math.cos(math.tau * 4 * n / rate))))
    return sound.encode(_little_endian(wave))


@cache
def _tone(rate_hz: int, ms: int) -> bytes:
    wave = array("h", bytes(rate_hz // 1000 * FRAME_MS * 2))
    samples = rate_hz // 1000 * ms
    first = (len(wave) - samples) // 2
    for n in range(samples):
        wave[first + n] = round(LOUD_PEAK * math.sin(math.tau * TONE_HZ * n / rate_hz))
    return _little_endian(wave)


def _little_endian(wave: array[int]) -> bytes:
    if byteorder == "big":
        wave.byteswap()
    return wave.tobytes()


@cache
def _speech64(sound: Sound, from_ms: int, ms: int) -> bytes:
    return b64encode(sound.speech(from_ms, ms))


@cache
def _probe64(sound: Sound) -> bytes:
    return b64encode(sound.probe())
