"""Calls in memory and in virtual time: a `MemoryCaller`, the simulator's twin, no sockets."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import structlog
import trio

from avr_bridge import BridgeConfig, CallSummary, ModelConfig, Secret, TalkConfig, run_call
from avr_bridge.call.running import RunningCalls
from avr_bridge.telemetry.journal import Moment
from avr_bridge.testing.ami import SimulatedAmi
from avr_bridge.testing.memory import MemoryCaller
from avr_bridge.testing.realtime import Say, SimulatedRealtime, Step, Turn

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from avr_bridge.telemetry.journal import Listener
    from avr_bridge.tools import Toolbox

KEY = "sk-planted-secret"


def config(**model: Any) -> BridgeConfig:
    """The defaults, toward the simulator, but without words for a model that cannot serve: a
    call whose model fails ends at once."""
    return BridgeConfig(
        model=ModelConfig(api_key=Secret(KEY), endpoint="ws://simulator/v1", **model),
        talk=TalkConfig(fallback_file="off"),
    )


class Echo:
    """Says back what the caller said, and greets nobody."""

    def answer(self, turn: Turn) -> list[Step]:
        if not turn.caller_audio:
            return []
        return [Say(turn.caller_audio, turn.caller_rate_hz, "the same")]


@attrs.define(eq=False)
class Placed:
    """A call that runs: its caller, the simulator behind it, and how it ended."""

    caller: MemoryCaller
    simulator: SimulatedRealtime
    running: RunningCalls = attrs.field(factory=RunningCalls)
    moments: list[Moment] = attrs.field(factory=list)
    summary: CallSummary | None = None
    ended_s: float = 0.0


@asynccontextmanager
async def place_call(
    simulator: SimulatedRealtime | None = None,
    settings: BridgeConfig | None = None,
    caller: MemoryCaller | None = None,
    ami: SimulatedAmi | None = None,
    toolbox: Toolbox | None = None,
    running: RunningCalls | None = None,
    listeners: Sequence[Listener] = (),
) -> AsyncGenerator[Placed]:
    """Run one call beside the block; the caller hangs up after it, and the call must end."""
    placed = Placed(
        caller or MemoryCaller(), simulator or SimulatedRealtime(), running or RunningCalls()
    )

    async def run() -> None:
        placed.summary = await run_call(
            placed.caller.transport,
            settings or config(),
            dial=placed.simulator.dial,
            toolbox=toolbox,
            control=ami or SimulatedAmi(),
            running=placed.running,
            listeners=[lambda _uuid, moment: placed.moments.append(moment), *listeners],
        )
        placed.ended_s = trio.current_time()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        yield placed
        placed.caller.hang_up()
    assert not placed.simulator.faults


@pytest.fixture(autouse=True)
def log() -> Any:
    """The log lines of the test, instead of standard error."""
    with structlog.testing.capture_logs() as lines:
        yield lines
