"""Dialling the model on real sockets: each failure is one plain exception, nothing is left."""

from __future__ import annotations

import base64
import gc
import json
import os
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing
import trio_websocket

from avr_bridge import ModelConfig, Secret, __version__
from avr_bridge.audio.format import ULAW_8K
from avr_bridge.errors import UpstreamClosed, UpstreamRejected, UpstreamUnavailable
from avr_bridge.testing import Close, Drop, Emit, Script, SimulatedRealtime, SimulatorOptions
from avr_bridge.upstream import dial
from avr_bridge.upstream.client import STUCK_S, RealtimeConnection, open_realtime
from avr_bridge.upstream.commands import AppendAudio, CreateResponse
from avr_bridge.upstream.dial import dial_realtime
from avr_bridge.upstream.events import SessionCreated, Unknown

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from avr_bridge.upstream.socket import MessageSocket

LIMIT_S = 10


def descriptors() -> int:
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


async def read_on(connection: RealtimeConnection) -> None:
    while True:
        await connection.receive()


def send_many(connection: RealtimeConnection) -> None:
    for _ in range(1000):
        connection.send_nowait(AppendAudio(b""))


async def answer_with(head: bytes, stream: trio.SocketStream) -> None:
    """A server that reads one request and answers it in one way."""
    async with stream:
        await stream.receive_some(4096)
        if head:
            await stream.send_all(head)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, UpstreamRejected),
        (401, UpstreamRejected),
        (403, UpstreamRejected),
        (404, UpstreamRejected),
        (429, UpstreamUnavailable),
        (500, UpstreamUnavailable),
        (503, UpstreamUnavailable),
    ],
)
async def test_an_http_answer_instead_of_an_upgrade(
    status: int, error: type[Exception], nursery: trio.Nursery
) -> None:
    """A refusal is sorted into permanent and passing; it is one exception, in words."""
    head = b"HTTP/1.1 %d No\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}" % status
    (listener,) = await nursery.start(
        partial(trio.serve_tcp, partial(answer_with, head), 0, host="127.0.0.1")
    )
    port = listener.socket.getsockname()[1]
    before = descriptors()
    with trio.fail_after(LIMIT_S), pytest.raises(error, match=f"HTTP {status}"):
        async with dial_realtime(f"ws://127.0.0.1:{port}/v1/realtime", []):
            pytest.fail("there is no session")
    await trio.sleep(0.05)
    assert descriptors() == before


async def test_the_model_learns_who_asks(nursery: trio.Nursery) -> None:
    """The bridge with its version, once, beside the headers of the call."""
    asked = b""

    async def keep(stream: trio.SocketStream) -> None:
        nonlocal asked
        async with stream:
            asked += await stream.receive_some(4096)

    (listener,) = await nursery.start(partial(trio.serve_tcp, keep, 0, host="127.0.0.1"))
    url = f"ws://127.0.0.1:{listener.socket.getsockname()[1]}/v1/realtime"
    with trio.fail_after(LIMIT_S), pytest.raises(UpstreamUnavailable):
        async with dial_realtime(url, [("Authorization", "Bearer k")]):
            pytest.fail("there is no session")
    lines = asked.decode().lower().split("\r\n")
    sent = [line for line in lines if line.startswith(("user-agent:", "authorization:"))]
    assert sent == [f"user-agent: avr-bridge/{__version__}", "authorization: bearer k"]


async def test_nobody_listens() -> None:
    """A refused connection is a passing failure and says so at once."""
    with trio.fail_after(2), pytest.raises(UpstreamUnavailable, match="no connection"):
        async with dial_realtime("ws://127.0.0.1:1/v1/realtime", []):
            pytest.fail("there is no session")


