"""Embedding: calls over a transport of one's own, in a Trio program that knows no Quart.

A TCP server that takes raw PCM16 (8 kHz, mono, little-endian) and answers in kind: one
connection is one call. Run it as it is to see one call against the simulated model:

    python examples/embed_in_trio_app.py

Set OPENAI_API_KEY to talk to the real one.
"""

from __future__ import annotations

import os
import uuid
from typing import TYPE_CHECKING

import trio

from avr_bridge import BridgeConfig, run_call
from avr_bridge.caller.transport import (
    AudioOut,
    CallerAudio,
    CallerEvent,
    CallerLeft,
    CallerMessage,
    CallStarted,
)
from avr_bridge.errors import CallerGone
from avr_bridge.testing import SimulatedRealtime, clip, likeness, read_wav

if TYPE_CHECKING:
    from collections.abc import Mapping


class RawTcpTransport:
    """These members are all that a call needs of its caller's side."""

    metadata: Mapping[str, str] = {}
    lead_ms = 120  # nothing sent can be taken back, so little is sent ahead,
    lead_is_heard = True  # and what was sent counts as heard

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._started = False
        self._odd = b""

    async def receive(self) -> CallerEvent:
        if not self._started:
            self._started = True
            return CallStarted(str(uuid.uuid4()))
        try:
            data = self._odd + await self._stream.receive_some(4096)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return CallerLeft()
        whole = len(data) & ~1
        self._odd = data[whole:]
        return CallerAudio(data[:whole]) if whole else CallerLeft()

    async def send(self, message: CallerMessage) -> None:
        if isinstance(message, AudioOut):
            try:
                await self._stream.send_all(message.pcm)
            except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
                raise CallerGone from error

    async def close(self, code: int, reason: str) -> None:
        await self._stream.aclose()


async def main() -> None:
    said = read_wav(clip("question"))
    async with trio.open_nursery() as nursery:
        environ = dict(os.environ)
        if "OPENAI_API_KEY" not in environ:
            environ["OPENAI_ENDPOINT"] = await nursery.start(SimulatedRealtime().serve)
        config = BridgeConfig.from_env(environ)

        ended = trio.Event()

        async def answer(stream: trio.SocketStream) -> None:
            summary = await run_call(RawTcpTransport(stream), config)
            print(f"the call ended: {summary.end_reason.value}, {summary.duration_s:.1f} s")
            ended.set()

        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, answer, [listener])
        host, port = listener.socket.getsockname()

        heard = await place_one_call(host, port, said)
        await ended.wait()
        print(f"heard {len(heard) / 16_000:.1f} s; {likeness(said, heard).correlation:.2f} alike")
        nursery.cancel_scope.cancel()


async def place_one_call(host: str, port: int, said: bytes) -> bytes:
    """Speak after the greeting, listen for the reply, hang up."""
    heard = bytearray()
    async with await trio.open_tcp_stream(host, port) as caller, trio.open_nursery() as nursery:

        async def listen() -> None:
            async for data in caller:
                heard.extend(data)

        nursery.start_soon(listen)
        speech = bytes(2 * 16_000) + said + bytes(6 * 16_000)
        start = trio.current_time()
        for number, at in enumerate(range(0, len(speech), 320)):
            await trio.sleep_until(start + number * 0.020)
            await caller.send_all(speech[at : at + 320])
        nursery.cancel_scope.cancel()
    return bytes(heard)


if __name__ == "__main__":
    trio.run(main)
