"""The outbound pump alone: what is told of items that end just as everything is to be silent."""

from __future__ import annotations

from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

import trio

from avr_bridge.audio.format import PCM16_8K
from avr_bridge.audio.playback import Heard
from avr_bridge.call.ending import CallEnding
from avr_bridge.call.orders import (
    ORDERS_WAITING,
    FinishItemSound,
    Order,
    Orders,
    PlaySound,
    SilenceNow,
)
from avr_bridge.call.outbound import pump_outbound
from avr_bridge.call.stats import CallStats
from avr_bridge.call.turn_clock import TurnClock
from avr_bridge.telemetry.journal import Journal
from avr_bridge.testing import MemoryCaller

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from trio.testing import MockClock as Clock

SECOND = bytes(PCM16_8K.bytes_of_ms(1000))


class Told:
    """What the pump told, in order."""

    def __init__(self) -> None:
        self.news: list[str | list[Heard]] = []

    def finish(self, item_id: str) -> FinishItemSound:
        return FinishItemSound(item_id, self.news.append)

    def silence(self) -> SilenceNow:
        return SilenceNow(self.news.append)


@asynccontextmanager
async def open_pump() -> AsyncGenerator[tuple[Orders, Told]]:
    """A pump toward a caller who plays in real time, 200 ms behind what was sent."""
    give, take = trio.open_memory_channel[Order](ORDERS_WAITING)
    ending, stats = CallEnding(), CallStats(started_s=trio.current_time())
    with give, take:
        async with trio.open_nursery() as nursery:
            turns = TurnClock(Journal())
            pump = partial(pump_outbound, MemoryCaller().transport, take, ending, stats, turns)
            nursery.start_soon(pump)
            yield Orders(give, ending), Told()
            nursery.cancel_scope.cancel()


async def test_an_item_is_told_when_it_was_heard(autojump_clock: Clock) -> None:
    """A second after it began, not when the last of it was sent."""
    async with open_pump() as (orders, told):
        orders.give(PlaySound(SECOND, "A"))
        orders.give(told.finish("A"))
        await trio.sleep(0.99)
        assert told.news == []
        await trio.sleep(0.02)
        assert told.news == ["A"]


async def test_an_item_that_was_cut_is_never_told_as_heard(autojump_clock: Clock) -> None:
    """All of it was sent, 100 ms of it were not played: it is reported as cut, and nothing comes
    when its time would have been."""
    async with open_pump() as (orders, told):
        orders.give(PlaySound(SECOND, "A"))
        orders.give(told.finish("A"))
        await trio.sleep(0.9)
        orders.give(told.silence())
        await trio.sleep(5)
    assert told.news == [[Heard("A", 900, whole=False)]]


async def test_what_was_heard_meanwhile_is_told_first(autojump_clock: Clock) -> None:
    """A busy moment: the item's end and the silence come to the pump at once. It was heard to its
    end, and whoever waits for that (a hangup) must learn it."""
    async with open_pump() as (orders, told):
        orders.give(PlaySound(SECOND, "A"))
        orders.give(told.finish("A"))
        await trio.sleep(0.9)
        autojump_clock.jump(0.2)
        orders.give(told.silence())
        await trio.sleep(5)
    assert told.news == ["A", [Heard("A", 1000, whole=True)]]
