"""The bridge as a process of its own between a Node caller and the simulated model.

Real sockets and the real clock, so everything here has an end by the clock as well.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import trio

from avr_bridge.testing.realtime import Say, SimulatedRealtime, Step, Turn

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

HERE = Path(__file__).parent
CHECKOUT = HERE.parents[2]

START_S = 30
STOP_S = 15
CALL_MARGIN_S = 30
"""Node's start and the goodbye, on a busy machine, beyond the call's own length."""


class Echo:
    """Says back what the caller said; greets nobody, so that nothing but the words is heard."""

    def answer(self, turn: Turn) -> list[Step]:
        if not turn.caller_audio:
            return []
        return [Say(turn.caller_audio, turn.caller_rate_hz, "the same")]


@attrs.define(eq=False)
class Bridge:
    """A running ``avr-bridge serve``.

    Attributes:
        port: Where it listens, on the loopback.
        log: Its log lines so far, decoded.
        model: The simulated model behind it.
        exit_code: Set once it has ended.
    """

    port: int
    model: SimulatedRealtime
    log: list[dict[str, Any]]
    process: trio.Process
    exit_code: int | None = None

    async def stop(self) -> int:
        """Ask it to end, as a container engine does, and wait: its exit code."""
        self.process.send_signal(signal.SIGTERM)
        with trio.fail_after(STOP_S):
            self.exit_code = await self.process.wait()
        return self.exit_code

    def logged(self, event: str) -> list[dict[str, Any]]:
        """The log lines of one kind."""
        return [line for line in self.log if line["event"] == event]


@asynccontextmanager
async def open_bridge(env: Mapping[str, str], model: SimulatedRealtime) -> AsyncGenerator[Bridge]:
    """Run a bridge with exactly these settings, and the model's address.

    Leaving the block ends it with SIGTERM, unless that was done in the block.
    """
    inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    log: list[dict[str, Any]] = []
    async with trio.open_nursery() as nursery:
        endpoint = await nursery.start(model.serve)
        process = await trio.lowlevel.open_process(
            [sys.executable, "-m", "avr_bridge", "serve"],
            cwd=CHECKOUT,
            env={**inherited, **env, "OPENAI_ENDPOINT": endpoint},
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        assert process.stderr is not None
        try:
            with trio.fail_after(START_S):
                port = await nursery.start(partial(_read_log, process.stderr, log))
            bridge = Bridge(port, model, log, process)
            yield bridge
            if bridge.exit_code is None:
                await bridge.stop()
        finally:
            process.kill()
            with trio.CancelScope(shield=True, deadline=trio.current_time() + STOP_S):
                await process.wait()
            nursery.cancel_scope.cancel()
    assert not model.faults


async def _read_log(
    stream: trio.abc.ReceiveStream,
    log: list[dict[str, Any]],
    *,
    task_status: trio.TaskStatus[int],
) -> None:
    """Keep the bridge's log until it ends; the line that it listens gives the port."""
    listening = False
    rest = b""
    async with stream:
        async for chunk in stream:
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                # Not JSON: a traceback or a complaint about settings. It belongs into the record.
                fields = json.loads(line) if line.startswith(b"{") else {"event": line.decode()}
                log.append(fields)
                if fields["event"] == "listening":
                    listening = True
                    task_status.started(int(fields["addresses"][0].rpartition(":")[2]))
    if not listening:
        raise RuntimeError(f"the bridge did not start: {log}")


async def place_call(script: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Run a Node caller to its end: its own report of the call."""
    with trio.fail_after(options["seconds"] + CALL_MARGIN_S):
        done = await trio.run_process(
            ["node", str(HERE / script), json.dumps(options)],
            capture_stdout=True,
            capture_stderr=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr.decode()
    report: dict[str, Any] = json.loads(done.stdout)
    return report
