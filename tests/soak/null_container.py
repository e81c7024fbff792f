"""A container that does nothing but pass sound on, for tests of the load generator. A process.

`python -m tests.soak.null_container MODEL_URL FAULT` prints its port. It asks the model for µ-law.
Faults: ``none``; ``drop``: every tenth answer is thrown away, and every tenth frame of the caller;
``delay``: what the model says comes 100 ms late; ``close``: the first call is closed with code 1011
after two seconds; ``refuse``: every call is refused with status 503.
"""

from __future__ import annotations

import base64
import math
import sys
from contextlib import suppress
from functools import partial
from typing import Any

import audioop
import msgspec
import trio
from trio_websocket import (
    ConnectionClosed,
    WebSocketConnection,
    WebSocketRequest,
    open_websocket_url,
    serve_websocket,
)

LATE_S = 0.1
CLOSE_AFTER_S = 2.0
DROPPED = 10
_PCMU = {"format": {"type": "audio/pcmu"}}
_CLOSING = {"type": "function", "name": "avr_hangup", "parameters": {"type": "object"}}
_STOCK = {
    "type": "function",
    "name": "stock",
    "parameters": {
        "type": "object",
        "properties": {"article": {"type": "string"}, "count": {"type": "integer"}},
        "required": ["article"],
    },
}
_SESSION = {
    "type": "realtime",
    "audio": {"input": _PCMU, "output": _PCMU},
    "tools": [_CLOSING, _STOCK],
}


class NullContainer:
    """All calls of one container."""

    def __init__(self, model_url: str, fault: str) -> None:
        self.model_url = model_url
        self.fault = fault
        self.calls = 0

    async def websocket(self, request: WebSocketRequest) -> None:
        """One call by WebSocket."""
        if self.fault == "refuse":
            await request.reject(503)
            return
        self.calls += 1
        caller = await request.accept()
        limit_s = CLOSE_AFTER_S if self.fault == "close" and self.calls == 1 else math.inf
        with suppress(ConnectionClosed), trio.move_on_after(limit_s) as limit:
            await caller.get_message()  # init
            async with open_websocket_url(self.model_url) as model, trio.open_nursery() as nursery:
                nursery.start_soon(self._downlink, model, partial(_send_json, caller), nursery)
                with suppress(ConnectionClosed):
                    await self._uplink(caller, model)
                nursery.cancel_scope.cancel()
        if limit.cancelled_caught:
            await caller.aclose(1011, "a fault")

    async def _uplink(self, caller: WebSocketConnection, model: WebSocketConnection) -> None:
        frame = 0
        while True:
            message = msgspec.json.decode(await caller.get_message())
            if message["type"] == "audio":
                frame += 1
                await self._to_model(model, base64.b64decode(message["audio"]), frame)

    async def _to_model(self, model: WebSocketConnection, pcm: bytes, frame: int) -> None:
        if self.fault == "drop" and frame % DROPPED == 0:
            return
        sound = base64.b64encode(audioop.lin2ulaw(pcm, 2)).decode()
        await _send_json(model, {"type": "input_audio_buffer.append", "audio": sound})

    async def _downlink(self, model: WebSocketConnection, send: Any, nursery: trio.Nursery) -> None:
        deltas = 0
        with suppress(ConnectionClosed):
            while True:
                event = msgspec.json.decode(await model.get_message())
                match event["type"]:
                    case "session.created":
                        await _send_json(model, {"type": "session.update", "session": _SESSION})
                    case "session.updated":
                        await _send_json(model, {"type": "response.create"})
                    case "input_audio_buffer.speech_started":
                        await send({"type": "interruption"})
                    case "response.function_call_arguments.done":
                        assert event["name"] == "stock"
                        assert msgspec.json.decode(event["arguments"]) == {"article": "soak"}
                        output = {"type": "function_call_output", "call_id": event["call_id"]}
                        item = output | {"output": "12"}
                        await _send_json(model, {"type": "conversation.item.create", "item": item})
                        await _send_json(model, {"type": "response.create"})
                    case "response.output_audio.delta":
                        deltas += 1
                        if self.fault == "drop" and deltas % DROPPED == 0:
                            continue
                        pcm = audioop.ulaw2lin(base64.b64decode(event["delta"]), 2)
                        sound = {"type": "audio", "audio": base64.b64encode(pcm).decode()}
                        nursery.start_soon(self._later, send, sound)

    async def _later(self, send: Any, message: dict[str, Any]) -> None:
        if self.fault == "delay":
            await trio.sleep(LATE_S)
        with suppress(ConnectionClosed, trio.BrokenResourceError):
            await send(message)

    async def http(self, stream: trio.SocketStream) -> None:
        """One call by HTTP, chunked both ways."""
        data = b""
        while b"\r\n\r\n" not in data:
            data += await stream.receive_some()
        head, _, data = data.partition(b"\r\n\r\n")
        if not head.startswith(b"POST /speech-to-speech-stream "):
            await stream.send_all(b"HTTP/1.1 404 Not Found\r\n\r\n")
            return
        await stream.send_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")

        one_at_a_time = trio.Lock()

        async def send(message: dict[str, Any]) -> None:
            pcm = base64.b64decode(message["audio"])
            async with one_at_a_time:
                await stream.send_all(b"%x\r\n%b\r\n" % (len(pcm), pcm))

        async with open_websocket_url(self.model_url) as model, trio.open_nursery() as nursery:
            nursery.start_soon(self._downlink, model, send, nursery)
            frame = 0
            while True:
                size, line, rest = data.partition(b"\r\n")
                if not line or len(rest) < int(size, 16) + 2:
                    data += (more := await stream.receive_some())
                    if not more:
                        break
                    continue
                if int(size, 16) == 0:
                    break
                frame += 1
                await self._to_model(model, rest[: int(size, 16)], frame)
                data = rest[int(size, 16) + 2 :]
            nursery.cancel_scope.cancel()
        await stream.aclose()


async def _send_json(connection: WebSocketConnection, message: dict[str, Any]) -> None:
    await connection.send_message(msgspec.json.encode(message).decode())


async def main(model_url: str, fault: str) -> None:
    """Serve until killed."""
    container = NullContainer(model_url, fault)
    async with trio.open_nursery() as nursery:
        if fault == "http":
            listeners = await nursery.start(
                partial(trio.serve_tcp, container.http, 0, host="127.0.0.1")
            )
            print(listeners[0].socket.getsockname()[1], flush=True)
        else:
            server = await nursery.start(
                partial(serve_websocket, container.websocket, "127.0.0.1", 0, ssl_context=None)
            )
            print(server.port, flush=True)


if __name__ == "__main__":
    trio.run(main, sys.argv[1], sys.argv[2])