@pytest.mark.parametrize("head", [b"", b"SSH-2.0-OpenSSH_9\r\n", b"HTTP/1.1 101 Switching\r\n\r\n"])
async def test_a_peer_that_speaks_no_websocket(
    head: bytes, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Garbage or an early end instead of the upgrade never hangs the call."""
    monkeypatch.setattr(dial, "CONNECT_LIMIT_S", 0.5)
    (listener,) = await nursery.start(
        partial(trio.serve_tcp, partial(answer_with, head), 0, host="127.0.0.1")
    )
    port = listener.socket.getsockname()[1]
    with trio.fail_after(2), pytest.raises(UpstreamUnavailable):
        async with dial_realtime(f"ws://127.0.0.1:{port}/v1/realtime", []):
            pytest.fail("there is no session")


async def test_a_peer_that_accepts_and_says_nothing(
    nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limit covers TCP, TLS and upgrade together."""
    monkeypatch.setattr(dial, "CONNECT_LIMIT_S", 0.3)
    (listener,) = await nursery.start(partial(trio.serve_tcp, _never_answer, 0, host="127.0.0.1"))
    port = listener.socket.getsockname()[1]
    for scheme in ("ws", "wss"):
        with trio.fail_after(2), pytest.raises(UpstreamUnavailable, match="no connection within"):
            async with dial_realtime(f"{scheme}://127.0.0.1:{port}/v1/realtime", []):
                pytest.fail("there is no session")


async def _never_answer(stream: trio.SocketStream) -> None:
    async with stream:
        await trio.sleep_forever()


async def test_tls_toward_a_plain_server(nursery: trio.Nursery) -> None:
    """A broken TLS handshake is a failure to connect, not a crash."""
    (listener,) = await nursery.start(
        partial(trio.serve_tcp, partial(answer_with, b"no TLS here"), 0, host="127.0.0.1")
    )
    port = listener.socket.getsockname()[1]
    with trio.fail_after(LIMIT_S), pytest.raises(UpstreamUnavailable, match="no connection"):
        async with dial_realtime(f"wss://127.0.0.1:{port}/v1/realtime", []):
            pytest.fail("there is no session")


@pytest.mark.parametrize(
    ("step", "code", "reason"),
    [(Close(4000, "invalid_request_error.x"), 4000, "invalid_request_error.x"), (Drop(), 1006, "")],
)
async def test_the_close_is_told(
    step: Close | Drop, code: int, reason: str, nursery: trio.Nursery
) -> None:
    """Close code and reason reach the reader; leaving the block leaves no descriptor."""
    simulator = SimulatedRealtime(Script([[step]]))
    endpoint = await nursery.start(simulator.serve)
    before = descriptors()
    with trio.fail_after(LIMIT_S):
        async with open_realtime(ModelConfig(endpoint=endpoint)) as connection:
            assert isinstance(await connection.receive(), SessionCreated)
            connection.send_nowait(CreateResponse("e1"))
            with pytest.raises(UpstreamClosed) as closed:
                await read_on(connection)
    assert (closed.value.code, closed.value.reason) == (code, reason)
    await trio.sleep(0.05)
    assert descriptors() == before


async def test_leaving_closes_politely_and_fast(nursery: trio.Nursery) -> None:
    """The server sees 1000, and leaving takes far less than the limit of a second."""
    simulator = SimulatedRealtime()
    endpoint = await nursery.start(simulator.serve)
    with trio.fail_after(LIMIT_S):
        async with open_realtime(ModelConfig(endpoint=endpoint)) as connection:
            await connection.receive()
            left_s = trio.current_time()
        assert trio.current_time() - left_s < 0.5
        session = simulator.sessions[0]
        await session.wait_closed()
    assert session.close_code == 1000


async def test_the_key_goes_into_the_header(nursery: trio.Nursery) -> None:
    """With the right key there is a session, with another one there is none."""
    simulator = SimulatedRealtime(options=SimulatorOptions(api_key="right"))
    endpoint = await nursery.start(simulator.serve)
    with trio.fail_after(LIMIT_S):
        async with open_realtime(ModelConfig(Secret("right"), endpoint=endpoint)) as connection:
            assert isinstance(await connection.receive(), SessionCreated)
        with pytest.raises(UpstreamRejected, match="401"):
            async with open_realtime(ModelConfig(Secret("wrong"), endpoint=endpoint)):
                pytest.fail("there is no session")


class _TakingSocket:
    """A model that takes each message in `takes_s`, and says nothing."""

    def __init__(self, takes_s: float) -> None:
        self._takes_s = takes_s
        self.taken: list[bytes] = []

    async def send_message(self, message: bytes | str) -> None:
        await trio.sleep(self._takes_s)
        self.taken.append(base64.b64decode(json.loads(message)["audio"]))

    async def get_message(self) -> bytes | str:
        return str(await trio.sleep_forever())

    async def ping(self) -> None:
        await trio.lowlevel.checkpoint()

    async def aclose(self, code: int = 1000, reason: str = "") -> None:
        await trio.lowlevel.checkpoint()


@asynccontextmanager
async def _open_on(socket: MessageSocket) -> AsyncGenerator[RealtimeConnection]:
    @asynccontextmanager
    async def dial(url: str, headers: object) -> AsyncGenerator[MessageSocket]:
        yield socket

    async with open_realtime(ModelConfig(), dial=dial) as connection:
        connection.set_audio_format(ULAW_8K)
        yield connection


@pytest.mark.parametrize("burst_ms", [1_000, 10_000, 20_000])
async def test_what_a_caller_sends_at_once_is_not_lost(
    burst_ms: int, autojump_clock: trio.testing.MockClock
) -> None:
    """After a pause of the caller's network all its frames come in one read. The model takes them,
    so none is dropped, whoever runs first; and no message is longer than a second."""
    socket = _TakingSocket(takes_s=0.05)
    frames = [bytes([number % 251]) * 160 for number in range(burst_ms // 20)]
    async with _open_on(socket) as connection:
        await trio.testing.wait_all_tasks_blocked()
        for frame in frames:
            connection.append_audio_nowait(frame)
        await trio.sleep(2)
        connection.append_audio_nowait(bytes(160))
        await trio.sleep(2)
    assert connection.dropped_audio_bytes == 0
    assert b"".join(socket.taken) == b"".join(frames) + bytes(160)
    assert max(map(len, socket.taken)) == ULAW_8K.bytes_of_ms(1000)


async def test_a_model_that_is_slow_all_the_time_gets_the_newest(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Each message goes out, but later and later: the delay stays bounded, and the loss is told."""
    socket = _TakingSocket(takes_s=0.4)
    async with _open_on(socket) as connection:
        for number in range(1500):  # twice real time, as after a pause: more than it can take
            for _ in range(4):
                connection.append_audio_nowait(bytes([number % 251]) * 160)
            await trio.sleep(0.02)
        assert connection.waiting_audio_bytes <= ULAW_8K.bytes_of_ms(500)
    sent_bytes = 1500 * 4 * 160
    assert 0 < connection.dropped_audio_bytes < sent_bytes


class _StuckSocket:
    """A model that never takes what is sent to it."""

    async def send_message(self, message: bytes | str) -> None:
        await trio.sleep_forever()

    async def get_message(self) -> bytes | str:
        return str(await trio.sleep_forever())

    async def ping(self) -> None:
        await trio.sleep_forever()

    async def aclose(self, code: int = 1000, reason: str = "") -> None:
        await trio.lowlevel.checkpoint()


async def test_a_model_that_does_not_read(autojump_clock: trio.testing.MockClock) -> None:
    """Sending never waits: audio keeps the newest half second and counts the rest, commands are
    bounded and then say that the model is gone."""

    async with _open_on(_StuckSocket()) as connection:
        connection.append_audio_nowait(bytes(160))
        await trio.sleep(STUCK_S + 0.1)  # the writer has taken it, and is stuck
        for _ in range(100):
            connection.append_audio_nowait(bytes(160))
        assert connection.dropped_audio_bytes == 100 * 160 - 4000
        with pytest.raises(UpstreamClosed, match="does not read"):
            send_many(connection)


async def test_trap_34_a_message_of_megabytes() -> None:
    """trio-websocket closes with 1009 at 1 MiB by default; an item of some minutes has more."""
    big = "x" * (3 * 1024 * 1024)
    script = Script([[Emit({"type": "conversation.item.retrieved", "item": {"data": big}})]])
    simulator = SimulatedRealtime(script)
    async with trio.open_nursery() as nursery:
        endpoint = await nursery.start(simulator.serve)
        with trio.fail_after(LIMIT_S):
            async with open_realtime(ModelConfig(api_key=Secret("k"), endpoint=endpoint)) as model:
                model.send_nowait(CreateResponse("e"))
                seen: list[str] = []
                while "conversation.item.retrieved" not in seen:
                    event = await model.receive()
                    seen.append(event.type if isinstance(event, Unknown) else type(event).__name__)
        nursery.cancel_scope.cancel()


async def test_trap_34_pings_are_answered_while_messages_wait() -> None:
    """Forty messages that wait in the bridge must not stop the answers to pings: a server
    that gets none closes."""
    answered = trio.Event()

    async def ping_after_a_burst(request: trio_websocket.WebSocketRequest) -> None:
        websocket = await request.accept()
        for _ in range(40):
            await websocket.send_message('{"type": "ping"}')
        await websocket.ping()
        answered.set()
        await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        server = await nursery.start(
            partial(trio_websocket.serve_websocket, ping_after_a_burst, "127.0.0.1", 0, None)
        )
        with trio.fail_after(LIMIT_S):
            async with dial_realtime(f"ws://127.0.0.1:{server.port}/v1", []):
                await answered.wait()
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("reads_first", [True, False])
async def test_a_connection_that_is_torn_before_the_upgrade(reads_first: bool) -> None:
    """By a reset or an end, before our request or behind it: told at once, many times over, and
    not after the limit for connecting."""

    async def tear(stream: trio.SocketStream) -> None:
        if reads_first:
            await stream.receive_some(4096)
        await trio.aclose_forcefully(stream)

    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(partial(trio.serve_tcp, tear, 0, host="127.0.0.1"))
        port = listener.socket.getsockname()[1]
        with trio.fail_after(dial.CONNECT_LIMIT_S / 2):
            for _ in range(50):
                with pytest.raises(UpstreamUnavailable):
                    async with dial_realtime(f"ws://127.0.0.1:{port}/v1", []):
                        pytest.fail("there is no session")
        nursery.cancel_scope.cancel()
