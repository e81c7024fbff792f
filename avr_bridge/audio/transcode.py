"""Both directions: the caller's PCM16 8 kHz <-> whatever format the model speaks.

Puts codec and resampler in the right order and mends deltas that were cut in the middle of a
sample. It does not cut frames (`framing.py`), and it does not touch base64 or messages.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from avr_bridge.audio import codec
from avr_bridge.audio.format import PCM16_8K
from avr_bridge.audio.resample import make_resampler

if TYPE_CHECKING:
    from avr_bridge.audio.format import AudioFormat

__all__ = ["Decoder", "Encoder"]


class Encoder:
    """Caller -> model: PCM16 LE mono 8 kHz to the model's format. One per call.

    It needs no flush: a caller's sound ends with the call.
    """

    def __init__(self, fmt: AudioFormat, resampler_kind: str) -> None:
        """Prepare for a model that listens in `fmt`; `resampler_kind` is "fir" or "audioop".

        Raises:
            ValueError: No such resampler, or none between 8 kHz and `fmt`.
        """
        self._encoding = fmt.encoding
        self._resampler = make_resampler(resampler_kind, PCM16_8K.rate_hz, fmt.rate_hz)

    @property
    def delay_ms(self) -> float:
        """What the resampler adds to the road: 0 for G.711."""
        return self._resampler.delay_ms

    def encode(self, pcm: bytes) -> bytes:
        """Convert the next PCM16 LE mono 8 kHz, whole samples of any number.

        Raises:
            ValueError: `pcm` ends in the middle of a sample; the state is unchanged.
        """
        return codec.encode(self._resampler.process(pcm), self._encoding)


class Decoder:
    """Model -> caller: the model's format to PCM16 LE mono 8 kHz. One per call.

    A delta may end anywhere, even in the middle of a sample: the odd byte waits for the next one.
    """

    def __init__(self, fmt: AudioFormat, resampler_kind: str) -> None:
        """Prepare for a model that speaks in `fmt`; `resampler_kind` is "fir" or "audioop".

        Raises:
            ValueError: No such resampler, or none between `fmt` and 8 kHz.
        """
        self._encoding = fmt.encoding
        self._sample_bytes = fmt.sample_bytes
        self._resampler = make_resampler(resampler_kind, fmt.rate_hz, PCM16_8K.rate_hz)
        self._odd = b""

    @property
    def delay_ms(self) -> float:
        """What the resampler adds to the road: 0 for G.711."""
        return self._resampler.delay_ms

    def decode(self, data: bytes) -> bytes:
        """Convert the next bytes of the model's sound, cut anywhere, to PCM16 LE mono 8 kHz."""
        if self._odd:
            data = self._odd + data
            self._odd = b""
        if cut_bytes := len(data) % self._sample_bytes:
            self._odd = data[-cut_bytes:]
            data = data[:-cut_bytes]
        return self._resampler.process(codec.decode(data, self._encoding))

    def flush(self) -> bytes:
        """Return what the resampler still holds, PCM16 LE mono 8 kHz; then the state is as new.

        For the end of an answer. Half a sample that still waits is dropped.
        """
        self._odd = b""
        return self._resampler.flush()

    def reset(self) -> None:
        """Forget everything that still waits, as after an interruption."""
        self._odd = b""
        self._resampler.reset()
