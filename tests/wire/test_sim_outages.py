"""Faults of the model's side over real sockets, seen through the real dial."""

from __future__ import annotations

import json
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
import trio

from avr_bridge.errors import UpstreamClosed, UpstreamRejected, UpstreamUnavailable
from avr_bridge.testing.faults import (
    CutAfter,
    CutInAnswer,
    Freeze,
    HangConnect,
    ModelFaults,
    Refuse,
    RefuseAfterUpgrade,
    StopAnsweringPings,
    StopReading,
    Unreachable,
)
from avr_bridge.testing.realtime import Say, Script, SimulatedRealtime, SimulatorOptions
from avr_bridge.upstream import dial
from avr_bridge.upstream.dial import dial_realtime
from tests.sim_client import tone

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from avr_bridge.testing.faults import ModelFault
    from avr_bridge.upstream.socket import MessageSocket

LIMIT_S = 10
QUIET_S = 0.3
"""Long enough for a pong over loopback to have come."""


@asynccontextmanager
async def serving(
    *pattern: ModelFault | None, speed: float = 8
) -> AsyncIterator[tuple[SimulatedRealtime, str]]:
    """A server with these faults and its address; after the block it has noted no bug."""
    script = Script([[Say(tone(2_000), 24_000, "hello")]] * 3)
    server = SimulatedRealtime(script, SimulatorOptions(speed=speed), outages=ModelFaults(pattern))
    with trio.fail_after(LIMIT_S):
        async with trio.open_nursery() as nursery:
            base = await nursery.start(server.serve)
            yield server, f"{base}/realtime?model=m"
            for session in server.sessions:
                await session.wait_closed()
            nursery.cancel_scope.cancel()
    assert server.faults == []


class Reader:
    """Reads a socket in the background, which pongs need."""

    def __init__(self, wire: MessageSocket) -> None:
        self._wire = wire
        self.events: list[dict[str, Any]] = []
        self.closed: UpstreamClosed | None = None
        self._changed = trio.Event()

    async def run(self) -> None:
        try:
            while True:
                self.events.append(json.loads(await self._wire.get_message()))
                self._changed.set()
                self._changed = trio.Event()
        except UpstreamClosed as closed:
            self.closed = closed
            self._changed.set()

    async def until(self, event_type: str) -> None:
        """Wait for an event of this type, or for the end."""
        while event_type not in [event["type"] for event in self.events] and not self.closed:
            await self._changed.wait()

    def deltas(self) -> int:
        return sum(event["type"] == "response.output_audio.delta" for event in self.events)


@asynccontextmanager
async def reading(url: str) -> AsyncIterator[tuple[MessageSocket, Reader]]:
    """A dialled socket that is read, with an updated session."""
    async with dial_realtime(url, []) as wire:
        reader = Reader(wire)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reader.run)
            await wire.send_message('{"type":"session.update","session":{"type":"realtime"}}')
            await reader.until("session.updated")
            yield wire, reader
            nursery.cancel_scope.cancel()


