"""Off the road: what a call costs the bridge by the way that it comes in, side by side.

Run `python -m benchmarks.legs`. Each call speaks all the time, 50 frames a second, and the model
speaks all the time in deltas of 100 ms. The calls of one transport run for some seconds in a bridge
of its own, then those of the next, and all again backwards; what counts is the ratio of their
processor times within one run, since milliseconds belong to a machine. The callers are nothing but
bytes made before: they judge no sound.

It is no test and has no threshold.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import uuid
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trio
from wsproto import ConnectionType, WSConnection
from wsproto.connection import ConnectionState
from wsproto.events import BytesMessage, Request, TextMessage

from avr_bridge.audio.codec import encode
from avr_bridge.audio.format import PCM16_8K, Encoding
from avr_bridge.testing import (
    MediaDriver,
    Say,
    SimulatedRealtime,
    SimulatorOptions,
    Step,
    Turn,
    clip,
    read_wav,
)
from avr_bridge.testing.caller.audiosocket_line import audiosocket_frame
from avr_bridge.testing.faults.callers import FaultyCaller, connect

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence

CHECKOUT = Path(__file__).parents[1]
FRAME_S = 0.020
SETTLE_S = 3.0
"""From the last call's begin to the first measure: greetings have begun, caches are warm."""

WAYS = ("websocket", "http", "audiosocket slin", "audiosocket ulaw", "chan_websocket ulaw")
MODEL = SimulatorOptions(speed=1.05, delta_ms=(100,), first_audio_ms=0, record_s=0)


