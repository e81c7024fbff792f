"""Planted secrets in a real `avr-bridge serve`: nothing that it prints, serves or says has them.

Each case is a process with a key, a token and a password planted, one fault, and the whole of what
came out of it: both streams, the pages, and every message to the caller.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import attrs
import httpx2
import pytest
import trio
import trio_websocket

from avr_bridge.testing import (
    CallTool,
    Close,
    Emit,
    Raw,
    Script,
    SimulatedRealtime,
    SimulatorOptions,
    Step,
    clip,
    read_wav,
)
from avr_bridge.testing.realtime import Say

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

CHECKOUT = Path(__file__).parents[2]
LIMIT_S = 40
KEY = "planted-key/0123456789+abcdef"
TOKEN = "planted-token-0123456789abcdef"
METRICS_TOKEN = "planted-monitor-0123456789abcdef"
PASSWORD = "planted-password"
METRICS = ("/metrics", f"/metrics?token={TOKEN}", f"/metrics?token={METRICS_TOKEN}")
PLANTED = ("planted", quote(KEY, safe=""), "0123456789")
LOG_FORMATS = ("json", "text")
MESSAGES = (
    json.dumps({"type": "init", "uuid": "u-1"}),
    json.dumps({"type": "dtmf_digit", "digit": "1"}),
    json.dumps({"type": "dtmf_digit", "digit": "#"}),
    json.dumps({"type": "audio", "audio": 1}),
)
"""What the caller's side sends: a keypad entry, which the model answers, and a fault."""

QUESTION = read_wav(clip("question"))


@attrs.define(eq=False)
class Ran:
    """A bridge process, and all that came out of it so far."""

    url: str = ""
    process: trio.Process | None = None
    out: bytes = b""
    said: list[str] = attrs.field(factory=list)
    close: tuple[int, str] | None = None
    asked_to_end: bool = False
    changed: trio.Event = attrs.field(factory=trio.Event)

    def end(self) -> None:
        """Ask it to end; once, since a second signal finds nobody who waits for it."""
        if not self.asked_to_end:
            assert self.process is not None
            self.process.send_signal(signal.SIGTERM)
        self.asked_to_end = True

    async def wait_out(self, words: str) -> None:
        """Wait until it has printed these words."""
        while words.encode() not in self.out:
            await self.changed.wait()

    def everything(self) -> str:
        return "\n".join([self.out.decode(), *self.said, str(self.close)])

    def leaks(self) -> list[str]:
        """The lines that hold a planted secret."""
        found = self.everything().splitlines()
        return [line for line in found if any(secret in line for secret in PLANTED)]

    async def read(self, stream: trio.abc.ReceiveStream) -> None:
        async with stream:
            async for chunk in stream:
                self.out += chunk
                self.changed.set()
                self.changed = trio.Event()

    async def get(self, path: str) -> None:
        """Keep a page, with its head."""
        async with httpx2.AsyncClient() as client:
            answer = await client.get(self.url.replace("ws:", "http:") + path)
        self.said += [str(answer.headers), answer.text]

    async def place_call(self, *, until_closed: bool = True) -> None:
        """A call, its every message kept, until the bridge closes it, or speaks."""
        port = int(self.url.rpartition(":")[2])
        # trio-websocket leaves a stream of its own to the garbage collector.
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            async with trio.open_nursery() as nursery:
                ws = await trio_websocket.wrap_client_stream(
                    nursery, stream, f"127.0.0.1:{port}", f"/?from=1&token={TOKEN}"
                )
                try:
                    for message in MESSAGES:
                        await ws.send_message(message)
                    while until_closed or not any('"audio"' in one for one in self.said):
                        self.said.append(str(await ws.get_message()))
                except trio_websocket.ConnectionClosed:
                    pass  # the bridge may well be first
                await ws.aclose()
                nursery.cancel_scope.cancel()
            if until_closed and ws.closed is not None:
                self.close = (ws.closed.code, ws.closed.reason or "")


