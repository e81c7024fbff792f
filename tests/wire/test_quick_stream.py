"""The quick stream on real sockets: nothing lost, nothing out of order, errors as Trio's own."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
import trio
import trio.lowlevel
import trio.testing

from avr_bridge.net.quick import QuickStream
from avr_bridge.net.rhythm import run_rhythm, the_rhythm
from avr_bridge.server.sockets import reset

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

LIMIT_S = 20.0


@pytest.fixture
async def pair() -> AsyncGenerator[tuple[QuickStream, trio.SocketStream]]:
    """Both ends of a TCP connection: ours, and one of Trio's."""
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        host, port = listener.socket.getsockname()
        near = await trio.open_tcp_stream(host, port)
        far = await listener.accept()
    quick = QuickStream(near, in_rhythm=True)
    try:
        yield quick, far
    finally:
        await trio.aclose_forcefully(quick)
        await trio.aclose_forcefully(far)


async def test_more_than_the_kernel_takes_arrives_whole(
    pair: tuple[QuickStream, trio.SocketStream],
) -> None:
    """Sixteen megabytes to a peer that reads in its own time: the sender waits, the bytes agree."""
    quick, far = pair
    data = os.urandom(1 << 20) * 16
    received = bytearray()
    with trio.fail_after(LIMIT_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(quick.send_all, data)
            while len(received) < len(data):
                received += await far.receive_some(1 << 20)
    assert received == data


async def test_what_the_kernel_takes_goes_without_a_turn_of_the_scheduler(
    pair: tuple[QuickStream, trio.SocketStream],
) -> None:
    """That is what it is for; a cancellation is noticed all the same, before anything is sent."""
    quick, far = pair
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    with trio.fail_after(LIMIT_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(count)
            await trio.lowlevel.checkpoint()
            before = turns
            for _ in range(10):
                await quick.send_all(b"x")
            assert turns == before
            nursery.cancel_scope.cancel()
        with trio.CancelScope() as scope:
            scope.cancel()
            await quick.send_all(b"never")
        assert scope.cancelled_caught
        await quick.send_eof()
        assert await _all_of(far) == b"x" * 10


async def test_reads_in_a_rhythm_lose_nothing(
    pair: tuple[QuickStream, trio.SocketStream], nursery: trio.Nursery
) -> None:
    """Frames sent one by one are read several at a time, in order, to the end."""
    quick, far = pair
    nursery.start_soon(run_rhythm, 20)
    await trio.testing.wait_all_tasks_blocked(0.001)
    rhythmic = QuickStream(quick._stream, in_rhythm=True)
    assert the_rhythm().period_s == 0.02
    sent = [bytes([number]) * 100 for number in range(50)]
    reads = []

    async def send() -> None:
        for one in sent:
            await far.send_all(one)
            await trio.sleep(0.002)
        await far.send_eof()

    with trio.fail_after(LIMIT_S):
        nursery.start_soon(send)
        while data := await rhythmic.receive_some():
            reads.append(data)
    assert b"".join(reads) == b"".join(sent)
    assert len(reads) < len(sent) / 2
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize("batch_ms", [0, 20])
async def test_a_reset_is_a_broken_resource_with_its_cause(
    pair: tuple[QuickStream, trio.SocketStream], nursery: trio.Nursery, batch_ms: int
) -> None:
    """In both ways of reading, and in a send: the `OSError` is chained, as with Trio's stream."""
    quick, far = pair
    nursery.start_soon(run_rhythm, batch_ms)
    await trio.testing.wait_all_tasks_blocked(0.001)
    rhythmic = QuickStream(quick._stream, in_rhythm=True)
    reset(far.socket)
    with trio.fail_after(LIMIT_S):
        with pytest.raises(trio.BrokenResourceError) as broken:
            await rhythmic.receive_some()
        assert isinstance(broken.value.__cause__, ConnectionResetError)
        with pytest.raises(trio.BrokenResourceError):
            await rhythmic.send_all(b"too late")
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize("batch_ms", [0, 20])
async def test_a_reader_notices_that_its_own_side_was_closed(
    pair: tuple[QuickStream, trio.SocketStream], nursery: trio.Nursery, batch_ms: int
) -> None:
    """Cut off by another task while it waits: closed, not for ever asleep."""
    quick, _ = pair
    nursery.start_soon(run_rhythm, batch_ms)
    await trio.testing.wait_all_tasks_blocked(0.001)
    rhythmic = QuickStream(quick._stream, in_rhythm=True)
    ended = trio.Event()

    async def read() -> None:
        with pytest.raises(trio.ClosedResourceError):
            await rhythmic.receive_some()
        ended.set()

    with trio.fail_after(LIMIT_S):
        nursery.start_soon(read)
        await trio.testing.wait_all_tasks_blocked(0.001)
        reset(quick.socket)
        await ended.wait()
        with pytest.raises(trio.ClosedResourceError):
            rhythmic.send_nowait(b"x")
    nursery.cancel_scope.cancel()


async def test_nothing_is_sent_behind_the_end(
    pair: tuple[QuickStream, trio.SocketStream],
) -> None:
    """After `send_eof`, as with Trio's stream."""
    quick, far = pair
    with trio.fail_after(LIMIT_S):
        await quick.send_all(b"last")
        await quick.send_eof()
        with pytest.raises(trio.ClosedResourceError):
            await quick.send_all(b"more")
        assert await _all_of(far) == b"last"


async def _all_of(stream: trio.SocketStream) -> bytes:
    data = bytearray()
    while piece := await stream.receive_some():
        data += piece
    return bytes(data)
