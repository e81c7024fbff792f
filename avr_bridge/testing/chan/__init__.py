"""A simulated leg of Asterisk's chan_websocket: the channel driver, its clock, and its socket.

- `driver.py`: the driver's queue, as a machine without clock and socket.
- `leg.py`: a leg that runs: plays out in real time, speaks, presses keys.
- `wires.py`: what it runs on: a real WebSocket, or memory under a virtual clock.
"""

from __future__ import annotations

from avr_bridge.testing.chan.driver import MediaDriver
from avr_bridge.testing.chan.leg import SimulatedLeg, open_leg_on, open_simulated_leg
from avr_bridge.testing.chan.wires import LegNotPlaced, MemoryWire, SocketWire

__all__ = [
    "LegNotPlaced",
    "MediaDriver",
    "MemoryWire",
    "SimulatedLeg",
    "SocketWire",
    "open_leg_on",
    "open_simulated_leg",
]
