"""The input audio buffer: caller audio in, speech edges and whole turns out.

Decodes, keeps the audio timeline (ms appended, not the clock) and cuts the turns that `vad.py`
finds. It sends nothing; `dialogue.py` makes events of what it returns.
"""

from __future__ import annotations

from typing import Any

import attrs
import audioop

from avr_bridge.audio.format import AudioFormat, Encoding
from avr_bridge.testing.realtime.refusal import Refusal
from avr_bridge.testing.realtime.vad import WINDOW_MS, SpeechEdge, VadSettings, VoiceDetector

__all__ = ["Ear", "Heard", "SpeechStarted", "SpeechStopped", "decode"]

MIN_COMMIT_MS = 100
"""A turn shorter than this cannot be committed (the API's own limit)."""

MAX_BUFFER_MS = 600_000
"""Without voice detection the newest ten minutes are kept: 29 MB at 24 kHz."""

TAIL_MS = 100
"""Quiet kept after the caller's last loud window, so that a word's end is not cut."""


@attrs.frozen
class Heard:
    """One turn of the caller: PCM16 LE mono at `rate_hz`, and how long the API counts it."""

    pcm: bytes = attrs.field(repr=False)
    rate_hz: int
    ms: float


@attrs.frozen
class SpeechStarted:
    """Speech began; the position on the audio timeline includes the prefix padding."""

    audio_start_ms: int


@attrs.frozen
class SpeechStopped:
    """Speech ended; the position on the audio timeline includes the silence."""

    audio_end_ms: int
    heard: Heard


def decode(data: bytes, audio_format: AudioFormat) -> bytes:
    """PCM16 LE of encoded audio; a cut last sample is dropped."""
    match audio_format.encoding:
        case Encoding.ULAW:
            return audioop.ulaw2lin(data, 2)
        case Encoding.ALAW:
            return audioop.alaw2lin(data, 2)
        case Encoding.PCM16:
            return data[: len(data) // 2 * 2]


class Ear:
    """The input side of one session."""

    def __init__(self, audio_format: AudioFormat, turn_detection: dict[str, Any] | None) -> None:
        self._format = audio_format
        self._wanted = turn_detection
        self._base_ms = 0.0
        self._carry = b""
        self._detector: VoiceDetector | None = None
        self._reset()

    def configure(self, audio_format: AudioFormat, turn_detection: dict[str, Any] | None) -> None:
        """Obey a changed session. What was being said is forgotten if it changes the hearing."""
        if audio_format == self._format and turn_detection == self._wanted:
            return
        self._base_ms = self.timeline_ms
        self._format = audio_format
        self._wanted = turn_detection
        self._reset()

    @property
    def audio_format(self) -> AudioFormat:
        """How caller audio is encoded."""
        return self._format

    @property
    def timeline_ms(self) -> float:
        """Milliseconds of audio appended since the session began."""
        return self._base_ms + (self._first + len(self._pcm) // 2) * 1000 / self._format.rate_hz

    @property
    def speaking(self) -> bool:
        """Whether the caller is in the middle of a turn."""
        return self._detector is not None and self._detector.speaking

    def push(self, data: bytes) -> tuple[bytes, list[SpeechStarted | SpeechStopped]]:
        """Take encoded audio; return its PCM16 and the edges of speech within it, in order."""
        data = self._carry + data
        whole = len(data) // self._format.sample_bytes * self._format.sample_bytes
        self._carry = data[whole:]
        pcm = decode(data[:whole], self._format)
        self._pcm += pcm
        return pcm, self._detect() if self._detector else self._bounded()

    def commit(self) -> Heard:
        """Take what is in the buffer as a turn.

        Raises:
            Refusal: There is less than 100 ms.
        """
        start = self._start if self.speaking else self._first
        has_ms = self._ms(self._first + len(self._pcm) // 2 - start)
        if has_ms < MIN_COMMIT_MS or (self._detector is not None and not self.speaking):
            has_ms = 0.0 if self._detector is not None and not self.speaking else has_ms
            raise Refusal(
                "input_audio_buffer_commit_empty",
                "Error committing input audio buffer: buffer too small. Expected at least 100ms of "
                f"audio, but buffer only has {has_ms:.2f}ms of audio.",
            )
        heard = Heard(self._cut(start, None), self._format.rate_hz, has_ms)
        self.clear()
        return heard

    def clear(self) -> None:
        """Forget the buffer, and speech that has begun in it."""
        self._base_ms = self.timeline_ms
        self._reset()

    def _reset(self) -> None:
        self._pcm = bytearray()
        self._carry = b""
        self._first = 0  # sample number of the first sample in the buffer
        self._looked = 0  # first sample that the detector has not seen
        self._start = 0  # sample number where the turn begins
        self._settings = VadSettings.of(self._wanted) if self._wanted else None
        self._detector = VoiceDetector(self._settings) if self._settings else None
        self._window_samples = self._format.rate_hz * WINDOW_MS // 1000

    def _ms(self, n_samples: int) -> float:
        return n_samples * 1000 / self._format.rate_hz

    def _cut(self, start: int, end: int | None) -> bytes:
        first = max(0, start - self._first) * 2
        return bytes(
            self._pcm[first:] if end is None else self._pcm[first : (end - self._first) * 2]
        )

    def _forget_before(self, sample: int) -> None:
        n_samples = min(sample - self._first, len(self._pcm) // 2)
        if n_samples > 0:
            del self._pcm[: n_samples * 2]
            self._first += n_samples

    def _bounded(self) -> list[SpeechStarted | SpeechStopped]:
        end = self._first + len(self._pcm) // 2
        self._forget_before(end - self._format.rate_hz * MAX_BUFFER_MS // 1000)
        return []

    def _detect(self) -> list[SpeechStarted | SpeechStopped]:
        assert self._detector is not None
        edges: list[SpeechStarted | SpeechStopped] = []
        while self._looked + self._window_samples <= self._first + len(self._pcm) // 2:
            window = self._cut(self._looked, self._looked + self._window_samples)
            self._looked += self._window_samples
            if edge := self._detector.push(window):
                edges.append(self._on_edge(edge))
        if not self._detector.speaking:
            self._forget_before(self._looked - self._padding_samples - 8 * self._window_samples)
        else:
            end = self._first + len(self._pcm) // 2
            self._forget_before(end - self._format.rate_hz * MAX_BUFFER_MS // 1000)
        return edges

    @property
    def _padding_samples(self) -> int:
        assert self._settings is not None
        return self._format.rate_hz * self._settings.prefix_padding_ms // 1000

    def _on_edge(self, edge: SpeechEdge) -> SpeechStarted | SpeechStopped:
        at = edge.at_window * self._window_samples
        if edge.kind == "started":
            self._start = max(self._first, at - self._padding_samples)
            return SpeechStarted(round(self._base_ms + self._ms(self._start)))
        tail = self._format.rate_hz * TAIL_MS // 1000
        pcm = self._cut(self._start, min(at + tail, self._looked))
        heard = Heard(pcm, self._format.rate_hz, self._ms(self._looked - self._start))
        self._forget_before(min(at + tail, self._looked))  # padding must not repeat this turn
        return SpeechStopped(round(self._base_ms + self._ms(self._looked)), heard)
