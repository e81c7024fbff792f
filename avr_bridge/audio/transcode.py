"""Both directions: the format of the caller's leg <-> whatever format the model speaks.

Puts codec and resampler in the right order and mends deltas that were cut in the middle of a
sample. Where both sides share a format the bytes go through untouched. It does not cut frames
(`framing.py`), and it does not touch base64 or messages.
"""

from __future__ import annotations

from avr_bridge.audio import codec
from avr_bridge.audio.format import PCM16_8K, AudioFormat
from avr_bridge.audio.resample import make_resampler

__all__ = ["Decoder", "Encoder", "clip_in"]


class Encoder:
    """Caller -> model: the leg's format to the model's. One per call.

    It needs no flush: a caller's sound ends with the call.
    """

    def __init__(self, fmt: AudioFormat, resampler_kind: str, leg: AudioFormat = PCM16_8K) -> None:
        """Prepare for a model that listens in `fmt`; `resampler_kind` is "fir" or "audioop".

        Raises:
            ValueError: No such resampler, or none between the rates of `leg` and `fmt`.
        """
        self._untouched = leg == fmt
        self._leg_encoding = leg.encoding
        self._encoding = fmt.encoding
        self._resampler = make_resampler(resampler_kind, leg.rate_hz, fmt.rate_hz)

    @property
    def delay_ms(self) -> float:
        """What the resampler adds to the road: 0 for G.711 on both sides."""
        return self._resampler.delay_ms

    def encode(self, data: bytes) -> bytes:
        """Convert the next sound of the leg, whole samples of any number.

        Raises:
            ValueError: `data` ends in the middle of a sample; the state is unchanged.
        """
        if self._untouched:
            return data
        pcm = codec.decode(data, self._leg_encoding)
        return codec.encode(self._resampler.process(pcm), self._encoding)


class Decoder:
    """Model -> caller: the model's format to that of the leg. One per call.

    A delta may end anywhere, even in the middle of a sample: the odd byte waits for the next one.
    """

    def __init__(self, fmt: AudioFormat, resampler_kind: str, leg: AudioFormat = PCM16_8K) -> None:
        """Prepare for a model that speaks in `fmt`; `resampler_kind` is "fir" or "audioop".

        Raises:
            ValueError: No such resampler, or none between the rates of `fmt` and `leg`.
        """
        self._untouched = leg == fmt
        self._leg_encoding = leg.encoding
        self._encoding = fmt.encoding
        self._sample_bytes = fmt.sample_bytes
        self._resampler = make_resampler(resampler_kind, fmt.rate_hz, leg.rate_hz)
        self._odd = b""

    @property
    def delay_ms(self) -> float:
        """What the resampler adds to the road: 0 for G.711 on both sides."""
        return self._resampler.delay_ms

    def decode(self, data: bytes) -> bytes:
        """Convert the next bytes of the model's sound, cut anywhere, to the leg's format."""
        if self._odd:
            data = self._odd + data
            self._odd = b""
        if cut_bytes := len(data) % self._sample_bytes:
            self._odd = data[-cut_bytes:]
            data = data[:-cut_bytes]
        if self._untouched:
            return data
        pcm = self._resampler.process(codec.decode(data, self._encoding))
        return codec.encode(pcm, self._leg_encoding)

    def flush(self) -> bytes:
        """Return what the resampler still holds, in the leg's format; then the state is as new.

        For the end of an answer. Half a sample that still waits is dropped.
        """
        self._odd = b""
        return codec.encode(self._resampler.flush(), self._leg_encoding)

    def reset(self) -> None:
        """Forget everything that still waits, as after an interruption."""
        self._odd = b""
        self._resampler.reset()


def clip_in(fmt: AudioFormat, pcm: bytes) -> bytes:
    """A whole clip, PCM16 LE mono 8 kHz, in the format of a leg; as long as it was, and no later.

    Raises:
        ValueError: There is no way to the rate of `fmt`, or the clip ends within a sample.
    """
    if fmt == PCM16_8K:
        return pcm
    resampler = make_resampler("fir", PCM16_8K.rate_hz, fmt.rate_hz)
    late_bytes = round(resampler.delay_ms * fmt.rate_hz / 1000) * PCM16_8K.sample_bytes
    there = resampler.process(pcm) + resampler.flush()
    return codec.encode(there[late_bytes:], fmt.encoding)
