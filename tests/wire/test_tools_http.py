"""HTTP tools on real sockets: what is sent, and what becomes of each answer."""

from __future__ import annotations

import gzip
import json
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zlib import compress

import pytest
import structlog
import trio

import avr_bridge
from avr_bridge import ToolsConfig, __version__
from avr_bridge.tools import CallContext, Toolbox, load_tools
from avr_bridge.tools.toolbox import CUT_MARK, MAX_OUTPUT_BYTES

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

LIMIT_S = 10
CALL = CallContext("u-1", {"from": "600"})
ANYTHING = {"type": "object", "additionalProperties": True}


class Service:
    """Answers every request with the same bytes; keeps what was asked."""

    def __init__(self, answer: bytes = b"", status: str = "200 OK", extra: str = "") -> None:
        self.asked = b""
        head = f"HTTP/1.1 {status}\r\nContent-Length: {len(answer)}\r\n{extra}"
        self._raw = f"{head}Connection: close\r\n\r\n".encode() + answer

    async def serve(self, stream: trio.SocketStream) -> None:
        async with stream:
            while not self._complete():
                self.asked += await stream.receive_some(4096)
            try:
                await stream.send_all(self._raw)
            except trio.BrokenResourceError:
                return  # the client has read enough

    def _complete(self) -> bool:
        head, end, body = self.asked.partition(b"\r\n\r\n")
        lengths = [
            int(line.partition(b":")[2])
            for line in head.split(b"\r\n")
            if line.lower().startswith(b"content-length")
        ]
        return bool(end) and len(body) >= sum(lengths)

    @property
    def line(self) -> str:
        return self.asked.decode().partition("\r\n")[0]

    @property
    def headers(self) -> list[str]:
        head = self.asked.decode().partition("\r\n\r\n")[0]
        return [line.lower() for line in head.split("\r\n")[1:]]

    @property
    def body(self) -> str:
        return self.asked.decode().partition("\r\n\r\n")[2]


@asynccontextmanager
async def open_tool(directory: Path, service: Service, **entry: Any) -> AsyncGenerator[Toolbox]:
    """The service on a free port, and a toolbox with one tool, `it`, that asks it."""
    with trio.fail_after(LIMIT_S), structlog.testing.capture_logs():
        async with trio.open_nursery() as nursery:
            (listener,) = await nursery.start(
                partial(trio.serve_tcp, service.serve, 0, host="127.0.0.1")
            )
            port = listener.socket.getsockname()[1]
            tool = {
                "name": "it",
                "description": "It.",
                "url": f"http://127.0.0.1:{port}/path?own=1",
                "parameters": ANYTHING,
                **entry,
            }
            (directory / "t.json").write_text(json.dumps({"http": [tool]}))
            box = load_tools(ToolsConfig(directory=str(directory)), {"TOKEN": "hush"})
            assert box.problems == ()
            yield box
            nursery.cancel_scope.cancel()


async def test_arguments_are_posted(tmp_path: Path) -> None:
    """As JSON, with the call's id and the headers of the file; the answer's text is the output."""
    service = Service("grüß".encode())
    headers = {"Authorization": "Bearer ${TOKEN}"}
    async with open_tool(tmp_path, service, headers=headers) as box:
        result = await box.run("it", '{"a": "ü", "b": [1]}', CALL)
    assert (result.output, result.ok) == ("grüß", True)
    assert service.line == "POST /path?own=1 HTTP/1.1"
    assert json.loads(service.body) == {"a": "ü", "b": [1]}
    assert {"x-avr-uuid: u-1", "authorization: bearer hush"} <= set(service.headers)


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ({}, f"user-agent: avr-bridge/{__version__}"),
        ({"user-agent": "shop 2"}, "user-agent: shop 2"),
    ],
)
async def test_who_asks_is_said(tmp_path: Path, given: dict[str, str], sent: str) -> None:
    """The bridge with its version, not its HTTP library; unless the tool's file says another."""
    service = Service()
    async with open_tool(tmp_path, service, headers=given) as box:
        await box.run("it", "{}", CALL)
    assert [line for line in service.headers if line.startswith("user-agent:")] == [sent]


def test_requests_are_made_in_one_place() -> None:
    """What holds of `ask` holds of every request of the bridge; the load generator has its own."""
    package = Path(avr_bridge.__file__).parent
    places = {
        str(file.relative_to(package))
        for file in package.rglob("*.py")
        if "httpx2.AsyncClient" in file.read_text()
    }
    assert places == {"tools/web.py", "soak/container.py"}


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_arguments_are_asked(tmp_path: Path, method: str) -> None:
    """As query, beside the address' own, where the method has no body."""
    service = Service(b"7")
    arguments = '{"w": "a b&c", "n": 1.5, "t": true, "no": null, "l": [1, "x"], "o": {"k": 1}}'
    async with open_tool(tmp_path, service, method=method) as box:
        assert (await box.run("it", arguments, CALL)).output == "7"
    query = "own=1&w=a+b%26c&n=1.5&t=true&l=1&l=x&o=%7B%22k%22%3A1%7D"
    assert service.line.replace("%20", "+") == f"{method} /path?{query} HTTP/1.1"
    assert service.body == ""


