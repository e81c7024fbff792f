"""A simulated Realtime API: the model's side of a call, without the model.

A bridge that works against it works against OpenAI: real event order, voice detection,
interruption, truncation, tools, errors; in the GA dialect, or in beta or xAI. `SimulatedRealtime`
is the server, a `Behaviour` decides what is said. The road of the caller's audio: `session` →
`dialogue` → `caller_turns` → `listening` → `vad`; of an answer: a behaviour → `speaking` →
`responding` → `outbox` → the connection (`wire` or `memory`); the client's dialect is made in
`dialects`. It sends nothing to any network but its clients.
"""

from avr_bridge.testing.realtime.behaviour import (
    Behaviour,
    CallTool,
    Close,
    Drop,
    Emit,
    Fail,
    Hang,
    Raw,
    Say,
    Step,
    Transcriber,
    Turn,
    Wait,
)
from avr_bridge.testing.realtime.behaviours import Parrot, Script, Silence, SpeakFile
from avr_bridge.testing.realtime.clips import Clip, ClipError
from avr_bridge.testing.realtime.options import SimulatorOptions
from avr_bridge.testing.realtime.server import SimulatedRealtime
from avr_bridge.testing.realtime.session import SimulatedSession

__all__ = [
    "Behaviour",
    "CallTool",
    "Clip",
    "ClipError",
    "Close",
    "Drop",
    "Emit",
    "Fail",
    "Hang",
    "Parrot",
    "Raw",
    "Say",
    "Script",
    "Silence",
    "SimulatedRealtime",
    "SimulatedSession",
    "SimulatorOptions",
    "SpeakFile",
    "Step",
    "Transcriber",
    "Turn",
    "Wait",
]
