"""`avr-bridge health` beside a bridge that runs: exit codes and words."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio

from avr_bridge import BridgeConfig, ModelConfig, Secret, ServerConfig, serve
from avr_bridge.testing import SimulatedRealtime, open_simulated_call
from tests.wire.conftest import open_bridge

if TYPE_CHECKING:
    from collections.abc import Callable

LIMIT_S = 30


@attrs.frozen
class Ran:
    code: int
    out: str


async def health(*arguments: str, **variables: str) -> Ran:
    environ = {k: v for k, v in os.environ.items() if not k.startswith(("AVR_", "PORT"))}
    done: subprocess.CompletedProcess[bytes] = await trio.run_process(
        [sys.executable, "-m", "avr_bridge", "health", *arguments],
        env={**environ, **variables},
        capture_stdout=True,
        stderr=subprocess.STDOUT,
        check=False,
    )
    return Ran(done.returncode, done.stdout.decode())


def port_of(http: str) -> str:
    return http.rpartition(":")[2]


@pytest.mark.parametrize("host", ["0.0.0.0", "127.0.0.1", "localhost", ""])
async def test_a_bridge_that_is_well(host: str) -> None:
    """Exit code 0 and one line with its calls, however AVR_HOST names the machine."""
    with trio.fail_after(LIMIT_S):
        async with open_bridge() as bridge, open_simulated_call(bridge.ws):
            for arguments in ((), ("--url", bridge.http)):
                ran = await health(*arguments, PORT=port_of(bridge.http), AVR_HOST=host)
                assert ran.code == 0, ran.out
                assert ran.out.count("\n") == 1
                assert "/healthz answers: ok, calls running: 1" in ran.out
            ran = await health("--ready", PORT=port_of(bridge.http), AVR_HOST=host)
            assert ran == Ran(0, f"healthy: {bridge.http}/readyz answers: ready\n") or host


@pytest.mark.parametrize("host", ["::", "::1"])
async def test_a_bridge_on_ipv6(host: str) -> None:
    """Also where it listens everywhere."""
    config = BridgeConfig(
        model=ModelConfig(api_key=Secret("k")), server=ServerConfig(host, 0, drain_s=0.0)
    )
    with trio.fail_after(LIMIT_S):
        async with trio.open_nursery() as nursery:
            try:
                (address,) = await nursery.start(partial(serve, config))
            except OSError as error:
                pytest.skip(f"no IPv6 on this machine: {error}")
            ran = await health(AVR_HOST=host, PORT=port_of(address))
            nursery.cancel_scope.cancel()
    assert ran.code == 0
    assert "healthy: http://[::1]:" in ran.out


async def test_a_bridge_that_takes_no_call_is_well_and_not_ready() -> None:
    """/healthz is 0, --ready is 1 with the bridge's own words."""
    simulator = SimulatedRealtime()
    with trio.fail_after(LIMIT_S):
        async with trio.open_nursery() as nursery:
            endpoint = await nursery.start(simulator.serve)
            config = BridgeConfig(
                model=ModelConfig(api_key=Secret("k"), endpoint=endpoint),
                server=ServerConfig("127.0.0.1", 0, max_calls=1, drain_s=0.0),
            )
            (http,) = await nursery.start(partial(serve, config))
            async with open_simulated_call(http.replace("http:", "ws:")) as call:
                await call.wait_heard_speech()
                lives = await health(PORT=port_of(http))
                ready = await health("--ready", PORT=port_of(http))
                by_url = await health("--ready", "--url", http)
            nursery.cancel_scope.cancel()
    assert lives.code == 0
    assert ready.code == by_url.code == 1
    words = f"unhealthy: {http}/readyz answers HTTP 503: the limit of 1 calls is reached\n"
    assert ready.out == by_url.out == words


async def answer_nothing(stream: trio.SocketStream) -> None:
    async with stream:
        await trio.sleep_forever()


async def answer_noise(stream: trio.SocketStream) -> None:
    async with stream:
        await stream.receive_some()
        await stream.send_all(b"220 mail.example.org ESMTP\r\n")


async def answer_without_end(stream: trio.SocketStream) -> None:
    async with stream:
        try:
            while True:
                await stream.send_all(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 9999)
        except trio.BrokenResourceError:
            return


@pytest.mark.parametrize(
    ("behaviour", "code", "words"),
    [
        (answer_nothing, 1, "no answer within 3 s"),
        (answer_noise, 1, "what answers speaks no HTTP"),
        (answer_without_end, 0, "healthy"),
    ],
)
async def test_what_is_no_bridge_holds_up_no_probe(
    behaviour: Callable[[trio.SocketStream], Any], code: int, words: str
) -> None:
    """A line within seconds, whatever answers."""
    with trio.fail_after(LIMIT_S):
        async with trio.open_nursery() as nursery:
            serve_it = partial(trio.serve_tcp, behaviour, 0, host="127.0.0.1")
            listeners = await nursery.start(serve_it)
            ran = await health(PORT=str(listeners[0].socket.getsockname()[1]))
            nursery.cancel_scope.cancel()
    assert ran.code == code
    assert words in ran.out


async def test_a_reader_that_is_gone_changes_no_exit_code() -> None:
    """`avr-bridge health | true`, and a HEALTHCHECK whose output nobody keeps."""
    with trio.fail_after(LIMIT_S):
        async with open_bridge() as bridge:
            reading, writing = os.pipe()
            os.close(reading)
            done: subprocess.CompletedProcess[bytes] = await trio.run_process(
                [sys.executable, "-m", "avr_bridge", "health"],
                env={**os.environ, "PORT": port_of(bridge.http), "AVR_HOST": "127.0.0.1"},
                stdout=writing,
                capture_stderr=True,
                check=False,
            )
            os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")