async def fail_to_dial(url: str, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        async with dial_realtime(url, []):
            pytest.fail("let in")


async def test_connections_that_come_to_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reset, refused and hanging, each as the real dial says it; then a healthy one."""
    monkeypatch.setattr(dial, "CONNECT_LIMIT_S", 0.5)
    async with serving(Unreachable(), Refuse(503), HangConnect(), Refuse(403)) as (server, url):
        await fail_to_dial(url, UpstreamUnavailable, "closed before the upgrade")
        await fail_to_dial(url, UpstreamUnavailable, "HTTP 503")
        await fail_to_dial(url, UpstreamUnavailable, "no connection within")
        await fail_to_dial(url, UpstreamRejected, "HTTP 403")
        async with reading(url):
            pass
        assert len(server.dialled_at_s) == 5
        assert len(server.sessions) == 1


async def test_unreachable_is_a_reset() -> None:
    """The client's kernel sees RST before it has sent anything, not an orderly end."""
    async with serving(Unreachable()) as (_, url):
        address = ("127.0.0.1", urlsplit(url).port or 0)
        with trio.socket.socket() as raw:
            await raw.connect(address)
            with pytest.raises(ConnectionResetError):
                await raw.recv(1)
            assert raw.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0


async def test_a_refusal_carries_what_it_was_given() -> None:
    """Status, Retry-After and body on the wire."""
    fault = Refuse(429, retry_after_s=2, body=b'{"error":{"code":"slow_down"}}')
    async with serving(fault) as (_, url):
        stream = await trio.open_tcp_stream("127.0.0.1", urlsplit(url).port or 0)
        async with stream:
            await stream.send_all(
                b"GET /v1/realtime?model=m HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
                b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
            )
            answer = b"".join([data async for data in stream])
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 429")
    assert b"retry-after: 2\r\n" in head.lower()
    assert body == fault.body


async def test_a_refusal_after_the_upgrade() -> None:
    """An error event, then the close code with its reason."""
    fault = RefuseAfterUpgrade(close_code=4000)
    async with serving(fault) as (_, url), dial_realtime(url, []) as wire:
        assert "invalid_api_key" in str(await wire.get_message())
        with pytest.raises(UpstreamClosed) as closed:
            await wire.get_message()
    assert (closed.value.code, closed.value.reason) == (
        4000,
        "invalid_request_error.invalid_api_key",
    )


@pytest.mark.parametrize(
    ("fault", "code"),
    [(CutAfter(0.05), 1006), (CutAfter(0, 1012), 1012), (CutAfter(0, 1011), 1011)],
)
async def test_a_cut(fault: ModelFault, code: int) -> None:
    """Lost without a close frame, or closed with the code; a ping in flight ends with it."""
    async with serving(fault) as (server, url), reading(url) as (wire, reader):
        with pytest.raises(UpstreamClosed):
            await ping_on(wire)
        await reader.until("the end")
        assert reader.closed is not None
        assert reader.closed.code == code
        await server.sessions[0].wait_closed()


async def ping_on(wire: MessageSocket) -> None:
    while True:
        await wire.ping()


async def test_a_cut_in_an_answer() -> None:
    """Three deltas of 67, 250 and 31 ms are sent, and all three arrive."""
    async with serving(CutInAnswer(1, 348)) as (_, url), reading(url) as (wire, reader):
        await wire.send_message('{"type":"response.create"}')
        await reader.until("the end")
        assert reader.closed is not None
        assert (reader.closed.code, reader.deltas()) == (1006, 3)


async def pinged(wire: MessageSocket) -> bool:
    with trio.move_on_after(QUIET_S):
        await wire.ping()
        return True
    return False


async def test_a_healthy_server_answers_pings() -> None:
    """One after the other, and two at once."""
    async with serving() as (_, url), reading(url) as (wire, _), trio.open_nursery() as nursery:
        await wire.ping()
        nursery.start_soon(wire.ping)
        nursery.start_soon(wire.ping)


async def test_no_pongs_and_nothing_else() -> None:
    """Pings wait for ever, answers come, and the close is polite."""
    async with serving(StopAnsweringPings()) as (server, url):
        async with reading(url) as (wire, reader):
            await wire.send_message('{"type":"response.create"}')
            await reader.until("response.done")
            assert not await pinged(wire)
        await server.sessions[0].wait_closed()
    assert server.sessions[0].close_code == 1000


@pytest.mark.parametrize("fault", [StopReading(), Freeze()])
async def test_a_server_that_is_deaf(fault: ModelFault) -> None:
    """No pong and no answer; a ping in flight ends when the client closes; leaving takes the
    second that a close may take, and the server's session ends with the client's socket."""
    async with serving(fault) as (server, url):
        async with reading(url) as (wire, reader):
            with trio.move_on_after(QUIET_S):
                await reader.until("the end")
            await wire.send_message('{"type":"response.create"}')
            assert not await pinged(wire)
            assert reader.deltas() == 0
            assert server.open_sessions == 1
            left_s = trio.current_time()
        assert trio.current_time() - left_s >= dial.DISCONNECT_LIMIT_S
        await server.sessions[0].wait_closed()
    assert server.sessions[0].received_of("response.create") == []


async def test_frozen_in_an_answer() -> None:
    """What comes after the freeze is lost, though the connection stands."""
    async with serving(Freeze(0.5), speed=2) as (server, url), reading(url) as (wire, reader):
        await wire.send_message('{"type":"response.create"}')
        await reader.until("response.created")
        await server.sessions[0].wait_sent("response.done")
        with trio.move_on_after(QUIET_S):
            await reader.until("response.done")
        assert "response.done" not in [event["type"] for event in reader.events]
        assert reader.closed is None


async def test_a_ping_after_the_end() -> None:
    """UpstreamClosed with the close's code, at once."""
    async with serving(CutAfter(0, 1013)) as (_, url), reading(url) as (wire, reader):
        await reader.until("the end")
        with pytest.raises(UpstreamClosed) as closed:
            await wire.ping()
    assert closed.value.code == 1013


async def test_a_ping_in_flight_ends_with_the_connection() -> None:
    """The server answers no pings and then closes: whoever waits for a pong is told so."""

    async def expect_closed(wire: MessageSocket) -> None:
        with pytest.raises(UpstreamClosed) as closed:
            await wire.ping()
        assert closed.value.code == 1000

    async with serving(StopAnsweringPings()) as (server, url), reading(url) as (wire, _):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(expect_closed, wire)
            assert not await pinged(wire)
            await wire.aclose()
        await server.sessions[0].wait_closed()
