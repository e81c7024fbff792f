"""`drain`: what a process does with its calls before it stops.

Beneath `serve`, above the registry of running calls. New calls are refused by the door; running
ones get the time that the settings give them. It knows no signal and no socket.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import trio

from avr_bridge.call.ending import EndReason
from avr_bridge.call.farewell import FAREWELL_SLACK_S, clip_s
from avr_bridge.telemetry import get_logger

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from avr_bridge.call.running import RunningCalls
    from avr_bridge.server.admission import Admission

__all__ = ["PAUSE_WINDOW_S", "drain"]

PAUSE_WINDOW_S = 2.0
"""How long before its latest moment the farewell may begin, if nothing is being said then. Most
sentences end within it; a longer one would take calls away that might end by themselves."""

PART_OF_SHORT = 4
"""Where no words are said, a call may end in a pause at the end of the time instead of within a
sentence; of a short time in the last quarter, for the call's time is worth more than that."""

REFUSAL = "the bridge is stopping"
DETAIL = "longer than AVR_DRAIN_S"
HURRIED = "told to stop at once"


async def drain(
    running: RunningCalls,
    door: Admission,
    drain_s: float,
    farewell_pcm: bytes,
    hurry: Callable[[], Awaitable[None]] | None = None,
) -> None:
    """Refuse new calls, and wait until the running ones have ended: by themselves at best.

    What still runs towards the end hears the farewell, at the end of a sentence if one comes in
    time, and has ended after `drain_s`.

    Args:
        running: The calls.
        door: Closed at once, and never opened again.
        drain_s: The time for running calls; 0 ends them at once.
        farewell_pcm: PCM16 LE mono, 8 kHz; empty for none. Left out if it is longer than the time.
        hurry: When it returns, all calls end at once.
    """
    door.close(REFUSAL)
    log = get_logger()
    log.info("draining", calls=running.count, longest_s=drain_s)
    end_by_s = trio.current_time() + drain_s
    detail = DETAIL
    with trio.move_on_at(end_by_s):
        async with trio.open_nursery() as nursery:

            async def give_up() -> None:
                nonlocal detail
                if hurry is not None:
                    await hurry()
                    detail = HURRIED
                    nursery.cancel_scope.cancel()

            nursery.start_soon(give_up)
            nursery.start_soon(partial(_say_farewell_in_time, running, end_by_s, farewell_pcm))
            await running.wait_none()
            nursery.cancel_scope.cancel()
    cut = running.end(EndReason.BRIDGE_STOPPED, detail)
    log.info("drained", cut=cut)


async def _say_farewell_in_time(running: RunningCalls, end_by_s: float, pcm: bytes) -> None:
    latest_s = end_by_s - FAREWELL_SLACK_S - clip_s(pcm)
    window_s, words = PAUSE_WINDOW_S, "saying farewell"
    if not pcm or latest_s < trio.current_time():
        whole_s = end_by_s - trio.current_time()
        window_s = min(PAUSE_WINDOW_S, whole_s / PART_OF_SHORT)
        latest_s = end_by_s - min(FAREWELL_SLACK_S, window_s / PART_OF_SHORT)
        pcm, words = b"", "ending calls"
    await trio.sleep_until(latest_s - window_s)
    left_s = max(latest_s - trio.current_time(), 0.0)
    calls = running.say_farewell(pcm, EndReason.BRIDGE_STOPPED, DETAIL, finish_for_s=left_s)
    get_logger().info(words, calls=calls)
