"""Messages of the model that are read past trio-websocket: none is lost, moved or left waiting.

The server is wsproto alone, on a real socket: it sends what trio-websocket cannot.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio
import wsproto
from wsproto.connection import ConnectionState
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Event,
    Ping,
    Pong,
    Request,
    TextMessage,
)

from avr_bridge.errors import UpstreamClosed
from avr_bridge.upstream.dial import DISCONNECT_LIMIT_S, dial_realtime
from avr_bridge.upstream.shared_stream import MESSAGE_QUEUE

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from avr_bridge.upstream.socket import MessageSocket

LIMIT_S = 10
LONG = "y" * 100_000


class Server:
    """Sends what it is told, and keeps what it gets."""

    def __init__(self) -> None:
        self.protocol = wsproto.WSConnection(wsproto.ConnectionType.SERVER)
        self.got: list[Event] = []
        self.news = trio.lowlevel.ParkingLot()
        self.stream: trio.SocketStream | None = None
        self.hello: Sequence[Event | bytes] = ()
        self.closing = False
        self._sending = trio.Lock()

    @property
    def pongs(self) -> list[bytes]:
        """What the pongs that came had with them."""
        return [bytes(one.payload) for one in self.got if isinstance(one, Pong)]

    async def run(self, stream: trio.SocketStream) -> None:
        """One connection to its end."""
        self.stream = stream
        async with stream:
            async for data in stream:
                self.protocol.receive_data(bytes(data))
                for event in self.protocol.events():
                    if isinstance(event, Request):
                        await self.send(AcceptConnection(), *self.hello)
                    elif isinstance(event, Ping):
                        await self.send(event.response())
                    elif isinstance(event, CloseConnection):
                        self.closing = True
                        if self.protocol.state is ConnectionState.REMOTE_CLOSING:
                            await self.send(event.response())
                        return
                    self.got.append(event)
                self.news.unpark_all()

    async def send(self, *events: Event | bytes) -> None:
        """All in one piece: events, or bytes as they are."""
        assert self.stream is not None
        async with self._sending:
            made = [one if isinstance(one, bytes) else self.protocol.send(one) for one in events]
            await self.stream.send_all(b"".join(made))

    async def wait_for(self, kind: type[Event]) -> Event:
        """The first event of this kind that came."""
        while True:
            for event in self.got:
                if isinstance(event, kind):
                    return event
            await self.news.park()


@asynccontextmanager
async def dialled(
    *hello: Event | bytes,
) -> AsyncGenerator[tuple[Server, MessageSocket]]:
    """A server, and a connection to it; `hello` comes in one piece with the handshake's answer."""
    server = Server()
    server.hello = hello
    with trio.fail_after(LIMIT_S):
        async with trio.open_nursery() as nursery:
            (listener,) = await nursery.start(
                partial(trio.serve_tcp, server.run, 0, host="127.0.0.1")
            )
            port = listener.socket.getsockname()[1]
            async with dial_realtime(f"ws://127.0.0.1:{port}/v1", []) as socket:
                yield server, socket
            nursery.cancel_scope.cancel()


async def read(socket: MessageSocket, number: int) -> list[str | bytes]:
    return [await socket.get_message() for _ in range(number)]


async def test_every_kind_of_message_comes_in_its_order() -> None:
    """Short, long, beyond ASCII, in fragments, binary, with pings between, all in one piece."""
    mixed = [
        TextMessage(data="one"),
        TextMessage(data="zw\u00f6lf"),
        TextMessage(data="two"),
        Ping(payload=b"in between"),
        TextMessage(data="thr", message_finished=False),
        Ping(payload=b"within"),
        TextMessage(data="ee", message_finished=True),
        TextMessage(data=LONG),
        BytesMessage(data=b"four"),
        TextMessage(data="five"),
    ]
    expected = ["one", "zw\u00f6lf", "two", "three", LONG, b"four", "five"]
    async with dialled(*mixed) as (server, socket):
        assert await read(socket, 7) == expected
        await server.send(*mixed)
        assert await read(socket, 7) == expected
        while len(server.pongs) < 4:
            await server.news.park()
    assert server.pongs == [b"in between", b"within"] * 2


async def test_whoever_stops_waiting_misses_nothing() -> None:
    """A wait that is cancelled, before a message of either kind and in the middle of one."""
    async with dialled() as (server, socket):
        for finished in ("quick", "langs\u00e4m"):
            with trio.move_on_after(0.05):
                await socket.get_message()
            await server.send(TextMessage(data="half ", message_finished=False))
            with trio.move_on_after(0.05):
                await socket.get_message()
            await server.send(
                TextMessage(data=finished, message_finished=True), TextMessage(data="next")
            )
            assert await read(socket, 2) == [f"half {finished}", "next"]


@pytest.mark.parametrize("last", ["text", "t\u00e4xt"])
async def test_what_came_before_the_close_is_read_first(last: str) -> None:
    """Then the close is told with code and reason, as often as it is asked for."""
    async with dialled() as (server, socket):
        await server.send(TextMessage(data=last), CloseConnection(code=4001, reason="over"))
        assert await socket.get_message() == last
        for _ in range(2):
            with pytest.raises(UpstreamClosed) as closed:
                await socket.get_message()
            assert (closed.value.code, closed.value.reason) == (4001, "over")


@pytest.mark.parametrize(
    "broken",
    [
        b"\x81\x85\0\0\0\0hello",  # masked, which a server must not do
        b"\xc1\x05hello",  # a reserved bit
        b"\x80\x05hello",  # the rest of nothing
        b"\x89\x7e\x01\x00" + b"x" * 256,  # a ping of over 125 bytes
        b"\x81\x02\xff\xfe",  # no UTF-8
        None,  # the end of the connection
    ],
)
async def test_a_connection_that_breaks_leaves_nobody_waiting(broken: bytes | None) -> None:
    """What came before is read; then it is closed."""
    async with dialled() as (server, socket):
        await server.send(TextMessage(data="before"))
        if broken is None:
            assert server.stream is not None
            await server.stream.send_eof()
        else:
            await server.send(broken)
        assert await socket.get_message() == "before"
        with pytest.raises(UpstreamClosed):
            await socket.get_message()


async def test_many_that_nobody_reads_are_bounded_and_leaving_is_quick() -> None:
    """The server can send no more than the kernel and the queue take; leaving drops them."""
    sent = 0

    async def flood(server: Server) -> None:
        nonlocal sent
        while not server.closing:
            await server.send(TextMessage(data="x" * 10_000))
            sent += 1

    async with trio.open_nursery() as nursery, dialled() as (server, socket):
        nursery.start_soon(flood, server)
        before = -1
        while sent != before:
            before = sent
            await trio.sleep(0.3)
        assert sent >= MESSAGE_QUEUE
        assert await read(socket, 3) == ["x" * 10_000] * 3
        left_s = trio.current_time()
    assert trio.current_time() - left_s < DISCONNECT_LIMIT_S / 2


async def test_pings_are_answered_while_nobody_reads() -> None:
    """Few messages wait: the reader reads on."""
    async with dialled() as (server, socket):
        await server.send(*[TextMessage(data="x")] * (MESSAGE_QUEUE // 2), Ping(payload=b"?"))
        await server.wait_for(Pong)
        assert await read(socket, 2) == ["x", "x"]
