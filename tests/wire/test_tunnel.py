"""The way through a proxy that is broken: each failure is one exception, nothing is left open."""

from __future__ import annotations

import base64
import gc
import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import trio

from avr_bridge import ModelConfig
from avr_bridge.errors import UpstreamError, UpstreamRejected, UpstreamUnavailable
from avr_bridge.testing import SimulatedRealtime
from avr_bridge.upstream import dial
from avr_bridge.upstream.client import open_realtime
from avr_bridge.upstream.events import SessionCreated
from tests.tls import relay

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

LIMIT_S = 10
ENDPOINT = "ws://model.example:9/v1"


def descriptors() -> int:
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


@asynccontextmanager
async def proxy(
    handle: Callable[[trio.SocketStream], Awaitable[None]],
) -> AsyncGenerator[tuple[str, trio.Event]]:
    """A proxy that does what `handle` does; its address, and when it has served one client."""
    served = trio.Event()

    async def serve(stream: trio.SocketStream) -> None:
        async with stream:
            await handle(stream)
            served.set()

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port = listeners[0].socket.getsockname()[1]
        nursery.start_soon(trio.serve_listeners, serve, listeners)
        yield f"http://carl:planted-pass@127.0.0.1:{port}", served
        nursery.cancel_scope.cancel()


async def head_of(stream: trio.SocketStream) -> bytes:
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += await stream.receive_some(1)
    return head


def answering(*answers: bytes) -> Callable[[trio.SocketStream], Awaitable[None]]:
    async def handle(stream: trio.SocketStream) -> None:
        await head_of(stream)
        for answer in answers:
            await stream.send_all(answer)

    return handle


async def failure(address: str, endpoint: str = ENDPOINT) -> UpstreamError:
    config = ModelConfig(endpoint=endpoint, all_proxy=address)
    before = descriptors()
    with trio.fail_after(LIMIT_S), pytest.raises(UpstreamError) as caught:
        async with open_realtime(config):
            pytest.fail("there is no session")
    assert descriptors() <= before + 2  # the two ends that the proxy of the test may still hold
    assert "planted" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (301, UpstreamRejected),
        (400, UpstreamRejected),
        (403, UpstreamRejected),
        (407, UpstreamRejected),
        (408, UpstreamUnavailable),
        (429, UpstreamUnavailable),
        (500, UpstreamUnavailable),
        (501, UpstreamRejected),
        (502, UpstreamUnavailable),
        (503, UpstreamUnavailable),
        (504, UpstreamUnavailable),
    ],
)
async def test_a_refusal_is_sorted(status: int, kind: type[Exception]) -> None:
    """Lasting or passing, by the status; the words say that it is the proxy."""
    answer = b"HTTP/1.1 %d No\r\nContent-Length: 3\r\n\r\nno\n" % status
    async with proxy(answering(answer)) as (address, _):
        error = await failure(address)
    assert type(error) is kind
    assert "the proxy 127.0.0.1:" in str(error)
    assert f"HTTP {status}" in str(error)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"", "gave no HTTP answer"),
        (b"SSH-2.0-OpenSSH_9\r\n\r\n", "gave no HTTP answer"),
        (b"HTTP/1.1 200 Connection est", "gave no HTTP answer"),
        (b"HTTP/1.1 200 OK\r\nX-Filler: " + b"x" * 40_000, "gave no HTTP answer"),
        (b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 101 Switching\r\n", "sent more than its answer"),
    ],
)
async def test_a_proxy_that_speaks_no_proper_http(answer: bytes, words: str) -> None:
    """Nothing, garbage, half a head, a head without end, bytes that the model cannot have sent."""
    async with proxy(answering(answer)) as (address, _):
        error = await failure(address)
    assert type(error) is UpstreamUnavailable
    assert words in str(error)


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 OK\r\nX-", b"HTTP/1.1 200 OK\r\n\r\n"])
async def test_a_proxy_that_hangs(answer: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before, in and after its answer: the one limit covers proxy, TLS and upgrade together."""
    monkeypatch.setattr(dial, "CONNECT_LIMIT_S", 0.3)

    async def hang(stream: trio.SocketStream) -> None:
        await answering(answer)(stream)
        await trio.sleep_forever()

    for endpoint in (ENDPOINT, "wss://model.example/v1"):
        async with proxy(hang) as (address, _):
            error = await failure(address, endpoint)
        assert type(error) is UpstreamUnavailable
        assert "no connection within" in str(error)


async def test_no_proxy_listens() -> None:
    """A passing failure that names the proxy."""
    error = await failure("http://127.0.0.1:1")
    assert type(error) is UpstreamUnavailable
    assert "no connection to the proxy 127.0.0.1:1" in str(error)


async def test_what_is_asked_of_the_proxy() -> None:
    """CONNECT with host and port, the password as Basic, and nothing of the model's key; an
    interim answer is passed over; then the stream is the model's."""
    simulator = SimulatedRealtime()
    heads = []

    async def handle(stream: trio.SocketStream) -> None:
        heads.append(await head_of(stream))
        await stream.send_all(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 Tunnel\r\n\r\n")
        await relay(stream, int(endpoint.rpartition(":")[2].removesuffix("/v1")))

    with trio.fail_after(LIMIT_S):
        async with trio.open_nursery() as nursery:
            endpoint = await nursery.start(simulator.serve)
            async with proxy(handle) as (address, served):
                config = ModelConfig(endpoint=ENDPOINT, http_proxy=address)
                async with open_realtime(config) as connection:
                    assert isinstance(await connection.receive(), SessionCreated)
                await served.wait()
            nursery.cancel_scope.cancel()
    (head,) = heads
    lines = head.decode().split("\r\n")
    assert lines[0] == "CONNECT model.example:9 HTTP/1.1"
    credentials = base64.b64encode(b"carl:planted-pass").decode()
    assert sorted(filter(None, lines[1:])) == [
        "Host: model.example:9",
        f"Proxy-Authorization: Basic {credentials}",
    ]


async def test_a_proxy_that_is_none_is_refused_before_anything_is_sent() -> None:
    """A config made in code does not pass the check at start."""
    error = await failure("socks5://carl:planted-pass@127.0.0.1:1")
    assert type(error) is UpstreamRejected
    assert "only http://" in str(error)
