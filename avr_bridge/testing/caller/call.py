"""The simulated caller: speaks one frame every 20 ms, as avr-core does, and listens.

Stands at the caller's end of the road. How messages look is in `line.py`, what is heard in
`testing/playback.py`, who runs the pumps in `placing.py`.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import trio

from avr_bridge.audio.format import FRAME_MS, PCM16_8K
from avr_bridge.testing.caller.events import CallEvent, CallEventKind, CallReport
from avr_bridge.testing.caller.line import (
    Audio,
    Closed,
    ErrorMessage,
    Fault,
    Interruption,
    LineEvent,
    Transcript,
)
from avr_bridge.testing.likeness import is_audible
from avr_bridge.testing.playback import PlayedOut

if TYPE_CHECKING:
    from collections.abc import Callable

    from avr_bridge.testing.caller.line import CallerLine

__all__ = ["SimulatedCall"]

SPURT_GAP_MS = 700
"""A pause up to this length is a breath within what the bridge says, not its end."""
SILENT_STREAM_MS = 3_000
"""A bridge that goes on sending silence counts as quiet after this long."""
HANG_UP_S = 1.0
"""How long the bridge may take to answer a hangup before the line is dropped."""
DIGITS = frozenset("0123456789*#ABCD")

_FRAME_S = FRAME_MS / 1000
_SILENT_FRAME = PCM16_8K.silence(PCM16_8K.frame_samples)


class SimulatedCall:
    """One call in progress, seen from the caller; made by `open_simulated_call`.

    Times in events are ms since the call was connected. Every `wait_` also returns when the call
    has ended, and says so by returning False.

    Attributes:
        events: What happened so far.
    """

    def __init__(
        self, line: CallerLine, *, on_event: Callable[[CallEvent], None] | None, keep_heard: bool
    ) -> None:
        self.events: list[CallEvent] = []
        self._line = line
        self._on_event = on_event
        self._started_at = trio.current_time()
        self._played = PlayedOut(self._started_at, keep_heard=keep_heard)
        self._received: bytearray | None = bytearray() if keep_heard else None
        self._said: bytearray | None = bytearray() if keep_heard else None
        self._to_say = bytearray()
        self._digits: deque[str] = deque()
        self._sent_frames = 0
        self._latest_frame_s = 0.0
        self._said_until: float | None = None
        self._answer_due = False
        self._latencies_ms: list[float] = []
        self._bridge_speaks = False
        self._next_spurt_from = self._started_at
        self._stopped_at: float | None = None  # hung up or closed: nothing is heard after it
        self._closed = trio.Event()
        self._closed_by: str | None = None
        self._close = Closed(None)
        self._emit(CallEventKind.CONNECTED)

    def say(self, pcm: bytes) -> None:
        """Queue speech, PCM16 LE mono, 8 kHz; its last frame is padded with silence.

        Raises:
            ValueError: Half a sample at the end.
        """
        if len(pcm) % PCM16_8K.sample_bytes:
            raise ValueError(f"{len(pcm)} bytes are no whole number of 16-bit samples")
        self._to_say += pcm

    def send_digit(self, digit: str) -> None:
        """Press a key; it goes out with the next frame.

        Raises:
            ValueError: No DTMF digit, or the transport carries none.
        """
        if digit not in DIGITS:
            raise ValueError(f"{digit!r} is no DTMF digit: one of 0-9 * # A-D")
        if not self._line.carries_digits:
            raise ValueError("the legacy HTTP transport carries no digits")
        self._digits.append(digit)

    async def wait_said(self) -> bool:
        """Wait until everything queued has been sent."""
        return await self._wait_until(lambda: not self._to_say)

    async def wait_heard_speech(self) -> bool:
        """Wait until the bridge is heard: at all, or since our own last speech has ended."""

        def heard() -> bool:
            if self._to_say:
                return False
            since = self._started_at if self._said_until is None else self._said_until
            return self._played.first_audible_at(since, self._now()) is not None

        return await self._wait_until(heard)

    async def wait_quiet(self, quiet_ms: float = 800) -> bool:
        """Wait until nothing was there to be played for `quiet_ms`.

        A bridge that never stops sending silence is quiet after 3 s of it.
        """

        def quiet() -> bool:
            now = self._now()
            silent_ms = max(quiet_ms, SILENT_STREAM_MS)
            return self._played.idle_ms(now) >= quiet_ms or self._played.silent_ms(now) >= silent_ms

        return await self._wait_until(quiet)

    async def wait_closed(self) -> None:
        """Wait until the line is down."""
        await self._closed.wait()

    async def hang_up(self) -> None:
        """End the call politely, at most 1 s; does nothing if it has ended."""
        if self._closed.is_set():
            await trio.lowlevel.checkpoint()
            return
        if self._stopped_at is None:
            self._stop()
            self._closed_by = "caller"
            self._emit(CallEventKind.HUNG_UP)
        with trio.move_on_after(HANG_UP_S):
            await self._line.send_goodbye()
            await self._closed.wait()
        await self._line.aclose()
        self._set_closed(Closed(1006, "no answer to the hangup"))

    def now_ms(self) -> float:
        """Time of the call: ms since it was connected."""
        return self._ms(self._now())

    def heard(self) -> bytes:
        """All that was heard from the start until now, silence included: PCM16 LE mono, 8 kHz."""
        return self._played.heard(self._now())

    def said(self) -> bytes:
        """All that was sent from the start until now, silence included, on the time of `heard`."""
        return bytes(self._said or b"")

    def received(self) -> bytes:
        """All sound as it came, whatever its timing: PCM16 LE mono, 8 kHz, no silence added."""
        return bytes(self._received or b"")

    def report(self) -> CallReport:
        """The call in figures, until now."""
        stats = self._played.stats(self._now())
        answered_at = self._played.first_audible_at(self._started_at, self._now())
        texts: dict[CallEventKind, list[CallEvent]] = {}
        for event in self.events:
            texts.setdefault(event.kind, []).append(event)
        return CallReport(
            answered_after_ms=None if answered_at is None else self._ms(answered_at),
            answer_latencies_ms=tuple(self._latencies_ms),
            heard_s=stats.audible_ms / 1000,
            received_s=PCM16_8K.ms(stats.received_bytes) / 1000,
            flushed_ms=PCM16_8K.ms(stats.flushed_bytes),
            underruns=stats.underruns,
            underrun_ms=stats.underrun_ms,
            longest_lead_ms=stats.longest_lead_ms,
            interruptions=stats.interruptions,
            transcripts=tuple((e.role, e.text) for e in texts.get(CallEventKind.TRANSCRIPT, ())),
            errors=tuple(event.text for event in texts.get(CallEventKind.ERROR, ())),
            faults=tuple(event.text for event in texts.get(CallEventKind.FAULT, ())),
            closed_by=self._closed_by,
            close_code=self._close.code,
            close_reason=self._close.reason,
            sent_frames=self._sent_frames,
            latest_frame_ms=round(self._latest_frame_s * 1000, 3),
        )

    async def pump_out(self) -> None:
        """Send one frame every 20 ms on absolute deadlines, silence where there is no speech."""
        while not self._is_over():
            due = self._started_at + self._sent_frames * _FRAME_S
            await trio.sleep_until(due)
            if self._is_over():
                return
            while self._digits:
                digit = self._digits.popleft()
                await self._line.send_digit(digit)
                self._emit(CallEventKind.DIGIT, digit)
            frame = bytes(self._to_say[: PCM16_8K.frame_bytes])
            self._latest_frame_s = max(self._latest_frame_s, trio.current_time() - due)
            padded = frame.ljust(PCM16_8K.frame_bytes, b"\x00")
            await self._line.send_audio(padded)
            self._sent_frames += 1
            if self._said is not None:
                self._said += padded
            del self._to_say[: len(frame)]
            self._note_said(frame)
            self._listen()

    def _note_said(self, frame: bytes) -> None:
        now = self._now()
        if frame and is_audible(frame):
            self._said_until = now
            self._answer_due = False
        if frame and not self._to_say and self._said_until is not None:
            self._answer_due = True
            self._emit(CallEventKind.SAID_LAST, at=self._said_until)

    async def pump_in(self) -> None:
        """Take in what the bridge sends, until the line is down."""
        while not self._closed.is_set():
            for event in await self._line.receive():
                self._take(event)

    def _take(self, event: LineEvent) -> None:
        match event:
            case Audio(pcm=pcm):
                if self._stopped_at is None:
                    self._played.push(pcm, self._now())
                    if self._received is not None:
                        self._received += pcm
                    self._listen()
            case Interruption():
                self._played.interrupt(self._now())
                self._emit(CallEventKind.INTERRUPTION)
            case Transcript(role=role, text=text):
                self._emit(CallEventKind.TRANSCRIPT, text, role=role)
            case ErrorMessage(text=text):
                self._emit(CallEventKind.ERROR, text)
            case Fault(text=text):
                self._emit(CallEventKind.FAULT, text)
            case Closed():
                self._set_closed(event)

    def _listen(self) -> None:
        """Notice when the bridge begins and ends to be heard, and how fast it answered."""
        now = self._now()
        if self._answer_due and self._said_until is not None:
            answered_at = self._played.first_audible_at(self._said_until, now)
            if answered_at is not None:
                self._latencies_ms.append(round((answered_at - self._said_until) * 1000, 3))
                self._answer_due = False
        if not self._bridge_speaks:
            began_at = self._played.first_audible_at(self._next_spurt_from, now)
            if began_at is not None:
                self._bridge_speaks = True
                self._emit(CallEventKind.AUDIO_FIRST, at=began_at)
        last = self._played.last_audible_at(now)
        if self._bridge_speaks and last is not None:
            over = self._is_over() or now - last >= SPURT_GAP_MS / 1000
            if over:
                self._bridge_speaks = False
                self._next_spurt_from = last
                self._emit(CallEventKind.AUDIO_LAST, at=min(last, now))

    async def _wait_until(self, condition: Callable[[], bool]) -> bool:
        """Look every 20 ms, which is the grain of everything here; True if it came about."""
        while True:
            await trio.lowlevel.checkpoint()
            if condition():
                return True
            if self._is_over():
                return False
            await trio.sleep(_FRAME_S)
            self._listen()

    def _stop(self) -> None:
        self._stopped_at = trio.current_time()
        self._listen()

    def _set_closed(self, close: Closed) -> None:
        if self._closed.is_set():
            return
        self._close = close
        if self._stopped_at is None:
            self._stop()
            self._closed_by = "bridge"
        self._closed.set()
        self._emit(CallEventKind.CLOSED, close.reason, code=close.code, at=trio.current_time())

    def _is_over(self) -> bool:
        return self._stopped_at is not None

    def _now(self) -> float:
        return trio.current_time() if self._stopped_at is None else self._stopped_at

    def _ms(self, time: float) -> float:
        return round((time - self._started_at) * 1000, 3)

    def _emit(
        self,
        kind: CallEventKind,
        text: str = "",
        *,
        role: str = "",
        code: int | None = None,
        at: float | None = None,
    ) -> None:
        when = self._ms(trio.current_time() if at is None else at)
        event = CallEvent(at_ms=when, kind=kind, text=text, role=role, code=code)
        self.events.append(event)
        if self._on_event is not None:
            self._on_event(event)
