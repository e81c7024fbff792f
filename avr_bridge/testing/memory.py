"""A caller in memory: a `CallerTransport` without sockets, for tests in virtual time.

The caller's half is `MemoryCaller`; give its `transport` to `run_call`. It plays no sound itself:
`avr_bridge.testing.PlayedOut` models what would have been heard.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import attrs
import trio

from avr_bridge.audio.format import PCM16_8K
from avr_bridge.caller.transport import (
    AudioOut,
    CallerAudio,
    CallerEvent,
    CallerLeft,
    CallerMessage,
    CallStarted,
    Interruption,
)
from avr_bridge.errors import CallerGone

__all__ = ["MemoryCaller"]


@attrs.frozen
class Received:
    """One message that the bridge sent, and when (on Trio's clock)."""

    at_s: float
    message: CallerMessage


class MemoryCaller:
    """Both ends of one call's transport.

    Args:
        metadata: Query parameters of the call.
        lead_ms: As the WebSocket transport's by default.
        lead_is_heard: Whether what was sent cannot be taken back.

    Attributes:
        received: Everything that the bridge sent, in order, with times.
        closed: Code and reason of the bridge's close; None before it.
    """

    def __init__(
        self,
        metadata: Mapping[str, str] | None = None,
        *,
        lead_ms: int = 200,
        lead_is_heard: bool = False,
    ) -> None:
        self.transport = _MemoryTransport(self, dict(metadata or {}), lead_ms, lead_is_heard)
        self.received: list[Received] = []
        self.closed: tuple[int, str] | None = None
        self.gone = False
        self.reading = trio.Event()
        self.reading.set()
        self._changed = trio.Event()
        self._send, self.events = trio.open_memory_channel[CallerEvent](math.inf)

    def start(self, uuid: str = "00000000-0000-4000-8000-000000000001") -> None:
        """Send ``init``."""
        self.send(CallStarted(uuid))

    def send(self, event: CallerEvent) -> None:
        """Send any event at once."""
        self._send.send_nowait(event)

    async def say(self, pcm: bytes) -> None:
        """Send PCM16 LE mono 8 kHz in frames of 20 ms, at their time."""
        start_s = trio.current_time()
        step = PCM16_8K.frame_bytes
        for number, at in enumerate(range(0, len(pcm), step)):
            await trio.sleep_until(start_s + number * 0.020)
            self.send(CallerAudio(pcm[at : at + step]))

    async def be_silent(self, duration_s: float) -> None:
        """Send silence in frames, at their time."""
        await self.say(bytes(PCM16_8K.bytes_of_ms(duration_s * 1000)))

    def hang_up(self) -> None:
        """Leave, as avr-core does at the end of a call."""
        self.gone = True
        self.send(CallerLeft())

    def stop_reading(self) -> None:
        """Keep the connection and read no more: sends to this caller block."""
        self.reading = trio.Event()

    async def wait_for(self, kind: type[CallerMessage], number: int = 1) -> CallerMessage:
        """Wait for the `number`-th message of a kind, counted from the call's start."""
        while True:
            found = [entry.message for entry in self.received if isinstance(entry.message, kind)]
            if len(found) >= number:
                return found[number - 1]
            await self._changed.wait()

    async def wait_quiet(self, quiet_s: float) -> None:
        """Wait until the bridge has sent no sound for so long."""
        while True:
            quiet_since_s = max(
                (e.at_s for e in self.received if isinstance(e.message, AudioOut)), default=0.0
            )
            if trio.current_time() >= quiet_since_s + quiet_s:
                return
            await trio.sleep_until(quiet_since_s + quiet_s)

    def audio(self) -> bytes:
        """All sound received, less nothing for interruptions."""
        return b"".join(e.message.pcm for e in self.received if isinstance(e.message, AudioOut))

    def interruptions(self) -> int:
        """How often the bridge voided what it had sent."""
        return sum(isinstance(entry.message, Interruption) for entry in self.received)

    def _record(self, message: CallerMessage) -> None:
        self.received.append(Received(trio.current_time(), message))
        self._changed.set()
        self._changed = trio.Event()


@attrs.define(eq=False)
class _MemoryTransport:
    """The bridge's end."""

    _caller: MemoryCaller
    metadata: Mapping[str, str]
    lead_ms: int
    lead_is_heard: bool

    async def receive(self) -> CallerEvent:
        return await self._caller.events.receive()

    async def send(self, message: CallerMessage) -> None:
        await trio.lowlevel.checkpoint()
        await self._caller.reading.wait()
        if self._caller.gone:
            raise CallerGone
        self._caller._record(message)

    async def close(self, code: int, reason: str) -> None:
        await trio.lowlevel.checkpoint()
        self._caller.closed = self._caller.closed or (code, reason)
