"""Simulated neighbours of a bridge: the model, the caller, and what the caller heard.

Public, for this project's tests, for those of programs that embed it, and for the command line
(`avr-bridge simulate`, `call`, `demo`). All run on real sockets; the model and `MemoryCaller`
also in memory under a virtual clock.

- `SimulatedRealtime`: the Realtime API, with a `Behaviour` that decides what is said.
- `open_simulated_call`: a caller on either transport, paced like avr-core.
- `MemoryCaller`: a caller without sockets, to hand to `run_call`.
- `open_simulated_leg`: a leg of Asterisk's chan_websocket, with Asterisk's clock.
- `SimulatedAmi`: avr-ami, which hangs up and transfers. `SimulatedManager`: Asterisk's own manager.
- `PlayedOut`, `likeness`, `tone_level_db`: what was heard, and how like what was said it is.
"""

from __future__ import annotations

from avr_bridge.testing.ami import SimulatedAmi
from avr_bridge.testing.caller import (
    CallEvent,
    CallEventKind,
    CallNotPlaced,
    CallReport,
    SimulatedCall,
    open_simulated_call,
)
from avr_bridge.testing.chan import (
    LegNotPlaced,
    MediaDriver,
    MemoryWire,
    SimulatedLeg,
    open_leg_on,
    open_simulated_leg,
)
from avr_bridge.testing.likeness import (
    Likeness,
    dominant_tone_hz,
    likeness,
    speech_ms,
    tone_level_db,
)
from avr_bridge.testing.manager import SimulatedManager
from avr_bridge.testing.memory import MemoryCaller
from avr_bridge.testing.playback import PlayedOut, PlayedOutStats
from avr_bridge.testing.realtime import (
    Behaviour,
    CallTool,
    Clip,
    ClipError,
    Close,
    Drop,
    Emit,
    Fail,
    Hang,
    Parrot,
    Raw,
    Say,
    Script,
    Silence,
    SimulatedRealtime,
    SimulatedSession,
    SimulatorOptions,
    SpeakFile,
    Step,
    Transcriber,
    Turn,
    Wait,
)
from avr_bridge.testing.wav import clip, read_wav, write_wav

__all__ = [
    "Behaviour",
    "CallEvent",
    "CallEventKind",
    "CallNotPlaced",
    "CallReport",
    "CallTool",
    "Clip",
    "ClipError",
    "Close",
    "Drop",
    "Emit",
    "Fail",
    "Hang",
    "LegNotPlaced",
    "Likeness",
    "MediaDriver",
    "MemoryCaller",
    "MemoryWire",
    "Parrot",
    "PlayedOut",
    "PlayedOutStats",
    "Raw",
    "Say",
    "Script",
    "Silence",
    "SimulatedAmi",
    "SimulatedCall",
    "SimulatedLeg",
    "SimulatedManager",
    "SimulatedRealtime",
    "SimulatedSession",
    "SimulatorOptions",
    "SpeakFile",
    "Step",
    "Transcriber",
    "Turn",
    "Wait",
    "clip",
    "dominant_tone_hz",
    "likeness",
    "open_leg_on",
    "open_simulated_call",
    "open_simulated_leg",
    "read_wav",
    "speech_ms",
    "tone_level_db",
    "write_wav",
]
