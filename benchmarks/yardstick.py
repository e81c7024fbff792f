"""Off the road: the yardstick of `benchmarks.calls`, a bare bridge that only carries sound.

**This file must never change**: all recorded history is told in ratios to it. It does the work that
no bridge on Trio can do without, as plainly as it can be written: frames of 20 ms in, one append
each; deltas out, one message each; JSON, base64 and G.711 from ready-made parts. It has no pacing,
no resampling, no barge-in, no limits and no care for broken peers; do not build a bridge on it.

`python -m benchmarks.yardstick PORT MODEL_URL` serves until it is ended.
"""

from __future__ import annotations

import base64
import json
import sys
from contextlib import suppress
from functools import partial
from typing import Any

import audioop
import trio
from trio_websocket import (
    ConnectionClosed,
    HandshakeError,
    WebSocketConnection,
    WebSocketRequest,
    open_websocket_url,
    serve_websocket,
)

PCMU = {"format": {"type": "audio/pcmu"}}
SESSION = {"type": "realtime", "audio": {"input": PCMU, "output": PCMU}}


async def call(model_url: str, request: WebSocketRequest) -> None:
    """One call, from the caller's dial to either end's close. A caller who has gone is no news."""
    with suppress(ConnectionClosed, HandshakeError):
        caller = await request.accept()
        async with open_websocket_url(model_url) as model, trio.open_nursery() as nursery:
            nursery.start_soon(carry_down, model, caller, nursery.cancel_scope)
            await carry_up(caller, model)
            nursery.cancel_scope.cancel()


async def carry_up(caller: WebSocketConnection, model: WebSocketConnection) -> None:
    """PCM16 at 8 kHz from the caller, µ-law to the model."""
    try:
        while True:
            message = json.loads(await caller.get_message())
            if message["type"] == "audio":
                sound = audioop.lin2ulaw(base64.b64decode(message["audio"]), 2)
                await send(model, type="input_audio_buffer.append", audio=text64(sound))
    except ConnectionClosed:
        pass


async def carry_down(
    model: WebSocketConnection, caller: WebSocketConnection, whole: trio.CancelScope
) -> None:
    """µ-law from the model, PCM16 to the caller."""
    try:
        while True:
            event = json.loads(await model.get_message())
            match event["type"]:
                case "session.created":
                    await send(model, type="session.update", session=SESSION)
                case "session.updated":
                    await send(model, type="response.create")
                case "response.output_audio.delta":
                    pcm = audioop.ulaw2lin(base64.b64decode(event["delta"]), 2)
                    await send(caller, type="audio", audio=text64(pcm))
    except ConnectionClosed:
        whole.cancel()


async def send(connection: WebSocketConnection, **message: Any) -> None:
    """One JSON object as a text message."""
    await connection.send_message(json.dumps(message))


def text64(data: bytes) -> str:
    """Base64, as JSON carries it."""
    return base64.b64encode(data).decode()


async def main(port: int, model_url: str) -> None:
    """Serve until cancelled."""
    await serve_websocket(partial(call, model_url), "127.0.0.1", port, ssl_context=None)


if __name__ == "__main__":
    trio.run(main, int(sys.argv[1]), sys.argv[2])
