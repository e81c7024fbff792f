"""A simulated caller: avr-core's place in the picture, for tests, demos and any STS container.

`open_simulated_call` places one call over real sockets, `open_call_on` over a line of your own
(in memory, under a virtual clock). Both talk and listen in real time as avr-core does; what
avr-core's other side does (Asterisk, webhooks, codecs) is not simulated.
"""

from avr_bridge.testing.caller.call import SimulatedCall
from avr_bridge.testing.caller.events import CallEvent, CallEventKind, CallNotPlaced, CallReport
from avr_bridge.testing.caller.line import (
    Audio,
    CallerLine,
    Closed,
    ErrorMessage,
    Fault,
    Interruption,
    LineEvent,
    Transcript,
    read_message,
)
from avr_bridge.testing.caller.placing import open_call_on, open_simulated_call

__all__ = [
    "Audio",
    "CallEvent",
    "CallEventKind",
    "CallNotPlaced",
    "CallReport",
    "CallerLine",
    "Closed",
    "ErrorMessage",
    "Fault",
    "Interruption",
    "LineEvent",
    "SimulatedCall",
    "Transcript",
    "open_call_on",
    "open_simulated_call",
    "read_message",
]
