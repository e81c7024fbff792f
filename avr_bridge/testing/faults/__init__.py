"""Faults to prove a bridge against, by explicit pattern and never by chance.

Each is a value that a simulated neighbour obeys: `model` has those of the Realtime server.
"""

from avr_bridge.testing.faults.model import (
    CutAfter,
    CutAfterCommit,
    CutInAnswer,
    Freeze,
    HangConnect,
    ModelFault,
    ModelFaults,
    NoSession,
    NoUpdate,
    Refuse,
    RefuseAfterUpgrade,
    SessionLength,
    StallAfterTool,
    StopAnsweringPings,
    StopReading,
    Unreachable,
)

__all__ = [
    "CutAfter",
    "CutAfterCommit",
    "CutInAnswer",
    "Freeze",
    "HangConnect",
    "ModelFault",
    "ModelFaults",
    "NoSession",
    "NoUpdate",
    "Refuse",
    "RefuseAfterUpgrade",
    "SessionLength",
    "StallAfterTool",
    "StopAnsweringPings",
    "StopReading",
    "Unreachable",
]
