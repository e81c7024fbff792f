"""The model's socket through a real proxy, tinyproxy: CONNECT, passwords, TLS within the tunnel."""

from __future__ import annotations

import shutil
import socket
import subprocess
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import trio
import trustme

from avr_bridge import ModelConfig
from avr_bridge.errors import UpstreamError, UpstreamRejected, UpstreamUnavailable
from avr_bridge.testing import SimulatedRealtime
from avr_bridge.upstream import dial
from avr_bridge.upstream.client import open_realtime
from avr_bridge.upstream.events import SessionCreated
from tests.tls import serve_tls

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator
    from pathlib import Path

pytestmark = pytest.mark.peer

LIMIT_S = 30
READY = b"Accepting connections"


@pytest.fixture(autouse=True)
def _tinyproxy() -> Iterator[None]:
    if not shutil.which("tinyproxy"):
        pytest.skip("tinyproxy is not installed")
    dial._tls_context.cache_clear()
    yield
    dial._tls_context.cache_clear()


def free_port() -> int:
    """tinyproxy takes no port 0."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


class Proxy:
    """A tinyproxy that runs, and what it logged so far."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.log = b""
        self.changed = trio.Event()

    def address(self, credentials: str = "") -> str:
        return f"http://{credentials}127.0.0.1:{self.port}"

    async def wait_logged(self, words: bytes) -> None:
        while words not in self.log:
            await self.changed.wait()

    async def read_log(self, stream: trio.abc.ReceiveStream) -> None:
        async with stream:
            async for chunk in stream:
                self.log += chunk
                self.changed.set()
                self.changed = trio.Event()


@asynccontextmanager
async def tinyproxy(folder: Path, *settings: str) -> AsyncGenerator[Proxy]:
    """Run one on the loopback; it is ended with the block."""
    proxy = Proxy(free_port())
    lines = (f"Port {proxy.port}", "Listen 127.0.0.1", "Allow 127.0.0.1", "LogLevel Info")
    conf = folder / "tinyproxy.conf"
    conf.write_text("\n".join([*lines, *settings, ""]))
    process = await trio.lowlevel.open_process(
        ["tinyproxy", "-d", "-c", str(conf)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert process.stdout is not None
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(proxy.read_log, process.stdout)
            await proxy.wait_logged(READY)
            yield proxy
            nursery.cancel_scope.cancel()
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()


def port_of(endpoint: str) -> int:
    return int(endpoint.rpartition(":")[2].removesuffix("/v1"))


async def test_a_session_through_the_proxy(tmp_path: Path, nursery: trio.Nursery) -> None:
    """Without TLS: the proxy sees a CONNECT to the model, and the model a session."""
    simulator = SimulatedRealtime()
    with trio.fail_after(LIMIT_S):
        endpoint = await nursery.start(simulator.serve)
        async with tinyproxy(tmp_path) as proxy:
            config = ModelConfig(endpoint=endpoint, http_proxy=proxy.address())
            async with open_realtime(config) as connection:
                assert isinstance(await connection.receive(), SessionCreated)
            await proxy.wait_logged(b"CONNECT 127.0.0.1:%d" % port_of(endpoint))
            await simulator.sessions[0].wait_closed()
    assert simulator.sessions[0].close_code == 1000


async def test_tls_through_the_proxy(
    tmp_path: Path, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The certificate that is verified is the model's, by the model's name, within the tunnel."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    with trio.fail_after(LIMIT_S):
        plain = port_of(await nursery.start(SimulatedRealtime().serve))
        right = await nursery.start(serve_tls, authority, "localhost", plain)
        wrong = await nursery.start(serve_tls, authority, "other.example", plain)
        async with tinyproxy(tmp_path) as proxy:
            config = ModelConfig(
                endpoint=f"wss://localhost:{right}/v1", https_proxy=proxy.address()
            )
            async with open_realtime(config) as connection:
                assert isinstance(await connection.receive(), SessionCreated)
            await proxy.wait_logged(b"CONNECT localhost:%d" % right)
            error = await failure(f"wss://localhost:{wrong}/v1", proxy.address())
    assert type(error) is UpstreamRejected
    assert "Hostname mismatch" in str(error)


async def failure(endpoint: str, address: str) -> UpstreamError:
    config = ModelConfig(endpoint=endpoint, all_proxy=address)
    with pytest.raises(UpstreamError) as caught:
        async with open_realtime(config):
            pytest.fail("there is no session")
    return caught.value


async def test_user_and_password(tmp_path: Path, nursery: trio.Nursery) -> None:
    """The right ones open the way; wrong ones and none are refused for good, and not shown."""
    with trio.fail_after(LIMIT_S):
        endpoint = await nursery.start(SimulatedRealtime().serve)
        async with tinyproxy(tmp_path, "BasicAuth carl planted-pass") as proxy:
            right = ModelConfig(endpoint=endpoint, http_proxy=proxy.address("carl:planted%2Dpass@"))
            async with open_realtime(right) as connection:
                assert isinstance(await connection.receive(), SessionCreated)
            errors = [
                await failure(endpoint, proxy.address("carl:planted-wrong@")),
                await failure(endpoint, proxy.address()),
            ]
    for error in errors:
        assert type(error) is UpstreamRejected
        assert "planted" not in str(error)
    # tinyproxy 1.11 says 401 to a wrong password where the standard says 407.
    assert "HTTP 401" in str(errors[0])
    assert "HTTP 407" in str(errors[1])


async def test_a_model_that_the_proxy_cannot_reach(tmp_path: Path) -> None:
    """A passing failure, told as the proxy's."""
    with trio.fail_after(LIMIT_S):
        async with tinyproxy(tmp_path) as proxy:
            error = await failure("ws://127.0.0.1:1/v1", proxy.address())
    assert type(error) is UpstreamUnavailable
    assert "the proxy 127.0.0.1:" in str(error)


async def test_a_port_that_the_proxy_does_not_allow(tmp_path: Path) -> None:
    """A lasting failure."""
    with trio.fail_after(LIMIT_S):
        async with tinyproxy(tmp_path, "ConnectPort 443") as proxy:
            error = await failure("ws://127.0.0.1:1/v1", proxy.address())
    assert type(error) is UpstreamRejected
    assert "HTTP 403" in str(error)
