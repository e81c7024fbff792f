"""One caller: 50 frames a second to the container, a probe a second, and what came back of it.

The near end of the road. The same for both transports (`ws_caller.py`, `http_caller.py`), which
hand in what arrives and send what this wants sent. It does not dial, and decides nothing about
when calls begin and end; `run.py` does.
"""

from __future__ import annotations

import enum
import time
from array import array
from typing import TYPE_CHECKING

from avr_bridge.soak.load.hearing import Heard, Playout
from avr_bridge.soak.load.probes import ProbeSeeker
from avr_bridge.soak.load.sounds import BURST_PIECES
from avr_bridge.soak.results import CallRecord

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from avr_bridge.soak.load.model import ModelSession

__all__ = ["Caller", "Frame"]

PROBE_EVERY_S = 1.0
PROBE_SPREAD = 0.2
"""Each probe comes up to so much of a second earlier or later, so that no two calls keep step."""

PROBE_LIMIT_S = 2.0
"""A probe that is not answered by then is lost."""

LATE_ANSWER_S = 1.0
"""After a lost probe so long no other is sent: a late answer must not be taken for the next's."""

BURST_FRAMES = 5
"""Loud frames of a barge-in."""

APART_FRAMES = 6
"""Between a probe and a barge-in, so that they are not heard as one."""

STOPPED_LIMIT_S = 3.0
"""After a barge-in sound counts again when it comes after `interruption`, or at last after this."""

FIRST_SOUND_LIMIT_S = 2.0
"""A call that is up counts from its first sound on, or at last from then."""

FRAMES_PER_S = 50


class Frame(enum.Enum):
    """What a caller's frame holds."""

    SPEECH = "speech"
    PROBE = "probe"
    LOUD = "loud"


