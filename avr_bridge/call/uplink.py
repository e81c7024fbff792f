"""The caller's sound on its way to the model: kept until the session is ready, then encoded.

Between `inbound.py` and the connection's writer. Nothing here waits: before the session is up
the first words are kept, afterwards the connection keeps the newest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from avr_bridge.audio.format import FRAME_MS, PCM16_8K, AudioFormat
from avr_bridge.audio.transcode import Encoder
from avr_bridge.upstream.commands import AppendAudio

if TYPE_CHECKING:
    from avr_bridge.upstream.client import RealtimeConnection

__all__ = ["Uplink"]

KEPT_BEFORE_READY_MS = 20_000
"""What a caller says while the model is being connected, or connected again: 320 kB of PCM16 at
8 kHz. A connection that takes longer has failed; of more sound the newest is kept."""

RECENT_MS = 1_000
"""Sound kept from before the moment at which the model hears that the caller speaks."""

ONSET_MS = 600
"""Kept over a change of sessions between turns: the caller may have begun to speak, and the model,
who needs some 300 ms to notice, has not said so yet. Without speech it is as much silence."""

KEPT_TURN_MS = 10_000
"""The caller's turn, as long as nobody knows its words. Longer ones lose their beginning if the
session breaks in them."""

GAP_S = 0.2
"""The caller's side sends a frame every 20 ms; a pause longer than this is no jitter."""

APPEND_MS = 1000
"""Kept sound is sent in pieces of this length, far below the API's limit of 15 MiB."""


class Uplink:
    """One call's road to the model. `open` it once, when the session's format is agreed."""

    def __init__(self, resampler_kind: str) -> None:
        self._resampler_kind = resampler_kind
        self._leg = PCM16_8K
        self._kept = bytearray()
        self._connection: RealtimeConnection | None = None
        self._encoder: Encoder | None = None
        self._format: AudioFormat | None = None
        self._lost_before_ready_bytes = 0
        self._dropped_ms = 0.0
        self._recent = bytearray()
        self._keeps_turn = False
        self._last_s = trio.current_time()

    def begin(self, leg: AudioFormat) -> None:
        """The format of what is pushed from now on."""
        if leg != self._leg:
            self._leg = leg
            self._kept.clear()
            self._recent.clear()

    @property
    def gap_due_s(self) -> float:
        """When `fill_gap` has something to do if no sound comes until then."""
        return self._last_s + GAP_S

    def fill_gap(self) -> None:
        """Silence for the time in which the caller's side sent nothing: without the silence
        after it a turn never ends (phones that send none while nobody speaks, a muted line)."""
        frames = round((trio.current_time() - self._last_s) * 1000) // FRAME_MS
        self.push(self._leg.silence(self._leg.frame_samples * frames))

    def push(self, pcm: bytes) -> None:
        """Take sound of the caller in the leg's format, whole samples."""
        self._last_s = trio.current_time()
        self._recent += pcm
        recent_ms = KEPT_TURN_MS if self._keeps_turn else RECENT_MS
        too_old = len(self._recent) - self._leg.bytes_of_ms(recent_ms)
        if too_old > 0:
            del self._recent[:too_old]
        if self._connection is not None and self._encoder is not None:
            self._connection.append_audio_nowait(self._encoder.encode(pcm))
            return
        self._kept += pcm
        excess = len(self._kept) - self._leg.bytes_of_ms(KEPT_BEFORE_READY_MS)
        if excess > 0:
            del self._kept[:excess]
            self._lost_before_ready_bytes += excess

    def keep_turn(self, *, on: bool) -> None:
        """The sound of the caller's turn is needed until its words are known."""
        self._keeps_turn = on

    def hold(self, *, between_turns: bool = False) -> None:
        """The session is gone: keep what comes for the next one, behind the turn whose words
        nobody knows; `between_turns`, behind what may be the beginning of one."""
        if self._connection is None:
            return
        self._dropped_ms = self.dropped_ms - self._leg.ms(self._lost_before_ready_bytes)
        self._connection = self._encoder = self._format = None
        kept_ms = KEPT_TURN_MS if self._keeps_turn else ONSET_MS if between_turns else 0
        self._kept[:] = self._recent[-self._leg.bytes_of_ms(kept_ms) :] if kept_ms else b""

    def open(self, connection: RealtimeConnection, fmt: AudioFormat) -> None:
        """The session is ready for sound in `fmt`: send what was kept, then all that comes.

        May be called again when the format changes.
        """
        if self._connection is connection and fmt == self._format:
            return
        self._encoder = Encoder(fmt, self._resampler_kind, self._leg)
        self._format = fmt
        self._connection = connection
        connection.set_audio_format(fmt)
        step = self._leg.bytes_of_ms(APPEND_MS)
        for start in range(0, len(self._kept), step):
            piece = self._encoder.encode(bytes(self._kept[start : start + step]))
            connection.send_nowait(AppendAudio(piece))
        self._kept.clear()

    @property
    def waiting_ms(self) -> float:
        """Sound that was not sent yet, in ms: until there is a session, and then by a network that
        does not keep up."""
        if self._connection is None or self._format is None:
            return self._leg.ms(len(self._kept))
        return self._format.ms(self._connection.waiting_audio_bytes)

    @property
    def dropped_ms(self) -> float:
        """Sound that the model did not get, in ms."""
        dropped_ms = self._dropped_ms + self._leg.ms(self._lost_before_ready_bytes)
        if self._connection is not None and self._format is not None:
            dropped_ms += self._format.ms(self._connection.dropped_audio_bytes)
        return dropped_ms