def environment(**variables: str) -> dict[str, str]:
    """Only what a program needs, and these settings."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    planted = {"OPENAI_API_KEY": KEY, "AVR_TOKEN": TOKEN, "AVR_LOG_LEVEL": "debug"}
    planted["AVR_METRICS_TOKEN"] = METRICS_TOKEN
    planted["AVR_FALLBACK_FILE"] = "off"  # a call whose model fails ends without words
    planted |= {"AVR_MANAGER_ENDPOINT": "tcp://127.0.0.1:1", "AVR_MANAGER_USER": "avr"}
    planted["AVR_MANAGER_PASSWORD"] = PASSWORD
    return kept | {"AVR_HOST": "127.0.0.1", "PORT": "0"} | planted | variables


@asynccontextmanager
async def bridge(
    *, command: tuple[str, ...] = ("-m", "avr_bridge", "serve"), **variables: str
) -> AsyncGenerator[Ran]:
    """A process; on leaving it is ended by SIGTERM, with exit code 0, and its output is whole."""
    ran = Ran()
    process = await trio.lowlevel.open_process(
        [sys.executable, *command],
        cwd=CHECKOUT,
        env=environment(**variables),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    ran.process = process
    assert process.stdout is not None
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ran.read, process.stdout)
            await ran.wait_out("listening")
            await ran.wait_out("127.0.0.1:")
            port = ran.out.partition(b"127.0.0.1:")[2].partition(b"'")[0].partition(b'"')[0]
            ran.url = f"ws://127.0.0.1:{int(port)}"
            yield ran
            ran.end()
            assert await process.wait() == 0
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()


async def run_case(
    model: SimulatedRealtime | None, log_format: str, *, until_closed: bool = True, **more: Any
) -> Ran:
    """One call against a model (None: nobody listens), and the pages; all that came out."""
    with trio.fail_after(LIMIT_S):
        async with trio.open_nursery() as nursery:
            endpoint = "ws://127.0.0.1:1/v1"
            if model is not None:
                endpoint = await nursery.start(model.serve)
            variables = {"OPENAI_ENDPOINT": endpoint, "AVR_LOG_FORMAT": log_format} | more
            async with bridge(**variables) as ran:
                await ran.place_call(until_closed=until_closed)
                await ran.wait_out("call ended")
                for path in ("/", "/healthz", "/nothing", f"/?token={TOKEN}", *METRICS):
                    await ran.get(path)
                assert any("avr_bridge_calls_ended_total" in page for page in ran.said)
            nursery.cancel_scope.cancel()
    return ran


def error_event(message: str, code: str) -> Emit:
    return Emit({"type": "error", "error": {"type": "x", "code": code, "message": message}})


def model_of(*steps: Step, **options: Any) -> SimulatedRealtime:
    """Every session does the same: a call outlives the first."""
    return SimulatedRealtime(Script([list(steps)] * 9), SimulatorOptions(**options))


VOICE = Say(QUESTION[:16_000], 8000, "hello")
QUOTED = f"Incorrect API key provided: {KEY}. You can find your API key in the dashboard."

FAULTS: dict[str, tuple[Any, str]] = {
    "wrong key, refused by HTTP": (partial(model_of, api_key="x"), "model_rejected"),
    "wrong key, refused by close 3000": (
        partial(model_of, api_key="x", key_check="close"),
        "model_rejected",
    ),
    "nobody listens": (None, "model_unavailable"),
    "closes mid-call and quotes the key": (
        partial(model_of, VOICE, Close(1011, f"key {KEY}")),
        "model_closed",
    ),
    "fatal error that quotes the key": (
        partial(model_of, VOICE, error_event(QUOTED, "invalid_api_key")),
        "model_rejected",
    ),
    "passing error, misshapen events and a close that quote the key": (
        partial(
            model_of,
            error_event(QUOTED, f"code {KEY}"),
            error_event("provided: sk-proj-******planted0123456789", "other"),
            Raw(json.dumps({"type": "error", "error": KEY})),
            Raw(json.dumps({"type": KEY, "x": [KEY]})),
            Raw(json.dumps({"type": "response.done", "response": KEY}).replace("/", "\\/")),
            Raw(f'{{"type": "session.updated", "session": "{KEY}"'),
            Raw(json.dumps([KEY])),
            Raw(KEY),
            Close(4000, f"invalid_request_error.{KEY}"),
        ),
        "model_rejected",
    ),
}


@pytest.mark.parametrize("log_format", LOG_FORMATS)
@pytest.mark.parametrize("fault", FAULTS)
async def test_a_fault_of_the_model_prints_no_secret(fault: str, log_format: str) -> None:
    """The call ends with its reason, and the reason is told; the secrets are nowhere."""
    make, reason = FAULTS[fault]
    ran = await run_case(make() if make else None, log_format)
    assert ran.leaks() == []
    assert reason in ran.out.decode()
    assert ran.close == (1011, reason)


async def test_what_the_server_says_of_the_key_reaches_the_caller_without_it() -> None:
    """The words around it are told: the test above would pass with silence too."""
    steps = (error_event(QUOTED, "some_code"), Close(1011, f"key {KEY}"))
    ran = await run_case(model_of(*steps), "json")
    assert any("Incorrect API key provided: ***. You can" in message for message in ran.said)
    assert "key ***" in ran.out.decode()


@pytest.mark.parametrize("log_format", LOG_FORMATS)
async def test_a_good_call_prints_no_secret(log_format: str) -> None:
    """With the password of a proxy (not in use), and one in the model's address, planted too."""
    with trio.fail_after(LIMIT_S):
        async with trio.open_nursery() as nursery:
            endpoint = await nursery.start(model_of(VOICE, api_key=KEY).serve)
            variables = {
                "OPENAI_ENDPOINT": endpoint.replace("ws://", f"ws://user:{PASSWORD}@"),
                "HTTP_PROXY": f"http://user:{PASSWORD}@127.0.0.1:1",
                "NO_PROXY": "127.0.0.1",
                "AVR_LOG_FORMAT": log_format,
                "AVR_LOG_CONTENT": "on",
            }
            async with bridge(**variables) as ran:
                await ran.place_call(until_closed=False)
                await ran.wait_out("call ended")
                await ran.get("/healthz")
            nursery.cancel_scope.cancel()
    assert ran.leaks() == []
    assert "OPENAI_ENDPOINT are ignored" in ran.out.decode()
    assert "caller_hung_up" in ran.out.decode()
    assert "key pressed" in ran.out.decode()