class Caller:
    """Args:
    number: Unique in the process.
    kind: ``steady`` or ``arrival``.
    random: For the times of its probes.
    probed: Told of each answered probe (sent, heard, both in seconds), and of a lost one
        with None for the second.
    failed: Told the kind of each error.

    Attributes:
        came_alive: Called with the time of its first sound; to be set.
    """

    def __init__(
        self,
        number: int,
        kind: str,
        random: Random,
        probed: Callable[[Caller, float, float | None], None],
        failed: Callable[[str], None],
    ) -> None:
        self.number = number
        self.kind = kind
        self._random = random
        self._probed = probed
        self._failed = failed
        self.came_alive: Callable[[float], None] = lambda now_s: None
        self.dialled_s = time.monotonic()
        self.up_s: float | None = None
        self.first_sound_s: float | None = None
        self._ended_s = 0.0
        self.ended_by = ""
        self.error = ""
        self.heard = Heard()
        self.playout = Playout()
        self.measuring = False
        self.candidates: set[ModelSession] = set()
        self.proofs = 0
        self._frames = 0
        self._probe_at = self._quiet_until = 0
        self._probe_sent_s: float | None = None
        self._seeker = ProbeSeeker()
        self._probes_ms = array("d")
        self._lost_probes = 0
        self._burst_left = 0
        self._barge_in_s: float | None = None
        self._paused_until_s = 0.0
        self._stopped = True
        self._counted = False
        self._barge_ins = self._interruptions = 0
        self._stop_ms: list[float] = []

    # -- its turns on the clock -------------------------------------------------------------

    def up(self) -> None:
        """The container has taken the call."""
        self.up_s = time.monotonic()
        self._plan_probe(self._random.random())

    def next_frame(self, now_s: float) -> Frame:
        """What to say in the 20 ms that begin now."""
        self._frames += 1
        if self._paused_until_s or self._burst_left:
            return self._in_barge_in(now_s)
        if self._probe_sent_s is not None:
            self._take_answer(self._seeker.settle(now_s))
            if self._probe_sent_s is not None and now_s - self._probe_sent_s > PROBE_LIMIT_S:
                self._lose_probe()
        elif self._frames >= self._probe_at and self.first_sound_s is not None:
            self._probe_sent_s = time.monotonic()
            self._quiet_until = self._frames + APART_FRAMES
            return Frame.PROBE
        return Frame.SPEECH

    def _plan_probe(self, in_s: float) -> None:
        self._probe_at = self._frames + int(in_s * FRAMES_PER_S)

    def _take_answer(self, heard_s: float | None) -> None:
        if heard_s is None or self._probe_sent_s is None:
            return
        self._probed(self, self._probe_sent_s, heard_s)
        if self.measuring:
            self._probes_ms.append(1000 * (heard_s - self._probe_sent_s))
        self._probe_sent_s = None
        away_s = PROBE_EVERY_S + PROBE_SPREAD * (2 * self._random.random() - 1)
        self._plan_probe(away_s)

    def _lose_probe(self) -> None:
        assert self._probe_sent_s is not None
        self._probed(self, self._probe_sent_s, None)
        if self.measuring:
            self._lost_probes += 1
        self._probe_sent_s = None
        self._plan_probe(LATE_ANSWER_S)

    def _in_barge_in(self, now_s: float) -> Frame:
        if self._burst_left:
            self._burst_left -= 1
            if self._burst_left == BURST_FRAMES - BURST_PIECES:
                self._barge_in_s = time.monotonic()
            return Frame.LOUD
        if now_s > self._paused_until_s:
            self._resume(now_s)
        return Frame.SPEECH

    # -- what it is told to do --------------------------------------------------------------

    def measure(self, now_s: float) -> None:
        """What comes from now on counts."""
        if self.measuring or self.first_sound_s is None:
            return
        self.measuring = self.playout.counting = True
        if not self._paused_until_s:
            self.heard.open(now_s)

    def barge_in(self, now_s: float) -> bool:
        """Speak loudly into the answer. Nothing that is heard counts until it has begun anew.

        Returns:
            Whether it was done: not during another, nor during a probe or right after one.
        """
        near_probe = self._probe_sent_s is not None or self._frames < self._quiet_until
        if self._paused_until_s or self.first_sound_s is None or near_probe:
            return False
        self._burst_left = BURST_FRAMES
        self._paused_until_s = now_s + STOPPED_LIMIT_S
        self._stopped = False
        self._counted = self.measuring
        self._barge_ins += self._counted
        self.heard.close(now_s)
        self.playout.close(now_s)
        self.playout.stop()
        return True

    def _resume(self, now_s: float) -> None:
        self._paused_until_s = 0.0
        self._barge_in_s = None
        self._plan_probe(self._random.random() * PROBE_EVERY_S)
        if self.measuring:
            self.heard.open(now_s)
            self.playout.counting = True

    # -- what comes back --------------------------------------------------------------------

    def sound(self, pcm: bytes) -> None:
        """PCM16 LE, 8 kHz, came from the container."""
        now_s = time.monotonic()
        if self.first_sound_s is None:
            self.first_sound_s = now_s
            self.came_alive(now_s)
        if self._paused_until_s and self._stopped and not self._burst_left:
            self._resume(now_s)
        sound_s = len(pcm) / 16_000
        self.heard.sound(sound_s, now_s)
        self.playout.sound(sound_s, now_s)
        if self._probe_sent_s is None:
            self._seeker.skip(pcm)
        else:
            self._take_answer(self._seeker.hear(pcm, now_s))

    def interrupted(self) -> None:
        """`interruption` came."""
        now_s = time.monotonic()
        if self._counted and not self._stopped and self._barge_in_s is not None:
            self._stop_ms.append(1000 * (now_s - self._barge_in_s))
        self._interruptions += self._counted if self._paused_until_s else self.measuring
        self._stopped = True
        self.heard.forget_ahead(now_s)
        self.playout.stop()

    def trouble(self, kind: str, text: str = "") -> None:
        """Something went wrong; the first is what the record says."""
        self._failed(kind)
        self.error = self.error or (f"{kind}: {text}" if text else kind)

    # -- its end ----------------------------------------------------------------------------

    def end(self, now_s: float) -> None:
        """Nothing counts any more, nor does a barge-in that there was no time to answer."""
        if self._counted and not self._stopped and now_s < self._paused_until_s:
            self._barge_ins -= 1
        self._ended_s = now_s
        self.heard.close(now_s)
        self.playout.close(now_s)
        sent_s = self._probe_sent_s
        if sent_s is not None and now_s - sent_s > PROBE_LIMIT_S:
            self._lose_probe()

    def record(self, model_share: float | None, tools: tuple[int, int]) -> CallRecord:
        """Its record; `end` was called.

        Args:
            model_share: What the model heard of it, at most 1; None: unknown.
            tools: Function calls made and answered.
        """
        return CallRecord(
            number=self.number,
            kind=self.kind,
            set_up_ms=self._since_dial(self.up_s),
            first_audio_ms=self._since_dial(self.first_sound_s),
            talked_s=round(self.heard.time_s, 3),
            heard_share=round(self.heard.share(), 5),
            model_heard_share=None if model_share is None else round(model_share, 5),
            underruns=self.playout.underruns,
            underrun_ms=round(self.playout.dry_s * 1000, 1),
            gap_ms=round(self.heard.gap_s * 1000, 1),
            probes_ms=[round(ms, 2) for ms in self._probes_ms],
            lost_probes=self._lost_probes,
            barge_ins=self._barge_ins,
            interruptions=self._interruptions,
            stop_ms=[round(ms, 2) for ms in self._stop_ms],
            tools=tools[0],
            tools_answered=tools[1],
            ended_by=self.ended_by,
            error=self.error,
            up_s=0.0 if self.up_s is None else round(max(self._ended_s - self.up_s, 0.0), 3),
        )

    def _since_dial(self, when_s: float | None) -> float | None:
        return None if when_s is None else round(1000 * (when_s - self.dialled_s), 2)
