"""A model that agrees to G.711 and sends PCM: what was noticed once holds. In virtual time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from avr_bridge.testing import (
    Emit,
    Say,
    Script,
    Silence,
    SimulatedRealtime,
    SimulatorOptions,
    Step,
    likeness,
)
from tests.call.conftest import place_call
from tests.call.seen import session_of, texts

if TYPE_CHECKING:
    from trio.testing import MockClock as Clock


async def test_a_later_update_does_not_bring_the_noise_back(
    autojump_clock: Clock, question: bytes
) -> None:
    """The server goes on to claim G.711, as it did before: the next answers are still read as the
    PCM that they are, and it is asked to change only once."""
    shown = {"format": {"type": "audio/pcmu"}}
    session = {"type": "realtime", "audio": {"input": shown, "output": shown}}
    claim = Emit({"type": "session.updated", "session": session})
    second: list[Step] = [claim, Say(question, 8000, "two")]
    script = Script([[Say(question, 8000, "one")], second], then=Silence())
    simulator = SimulatedRealtime(script, SimulatorOptions(g711="ignored"))
    async with place_call(simulator) as call:
        call.caller.start()
        await call.caller.be_silent(6)
        first_bytes = len(call.caller.audio())
        await call.caller.say(question)
        await call.caller.be_silent(6)
    assert texts(call.caller) == ["one", "two"]
    assert len(session_of(call).received_of("session.update")) == 2
    assert likeness(question, call.caller.audio()[first_bytes:]).correlation > 0.98