async def test_a_signal_in_the_middle_of_a_call_prints_no_secret() -> None:
    """SIGTERM while the model speaks: close 1001, exit code 0."""
    with trio.fail_after(LIMIT_S):
        async with trio.open_nursery() as nursery:
            endpoint = await nursery.start(model_of(Say(QUESTION * 8, 8000, "long")).serve)
            async with bridge(OPENAI_ENDPOINT=endpoint) as ran, trio.open_nursery() as calls:
                calls.start_soon(ran.place_call)
                await ran.wait_out("session ready")
                ran.end()
            nursery.cancel_scope.cancel()
    assert ran.leaks() == []
    assert ran.close is not None
    assert ran.close[0] == 1001


@pytest.mark.parametrize("log_format", LOG_FORMATS)
async def test_a_record_that_cannot_be_delivered_prints_no_secret(log_format: str) -> None:
    """Neither what signs it, nor what its address holds, nor what was said."""
    variables: dict[str, Any] = {
        "AVR_CALL_WEBHOOK": f"http://user:{PASSWORD}@127.0.0.1:1/calls?key={KEY}",
        "AVR_CALL_WEBHOOK_SECRET": KEY,
        "AVR_LOG_CALLS": "*",
    }
    spoken = Say(QUESTION[:16_000], 8000, "planted words of the agent")
    ran = await run_case(model_of(spoken, Close(1011, "end")), log_format, **variables)
    out = ran.out.decode()
    assert [line for line in out.splitlines() if any(one in line for one in PLANTED)] == []
    assert "a call record was not delivered" in out
    assert "could not be reached" in out
    assert "moment" in out


TOOL_WITH_A_BUG = '''
import os


def look_up() -> str:
    """Look something up."""
    raise RuntimeError("no access with " + os.environ["OPENAI_API_KEY"])
'''


@pytest.mark.parametrize("log_format", LOG_FORMATS)
async def test_a_bug_in_a_tool_prints_no_secret(tmp_path: Path, log_format: str) -> None:
    """A tool's exception that quotes the key, and a file that quotes it while it is loaded."""
    (tmp_path / "crm.py").write_text(TOOL_WITH_A_BUG)
    broken = 'import os\nraise ValueError("bad key " + os.environ["OPENAI_API_KEY"])\n'
    (tmp_path / "broken.py").write_text(broken)
    end: list[Step] = [VOICE, Close(1011, "end")]
    model = SimulatedRealtime(Script([[CallTool("look_up", "{}")], *[end] * 9]))
    ran = await run_case(model, log_format, AVR_TOOLS_DIR=str(tmp_path))
    assert ran.leaks() == []
    assert "tool failed" in ran.out.decode()
    assert "RuntimeError" in ran.out.decode()
    assert "could not be loaded" in ran.out.decode()


