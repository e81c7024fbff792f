"""`pump_inbound`: everything the caller's side sends, taken off its socket at once.

The first task on the road of the caller's sound. It waits for nothing but the caller: Quart's
receive queue has no bound, so whoever is slow here would grow memory and delay.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from avr_bridge.call.ending import EndReason
from avr_bridge.caller.transport import (
    CallerAudio,
    CallerFault,
    CallerLeft,
    CallerTransport,
    CallStarted,
    DtmfDigit,
    ErrorOut,
)

if TYPE_CHECKING:
    import trio

    from avr_bridge.call.line import CallLine


__all__ = ["pump_inbound"]


async def pump_inbound(
    transport: CallerTransport, starts: trio.MemorySendChannel[CallStarted], line: CallLine
) -> None:
    """Carry the caller's events on until the caller leaves or the call is cancelled.

    Args:
        starts: Capacity 1; gets the one `CallStarted`.
    """
    stats = line.stats
    while True:
        match await transport.receive():
            case CallerAudio(pcm=pcm):
                stats.caller_bytes += len(pcm)
                line.uplink.push(pcm)
            case CallStarted() as start:
                stats.uuid = start.uuid
                starts.send_nowait(start)
            case DtmfDigit(digit=digit):
                stats.digits += 1
                line.keypad.press(digit)
            case CallerFault(message=message):
                stats.faults += 1
                line.orders.give(ErrorOut(message))
            case CallerLeft():
                line.ending.end(EndReason.CALLER_HUNG_UP)
                return
