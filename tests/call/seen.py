"""What a test puts into a call in virtual time, and what it sees of it afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from avr_bridge import BridgeConfig, TalkConfig
from avr_bridge.caller.transport import AudioOut, TranscriptOut
from avr_bridge.tools import Toolbox
from avr_bridge.tools.tool import Tool
from tests.call.conftest import config

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from avr_bridge.testing import MemoryCaller, SimulatedSession
    from tests.call.conftest import Placed


def conducted(model: dict[str, Any] | None = None, **talk: Any) -> BridgeConfig:
    """Settings of the call, and of the model."""
    return attrs.evolve(config(**(model or {})), talk=TalkConfig(**talk))


def toolbox(**tools: Callable[[Any, Any], Awaitable[Any]]) -> Toolbox:
    """Tools by name; each takes any object."""
    made = [
        Tool(name, "python", "here", "Does it.", {"type": "object"}, bytes, run)
        for name, run in tools.items()
    ]
    return Toolbox(made, 15.0)


def session_of(call: Placed) -> SimulatedSession:
    """The call's only session."""
    (session,) = call.simulator.sessions
    return session


def texts(caller: MemoryCaller) -> list[str]:
    """What the agent said, as avr-core was told."""
    return [
        entry.message.text
        for entry in caller.received
        if isinstance(entry.message, TranscriptOut) and entry.message.role == "agent"
    ]


def items(call: Placed) -> list[dict[str, Any]]:
    """What the bridge put into the conversation."""
    return [e["item"] for e in session_of(call).received_of("conversation.item.create")]


def told(call: Placed) -> list[str]:
    """What the model was told by the bridge itself, in words."""
    return [item["content"][0]["text"] for item in items(call) if item.get("role") == "system"]


def interruptible(call: Placed) -> list[bool]:
    """Whether speech ends an answer, by each update of the session."""
    return [
        event["session"]["audio"]["input"]["turn_detection"]["interrupt_response"]
        for event in session_of(call).received_of("session.update")
    ]


def sound_s(caller: MemoryCaller, after_s: float = 0.0) -> float:
    """How many seconds of sound the caller was sent after a moment."""
    sent = [
        e.message.pcm
        for e in caller.received
        if isinstance(e.message, AudioOut) and e.at_s >= after_s
    ]
    return len(b"".join(sent)) / 16_000


def first_sound_s(caller: MemoryCaller, after_s: float = 0.0) -> float:
    """When the first sound after a moment was sent."""
    return next(
        e.at_s for e in caller.received if isinstance(e.message, AudioOut) and e.at_s >= after_s
    )


def last_sound_s(caller: MemoryCaller) -> float:
    """When the last sound was sent."""
    return max(e.at_s for e in caller.received if isinstance(e.message, AudioOut))