BUGS = """
import sys
from avr_bridge import cli
from avr_bridge.{module} import {name}

def bug(self, *args, **more):
    raise RuntimeError("Illegal header value b'Bearer {key}'")

{name}.{method} = bug
sys.argv[1:] = ["serve"]
cli.main()
"""


@pytest.mark.parametrize("log_format", LOG_FORMATS)
async def test_a_bug_in_a_call_prints_no_secret(log_format: str) -> None:
    """A library's exception that quotes the key ends the call; the traceback is there, the key
    is not."""
    code = BUGS.format(
        module="upstream.conversation", name="Conversation", method="handle", key=KEY
    )
    ran = await run_case(model_of(VOICE), log_format, command=("-c", code))
    assert ran.leaks() == []
    assert "bug in a call" in ran.out.decode()
    assert "Illegal header value b'Bearer ***'" in ran.out.decode()
    assert ran.close == (1011, "internal_error")


@pytest.mark.parametrize("log_format", LOG_FORMATS)
async def test_a_bug_in_the_server_prints_no_secret(log_format: str) -> None:
    """What Quart reports of a handler is a line of ours, masked."""
    code = BUGS.format(module="server.app", name="HttpStreamTransport", method="__init__", key=KEY)
    with trio.fail_after(LIMIT_S):
        async with bridge(command=("-c", code), AVR_LOG_FORMAT=log_format) as ran:
            async with httpx2.AsyncClient() as client:
                url = ran.url.replace("ws:", "http:") + "/speech-to-speech-stream"
                answer = await client.post(url, params={"token": TOKEN})
            ran.said += [str(answer.headers), answer.text]
    assert answer.status_code == 500
    assert ran.leaks() == []
    assert "a library reports" in ran.out.decode()
    assert "Illegal header value b'Bearer ***'" in ran.out.decode()


CHECKED_WHOLLY = ("serve", "explain", "check")


def run_to_end(*command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command],
        cwd=CHECKOUT,
        env=environment(**variables),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )


@pytest.mark.parametrize(
    "variables",
    [
        {"OPENAI_ENDPOINT": f"ftp://user:{PASSWORD}@host/v1"},
        {"OPENAI_ENDPOINT": f"wss://user:{KEY}@host/v1"},
        {"OPENAI_ENDPOINT": KEY},
        {"OPENAI_ENDPOINT": f"ftp://host/?api-key={KEY}"},
        {"OPENAI_API_KEY": f"{KEY} {KEY}"},
        {"OPENAI_API_KEY_FILE": KEY},
        {"OPENAI_API_KEY": "", "OPENAI_API_KEY_FILE": KEY},
        {"HTTPS_PROXY": f"socks5://user:{PASSWORD}@host"},
        {"AVR_TOKEN": f"{TOKEN} {TOKEN}"},
        {"AMI_URL": f"user:{PASSWORD}@host"},
        {"OPENAI_MAX_TOKENS": KEY},
        {"OPENAI_VOICE": KEY, "AVR_RESAMPLER": TOKEN},
    ],
)
def test_refused_settings_print_no_secret(variables: dict[str, str]) -> None:
    """Every command that reads them: the names of what is wrong, exit code 2, no value."""
    for command in ("serve", "demo", "tools", "explain", "check"):
        ran = run_to_end("-m", "avr_bridge", command, **{"PORT": "x", **variables})
        assert ran.returncode in ((2,) if command in CHECKED_WHOLLY else (0, 1, 2)), ran.stdout
        assert not [line for line in ran.stdout.splitlines() if any(s in line for s in PLANTED)]
        assert "Traceback" not in ran.stdout


PLANTED_EVERYWHERE = {
    "OPENAI_ENDPOINT": f"ws://user:{PASSWORD}@127.0.0.1:1/v1?key={KEY}",
    "HTTP_PROXY": f"http://user:{PASSWORD}@127.0.0.1:1",
    "NO_PROXY": "127.0.0.1",
    "AMI_URL": f"http://user:{PASSWORD}@127.0.0.1:1",
    "OPENAI_URL_INSTRUCTIONS": f"http://127.0.0.1:1/?key={KEY}",
    "AVR_CALL_WEBHOOK": f"http://user:{PASSWORD}@127.0.0.1:1/?key={KEY}",
    "AVR_CALL_WEBHOOK_SECRET": KEY,
    "OPENAI_VOICE": KEY,
    "OPENAI_APIKEY": KEY,
    "AVR_TOKKEN": TOKEN,
    "PORT": "6030",
}


