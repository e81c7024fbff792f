"""A caller who says nothing is asked and hung up on, however many sessions that takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from avr_bridge import EndReason
from avr_bridge.testing import Say, Script, Silence, SimulatedRealtime, SimulatorOptions
from avr_bridge.testing.faults import CutAfter, ModelFaults, Refuse
from tests.call.conftest import place_call
from tests.call.seen import conducted

if TYPE_CHECKING:
    from trio.testing import MockClock as Clock


@pytest.mark.parametrize("cut", [True, False])
async def test_idle_time_goes_on_in_the_next_session(
    autojump_clock: Clock, question: bytes, cut: bool
) -> None:
    """Lost, or renewed: the silence before the change counts, and the call ends by itself."""
    script = Script([[Say(question[:320], 8000, "words")]] * 3, then=Silence())
    options = SimulatorOptions(session_s=3600 if cut else 16)
    outages = ModelFaults((CutAfter(6),)) if cut else ModelFaults()
    simulator = SimulatedRealtime(script, options, outages=outages)
    async with place_call(simulator, conducted(idle_s=15.0)) as call:
        call.caller.start()
        await call.caller.be_silent(60)
    assert call.summary is not None
    assert call.summary.reconnects + call.summary.renewals >= 1
    assert call.summary.end_reason is EndReason.BRIDGE_HUNG_UP
    assert call.summary.duration_s == pytest.approx(31, abs=2)


async def test_an_answer_that_is_heard_between_two_sessions(
    autojump_clock: Clock, question: bytes
) -> None:
    """Its last word comes while there is no session: the silence counts from the next one on."""
    script = Script([[Say(question, 8000, "words")]] * 3, then=Silence())
    outages = ModelFaults((CutAfter(1.5), Refuse(503, retry_after_s=6)))
    simulator = SimulatedRealtime(script, outages=outages)
    async with place_call(simulator, conducted(idle_s=15.0)) as call:
        call.caller.start()
        await call.caller.be_silent(70)
    assert call.summary is not None
    assert call.summary.reconnects == 1
    assert call.summary.end_reason is EndReason.BRIDGE_HUNG_UP
