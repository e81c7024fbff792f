"""The console by plain HTTP: off by default, for whom it is, what it is sent with, and its feed."""

from __future__ import annotations

import re
from collections import deque
from contextlib import asynccontextmanager
from functools import partial
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import httpx2
import msgspec
import pytest
import structlog
import trio
import trio_websocket

from avr_bridge import (
    BridgeConfig,
    ModelConfig,
    Secret,
    ServerConfig,
    TalkConfig,
    create_app,
    serve,
)
from avr_bridge.server.console.feed import MOST_LISTENERS
from avr_bridge.testing import SimulatedRealtime, clip, open_simulated_call, read_wav
from tests.peer.node.harness import open_bridge
from tests.wire.conftest import Bridge

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

LIMIT_S = 30
TOKEN = "planted/shared+secret"
WITH_TOKEN = {"Authorization": f"Bearer {TOKEN}"}
UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}
PAGE = sorted(file.name for file in (files("avr_bridge.server.console") / "page").iterdir())
PATHS = ["/console", "/console/console.js", "/console/settings", "/console/feed"]


@asynccontextmanager
async def open_console(
    *, token: str | None = None, console: bool = True, **server: Any
) -> AsyncGenerator[Bridge]:
    """A bridge with a console on a free port of the loopback, and the simulated model."""
    simulator = SimulatedRealtime()
    with structlog.testing.capture_logs() as log:
        async with trio.open_nursery() as nursery:
            endpoint = await nursery.start(simulator.serve)
            config = BridgeConfig(
                model=ModelConfig(
                    api_key=Secret("sk-planted-key"), endpoint=endpoint, instructions="Be brief."
                ),
                server=ServerConfig(
                    host="127.0.0.1",
                    port=0,
                    token=Secret(token) if token else None,
                    console=console,
                    **server,
                ),
                talk=TalkConfig(fallback_file="off"),
            )
            addresses = await nursery.start(partial(serve, config))
            yield Bridge(addresses[0], simulator, log)
            nursery.cancel_scope.cancel()


def client_of(bridge: Bridge) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(base_url=bridge.http, timeout=LIMIT_S)


