"""Small STS servers for the tests of the simulated caller: the bridge's place, not the bridge."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import h11
import trio
from trio_websocket import ConnectionClosed, serve_websocket

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from trio_websocket import WebSocketConnection, WebSocketRequest

__all__ = ["HttpSts", "WebSocketSts", "echo", "tcp_server", "websocket_sts"]


LEAD_FRAMES = 15
"""An echo holds back its first 300 ms: so much may a busy machine be late without a hole."""


class WebSocketSts:
    """What a fake STS server saw of a call."""

    def __init__(self) -> None:
        self.path = ""
        self.headers: dict[bytes, bytes] = {}
        self.messages: list[dict[str, Any]] = []
        self.raw: list[str] = []
        self.closed: tuple[int, str] | None = None
        self.ended = trio.Event()


type Behaviour = Callable[[WebSocketConnection, WebSocketSts], Awaitable[None]]


@asynccontextmanager
async def websocket_sts(behave: Behaviour) -> AsyncGenerator[tuple[str, WebSocketSts]]:
    """Serve WebSocket calls on a free port: the address and what was seen."""
    seen = WebSocketSts()

    async def handle(request: WebSocketRequest) -> None:
        seen.path = request.path
        seen.headers = dict(request.headers)
        ws = await request.accept()
        try:
            await behave(ws, seen)
        except ConnectionClosed:
            pass
        finally:
            if ws.closed is not None:
                seen.closed = (ws.closed.code, ws.closed.reason or "")
            seen.ended.set()

    async with trio.open_nursery() as nursery:
        server = await nursery.start(
            partial(serve_websocket, handle, "127.0.0.1", 0, ssl_context=None)
        )
        yield f"ws://127.0.0.1:{server.port}", seen
        nursery.cancel_scope.cancel()


async def echo(ws: WebSocketConnection, seen: WebSocketSts) -> None:
    """Send back what is said, `LEAD_FRAMES` ahead of its playing."""
    held: list[str] = []
    while True:
        text = str(await ws.get_message())
        seen.raw.append(text)
        seen.messages.append(json.loads(text))
        if seen.messages[-1]["type"] == "audio":
            held.append(text)
        if len(seen.raw) > LEAD_FRAMES:
            for message in held:
                await ws.send_message(message)
            held.clear()


@asynccontextmanager
async def tcp_server(
    handle: Callable[[trio.SocketStream], Awaitable[None]],
) -> AsyncGenerator[int]:
    """Serve a TCP handler on a free port of the loopback: the port."""

    async def handle_and_close(stream: trio.SocketStream) -> None:
        async with stream:
            with suppress(trio.BrokenResourceError):
                await handle(stream)

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(
            partial(trio.serve_tcp, handle_and_close, 0, host="127.0.0.1")
        )
        yield listeners[0].socket.getsockname()[1]
        nursery.cancel_scope.cancel()


class HttpSts:
    """A legacy STS server: echoes the request's body while it comes in."""

    def __init__(self, status: int = 200, *, last_bytes: bytes = b"") -> None:
        self.status = status
        self.last_bytes = last_bytes
        self.request: h11.Request | None = None
        self.received = bytearray()
        self.ended = False

    async def handle(self, stream: trio.SocketStream) -> None:
        http = h11.Connection(h11.SERVER)
        held = bytearray()
        while True:
            event = http.next_event()
            if event is h11.NEED_DATA:
                http.receive_data(bytes(await stream.receive_some(65_536)))
            elif isinstance(event, h11.Request):
                self.request = event
                headers = [("Content-Type", "application/octet-stream")]
                if self.status != 200:
                    body = b'{"message":"no"}'
                    headers.append(("Content-Length", str(len(body))))
                    await self.send(
                        stream, http, h11.Response(status_code=self.status, headers=headers)
                    )
                    await self.send(stream, http, h11.Data(data=body), h11.EndOfMessage())
                    await trio.sleep(0.2)
                    return
                await self.send(stream, http, h11.Response(status_code=200, headers=headers))
            elif isinstance(event, h11.Data):
                self.received += event.data
                held += event.data
                if len(self.received) >= LEAD_FRAMES * 320:
                    # An odd cut on purpose: TCP does as much.
                    await self.send(stream, http, h11.Data(data=bytes(held[:101])))
                    await self.send(stream, http, h11.Data(data=bytes(held[101:])))
                    held.clear()
            elif isinstance(event, h11.EndOfMessage):
                self.ended = True
                if self.last_bytes:
                    await self.send(stream, http, h11.Data(data=self.last_bytes))
                await self.send(stream, http, h11.EndOfMessage())
                return
            else:
                return

    async def send(self, stream: trio.SocketStream, http: h11.Connection, *events: Any) -> None:
        for event in events:
            await stream.send_all(http.send(event) or b"")
