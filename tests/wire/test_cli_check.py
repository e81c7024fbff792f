"""`avr-bridge check` as a process: what it prints, its exit codes, and what it leaves alone."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

import attrs
import pytest
import trio
import trustme

from avr_bridge.testing import (
    Say,
    Script,
    SimulatedAmi,
    SimulatedRealtime,
    SimulatorOptions,
    clip,
    read_wav,
)
from avr_bridge.testing.faults import ModelFaults, Refuse
from avr_bridge.testing.manager import SimulatedManager
from tests.tls import relay, serve_tls

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

LIMIT_S = 60
KEY = "sk-planted-secret"
SENTENCE = Say(read_wav(clip("question")), 8000, "one two three")
NO_QUOTA = b'{"error": {"code": "insufficient_quota", "message": "You exceeded your quota"}}'


@attrs.frozen
class Ran:
    code: int
    out: str

    def line(self, step: str) -> str:
        (line,) = [one for one in self.out.splitlines() if one[6:].startswith(f"{step}:")]
        return line


async def check(*arguments: str, **variables: str) -> Ran:
    names = ("OPENAI_", "AVR_", "PORT", "AMI_URL")
    proxies = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(names) and name.lower() not in proxies
    }
    done: subprocess.CompletedProcess[bytes] = await trio.run_process(
        [sys.executable, "-m", "avr_bridge", "check", *arguments],
        env={**kept, "OPENAI_API_KEY": KEY, **variables},
        capture_stdout=True,
        stderr=subprocess.STDOUT,
        check=False,
    )
    ran = Ran(done.returncode, done.stdout.decode())
    assert KEY not in ran.out
    assert "Traceback" not in ran.out
    return ran


@asynccontextmanager
async def neighbours(
    simulator: SimulatedRealtime | None = None,
) -> AsyncGenerator[tuple[SimulatedRealtime, dict[str, str]]]:
    """The simulated model and avr-ami; the variables that lead there."""
    simulator = simulator or SimulatedRealtime(Script([[SENTENCE]]))
    with trio.fail_after(LIMIT_S):
        async with trio.open_nursery() as nursery:
            endpoint = await nursery.start(simulator.serve)
            ami = await nursery.start(SimulatedAmi([]).serve)
            yield simulator, {"OPENAI_ENDPOINT": endpoint, "AMI_URL": ami}
            nursery.cancel_scope.cancel()


async def test_a_bridge_that_will_work(tmp_path: Path) -> None:
    """Exit code 0; each step has a line with its time."""
    (tmp_path / "prompt.txt").write_text("Be brief.")
    async with neighbours() as (simulator, variables):
        ran = await check(
            **variables,
            OPENAI_FILE_INSTRUCTIONS=str(tmp_path / "prompt.txt"),
            AVR_GREETING_FILE=str(clip("greeting")),
        )
        assert ran.code == 0, ran.out
        (session,) = simulator.sessions
        assert session.received[0]["session"]["instructions"] == "Be brief."
        assert session.closed
    steps = [line[6:].partition(":")[0] for line in ran.out.splitlines()[:-1]]
    assert steps == [
        *("connection", "upgrade", "session", "settings", "answer"),
        *("instructions", "tools", "AVR_GREETING_FILE", "avr-ami"),
    ]
    assert all(
        line.startswith("ok ") and line.endswith(" ms)") for line in ran.out.splitlines()[:-1]
    )
    assert "9 characters from OPENAI_FILE_INSTRUCTIONS" in ran.line("instructions")
    assert ran.out.splitlines()[-1] == "Calls will work."


async def test_json_has_every_field() -> None:
    """And the exit code; without an answer the model generates nothing."""
    async with neighbours() as (simulator, variables):
        ran = await check("--json", "--no-answer", **variables)
        assert [one["type"] for one in simulator.sessions[0].received] == ["session.update"]
    found = json.loads(ran.out)
    assert found["exit_code"] == ran.code == 0
    assert [one["name"] for one in found["model"]] == [
        *("connection", "upgrade", "session", "settings")
    ]
    assert found["model"][0].keys() == {"name", "verdict", "words", "took_ms", "advice"}
    assert {one["verdict"] for one in found["model"] + found["neighbours"]} == {"ok"}


async def test_a_wrong_key() -> None:
    """Exit code 1, what is wrong, and what to do; the neighbours are checked all the same."""
    options = SimulatorOptions(api_key="another")
    async with neighbours(SimulatedRealtime(options=options)) as (_, variables):
        ran = await check(**variables)
    assert ran.code == 1
    assert "FAIL  upgrade: the key is not accepted" in ran.line("upgrade")
    assert "HTTP 401 (invalid_api_key)" in ran.line("upgrade")
    assert "-> Look at OPENAI_API_KEY" in ran.out
    assert ran.line("avr-ami").startswith("ok")
    assert "the model cannot serve them" in ran.out


async def test_a_used_up_quota_told_by_http() -> None:
    """429 that no waiting helps."""
    outages = ModelFaults(rest=Refuse(429, body=NO_QUOTA))
    async with neighbours(SimulatedRealtime(outages=outages)) as (_, variables):
        ran = await check(**variables)
    assert ran.code == 1
    assert "the account has no quota left" in ran.line("upgrade")


async def test_nobody_listens() -> None:
    """The step is the connection."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    ran = await check(OPENAI_ENDPOINT=f"ws://127.0.0.1:{port}/v1")
    assert ran.code == 1
    assert "no connection to the server" in ran.line("connection")
    assert "HTTPS_PROXY" in ran.out