@pytest.mark.parametrize("command", ["explain", "check"])
@pytest.mark.parametrize("arguments", [(), ("--json",)])
def test_what_explains_the_settings_prints_no_secret(
    command: str, arguments: tuple[str, ...]
) -> None:
    """Keys and passwords in every place that has room for one, a slip of a name included."""
    ran = run_to_end("-m", "avr_bridge", command, *arguments, **PLANTED_EVERYWHERE)
    assert ran.returncode == (0 if command == "explain" else 1), ran.stdout
    assert not [line for line in ran.stdout.splitlines() if any(s in line for s in PLANTED)]
    assert "***" in ran.stdout or command == "check"
    assert "Traceback" not in ran.stdout


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_check_of_a_faulty_model_prints_no_secret(fault: str) -> None:
    """What the server quotes of the key, by HTTP, in an event or in its close."""
    make, _ = FAULTS[fault]
    with trio.fail_after(LIMIT_S):
        async with trio.open_nursery() as nursery:
            endpoint = await nursery.start(make().serve) if make else "ws://127.0.0.1:1/v1"
            ran = await trio.to_thread.run_sync(
                partial(run_to_end, "-m", "avr_bridge", "check", OPENAI_ENDPOINT=endpoint)
            )
            nursery.cancel_scope.cancel()
    assert not [line for line in ran.stdout.splitlines() if any(s in line for s in PLANTED)]
    assert "Traceback" not in ran.stdout


def test_a_bug_at_start_prints_no_secret() -> None:
    """What Python would say last goes through the log: exit code 1."""
    code = BUGS.format(module="cli.serve", name="_Announcement", method="started", key=KEY)
    ran = run_to_end("-c", code)
    assert ran.returncode == 1
    assert "bug in the bridge" in ran.stdout
    assert "Bearer ***" in ran.stdout
    assert "planted" not in ran.stdout


def test_a_taken_port_prints_no_secret() -> None:
    """Exit code 1 and the address."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ran = run_to_end("-m", "avr_bridge", "serve", PORT=str(taken.getsockname()[1]))
    assert ran.returncode == 1
    assert "planted" not in ran.stdout


async def test_it_listens_where_it_says_and_nowhere_else() -> None:
    """One TCP socket, on the loopback only as AVR_HOST says; no UDP."""
    with trio.fail_after(LIMIT_S):
        async with bridge() as ran:
            assert ran.process is not None
            sockets = sockets_of(ran.process.pid)
    assert sockets == [("tcp", "127.0.0.1", int(ran.url.rpartition(":")[2]))]


LISTENS = "0A"


def sockets_of(pid: int) -> list[tuple[str, str, int]]:
    """What a process listens on or receives at, by the kernel's own tables."""
    links = [os.readlink(link) for link in Path(f"/proc/{pid}/fd").iterdir()]
    inodes = {link[len("socket:[") : -1] for link in links if link.startswith("socket:[")}
    found = []
    for protocol in ("tcp", "tcp6", "udp", "udp6"):
        for line in Path(f"/proc/{pid}/net/{protocol}").read_text().splitlines()[1:]:
            _, local, _, state, *_, inode = line.split()[:10]
            if inode in inodes and (state == LISTENS or protocol.startswith("udp")):
                address, _, port = local.partition(":")
                family = socket.AF_INET6 if protocol.endswith("6") else socket.AF_INET
                # The kernel prints words in the machine's own order, which is little endian.
                words = [bytes.fromhex(address[i : i + 8])[::-1] for i in range(0, len(address), 8)]
                host = socket.inet_ntop(family, b"".join(words))
                found.append((protocol, host, int(port, 16)))
    return found


def test_the_container_runs_as_nobody_special() -> None:
    """The last USER is a number that is not root's, so that Kubernetes can verify it."""
    lines = (CHECKOUT / "Containerfile").read_text().splitlines()
    last_stage = lines[max(i for i, line in enumerate(lines) if line.startswith("FROM ")) :]
    (user,) = [line.split()[1] for line in last_stage if line.startswith("USER ")]
    uid, _, gid = user.partition(":")
    assert int(uid) >= 1000
    assert int(gid) >= 1000
