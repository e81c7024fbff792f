"""The console's feed, in virtual time: what a listener hears, when, and when it hears no more."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import trio

from avr_bridge.server.console.feed import (
    GATHER_S,
    MOST_LISTENERS,
    MOST_WAITING_BYTES,
    PULSE_S,
    Feed,
    FeedBody,
)

if TYPE_CHECKING:
    from trio.testing import MockClock as Clock


def messages(text: bytes) -> list[Any]:
    """The events of one write."""
    *events, rest = text.split(b"\n\n")
    assert rest == b""
    return [
        msgspec.json.decode(event.removeprefix(b"data: ")) for event in events if event[:1] == b"d"
    ]


def body_of(feed: Feed) -> FeedBody:
    return FeedBody(feed, lambda: {"type": "hello"}, lambda: {"type": "pulse"})


async def test_a_listener_hears_all_in_order(autojump_clock: Clock) -> None:
    """First what stands, then what happens; what comes close together comes in one write."""
    feed = Feed()
    async with body_of(feed) as body:
        assert messages(await anext(body)) == [{"type": "hello"}]
        feed.tell({"n": 1})
        feed.tell({"n": 2})
        before_s = trio.current_time()
        assert messages(await anext(body)) == [{"n": 1}, {"n": 2}]
        assert trio.current_time() - before_s == pytest.approx(GATHER_S)
    assert feed.listeners == 0


async def test_a_pulse_in_quiet_and_in_busy_times(autojump_clock: Clock) -> None:
    """Every two seconds, whether or not something happens."""
    feed = Feed()
    pulses_s = []
    async with body_of(feed) as body:
        for number in range(200):
            if number > 100:
                feed.tell({"n": number})
            if {"type": "pulse"} in messages(await anext(body)):
                pulses_s.append(trio.current_time())
            if trio.current_time() > 30:
                break
    gaps_s = [after - before for before, after in pairwise(pulses_s)]
    assert gaps_s
    assert all(PULSE_S <= gap_s <= PULSE_S + GATHER_S + 0.001 for gap_s in gaps_s)


async def test_a_pulse_is_on_time_after_something_happened(autojump_clock: Clock) -> None:
    """What was told shortly before it is due does not put it off."""
    feed = Feed()

    async def tell() -> None:
        await trio.sleep(PULSE_S - 0.5)
        feed.tell({"n": 1})

    async with body_of(feed) as body, trio.open_nursery() as nursery:
        began_s = trio.current_time()
        await anext(body)
        nursery.start_soon(tell)
        assert messages(await anext(body)) == [{"n": 1}]
        assert messages(await anext(body)) == [{"type": "pulse"}]
        assert trio.current_time() - began_s == pytest.approx(PULSE_S)


async def test_a_slow_listener_is_dropped(autojump_clock: Clock) -> None:
    """Its queue has a bound; its response ends; others lose nothing."""
    feed = Feed()
    async with body_of(feed) as slow, body_of(feed) as quick:
        await anext(slow)
        heard = 0
        told = 0
        while feed.listeners == 2:
            feed.tell({"filling": "x" * 1000})
            told += 1
            heard += b"filling" in await anext(quick)
            assert told < 2 * MOST_WAITING_BYTES / 1000
        assert heard == told
        with pytest.raises(StopAsyncIteration):
            await anext(slow)
        assert feed.listeners == 1
    assert feed.listeners == 0


async def test_nothing_is_encoded_for_nobody() -> None:
    """What could not be encoded does no harm while nobody listens."""
    feed = Feed()
    feed.tell({"not": object()})
    async with body_of(feed):
        with pytest.raises(TypeError):
            feed.tell({"not": object()})


async def test_the_end_of_the_process_ends_it(autojump_clock: Clock) -> None:
    """One who waits, one who comes to wait, and nobody is let in any more."""
    feed = Feed()
    async with body_of(feed) as waiting:
        await anext(waiting)
        async with trio.open_nursery() as nursery:

            async def hear() -> None:
                with pytest.raises(StopAsyncIteration):
                    await anext(waiting)

            nursery.start_soon(hear)
            await trio.sleep(GATHER_S * 2)
            feed.close()
    assert feed.listeners == 0
    assert not feed.has_room


async def test_there_is_a_bound_on_listeners() -> None:
    """Room again when one leaves."""
    feed = Feed()
    listeners = [feed.join({}) for _ in range(MOST_LISTENERS)]
    assert not feed.has_room
    feed.leave(listeners[0])
    feed.leave(listeners[0])
    assert feed.has_room
