"""What `/metrics` asks of the calls that run: queues, and what they have counted so far."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from avr_bridge import ServerConfig
from avr_bridge.caller.transport import AudioOut, CallerFault
from avr_bridge.server.admission import Admission
from avr_bridge.server.metrics import live_of
from avr_bridge.testing.realtime import Say, Script, Silence, SimulatedRealtime, SimulatorOptions
from tests.call.conftest import Placed, place_call

if TYPE_CHECKING:
    from trio.testing import MockClock as Clock

    from avr_bridge.telemetry.metrics import Live


def now(call: Placed) -> Live:
    return live_of(Admission(ServerConfig()), call.running, 5)


async def test_words_that_wait_for_the_model(autojump_clock: Clock, question: bytes) -> None:
    """Kept while it is being connected; nothing waits any more when it is there."""
    slow = SimulatorOptions(connect_delay_s=4)
    async with place_call(SimulatedRealtime(Silence(), slow)) as call:
        call.caller.start()
        await call.caller.be_silent(2)
        await trio.sleep(0.001)
        assert now(call).to_model_s == pytest.approx(2)
        await call.caller.be_silent(4)
        assert now(call).to_model_s < 0.1
    assert now(call).to_model_s == 0


async def test_orders_that_wait_for_the_caller(autojump_clock: Clock, question: bytes) -> None:
    """Of a caller who does not read: what the model says piles up, and is told of."""
    script = Script([[Say(question * 4, 8000, "long")]])
    async with place_call(SimulatedRealtime(script, SimulatorOptions(speed=2))) as call:
        call.caller.start()
        await call.caller.wait_for(AudioOut, 3)
        assert now(call).to_caller_orders == 0
        call.caller.stop_reading()
        await call.caller.be_silent(2)
        assert now(call).to_caller_orders > 10
        call.caller.reading.set()
        await call.caller.be_silent(1)
        assert now(call).to_caller_orders == 0


async def test_what_was_counted_so_far(autojump_clock: Clock) -> None:
    """Of a call that is up, not only at its end; and it is gone from here when it is over."""
    async with place_call(SimulatedRealtime(Silence())) as call:
        call.caller.start()
        call.caller.send(CallerFault("audio: empty"))
        call.caller.send(CallerFault("audio: empty"))
        await trio.sleep(0.1)
        assert (now(call).faults, now(call).calls_limit) == (2, 5)
    await trio.sleep(1)
    assert now(call).faults == 0
    assert call.summary is not None
    assert call.summary.faults == 2