class Watcher:
    """A program that reads the feed: an iterator of its messages."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._text = b""
        self._messages: deque[Any] = deque()

    def __aiter__(self) -> Watcher:
        return self

    async def __anext__(self) -> Any:
        while not self._messages:
            piece = await self._stream.receive_some()
            if not piece:
                raise StopAsyncIteration
            # The lengths of HTTP's chunks, of whole messages each, are lines between them.
            *lines, self._text = (self._text + piece).split(b"\n")
            told = [line.removeprefix(b"data: ") for line in lines if line.startswith(b"data: ")]
            self._messages += map(msgspec.json.decode, told)
        return self._messages.popleft()


@asynccontextmanager
async def watch(address: str) -> AsyncGenerator[Watcher]:
    """Watch the feed of the bridge at this address; leaving the block hangs up."""
    host, port = address.removeprefix("http://").split(":")
    async with await trio.open_tcp_stream(host, int(port)) as stream:
        head = f"GET /console/feed HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n"
        await stream.send_all(head.encode())
        yield Watcher(stream)


@pytest.mark.parametrize("path", PATHS)
async def test_it_is_off_by_default(path: str) -> None:
    """As if there were no such page."""
    with trio.fail_after(LIMIT_S):
        async with (
            open_console(console=ServerConfig().console) as bridge,
            client_of(bridge) as client,
        ):
            answer = await client.get(path)
            missing = await client.get("/nothing")
            assert "/console" not in (await client.get("/")).text
    assert answer.status_code == 404
    assert (answer.text, answer.headers.keys()) == (missing.text, missing.headers.keys())


async def test_the_page_and_its_files() -> None:
    """Everything ships; each file has its type, and a policy that lets nothing else in; nothing of
    the page names another host."""
    with trio.fail_after(LIMIT_S):
        async with open_console() as bridge, client_of(bridge) as client:
            answers = {name: await client.get(f"/console/{name}") for name in PAGE}
            answers["/console"] = await client.get("/console")
            assert "/console" in (await client.get("/")).text
            for missing in ("nothing.js", "../routes.py", "%2e%2e%2froutes.py", "page"):
                assert (await client.get(f"/console/{missing}")).status_code == 404
    types = {
        "html": "text/html",
        "css": "text/css",
        "js": "text/javascript",
        "svg": "image/svg+xml",
    }
    assert answers["/console"].text == answers["index.html"].text
    for name, answer in answers.items():
        assert answer.status_code == 200, name
        ending = name.rpartition(".")[2] if "." in name else "html"
        assert answer.headers["Content-Type"].partition(";")[0] == types[ending]
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        hosts = set(re.findall(r"https?://([^/\s\"']+)", answer.text))
        assert hosts <= {"www.w3.org", "localhost,"}, "a name of XML, and a word to the reader"


@pytest.mark.parametrize("query", ["", "?from=2000&to=50%2F01"])
async def test_a_slash_behind_leads_to_the_page(query: str) -> None:
    """With what was asked for, and also where a proxy has put the bridge under a path."""
    with trio.fail_after(LIMIT_S):
        async with open_console() as bridge, client_of(bridge) as client:
            answer = await client.get(f"/console/{query}")
            arrived = await client.get(f"/console/{query}", follow_redirects=True)
            page = await client.get("/console")
    assert (answer.status_code, answer.headers["Location"]) == (307, f"../console{query}")
    assert (arrived.text, str(arrived.url)) == (page.text, f"{bridge.http}/console{query}")


async def test_a_slash_behind_is_for_whom_the_page_is_for() -> None:
    """A page of another name is refused there too."""
    with trio.fail_after(LIMIT_S):
        async with open_console() as bridge, client_of(bridge) as client:
            answer = await client.get("/console/", headers={"Host": "evil.example"})
    assert answer.status_code == 403
    assert "Location" not in answer.headers


@pytest.mark.parametrize("path", PATHS)
async def test_another_machine_gets_a_clear_403(path: str) -> None:
    """Without AVR_TOKEN: the answer says what to set. With it, the page, and the rest for who gives
    it."""
    for token, expected in ((None, 403), (TOKEN, 401 if path in PATHS[2:] else 200)):
        server = ServerConfig(token=Secret(token) if token else None, console=True)
        app = create_app(BridgeConfig(model=ModelConfig(api_key=Secret("k")), server=server))
        sent: list[Any] = []
        scope = {
            "type": "http",
            "http_version": "1.1",
            "asgi": {"version": "3.0"},
            "method": "GET",
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": [(b"host", b"localhost:6030")],
            "client": ("192.0.2.7", 40000),
            "server": ("192.0.2.1", 6030),
            "state": {},
            "extensions": {},
        }

        asked = False

        async def receive() -> dict[str, Any]:
            nonlocal asked
            if asked:
                await trio.sleep_forever()
            asked = True
            await trio.lowlevel.checkpoint()
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: dict[str, Any], sent: list[Any] = sent) -> None:
            await trio.lowlevel.checkpoint()
            sent.append(message)

        with trio.fail_after(LIMIT_S):
            await app(scope, receive, send)  # type: ignore[arg-type]
        assert sent[0]["status"] == expected, path
        if expected == 403:
            body = b"".join(message.get("body", b"") for message in sent)
            assert b"AVR_TOKEN" in body


async def test_strangers_pages_get_nothing() -> None:
    """Neither data by a name that is not ours (DNS rebinding), nor by a page that is not ours, nor
    a call on either transport; the console's own page gets all. A line in the log says so."""
    with trio.fail_after(LIMIT_S):
        async with open_console() as bridge:
            own = bridge.http
            strange = [{"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}]
            async with httpx2.AsyncClient(base_url=own) as client:
                for headers in (*strange, {"Host": "evil.example"}):
                    for path in PATHS[2:]:
                        assert (await client.get(path, headers=headers)).status_code == 403
                assert (await client.get("/console", headers=strange[1])).status_code == 200
                assert (await client.get("/console/settings", headers={"Origin": own})).is_success
                posted = await client.post("/speech-to-speech-stream", headers=strange[0])
                assert posted.status_code == 403
                refused = await client.get("/", headers={**UPGRADE, **strange[0]})
                assert refused.status_code == 403
            async with _page_calls(bridge.ws, own) as ws:
                await ws.send_message('{"type": "init", "uuid": "u-1"}')
                assert '"audio"' in await ws.get_message()
            await bridge.wait_ended()
    warnings = [line["event"] for line in bridge.log if line["log_level"] == "warning"]
    assert "caller refused: a web page that is not the console" in warnings
    assert "console refused" in warnings


@pytest.mark.parametrize("token", [None, TOKEN])
async def test_no_page_calls_where_there_is_no_console(token: str | None) -> None:
    """Not even one of the same origin, unless it gives the token."""
    with trio.fail_after(LIMIT_S):
        async with open_console(console=False, token=token) as bridge:
            async with client_of(bridge) as client:
                for origin in (bridge.http, "https://evil.example"):
                    refused = await client.get("/", headers={**UPGRADE, "Origin": origin})
                    assert refused.status_code == (401 if token else 403)
            if token:
                async with _page_calls(bridge.ws, "https://app.example", WITH_TOKEN) as ws:
                    await ws.send_message('{"type": "init", "uuid": "u-1"}')
                    assert '"audio"' in await ws.get_message()
                await bridge.wait_ended()


async def test_with_a_token_the_data_needs_it() -> None:
    """The page holds nothing and is given to all; settings and feed to who has the token."""
    with trio.fail_after(LIMIT_S):
        async with open_console(token=TOKEN) as bridge, client_of(bridge) as client:
            assert (await client.get("/console")).status_code == 200
            for path in PATHS[2:]:
                assert (await client.get(path)).status_code == 401
                wrong = {"Authorization": "Bearer no"}
                assert (await client.get(path, headers=wrong)).status_code == 401
            named = {**WITH_TOKEN, "Host": "bridge.example", "Via": "1.1 proxy"}
            assert (await client.get("/console/settings", headers=named)).status_code == 200
    assert TOKEN not in str(bridge.log)


async def test_settings_have_no_secrets() -> None:
    """What is set is there, what is secret is hidden, whatever way it came."""
    with trio.fail_after(LIMIT_S):
        async with open_console(token=TOKEN) as bridge, client_of(bridge) as client:
            answer = await client.get("/console/settings", headers=WITH_TOKEN)
    assert answer.headers["Cache-Control"] == "no-store"
    assert "planted" not in answer.text
    sections = answer.json()["sections"]
    shown = {one["name"]: one for section in sections for one in section["settings"]}
    assert shown["OPENAI_API_KEY"]["value"] == shown["AVR_TOKEN"]["value"] == "***"
    assert shown["OPENAI_INSTRUCTIONS"]["value"] == "Be brief."
    assert shown["AVR_CONSOLE"] == {
        "name": "AVR_CONSOLE",
        "value": "on",
        "default": "off",
        "changed": True,
        "help": shown["AVR_CONSOLE"]["help"],
    }
    assert not shown["AVR_TOOLS_DIR"]["changed"]


async def test_the_feed_tells_of_a_call() -> None:
    """A call from its beginning to its end, beside one that ran before: which state, how long the
    answer took; never what was said."""
    question = read_wav(clip("question"))
    moments: list[Any] = []
    with trio.fail_after(LIMIT_S):
        async with open_console() as bridge:
            async with open_simulated_call(bridge.ws, uuid="earlier") as earlier:
                await earlier.wait_heard_speech()
                async with watch(bridge.http) as events:
                    hello = await anext(events)
                    async with open_simulated_call(bridge.ws, uuid="ours") as call:
                        await call.wait_heard_speech()
                        await call.wait_quiet()
                        call.say(question)
                        await call.wait_said()
                        await call.wait_heard_speech()
                        await call.wait_quiet()
                    async for message in events:
                        if message["type"] == "moment" and message["call"] == "ours":
                            moments.append(message)
                            if message["kind"] == "call_ended":
                                break
            await bridge.wait_ended(2)
    assert (hello["type"], hello["workers"], hello["pulse"]["calls"]) == ("hello", 1, 1)
    (view,) = hello["calls"]
    assert (view["call"], view["transport"]) == ("earlier", "websocket")
    kinds = [moment["kind"] for moment in moments]
    assert kinds[:2] == ["call_began", "session_ready"]
    for kind in ("speech_started", "speech_stopped", "answer_started", "response_done"):
        assert kind in kinds
    latencies_ms = [one["latency_ms"] for one in moments if one["kind"] == "answer_started"]
    assert latencies_ms[0] is None
    assert 100 < latencies_ms[1] < 3000
    states = {moment["view"]["state"] for moment in moments[:-1]}
    assert {"listening", "caller speaks", "thinking", "agent speaks"} <= states
    assert moments[-1]["reason"] == "caller_hung_up"
    assert moments[-1]["view"] is None
    assert "speech)" not in str(moments), "the parrot's words"


async def test_a_listener_that_goes_leaves_nothing() -> None:
    """Twenty times, in the middle of its feed: no task is left, and there is room again."""
    with trio.fail_after(LIMIT_S):
        async with open_console() as bridge, httpx2.AsyncClient(base_url=bridge.http) as client:

            async def tasks() -> int:
                return int((await client.get("/healthz")).json()["tasks"])

            before = await tasks()
            for _ in range(MOST_LISTENERS + 4):
                async with watch(bridge.http) as events:
                    assert (await anext(events))["type"] == "hello"
                while await tasks() > before:  # noqa: ASYNC110 - they are another program's
                    await trio.sleep(0.1)


async def test_there_is_a_bound_on_listeners() -> None:
    """One too many is told so; the others go on."""
    with trio.fail_after(LIMIT_S):
        async with open_console() as bridge, trio.open_nursery() as nursery:

            async def listen(task_status: trio.TaskStatus[None]) -> None:
                async with watch(bridge.http) as events:
                    await anext(events)
                    task_status.started()
                    async for _ in events:
                        pass

            for _ in range(MOST_LISTENERS):
                await nursery.start(listen)
            async with httpx2.AsyncClient() as client:
                assert (await client.get(f"{bridge.http}/console/feed")).status_code == 503
            nursery.cancel_scope.cancel()


async def test_the_feed_ends_with_the_bridge() -> None:
    """Not before its calls: during the drain it tells of them and that no more are taken. Then it
    ends by itself, at once."""
    stop = trio.Event()
    config = BridgeConfig(
        model=ModelConfig(api_key=Secret("k")),
        server=ServerConfig(host="127.0.0.1", port=0, console=True, drain_s=1.0),
    )
    with trio.fail_after(LIMIT_S):
        async with trio.open_nursery() as nursery:
            (address,) = await nursery.start(partial(serve, config, shutdown=stop.wait))
            async with watch(address) as events:
                assert (await anext(events))["pulse"]["refuses"] is None
                stop.set()
                stopped_s = trio.current_time()
                async for _ in events:
                    pass
                assert trio.current_time() - stopped_s < 1.0


async def test_several_workers_say_which_one_it_is() -> None:
    """The log says where the page is, once; each listener, which process it watches, and how many
    calls all of them carry, among which it lists its own."""
    settings = {
        "AVR_CONSOLE": "on",
        "AVR_HOST": "127.0.0.1",
        "AVR_WORKERS": "2",
        "OPENAI_API_KEY": "k",
        "PORT": "0",
    }
    with trio.fail_after(LIMIT_S):
        async with open_bridge(settings, SimulatedRealtime()) as bridge:
            address = f"http://127.0.0.1:{bridge.port}"
            async with open_simulated_call(address.replace("http", "ws")) as call:
                await call.wait_heard_speech()
                seen: dict[int, Any] = {}
                while len(seen) < 2:
                    async with watch(address) as events:
                        hello = await anext(events)
                        seen[hello["worker"]] = hello
            assert await bridge.stop() == 0
    assert sorted(seen) == [1, 2]
    for hello in seen.values():
        assert hello["workers"] == 2
        assert hello["pulse"]["calls_of_all"] == 1
        assert len(hello["calls"]) == hello["pulse"]["calls"]
    assert sum(len(hello["calls"]) for hello in seen.values()) == 1
    (line,) = bridge.logged("console")
    assert line["open"] == f"http://localhost:{bridge.port}/console"


def _page_calls(url: str, origin: str, headers: dict[str, str] | None = None) -> Any:
    """A WebSocket as a browser opens it for a page of this origin."""
    given = {"Origin": origin, **(headers or {})}
    extra = [(name.encode(), value.encode()) for name, value in given.items()]
    return trio_websocket.open_websocket_url(f"{url}/", extra_headers=extra)
