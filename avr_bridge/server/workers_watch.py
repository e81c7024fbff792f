"""Whether a worker process still runs, or hangs: told by its beats, and by the parent's own clock.

Arithmetic for `workers_parent.py` on a given "now"; it reads no clock, and kills nobody.
"""

from __future__ import annotations

import attrs

__all__ = ["KILL_S", "LOOK_EVERY_S", "SILENT_S", "STARTING", "Patience", "Watch"]

LOOK_EVERY_S = 1.0

SILENT_S = 5.0
"""Without a beat, of which there are ten a second: the log says so. A full machine, or a collection
of garbage, keeps a worker from its beat for a quarter of a second, seldom for one."""

KILL_S = 20.0
"""Without a beat. Nobody in its calls has heard a word for so long, and most have hung up."""


@attrs.frozen
class Patience:
    """How long a worker is waited for: until the log says so, and until it is killed."""

    told_s: float
    killed_s: float


RUNNING = Patience(SILENT_S, KILL_S)

STARTING = Patience(20.0, 60.0)
"""From its start until it has loaded all and says so: 1 s and the time of the tools' own imports,
on a machine whose other workers may all start at once."""

LATE_S = 1.0
"""A parent that looks so much later than it wanted was held up itself: the machine was suspended,
its container paused, or the processor is others'. Then nothing is known of the workers' time."""


class Watch:
    """One parent's look at its workers, every `LOOK_EVERY_S`.

    Attributes:
        due_s: When it is to look again.
    """

    def __init__(self, now_s: float) -> None:
        self.due_s = now_s + LOOK_EVERY_S
        self._awake_since_s = now_s

    def look(self, now_s: float) -> bool:
        """Whether it is time to look; if so, it is due again in a while."""
        if now_s < self.due_s:
            return False
        if now_s > self.due_s + LATE_S:
            self._awake_since_s = now_s
        self.due_s = now_s + LOOK_EVERY_S
        return True

    def silent_s(self, beat_s: float, begun_s: float, now_s: float) -> float:
        """How long a worker has not beaten while the parent could have seen it.

        Args:
            beat_s: Its last beat; 0: none yet.
            begun_s: When it was told to begin, or started.
            now_s: Of the same clock.
        """
        return now_s - max(beat_s, begun_s, self._awake_since_s)