class SpeaksOn:
    """Speaks without end from the first moment on, and hears nothing."""

    def __init__(self, seconds: float) -> None:
        words = read_wav(clip("question"))
        wanted = PCM16_8K.bytes_of_ms(seconds * 1000)
        self.pcm = (words * (wanted // len(words) + 1))[:wanted]

    def answer(self, turn: Turn) -> list[Step]:
        return [Say(self.pcm, 8000, "on and on")] if turn.index == 0 else []


def cpu_s(pid: int) -> float:
    """Processor time that a process took so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(int(ticks) for ticks in fields[11:13]) / os.sysconf("SC_CLK_TCK")


@asynccontextmanager
async def open_bridge(endpoint: str) -> AsyncGenerator[tuple[int, str, str]]:
    """A bridge with both ports: its pid and addresses."""
    inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    settings = {
        "OPENAI_ENDPOINT": endpoint,
        "OPENAI_INTERRUPT_RESPONSE": "off",
        "AVR_AUDIOSOCKET_PORT": "0",
        "AVR_LOG_FORMAT": "json",
        "AVR_LOG_LEVEL": "info",
        "AVR_DRAIN_S": "0",
    }
    process = await trio.lowlevel.open_process(
        [sys.executable, "-m", "avr_bridge", "serve", "--host", "127.0.0.1", "--port", "0"],
        cwd=CHECKOUT,
        env={**inherited, **settings},
        stderr=subprocess.PIPE,
    )
    assert process.stderr is not None
    try:
        log = b""
        while b'"listening"' not in log or not log.endswith(b"\n"):
            log += await process.stderr.receive_some()
        lines = [json.loads(line) for line in log.splitlines() if line.startswith(b"{")]
        (started,) = [line for line in lines if line["event"] == "listening"]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_drain, process.stderr)
            yield process.pid, *started["addresses"]
            process.terminate()
            await process.wait()
            nursery.cancel_scope.cancel()
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()


async def _drain(stream: trio.abc.ReceiveStream) -> None:
    while await stream.receive_some():
        pass


async def begin(way: str, http: str, audiosocket: str) -> tuple[trio.SocketStream, list[bytes]]:
    """A call that has begun, and its frames on the wire."""
    words = read_wav(clip("question"))
    frames = [words[at : at + 320] for at in range(0, len(words) - 319, 320)]
    if way.startswith("audiosocket"):
        law = Encoding.ULAW if way.endswith("ulaw") else Encoding.PCM16
        stream = await connect(audiosocket)
        await stream.send_all(audiosocket_frame(0x01, uuid.uuid4().bytes))
        return stream, [audiosocket_frame(0x10, encode(frame, law)) for frame in frames]
    if way.startswith("chan_websocket"):
        return await begin_chan(http, [encode(frame, Encoding.ULAW) for frame in frames])
    transport: Any = "ws" if way == "websocket" else "http"
    stream = await connect(http)
    caller = FaultyCaller(stream, transport)
    name = str(uuid.uuid4())
    await caller.shake_hands(name)
    await caller.send_init(name)
    return stream, [caller.encode_audio(frame) for frame in frames]


async def begin_chan(http: str, frames: list[bytes]) -> tuple[trio.SocketStream, list[bytes]]:
    """A leg of chan_websocket that has begun, and its frames on the wire."""
    stream = await connect(http)
    line = WSConnection(ConnectionType.CLIENT)
    request = Request(host="bridge", target="/asterisk/media", subprotocols=["media"])
    await stream.send_all(line.send(request))
    while line.state is ConnectionState.CONNECTING:
        line.receive_data(bytes(await stream.receive_some()))
        list(line.events())
    await stream.send_all(line.send(TextMessage(data=MediaDriver("ulaw").start())))
    return stream, [line.send(BytesMessage(data=frame)) for frame in frames]


async def speak(
    streams: list[tuple[trio.SocketStream, list[bytes]]], late: Callable[[float], None]
) -> None:
    """A frame of each call every 20 ms, spread over them as telephones are."""
    start_s, number = trio.current_time(), 0
    while True:
        for place, (stream, frames) in enumerate(streams):
            due_s = start_s + number * FRAME_S + place * FRAME_S / len(streams)
            await trio.sleep_until(due_s)
            late(trio.current_time() - due_s)
            await stream.send_all(frames[number % len(frames)])
        number += 1


async def measure(way: str, calls: int, seconds: float, endpoint: str) -> tuple[float, float]:
    """Processor time of the bridge in ms for a second of one call, and the latest frame in ms."""
    latest: list[float] = [0.0]

    def note(late_s: float) -> None:
        latest[0] = max(latest[0], late_s * 1000)

    async with open_bridge(endpoint) as (pid, http, audiosocket), AsyncExitStack() as stack:
        streams = []
        async with trio.open_nursery() as nursery:
            for _ in range(calls):
                stream, frames = await begin(way, http, audiosocket)
                await stack.enter_async_context(stream)
                streams.append((stream, frames))
                nursery.start_soon(_drain, stream)
            nursery.start_soon(partial(speak, streams, note))
            await trio.sleep(SETTLE_S)
            latest[0], before_s, began_s = 0.0, cpu_s(pid), trio.current_time()
            await trio.sleep(seconds)
            used_s, took_s = cpu_s(pid) - before_s, trio.current_time() - began_s
            nursery.cancel_scope.cancel()
    return used_s * 1000 / calls / took_s, latest[0]


async def run(calls: int, seconds: float, rounds: int, ways: Sequence[str]) -> None:
    """These ways, there and back."""
    found: dict[str, list[float]] = {way: [] for way in ways}
    model = SimulatedRealtime(SpeaksOn(seconds + 4 * SETTLE_S), MODEL)
    async with trio.open_nursery() as nursery:
        endpoint = await nursery.start(model.serve)
        for number in range(rounds):
            for way in ways if number % 2 == 0 else reversed(ways):
                cost_ms, latest_ms = await measure(way, calls, seconds, endpoint)
                found[way].append(cost_ms)
                print(f"{way:18} {cost_ms:6.2f} ms (latest frame {latest_ms:.0f} ms)", flush=True)
        nursery.cancel_scope.cancel()
    yardstick = statistics.mean(found[ways[0]])
    print(
        f"\n{calls} calls, {seconds:g} s each way, {rounds} times; processor time of a call-second"
    )
    for way, costs in found.items():
        mean = statistics.mean(costs)
        print(f"{way:18} {mean:6.2f} ms  {mean / yardstick:.2f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--calls", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("ways", nargs="*", default=WAYS, choices=WAYS)
    arguments = parser.parse_args()
    trio.run(run, arguments.calls, arguments.seconds, arguments.rounds, arguments.ways)
