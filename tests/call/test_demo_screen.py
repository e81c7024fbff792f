"""What the demo prints, in order of time, in virtual time; the demo itself: `tests/wire`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import trio
from trio.testing import wait_all_tasks_blocked

from avr_bridge.cli.demo import FRAME_S, _Screen
from avr_bridge.testing.caller import CallEvent, CallEventKind
from avr_bridge.testing.caller.call import SPURT_GAP_MS

if TYPE_CHECKING:
    import pytest
    from trio.testing import MockClock as Clock

STOOD_STILL_S = 0.3
RUNS = 20
"""Which of two tasks goes first is chance: so often it is the right one with 1 : 10⁶."""


async def test_the_order_survives_a_process_that_stood_still(
    mock_clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    """The agent falls silent, words come 10 ms later, and just before the silence would be known
    the process stands still: the silence is still printed first."""

    async def caller(screen: _Screen) -> None:
        began_s = trio.current_time()
        screen.show(CallEvent(10, CallEventKind.TRANSCRIPT, "words", "agent"))
        while trio.current_time() - began_s < SPURT_GAP_MS / 1000:  # noqa: ASYNC110 - as the call does
            await trio.sleep(FRAME_S)
        screen.show(CallEvent(0, CallEventKind.AUDIO_LAST))

    for _ in range(RUNS):
        screen = _Screen()
        screen.show(CallEvent(0, CallEventKind.CONNECTED))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(caller, screen)
            nursery.start_soon(screen.run)
            await wait_all_tasks_blocked()
            for _ in range(round(SPURT_GAP_MS / 1000 / FRAME_S) - 1):
                mock_clock.jump(FRAME_S)
                await wait_all_tasks_blocked()
            mock_clock.jump(STOOD_STILL_S)
            await wait_all_tasks_blocked()
            for _ in range(round(1 / FRAME_S)):
                mock_clock.jump(FRAME_S)
                await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        shown = re.findall(r"^ +[\d.]+ s  (.*)$", capsys.readouterr().out, re.M)
        assert shown == ["call placed", "agent is silent", "agent: words"]