@pytest.mark.parametrize(
    ("service", "words"),
    [
        (Service(b"no such order", "404 Not Found"), "HTTP status 404: no such order."),
        (Service(b"", "500 Oops"), "HTTP status 500."),
        (Service(b"", "302 Found", "Location: http://127.0.0.1:1/\r\n"), "HTTP status 302."),
        (Service(b"x" * 5000, "500 Oops"), "x" * 1000 + "."),
    ],
)
async def test_a_bad_status_becomes_words(tmp_path: Path, service: Service, words: str) -> None:
    """With what the service said, bounded; a redirect is not followed."""
    async with open_tool(tmp_path, service) as box:
        result = await box.run("it", "{}", CALL)
    assert not result.ok
    assert result.output.startswith("The tool it failed: the service answered with HTTP status")
    assert result.output.endswith(words)
    assert len(result.output) < 1200


async def test_a_huge_answer_is_cut(tmp_path: Path) -> None:
    """Read no further than is told."""
    async with open_tool(tmp_path, Service(b"y" * 3_000_000)) as box:
        result = await box.run("it", "{}", CALL)
    assert result.ok
    assert len(result.output) == MAX_OUTPUT_BYTES
    assert result.output.endswith(CUT_MARK)


async def test_an_endless_answer_is_cut(tmp_path: Path) -> None:
    """The rest is left unread and the connection closed: the service sees the end."""
    closed = trio.Event()
    service = Service()

    async def endless(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.receive_some(4096)
            await stream.send_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
            try:
                while True:
                    await stream.send_all(b"y" * 4096)
            except trio.BrokenResourceError:
                closed.set()

    service.serve = endless  # type: ignore[method-assign]
    async with open_tool(tmp_path, service) as box:
        result = await box.run("it", "{}", CALL)
        await closed.wait()
    assert result.ok
    assert len(result.output) == MAX_OUTPUT_BYTES


@pytest.mark.parametrize(
    ("packing", "pack"), [("gzip", gzip.compress), ("X-GZIP", gzip.compress), ("deflate", compress)]
)
async def test_an_answer_packed_unasked(
    tmp_path: Path, packing: str, pack: Callable[[bytes], bytes]
) -> None:
    """Is unpacked, up to the limit."""
    for text in ("grüß", "y" * 3_000_000):
        extra = f"Content-Encoding: {packing}\r\n"
        async with open_tool(tmp_path, Service(pack(text.encode()), extra=extra)) as box:
            result = await box.run("it", "{}", CALL)
        assert result.ok
        assert result.output.startswith(text[:4])
        assert len(result.output) <= MAX_OUTPUT_BYTES


@pytest.mark.parametrize(
    ("packing", "words"), [("br", "packs its answers in a way"), ("gzip", "gave no proper answer")]
)
async def test_an_answer_that_cannot_be_unpacked(tmp_path: Path, packing: str, words: str) -> None:
    """Words for the model."""
    service = Service(b"no such thing", extra=f"Content-Encoding: {packing}\r\n")
    async with open_tool(tmp_path, service) as box:
        result = await box.run("it", "{}", CALL)
    assert not result.ok
    assert words in result.output


async def test_a_service_that_is_down_or_talks_nonsense(tmp_path: Path) -> None:
    """Words, without the address."""
    async with open_tool(tmp_path, Service(), url="http://127.0.0.1:1/?k=${TOKEN}") as box:
        down = await box.run("it", "{}", CALL)
    nonsense = Service()
    nonsense._raw = b"nonsense\r\n\r\n"
    async with open_tool(tmp_path, nonsense) as box:
        broken = await box.run("it", "{}", CALL)
    assert down.output == "The tool it failed: the service could not be reached."
    assert broken.output == "The tool it failed: the service gave no proper answer."
    assert (down.ok, broken.ok) == (False, False)


async def test_a_service_that_hangs_has_the_tools_own_limit(tmp_path: Path) -> None:
    """And its connection is closed: the service sees the end."""
    closed = trio.Event()
    service = Service()

    async def silent(stream: trio.SocketStream) -> None:
        async with stream:
            while await stream.receive_some(4096):
                pass
            closed.set()

    service.serve = silent  # type: ignore[method-assign]
    async with open_tool(tmp_path, service, timeout_s=0.2) as box:
        result = await box.run("it", "{}", CALL)
        await closed.wait()
    assert result.output == "The tool it failed: it took longer than 0.2 seconds."