async def test_a_name_that_is_not_known() -> None:
    """Told as such, not as a firewall's fault."""
    ran = await check(OPENAI_ENDPOINT="wss://nobody.invalid/v1")
    assert ran.code == 1
    assert "the name nobody.invalid is not known" in ran.line("name")


async def test_a_proxy_that_is_not_there() -> None:
    """The proxy is blamed, not the model."""
    ran = await check(
        OPENAI_ENDPOINT="ws://model.example/v1", HTTP_PROXY="http://user:planted@127.0.0.1:1"
    )
    assert ran.code == 1
    assert "no way through the proxy" in ran.line("connection")
    assert "planted" not in ran.out


async def test_the_way_through_a_proxy_is_told() -> None:
    """The name that is looked up is the proxy's; here it is a number and has no step."""

    async def tunnel(stream: trio.SocketStream) -> None:
        async with stream:
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += await stream.receive_some(1)
            await stream.send_all(b"HTTP/1.1 200 OK\r\n\r\n")
            await relay(stream, int(head.split()[1].rpartition(b":")[2]))

    async with neighbours() as (_, variables), trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, tunnel, 0, host="127.0.0.1"))
        proxy = f"127.0.0.1:{listeners[0].socket.getsockname()[1]}"
        ran = await check(**variables, HTTP_PROXY=f"http://{proxy}")
        nursery.cancel_scope.cancel()
    assert ran.code == 0, ran.out
    assert f"through the proxy {proxy}" in ran.line("connection")


@pytest.mark.parametrize("known", [True, False])
async def test_the_certificate_is_judged(tmp_path: Path, known: bool) -> None:
    """An authority that is not known: the step is TLS, and SSL_CERT_FILE is named."""
    authority = trustme.CA()
    (authority if known else trustme.CA()).cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    async with neighbours() as (_, variables), trio.open_nursery() as nursery:
        to_port = int(variables["OPENAI_ENDPOINT"].rpartition(":")[2].partition("/")[0])
        port = await nursery.start(serve_tls, authority, "localhost", to_port)
        ran = await check(
            AMI_URL=variables["AMI_URL"],
            OPENAI_ENDPOINT=f"wss://localhost:{port}/v1",
            SSL_CERT_FILE=str(tmp_path / "ca.pem"),
        )
        nursery.cancel_scope.cancel()
    assert ran.line("name").startswith("ok")
    if known:
        assert ran.code == 0, ran.out
        assert ran.line("TLS").startswith("ok")
    else:
        assert ran.code == 1
        assert "FAIL  TLS: the server's certificate is not accepted" in ran.line("TLS")
        assert "SSL_CERT_FILE" in ran.out


@pytest.mark.parametrize(
    ("name", "value", "step", "words"),
    [
        ("AMI_URL", "http://127.0.0.1:1", "avr-ami", "could not be reached"),
        ("OPENAI_FILE_INSTRUCTIONS", "/no/such.txt", "instructions", "file failed"),
        ("OPENAI_URL_INSTRUCTIONS", "http://127.0.0.1:1", "instructions", "address failed"),
        ("OPENAI_FILE_INSTRUCTIONS", "/no/such.txt", "instructions", "No such file"),
        ("AVR_CALL_WEBHOOK", "http://127.0.0.1:1/calls", "webhook", "could not be reached"),
        ("AVR_GREETING_FILE", "/no/such.wav", "AVR_GREETING_FILE", "No such file"),
        ("AVR_FALLBACK_FILE", __file__, "AVR_FALLBACK_FILE", "not a WAV file"),
        ("AVR_FAREWELL_FILE", "/no/such.wav", "AVR_FAREWELL_FILE", "No such file"),
        ("AVR_TOOL_SOUND", "/no/such.wav", "AVR_TOOL_SOUND", "No such file"),
    ],
)
async def test_what_is_wrong_beside_the_model(name: str, value: str, step: str, words: str) -> None:
    """Exit code 3: calls are answered, and not as they should be."""
    async with neighbours() as (_, variables):
        ran = await check("--no-answer", **(variables | {name: value}))
    assert ran.code == 3, ran.out
    assert ran.line(step).startswith("FAIL")
    assert words in ran.line(step)


