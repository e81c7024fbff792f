"""What a run of audio bytes means: encoding, rate, and arithmetic between samples, bytes and ms.

Every other audio module speaks in these formats. This module converts numbers only; sound is
converted in `codec.py` and `resample.py`.
"""

from __future__ import annotations

import enum

import attrs

__all__ = [
    "ALAW_8K",
    "FRAME_MS",
    "PCM16_8K",
    "PCM16_16K",
    "PCM16_24K",
    "ULAW_8K",
    "AudioFormat",
    "Encoding",
]

FRAME_MS = 20
"""Length of one telephone frame; avr-core sends and expects whole frames of this length."""


class Encoding(enum.Enum):
    """How one sample is stored. The values are the Realtime API's names (GA)."""

    PCM16 = "audio/pcm"
    ULAW = "audio/pcmu"
    ALAW = "audio/pcma"


_SAMPLE_BYTES = {Encoding.PCM16: 2, Encoding.ULAW: 1, Encoding.ALAW: 1}
_SILENCE = {Encoding.PCM16: b"\x00\x00", Encoding.ULAW: b"\xff", Encoding.ALAW: b"\xd5"}


@attrs.frozen
class AudioFormat:
    """Mono audio of one encoding at one rate; PCM16 is signed 16 bit, little-endian.

    Sample counts are integers and the truth; bytes and milliseconds derive from them.
    """

    encoding: Encoding
    rate_hz: int

    @property
    def sample_bytes(self) -> int:
        """Bytes of one sample: 2 for PCM16, 1 for G.711."""
        return _SAMPLE_BYTES[self.encoding]

    @property
    def frame_samples(self) -> int:
        """Samples in one frame of 20 ms."""
        return self.rate_hz * FRAME_MS // 1000

    @property
    def frame_bytes(self) -> int:
        """Bytes in one frame of 20 ms: 320 for PCM16 at 8 kHz, 160 for G.711."""
        return self.frame_samples * self.sample_bytes

    def samples(self, n_bytes: int) -> int:
        """Whole samples in `n_bytes`; a cut last sample does not count."""
        return n_bytes // self.sample_bytes

    def bytes_of_ms(self, ms: float) -> int:
        """Bytes of the whole samples within `ms` milliseconds."""
        return int(self.rate_hz * ms / 1000) * self.sample_bytes

    def ms(self, n_bytes: int) -> float:
        """Milliseconds that the whole samples in `n_bytes` last."""
        return self.samples(n_bytes) * 1000 / self.rate_hz

    def silence(self, n_samples: int) -> bytes:
        """`n_samples` of digital silence in this encoding (µ-law 0xFF, A-law 0xD5, PCM16 0)."""
        return _SILENCE[self.encoding] * n_samples


PCM16_8K = AudioFormat(Encoding.PCM16, 8_000)
"""avr-core's side: PCM16 LE mono, 8 kHz; 20 ms = 160 samples = 320 bytes."""

PCM16_16K = AudioFormat(Encoding.PCM16, 16_000)
"""Asterisk's slin16: 20 ms = 320 samples = 640 bytes."""

PCM16_24K = AudioFormat(Encoding.PCM16, 24_000)
"""The Realtime API's only PCM: 24 kHz; 20 ms = 480 samples = 960 bytes."""

ULAW_8K = AudioFormat(Encoding.ULAW, 8_000)
"""G.711 µ-law: 20 ms = 160 bytes."""

ALAW_8K = AudioFormat(Encoding.ALAW, 8_000)
"""G.711 A-law: 20 ms = 160 bytes."""
