"""What `conversation.py` and `inbound.py` hand to `outbound.py` over the memory channel."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import trio

from avr_bridge.audio.format import AudioFormat
from avr_bridge.audio.playback import Heard
from avr_bridge.call.ending import CallEnding, EndReason
from avr_bridge.caller.transport import ErrorOut, MarkPlayed, SoundHeld, TranscriptOut

__all__ = [
    "ORDERS_WAITING",
    "FinishItemSound",
    "LastWords",
    "LegBegan",
    "Order",
    "Orders",
    "PlaySound",
    "SilenceNow",
    "WaitingSound",
]

ORDERS_WAITING = 1024
"""The pump takes orders off at once, unless a send to the caller blocks. At about 12 kB of
sound each this bounds a stalled call at 12 MB and half a minute of deltas; then it ends."""


@attrs.frozen
class LegBegan:
    """The leg's format is known; all sound that is ordered from now on is in it, but for the
    bridge's own (`WaitingSound`, `LastWords`)."""

    fmt: AudioFormat


@attrs.frozen
class PlaySound:
    """Sound of one item in the leg's format, any length, behind what already waits."""

    pcm: bytes
    item_id: str = ""


@attrs.frozen
class FinishItemSound:
    """The item is complete: pad its last frame, and say so when the caller has heard it."""

    item_id: str
    heard: Callable[[str], None]


@attrs.frozen
class WaitingSound:
    """Play this loop (PCM16 LE mono, 8 kHz, whole frames) while nothing else is to be heard, after
    a moment; None: no longer."""

    loop: bytes | None


@attrs.frozen
class SilenceNow:
    """Drop what waits, tell the transport to drop what it has, and say what was heard.

    `since_s` is when that was wanted, on Trio's clock.
    """

    report: Callable[[list[Heard]], None]
    since_s: float = attrs.field(factory=trio.current_time)


@attrs.frozen
class LastWords:
    """Play this (PCM16 LE mono, 8 kHz, whole frames) and nothing else from then on.

    It begins when the answer that is being played is over and heard, or at `latest_s` in the
    middle of it; `cut` is then told how much of it was heard. Nothing interrupts the words.
    """

    pcm: bytes
    latest_s: float
    cut: Callable[[list[Heard]], None]
    heard: Callable[[], None]


Order = (
    LegBegan
    | WaitingSound
    | PlaySound
    | FinishItemSound
    | SilenceNow
    | LastWords
    | MarkPlayed
    | SoundHeld
    | TranscriptOut
    | ErrorOut
)


class Orders:
    """The sending end. Never waits: a caller who no longer reads ends the call instead.

    Attributes:
        on_cut: Told what was heard of the model's answers when the bridge cut them by itself.
    """

    def __init__(self, channel: trio.MemorySendChannel[Order], ending: CallEnding) -> None:
        self.on_cut: Callable[[list[Heard]], None] = lambda _heard: None
        self._channel = channel
        self._ending = ending

    @property
    def waiting(self) -> int:
        """Orders that the pump has not taken yet."""
        return self._channel.statistics().current_buffer_used

    def give(self, order: Order) -> None:
        """Queue one order for the outbound pump."""
        try:
            self._channel.send_nowait(order)
        except trio.WouldBlock:
            self._ending.end(EndReason.CALLER_STALLED, "the caller does not read what it is sent")
