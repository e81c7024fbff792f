"""Real sockets and the real clock: the bridge under Hypercorn, port 0, in the test's own loop."""

from __future__ import annotations

from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import structlog
import trio

from avr_bridge import BridgeConfig, ModelConfig, Secret, ServerConfig, TalkConfig, serve
from avr_bridge.testing.realtime import SimulatedRealtime

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from avr_bridge.telemetry.journal import Listener


@attrs.frozen
class Bridge:
    """A bridge that runs, the simulator behind it, and its log."""

    http: str
    simulator: SimulatedRealtime
    log: list[Any]

    @property
    def ws(self) -> str:
        return self.http.replace("http:", "ws:")

    @property
    def stream(self) -> str:
        return f"{self.http}/speech-to-speech-stream"

    async def wait_ended(self, calls: int = 1) -> list[Any]:
        """Wait until so many calls have ended, and return their log lines."""
        while True:
            ended = [line for line in self.log if line["event"] == "call ended"]
            if len(ended) >= calls:
                return ended
            await trio.sleep(0.01)


@asynccontextmanager
async def open_bridge(
    simulator: SimulatedRealtime | None = None,
    *,
    token: str | None = None,
    metrics_token: str | None = None,
    listeners: Sequence[Listener] = (),
    **model: Any,
) -> AsyncGenerator[Bridge]:
    """The simulator and the bridge on free ports of the loopback."""
    simulator = simulator or SimulatedRealtime()
    with structlog.testing.capture_logs() as log:
        async with trio.open_nursery() as nursery:
            endpoint = await nursery.start(simulator.serve)
            config = BridgeConfig(
                model=ModelConfig(api_key=Secret("k"), endpoint=endpoint, **model),
                server=ServerConfig(
                    "127.0.0.1",
                    0,
                    Secret(token) if token else None,
                    Secret(metrics_token) if metrics_token else None,
                ),
                talk=TalkConfig(fallback_file="off"),
            )
            addresses = await nursery.start(partial(serve, config, listeners=listeners))
            yield Bridge(addresses[0], simulator, log)
            nursery.cancel_scope.cancel()


@pytest.fixture
def log() -> Any:
    """The log lines of the test, instead of standard error."""
    with structlog.testing.capture_logs() as lines:
        yield lines
