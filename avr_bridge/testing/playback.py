"""What avr-core makes of our audio, and so what the person on the phone hears.

Stands where avr-core's playback buffer stands: what arrives is queued, every 20 ms one frame of
it is played in real time, silence when there is none, and an `interruption` empties the queue.
Pure arithmetic on a given "now" (seconds, any origin): no clock, no socket, no contract.
"""

from __future__ import annotations

import math

import attrs

from avr_bridge.audio.format import FRAME_MS, PCM16_8K
from avr_bridge.testing.likeness import is_audible

__all__ = ["UNDERRUN_GAP_MS", "PlayedOut", "PlayedOutStats"]

UNDERRUN_GAP_MS = 400
"""A hole between two pieces of audio counts as an underrun up to this length.

The contract has no mark for the end of an answer, so a longer hole is taken for the pause between
two answers, which nobody hears as a fault. A hole made by an interruption never counts.
"""

_FRAME_BYTES = PCM16_8K.frame_bytes
_EPSILON_FRAMES = 1e-6
"""Forgives the rounding of floating-point seconds: 20 ns."""


@attrs.frozen
class PlayedOutStats:
    """One playback so far; times in seconds of the caller's "now".

    Attributes:
        received_bytes: All audio pushed.
        played_bytes: What of it was played, padding not counted.
        flushed_bytes: What of it interruptions threw away unheard.
        underruns: Holes within speech, see `UNDERRUN_GAP_MS`.
        underrun_ms: Their lengths together.
        interruptions: How many.
        audible_ms: Length of the frames heard that were not silence.
        first_audio_at: When the first byte of audio arrived, silent or not.
        longest_lead_ms: The most that was ever waiting to be played.
    """

    received_bytes: int
    played_bytes: int
    flushed_bytes: int
    underruns: int
    underrun_ms: float
    interruptions: int
    audible_ms: float
    first_audio_at: float | None
    longest_lead_ms: float


class PlayedOut:
    """A playback that began at `start`; PCM16 LE mono, 8 kHz, in frames of 320 bytes.

    Frame n is taken from the queue at ``start + n · 20 ms`` and is heard in full 20 ms later.
    What arrives or is interrupted at that very instant still counts for it. A frame that has
    begun is played to its end. A piece shorter than a frame is played padded with silence.

    "now" must not go backwards from one call to the next.

    Args:
        start: When the playback began.
        keep_heard: False forgets the sound and keeps the figures, for calls that last hours.
    """

    def __init__(self, start: float, *, keep_heard: bool = True) -> None:
        self._start = start
        self._keep_heard = keep_heard
        self._queue = bytearray()
        self._heard = bytearray()
        self._audible = bytearray()  # one byte a frame: 1 if it was not silence
        self._frames_begun = 0
        self._dry_since_frame = 0
        self._hole_bytes: int | None = None  # silence since the last audio; None: not to count
        self._received_bytes = 0
        self._flushed_bytes = 0
        self._underruns = 0
        self._underrun_bytes = 0
        self._interruptions = 0
        self._first_audio_at: float | None = None
        self._longest_lead_bytes = 0

    def push(self, pcm: bytes, now: float) -> None:
        """Audio arrives."""
        self._advance(now)
        if not pcm:
            return
        if self._first_audio_at is None:
            self._first_audio_at = now
        self._queue += pcm
        self._received_bytes += len(pcm)
        self._longest_lead_bytes = max(self._longest_lead_bytes, len(self._queue))

    def interrupt(self, now: float) -> None:
        """An `interruption` arrives: everything not yet begun is thrown away."""
        self._advance(now)
        self._interruptions += 1
        self._flushed_bytes += len(self._queue)
        self._queue.clear()
        self._hole_bytes = None

    def heard(self, now: float) -> bytes:
        """Everything heard from the start until now, silence included: whole frames."""
        self._advance(now)
        return bytes(self._heard[: self._frames_heard(now) * _FRAME_BYTES])

    def buffered_ms(self, now: float) -> float:
        """How much is waiting to be played, the frame in flight not counted."""
        self._advance(now)
        return PCM16_8K.ms(len(self._queue))

    def idle_ms(self, now: float) -> float:
        """How long nothing has been played any more; 0 while something is."""
        self._advance(now)
        if self._queue:
            return 0.0
        return max(0.0, (now - self._at(self._dry_since_frame)) * 1000)

    def silent_ms(self, now: float) -> float:
        """How long nothing audible has been heard: as `idle_ms`, but silence counts as nothing."""
        self._advance(now)
        return max(0.0, (now - self._at(self._audible.rfind(1) + 1)) * 1000)

    def first_audible_at(self, since: float, now: float) -> float | None:
        """When the first audible frame that began at or after `since` began; None if none has."""
        self._advance(now)
        from_frame = max(0, math.ceil(self._frames(since) - _EPSILON_FRAMES))
        frame = self._audible.find(1, from_frame)
        return None if frame < 0 else self._at(frame)

    def last_audible_at(self, now: float) -> float | None:
        """When the last audible frame so far ended, or will end; None if there was none."""
        self._advance(now)
        frame = self._audible.rfind(1)
        return None if frame < 0 else self._at(frame + 1)

    def stats(self, now: float) -> PlayedOutStats:
        """The figures until now."""
        self._advance(now)
        return PlayedOutStats(
            received_bytes=self._received_bytes,
            played_bytes=self._received_bytes - self._flushed_bytes - len(self._queue),
            flushed_bytes=self._flushed_bytes,
            underruns=self._underruns,
            underrun_ms=PCM16_8K.ms(self._underrun_bytes),
            interruptions=self._interruptions,
            audible_ms=float(self._audible.count(1, 0, self._frames_heard(now)) * FRAME_MS),
            first_audio_at=self._first_audio_at,
            longest_lead_ms=PCM16_8K.ms(self._longest_lead_bytes),
        )

    def _frames(self, time: float) -> float:
        return (time - self._start) * 1000 / FRAME_MS

    def _at(self, frame: int) -> float:
        return self._start + frame * FRAME_MS / 1000

    def _frames_heard(self, now: float) -> int:
        return max(0, math.floor(self._frames(now) + _EPSILON_FRAMES))

    def _advance(self, now: float) -> None:
        """Begin every frame that is due before now."""
        due = math.ceil(self._frames(now) - _EPSILON_FRAMES)
        while self._frames_begun < due:
            if self._queue:
                self._play_frame()
            else:
                self._play_silence(due - self._frames_begun)

    def _play_frame(self) -> None:
        piece = bytes(self._queue[:_FRAME_BYTES])
        del self._queue[:_FRAME_BYTES]
        if self._hole_bytes and PCM16_8K.ms(self._hole_bytes) <= UNDERRUN_GAP_MS:
            self._underruns += 1
            self._underrun_bytes += self._hole_bytes
        self._hole_bytes = _FRAME_BYTES - len(piece)
        frame = piece.ljust(_FRAME_BYTES, b"\x00")
        if self._keep_heard:
            self._heard += frame
        self._audible.append(is_audible(frame))
        self._frames_begun += 1
        self._dry_since_frame = self._frames_begun

    def _play_silence(self, n_frames: int) -> None:
        if self._hole_bytes is not None:
            self._hole_bytes += n_frames * _FRAME_BYTES
        if self._keep_heard:
            self._heard += bytes(n_frames * _FRAME_BYTES)
        self._audible += bytes(n_frames)
        self._frames_begun += n_frames
