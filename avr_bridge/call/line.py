"""What the tasks of one call share: where each of them puts what is for another."""

from __future__ import annotations

import attrs
import trio

from avr_bridge.call.ending import CallEnding, EndReason
from avr_bridge.call.keypad import Keypad
from avr_bridge.call.latch import Latch
from avr_bridge.call.orders import Orders
from avr_bridge.call.stats import CallStats
from avr_bridge.call.toolwork import Job
from avr_bridge.call.turn_clock import TurnClock
from avr_bridge.call.uplink import Uplink
from avr_bridge.telemetry.journal import Journal
from avr_bridge.tools import Toolbox

__all__ = ["CallLine"]


@attrs.frozen(eq=False)
class CallLine:
    """One call's parts. Each method of them is plain and never waits."""

    uplink: Uplink
    keypad: Keypad
    orders: Orders
    ending: CallEnding
    stats: CallStats
    toolbox: Toolbox
    jobs: trio.MemorySendChannel[Job]
    journal: Journal
    turns: TurnClock
    greeting: Latch = attrs.field(factory=Latch)

    def greeting_heard(self) -> None:
        """The recorded greeting was heard to its end."""
        self.greeting.set()

    @property
    def closing(self) -> bool:
        """Whether the bridge is saying its last words: nothing of the model's is played again."""
        return self.ending.closing

    def give_job(self, job: Job) -> None:
        """Have a tool run, or the call hung up or transferred."""
        try:
            self.jobs.send_nowait(job)
        except trio.WouldBlock:
            self.ending.end(EndReason.MODEL_CLOSED, "the model calls tools without end")
