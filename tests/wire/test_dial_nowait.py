"""Sending to the model without waiting, on real sockets: whole, in order, and no further than it
goes."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import trio
import trio_websocket

from avr_bridge.errors import UpstreamClosed
from avr_bridge.masking import Mask
from avr_bridge.upstream.dial import dial_realtime
from avr_bridge.upstream.masked import MaskedSocket
from avr_bridge.upstream.socket import NowaitSocket

LIMIT_S = 20
LONG = "x" * 30_000


class SlowServer:
    """Reads nothing until it is told to, then all."""

    def __init__(self) -> None:
        self.read = trio.Event()
        self.got: list[str] = []
        self.ended = trio.Event()

    async def handle(self, request: trio_websocket.WebSocketRequest) -> None:
        websocket = await request.accept()
        await self.read.wait()
        try:
            while True:
                self.got.append(str(await websocket.get_message()))
        except trio_websocket.ConnectionClosed:
            self.ended.set()


async def served(nursery: trio.Nursery, server: SlowServer) -> str:
    """Its address."""
    limits: dict[str, Any] = {"max_message_size": 1 << 20, "message_queue_size": 1}
    serve = partial(trio_websocket.serve_websocket, **limits)
    found: Any = await nursery.start(serve, server.handle, "127.0.0.1", 0, None)
    return f"ws://127.0.0.1:{found.port}/"


async def test_a_frame_that_was_begun_is_finished_first(nursery: trio.Nursery) -> None:
    """A model that does not read: at some point False. What waits after that follows behind, and
    everything that was taken arrives, whole and in order."""
    server = SlowServer()
    with trio.fail_after(LIMIT_S):
        url = await served(nursery, server)
        async with dial_realtime(url, []) as socket:
            assert isinstance(socket, NowaitSocket)
            sent = 0
            while socket.send_message_nowait(f"{sent} {LONG}"):
                sent += 1
            assert sent > 2
            assert not socket.send_message_nowait("refused")
            server.read.set()
            await socket.send_message(f"{sent} {LONG}")
            await socket.send_message(str(sent + 1))
            if not socket.send_message_nowait(str(sent + 2)):
                await socket.send_message(str(sent + 2))
        await server.ended.wait()
    assert [int(one.split()[0]) for one in server.got] == list(range(sent + 3))
    assert all(len(one) > 30_000 for one in server.got[: sent + 1])
    nursery.cancel_scope.cancel()


async def test_the_close_stands_behind_a_frame_that_was_begun(nursery: trio.Nursery) -> None:
    """The end right after it: the server still reads whole frames, then the close."""
    server = SlowServer()
    with trio.fail_after(LIMIT_S):
        url = await served(nursery, server)
        async with dial_realtime(url, []) as socket:
            assert isinstance(socket, NowaitSocket)
            sent = 0
            while socket.send_message_nowait(f"{sent} {LONG}"):
                sent += 1
            server.read.set()
        await server.ended.wait()
    assert [int(one.split()[0]) for one in server.got] == list(range(sent))
    nursery.cancel_scope.cancel()


async def test_behind_the_end_nothing_is_taken(nursery: trio.Nursery) -> None:
    """False without waiting; with waiting, what happened."""
    server = SlowServer()
    server.read.set()
    with trio.fail_after(LIMIT_S):
        url = await served(nursery, server)
        async with dial_realtime(url, []) as socket:
            masked = MaskedSocket(socket, Mask())
            assert masked.send_message_nowait("one")
            await socket.aclose()
            assert not masked.send_message_nowait("two")
            with pytest.raises(UpstreamClosed):
                await socket.send_message("three")
        await server.ended.wait()
    assert server.got == ["one"]
    nursery.cancel_scope.cancel()
