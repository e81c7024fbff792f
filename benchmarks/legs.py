"""Off the road: what a call costs straight from Asterisk, beside one from avr-core.

``python -m benchmarks.legs`` in the project's folder. Both run one after the other in the same
minutes, each against a bridge of its own: calls that speak without pause, a model that speaks
without pause in deltas of 100 ms, µ-law at the model. What is taken is the processor time of the
bridge's process, between two moments in which all calls are up; the generator is the simulated
model and the simulated callers, in this process. It is no test and has no threshold.
"""

from __future__ import annotations

import argparse
import sys
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs
import psutil
import trio

from avr_bridge.audio.codec import encode
from avr_bridge.audio.format import Encoding
from avr_bridge.soak.container import free_port, open_own_bridge
from avr_bridge.testing import (
    MediaDriver,
    Say,
    SimulatedRealtime,
    SimulatorOptions,
    clip,
    open_simulated_call,
    open_simulated_leg,
    read_wav,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from contextlib import AbstractAsyncContextManager

    from avr_bridge.testing import Step, Turn

RAMP_S, SETTLE_S = 3.0, 3.0


@attrs.frozen
class Cost:
    """One run: processor time of a call-second, and what the generator took of its own."""

    way: str
    ms: float
    generator: float


class SpeaksOn:
    """Greets each caller with speech that outlasts the run."""

    def __init__(self, seconds: float) -> None:
        question = read_wav(clip("question"))
        self._pcm = (question * (int(seconds * 16_000 / len(question)) + 1))[
            : int(seconds) * 16_000
        ]

    def answer(self, turn: Turn) -> Sequence[Step]:
        """The whole of it, once."""
        return [Say(self._pcm, 8000, "on and on")] if turn.index == 0 else []


def _websocket(url: str, pcm: bytes) -> AbstractAsyncContextManager[Any]:
    return _Speaking(open_simulated_call(url, keep_heard=False), lambda call: call.say(pcm))


def _chan(codec: str, url: str, pcm: bytes) -> AbstractAsyncContextManager[Any]:
    sound = encode(pcm, Encoding.ULAW) if codec == "ulaw" else pcm
    return _Speaking(open_simulated_leg(url, MediaDriver(codec)), lambda leg: leg.say(sound))


class _Speaking:
    """A call whose caller speaks from the start."""

    def __init__(
        self, call: AbstractAsyncContextManager[Any], speak: Callable[[Any], None]
    ) -> None:
        self._call = call
        self._speak = speak

    async def __aenter__(self) -> None:
        self._speak(await self._call.__aenter__())

    async def __aexit__(self, *error: Any) -> bool | None:
        return await self._call.__aexit__(*error)


WAYS: dict[str, Callable[[str, bytes], AbstractAsyncContextManager[Any]]] = {
    "avr-core, WebSocket": _websocket,
    "chan_websocket, ulaw": partial(_chan, "ulaw"),
    "chan_websocket, slin": partial(_chan, "slin"),
}


async def measure(way: str, calls: int, seconds: float) -> Cost:
    """One run of one way."""
    whole_s = RAMP_S + SETTLE_S + seconds + 5
    options = SimulatorOptions(speed=1.0, delta_ms=(100,), record_s=0)
    model = SimulatedRealtime(SpeaksOn(whole_s), options)
    pcm = (read_wav(clip("question")) * 60)[: int(whole_s) * 16_000]
    async with trio.open_nursery() as nursery:
        endpoint = await nursery.start(model.serve)
        port = free_port()
        async with open_own_bridge(endpoint, port) as bridge, AsyncExitStack() as up:
            for _ in range(calls):
                await up.enter_async_context(WAYS[way](f"ws://127.0.0.1:{port}", pcm))
                await trio.sleep(RAMP_S / calls)
            await trio.sleep(SETTLE_S)
            watched, own = psutil.Process(bridge.pid), psutil.Process()
            before, own_before, at_s = _busy(watched), _busy(own), trio.current_time()
            await trio.sleep(seconds)
            took_s = trio.current_time() - at_s
            busy_s, own_s = _busy(watched) - before, _busy(own) - own_before
        nursery.cancel_scope.cancel()
    return Cost(way, busy_s * 1000 / took_s / calls, own_s / took_s)


def _busy(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


async def _run(options: argparse.Namespace, say: Callable[[str], None]) -> None:
    for _ in range(options.rounds):
        for way in WAYS:
            cost = await measure(way, options.calls, options.seconds)
            say(f"{way:22} {cost.ms:5.1f} ms, generator {cost.generator:.0%} of a core")


def main() -> int:
    """Measure and print; one line a run."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--calls", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--rounds", type=int, default=2)
    run: Callable[..., Awaitable[None]] = _run
    trio.run(run, parser.parse_args(), print)
    return 0


if __name__ == "__main__":
    sys.exit(main())
