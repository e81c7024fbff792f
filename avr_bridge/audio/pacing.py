"""When the next frames may leave for the caller: arithmetic on a given "now", no clock.

The last step of an answer's road, before the socket. The peer is taken to start playing what it
gets at once and to go on in real time; so what was sent is played until `plays_until_s`, and at
most `lead_ms` of it may lie ahead of now. The deadline is absolute, start + n · 20 ms: nothing
drifts however late a wake-up comes.
"""

from __future__ import annotations

from avr_bridge.audio.format import FRAME_MS

__all__ = ["Pacer"]

_FRAME_S = FRAME_MS / 1000
_TOLERANCE_S = 1e-6
"""A wake-up at the deadline itself must count as due, whatever the rounding of sums."""


class Pacer:
    """Counts frames of one caller.

    Args:
        lead_ms: How far ahead of real time frames may be sent.
        chunk_frames: Wait until so many frames are due together, to save messages; the first
            frames after a pause never wait.
    """

    def __init__(self, lead_ms: int, chunk_frames: int = 1) -> None:
        self._lead_s = max(lead_ms, FRAME_MS) / 1000
        self._chunk_frames = min(chunk_frames, max(lead_ms // FRAME_MS, 1))
        self._start_s = 0.0
        self._frames = 0

    @property
    def plays_until_s(self) -> float:
        """When the peer will have played all that was sent since the last pause."""
        return self._start_s + self._frames * _FRAME_S

    def is_dry(self, now_s: float) -> bool:
        """Whether the peer has nothing left to play."""
        return now_s >= self.plays_until_s - _TOLERANCE_S

    def frames_due(self, now_s: float) -> int:
        """How many frames may be sent now; 0 until a whole chunk is due."""
        if self.is_dry(now_s):
            return int(self._lead_s / _FRAME_S + _TOLERANCE_S)
        room_s = now_s + self._lead_s - self.plays_until_s
        frames = int(room_s / _FRAME_S + _TOLERANCE_S)
        return frames if frames >= self._chunk_frames else 0

    def next_due_s(self) -> float:
        """The moment from which `frames_due` is not 0."""
        return self.plays_until_s + self._chunk_frames * _FRAME_S - self._lead_s

    def sent(self, frames: int, now_s: float) -> None:
        """Record that `frames` went out now. After a pause a new start is set."""
        if self.is_dry(now_s):
            self._start_s = now_s
            self._frames = 0
        self._frames += frames

    def reset(self) -> None:
        """The peer has dropped what it had: it is dry from now on."""
        self._start_s = 0.0
        self._frames = 0