async def test_a_tool_that_cannot_be_loaded(tmp_path: Path) -> None:
    """Exit code 3, in the words of `avr-bridge tools`."""
    (tmp_path / "weather.js").write_text("module.exports = {}")
    async with neighbours() as (_, variables):
        ran = await check("--no-answer", **variables, AVR_TOOLS_DIR=str(tmp_path))
    assert ran.code == 3
    assert "a JavaScript tool is not run" in ran.line("tools")


@pytest.mark.parametrize("password", ["secret", "wrong-secret"])
async def test_asterisks_manager(password: str) -> None:
    """Logged in to; a wrong password is a failure, and not shown."""
    async with neighbours() as (_, variables), trio.open_nursery() as nursery:
        endpoint = await nursery.start(SimulatedManager().serve)
        ran = await check(
            "--no-answer",
            **variables,
            AVR_MANAGER_ENDPOINT=endpoint,
            AVR_MANAGER_USER="avr",
            AVR_MANAGER_PASSWORD=password,
        )
        nursery.cancel_scope.cancel()
    assert ran.line("manager").startswith("ok" if password == "secret" else "FAIL")
    assert (ran.code == 0) == (password == "secret")
    assert "wrong-secret" not in ran.out


async def test_a_user_of_the_manager_without_the_rights() -> None:
    """It is let in and could transfer nothing: a failure that names the actions, and what gives
    them."""
    async with neighbours() as (_, variables), trio.open_nursery() as nursery:
        endpoint = await nursery.start(SimulatedManager(rights={"reporting"}).serve)
        ran = await check(
            "--no-answer",
            **variables,
            AVR_MANAGER_ENDPOINT=endpoint,
            AVR_MANAGER_USER="avr",
            AVR_MANAGER_PASSWORD="secret",
        )
        nursery.cancel_scope.cancel()
    assert ran.line("manager").startswith("FAIL")
    assert "its user may not use Redirect, Hangup" in ran.line("manager")
    assert "write = call,reporting" in ran.out
    assert ran.code == 3


async def test_the_receiver_of_records() -> None:
    """It is asked whether it is there, and gets no record."""
    asked = bytearray()

    async def receiver(stream: trio.SocketStream) -> None:
        async with stream:
            asked.extend(await stream.receive_some())
            await stream.send_all(b"HTTP/1.1 405 Not so\r\nContent-Length: 9\r\n\r\n")

    async with neighbours() as (_, variables), trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, receiver, 0, host="127.0.0.1"))
        port = listeners[0].socket.getsockname()[1]
        address = f"http://127.0.0.1:{port}/calls?key=planted-in-query"
        ran = await check("--no-answer", **variables, AVR_CALL_WEBHOOK=address)
        nursery.cancel_scope.cancel()
    assert ran.code == 0, ran.out
    assert "HTTP 405" in ran.line("webhook")
    assert bytes(asked).startswith(b"HEAD /calls?key=")
    assert "planted" not in ran.out


async def test_an_avr_ami_that_nobody_named_is_missed_with_a_warning() -> None:
    """Exit code 0: beside avr-core alone there may be none."""
    async with neighbours() as (_, variables):
        del variables["AMI_URL"]
        ran = await check("--no-answer", **variables)
    # Whoever has one at its default port on this machine sees it answer.
    assert ran.code == 0, ran.out
    assert ran.line("avr-ami").startswith(("WARN", "ok"))


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "it answered HTTP 404"),
        (b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n", "it answered HTTP 500"),
    ],
)
async def test_a_neighbour_that_is_no_avr_ami(answer: bytes, words: str) -> None:
    """Something else at that address, or one that does not reach Asterisk."""

    async def other(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.receive_some()
            await stream.send_all(answer)

    async with neighbours() as (_, variables), trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, other, 0, host="127.0.0.1"))
        url = f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
        ran = await check("--no-answer", **(variables | {"AMI_URL": url}))
        nursery.cancel_scope.cancel()
    assert ran.code == 3
    assert words in ran.line("avr-ami")


async def test_settings_that_cannot_be() -> None:
    """Exit code 2, all of them, before anything is tried."""
    ran = await check(PORT="x", OPENAI_MAX_TOKENS="many")
    assert ran.code == 2
    assert "PORT=x" in ran.out
    assert "OPENAI_MAX_TOKENS=many" in ran.out


async def test_settings_that_cannot_be_are_told_in_json_too() -> None:
    """One object, as always with --json, and the same exit code."""
    ran = await check("--json", PORT="x", OPENAI_MAX_TOKENS="many")
    found = json.loads(ran.out)
    assert found["exit_code"] == ran.code == 2
    assert {fault.partition("=")[0] for fault in found["faults"]} == {"PORT", "OPENAI_MAX_TOKENS"}
