"""What `conversation.py` and `inbound.py` hand to `outbound.py` over the memory channel."""

from __future__ import annotations

import attrs
import trio

from avr_bridge.call.ending import CallEnding, EndReason
from avr_bridge.caller.transport import ErrorOut, TranscriptOut

__all__ = ["ORDERS_WAITING", "FinishAnswer", "Order", "Orders", "PlaySound", "SilenceNow"]

ORDERS_WAITING = 1024
"""The pump takes orders off at once, unless a send to the caller blocks. At about 12 kB of
sound each this bounds a stalled call at 12 MB and half a minute of deltas; then it ends."""


@attrs.frozen
class PlaySound:
    """PCM16 LE mono, 8 kHz, any length, behind what already waits."""

    pcm: bytes


@attrs.frozen
class FinishAnswer:
    """The item is complete: pad its last frame."""


@attrs.frozen
class SilenceNow:
    """The caller speaks: drop what waits and tell the transport to drop what it has."""


Order = PlaySound | FinishAnswer | SilenceNow | TranscriptOut | ErrorOut


class Orders:
    """The sending end. Never waits: a caller who no longer reads ends the call instead."""

    def __init__(self, channel: trio.MemorySendChannel[Order], ending: CallEnding) -> None:
        self._channel = channel
        self._ending = ending

    def give(self, order: Order) -> None:
        """Queue one order for the outbound pump."""
        try:
            self._channel.send_nowait(order)
        except trio.WouldBlock:
            self._ending.end(EndReason.CALLER_STALLED, "the caller does not read what it is sent")
