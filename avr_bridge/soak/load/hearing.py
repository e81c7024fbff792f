"""How much one end heard, and how smoothly. Arithmetic on a given "now", no clock.

At the end of the sound's road. Two questions, which have different answers when sound comes late:

- `Heard`: was there sound enough? What came, as a share of the time in which it was counted. What
  came before the window began and reaches into it counts, what reaches beyond its end does not (up
  to 200 ms each), so that the share does not depend on where between two messages the window ends.
- `Playout`: would a phone have played it without a break? Playing begins 60 ms after the first
  sound, as behind a jitter buffer of 60 ms, and again 60 ms after the sound that ends an underrun.
"""

from __future__ import annotations

__all__ = ["Heard", "Playout"]

MOST_AHEAD_S = 0.2
"""How much of the sound at a window's edge is given to the other side of the edge."""

BUFFER_S = 0.06
"""Of the phone's jitter buffer."""


class Heard:
    """Sound of one direction, counted in windows: opened and closed, added up.

    Attributes:
        time_s: Length of the closed windows.
        gap_s: Longest time without sound in any window.
    """

    def __init__(self) -> None:
        self.time_s = 0.0
        self.gap_s = 0.0
        self._sound_s = 0.0
        self._covered_until_s = 0.0
        self._last_s = 0.0
        self._open_since_s: float | None = None

    @property
    def is_open(self) -> bool:
        """Whether sound is counted now."""
        return self._open_since_s is not None

    def sound(self, sound_s: float, now_s: float) -> None:
        """A message with so much sound came."""
        if now_s > self._covered_until_s:
            self._covered_until_s = now_s
        self._covered_until_s += sound_s
        if self._open_since_s is not None:
            self._sound_s += sound_s
            if now_s - self._last_s > self.gap_s:
                self.gap_s = now_s - self._last_s
            self._last_s = now_s

    def open(self, now_s: float) -> None:
        """From now on it counts."""
        if self._open_since_s is None:
            self._open_since_s = self._last_s = now_s
            self._sound_s += self._ahead(now_s)

    def close(self, now_s: float) -> None:
        """It does not count any more, until the next `open`."""
        if self._open_since_s is not None:
            self.time_s += now_s - self._open_since_s
            self._sound_s -= self._ahead(now_s)
            self.gap_s = max(self.gap_s, now_s - self._last_s)
            self._open_since_s = None

    def except_for(self, pause_s: float) -> None:
        """For so long nothing was said, so nothing could be heard."""
        self.time_s = max(self.time_s - pause_s, 0.0)

    def forget_ahead(self, now_s: float) -> None:
        """What was sent ahead was thrown away: an interruption."""
        self._covered_until_s = min(self._covered_until_s, now_s)

    def share(self) -> float:
        """Of the closed windows, at most 1; 1 where there was none, for nothing was missed."""
        return min(max(self._sound_s / self.time_s, 0.0), 1.0) if self.time_s > 0 else 1.0

    def share_at(self, now_s: float, pause_s: float = 0.0) -> float | None:
        """The share if the window closed now; None where none was ever open."""
        time_s, sound_s = self.time_s - pause_s, self._sound_s
        if self._open_since_s is not None:
            time_s += now_s - self._open_since_s
            sound_s -= self._ahead(now_s)
        return min(max(sound_s / time_s, 0.0), 1.0) if time_s > 0 else None

    def _ahead(self, now_s: float) -> float:
        return min(max(self._covered_until_s - now_s, 0.0), MOST_AHEAD_S)


class Playout:
    """A phone's: what it would have played.

    Attributes:
        underruns: Times when it ran dry while it counted.
        dry_s: For how long in all.
        counting: Whether underruns count now.
    """

    def __init__(self) -> None:
        self.underruns = 0
        self.dry_s = 0.0
        self.counting = False
        self._until_s: float | None = None

    def sound(self, sound_s: float, now_s: float) -> None:
        """A message with so much sound came."""
        if self._until_s is None:
            self._until_s = now_s + BUFFER_S
        elif now_s > self._until_s:
            if self.counting:
                self.underruns += 1
                self.dry_s += now_s + BUFFER_S - self._until_s
            self._until_s = now_s + BUFFER_S
        self._until_s += sound_s

    def stop(self) -> None:
        """Playing ended for a good reason; the next sound starts it anew."""
        self._until_s = None

    def close(self, now_s: float) -> None:
        """Counting ends; being dry in this moment counts."""
        if self.counting and self._until_s is not None and now_s > self._until_s:
            self.underruns += 1
            self.dry_s += now_s - self._until_s
            self._until_s = None
        self.counting = False
