"""The simulated API over real sockets, and as a program; real clock, port 0, with deadlines."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
import trio
from click.testing import CliRunner
from trio_websocket import ConnectionClosed, open_websocket_url, wrap_client_stream

from avr_bridge.cli.simulate import simulate
from avr_bridge.testing.realtime import Close, Drop, Script, SimulatedRealtime, SimulatorOptions

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from avr_bridge.testing.realtime import Step


@asynccontextmanager
async def serving(server: SimulatedRealtime) -> AsyncIterator[str]:
    """Its base URL."""
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            yield await nursery.start(server.serve)
            nursery.cancel_scope.cancel()


async def connect(base: str) -> trio.SocketStream:
    """A bare TCP connection to the server."""
    return await trio.open_tcp_stream("127.0.0.1", urlsplit(base).port or 0)


def upgrade(target: str = "/v1/realtime?model=m", key: str = "") -> bytes:
    """The bytes of an upgrade request."""
    return (
        f"GET {target} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        f"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nAuthorization: Bearer {key}\r\n\r\n"
    ).encode()


async def test_a_session_over_a_socket() -> None:
    """One response over WebSocket; after the client's close the session is over with its code."""
    server = SimulatedRealtime()
    async with serving(server) as base:
        async with open_websocket_url(f"{base}/realtime?model=m") as socket:
            assert json.loads(await socket.get_message())["type"] == "session.created"
            await socket.send_message('{"type":"response.create"}')
            while json.loads(await socket.get_message())["type"] != "response.done":
                pass
            await socket.aclose(1000, "done")
        await server.sessions[0].wait_closed()
    assert (server.sessions[0].close_code, server.open_sessions) == (1000, 0)
    assert server.faults == []


@pytest.mark.parametrize(
    ("path", "key", "status"),
    [("/realtime?model=m", "wrong", 401), ("/other", "right", 404), ("/realtime", "right", 400)],
)
async def test_refusals_have_a_status_and_a_json_body(path: str, key: str, status: int) -> None:
    """HTTP status, and the API's error object as the body; no session is opened."""
    server = SimulatedRealtime(options=SimulatorOptions(api_key="right"))
    async with serving(server) as base, await connect(base) as stream:
        await stream.send_all(upgrade(f"/v1{path}", key))
        answer = b"".join([data async for data in stream])
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 {status}".encode())
    assert b"content-type: application/json" in head.lower()
    assert json.loads(body)["error"]["message"]
    assert server.sessions == []


@pytest.mark.parametrize(("step", "code"), [(Close(1013, "later"), 1013), (Drop(), 1006)])
async def test_ends_look_real(step: Step, code: int) -> None:
    """A close frame with its code, or none at all."""
    server = SimulatedRealtime(Script([[step]]))
    # a stream of our own: the library leaves a lost connection's socket open
    async with (
        serving(server) as base,
        await connect(base) as stream,
        trio.open_nursery() as nursery,
    ):
        socket = await wrap_client_stream(nursery, stream, "127.0.0.1", "/v1/realtime?model=m")
        await socket.send_message('{"type":"response.create"}')
        assert "session.created" in await socket.get_message()
        assert "response.created" in await socket.get_message()
        with pytest.raises(ConnectionClosed) as closed:
            await socket.get_message()
        assert closed.value.reason is not None
        assert closed.value.reason.code == code
        await server.sessions[0].wait_closed()


async def test_binary_messages_are_refused() -> None:
    """The API takes text messages only: valid JSON in a binary one is an error."""
    async with (
        serving(SimulatedRealtime()) as base,
        open_websocket_url(f"{base}/realtime?model=m") as socket,
    ):
        await socket.get_message()
        await socket.send_message(b'{"type":"response.create"}')
        assert json.loads(await socket.get_message())["type"] == "error"


async def test_garbage_on_the_port_harms_nobody() -> None:
    """Noise, half a request, plain HTTP, a broken frame, sudden ends: the next client is served."""
    server = SimulatedRealtime()
    async with serving(server) as base:
        for noise in (
            b"",
            b"\x00\xff" * 500,
            b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
            upgrade()[:40],
            upgrade() + b"\xff\xff\xff\xff\xff",
            upgrade() + b"\x81\x05hello",
            upgrade(),
        ):
            async with await connect(base) as stream:
                await stream.send_all(noise)
                with trio.move_on_after(0.05):
                    await stream.receive_some()
        async with open_websocket_url(f"{base}/realtime?model=m") as socket:
            assert json.loads(await socket.get_message())["type"] == "session.created"
            for session in server.sessions[:-1]:
                await session.wait_closed()
    assert server.faults == []


def test_the_command_says_what_is_wrong(tmp_path: Path) -> None:
    """speak without a file, and a file that is no WAV, are usage errors."""
    bad = tmp_path / "bad.wav"
    bad.write_bytes(b"no wav")
    assert CliRunner().invoke(simulate, ["--behaviour", "speak"]).exit_code == 2
    result = CliRunner().invoke(simulate, ["--answer", "speak", "--wav", str(bad)])
    assert result.exit_code == 2
    assert "not a readable WAV file" in result.output


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
async def test_the_command_serves_and_stops_cleanly(stop: signal.Signals) -> None:
    """It prints its address, one line a session and a turn, and exits with 0 on either signal."""
    program = "from avr_bridge.cli.simulate import simulate; simulate()"
    command = [sys.executable, "-u", "-c", program, "--port", "0", "--speed", "50"]
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            process = await nursery.start(
                partial(trio.run_process, command, stdout=subprocess.PIPE, check=False)
            )
            lines = Lines(process)
            banner = await lines.until("OPENAI_ENDPOINT=")
            endpoint = banner.split("OPENAI_ENDPOINT=")[1].strip()
            async with open_websocket_url(f"{endpoint}/realtime?model=m") as socket:
                await socket.get_message()
                await socket.send_message('{"type":"response.create"}')
                assert "turn 0" in await lines.until("turn")
            assert "code=1000" in await lines.until("closed")
            process.send_signal(stop)
            assert await process.wait() == 0


class Lines:
    """Reads a program's lines."""

    def __init__(self, process: trio.Process) -> None:
        assert process.stdout is not None
        self._stdout = process.stdout
        self._text = ""

    async def until(self, word: str) -> str:
        """The next line with this word."""
        while True:
            while "\n" not in self._text:
                data = await self._stdout.receive_some()
                assert data, f"the program ended; still waiting for {word!r}"
                self._text += data.decode()
            line, self._text = self._text.split("\n", 1)
            if word in line:
                return line
