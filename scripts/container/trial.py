"""Start the image as it says, call it over both transports, check its health, stop it.

The caller and the model are the project's own simulated ones, outside of the box.
"""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import trio

from avr_bridge.soak.container import free_port
from avr_bridge.testing import (
    Parrot,
    SimulatedRealtime,
    clip,
    likeness,
    open_simulated_call,
    read_wav,
)
from scripts.container.shell import Failed

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from scripts.container.box import Box, Running

__all__ = ["Findings", "try_out"]

START_S = 15
CALL_S = 40
STOP_S = 10
ALIKE = 0.9
RUNS_ON_S = 1.0
"""How long the call that runs at SIGTERM goes on."""
HEALTH_ASKED_S = 0.2


@attrs.frozen
class Findings:
    """What the trial measured."""

    healthy_after_s: float
    health_took_s: float
    answered_after_ms: Mapping[str, float]
    idle_mb: float
    ended_after_s: float


async def try_out(box: Box, tools: set[str]) -> Findings:
    """The whole trial.

    Args:
        box: With a folder of tools mounted.
        tools: Their names.

    Raises:
        Failed: Something is not as it should be.
    """
    failure: BaseException | None = None
    log: list[dict[str, Any]] = []
    try:
        async with trio.open_nursery() as nursery:
            endpoint = await nursery.start(SimulatedRealtime(Parrot()).serve)
            settings = {
                "OPENAI_ENDPOINT": endpoint,
                "AVR_HOST": "127.0.0.1",
                "PORT": str(free_port()),
            }
            async with _running(box, settings, log) as running:
                findings = await _try_running(box, running, settings, tools)
            nursery.cancel_scope.cancel()
    except* Failed as group:
        failure = group
    while isinstance(failure, BaseExceptionGroup):
        failure = failure.exceptions[0]
    if failure is not None:
        raise Failed(f"{failure}; its log: {log}")
    _check_log(log)
    return findings


@asynccontextmanager
async def _running(
    box: Box, settings: Mapping[str, str], log: list[dict[str, Any]]
) -> AsyncGenerator[Running]:
    running = await box.start(settings)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_read_log, running.process, log)
            yield running
    finally:
        running.process.kill()
        with trio.CancelScope(shield=True, deadline=trio.current_time() + STOP_S):
            await running.process.wait()


async def _try_running(
    box: Box, running: Running, settings: Mapping[str, str], tools: set[str]
) -> Findings:
    healthy_after_s, health_took_s = await _wait_healthy(box, running, settings)
    await _check_inside(box, running, settings, tools)
    idle_mb = _rss_mb(running.first_pid)
    address = f"127.0.0.1:{settings['PORT']}"
    answered = {
        "WebSocket": await _call(f"ws://{address}"),
        "HTTP": await _call(f"http://{address}/speech-to-speech-stream"),
    }
    ended_after_s = await _stop_during_a_call(running, f"ws://{address}")
    return Findings(healthy_after_s, health_took_s, answered, idle_mb, ended_after_s)


async def _wait_healthy(
    box: Box, running: Running, settings: Mapping[str, str]
) -> tuple[float, float]:
    """Ask as the container engine does. Seconds until it is healthy, and for one question."""
    check = box.image.healthcheck
    assert check is not None
    kind, *command = check.test
    assert kind == "CMD"
    since = trio.current_time()
    while True:
        asked = trio.current_time()
        said = await running.run(*command, env=box.env(settings))
        now = trio.current_time()
        if said.returncode == 0:
            return now - since, now - asked
        if running.process.poll() is not None:
            raise Failed(f"it ended with exit code {running.process.returncode}")
        if now - since > START_S:
            raise Failed(f"not healthy after {START_S} s: {said.stdout + said.stderr!r}")
        await trio.sleep(HEALTH_ASKED_S)


async def _check_inside(
    box: Box, running: Running, settings: Mapping[str, str], tools: set[str]
) -> None:
    env = box.env(settings)
    uid = (await running.run("id", "-u", env=env)).stdout.decode().strip()
    if uid != box.image.user.partition(":")[0]:
        raise Failed(f"it runs as {uid}")
    for folder in (box.image.folder, "/tmp", "/dev", "/opt/avr-bridge"):
        wrote = await running.run("touch", f"{folder}/written", env=env)
        if b"Read-only file system" not in wrote.stderr:
            raise Failed(f"{folder} is no read-only file system: {wrote.stderr.decode()}")
    listed = await running.run("avr-bridge", "tools", env=env)
    if missing := [name for name in tools if name not in listed.stdout.decode()]:
        raise Failed(f"tools that are mounted are not loaded: {missing}: {listed.stdout.decode()}")
    # A module that has no compiled form is compiled at each start: nothing can be kept.
    verbose = await running.run(
        *("python", "-v", "-c", "import avr_bridge.cli.serve, avr_bridge.server.serve"), env=env
    )
    slow = re.findall(r"^# code object from '(.*\.py)'$", verbose.stderr.decode(), re.M)
    if verbose.returncode or slow:
        raise Failed(f"{len(slow)} modules are not compiled, such as {slow[:5]}")


async def _call(url: str) -> float:
    """One call that is answered in its own words. Milliseconds to the first sound."""
    question = read_wav(clip("question"))
    with trio.move_on_after(CALL_S) as limit:
        async with open_simulated_call(url) as call:
            await call.wait_heard_speech()
            await call.wait_quiet()
            call.say(question)
            await call.wait_said()
            await call.wait_heard_speech()
            await call.wait_quiet()
            await call.hang_up()
        report = call.report()
        alike = likeness(question, call.heard()).correlation
        if report.errors or report.faults or not report.answer_latencies_ms or alike < ALIKE:
            raise Failed(f"{url}: {alike:.2f} alike; {report}")
        assert report.answered_after_ms is not None
        return report.answered_after_ms
    assert limit.cancelled_caught
    raise Failed(f"{url}: the call was not over after {CALL_S} s")


async def _stop_during_a_call(running: Running, url: str) -> float:
    """SIGTERM to the first process. The call goes on to its own end, and then all is over."""
    process = running.process
    with trio.move_on_after(STOP_S):
        async with open_simulated_call(url) as call:
            await call.wait_heard_speech()
            os.kill(running.first_pid, signal.SIGTERM)
            await trio.sleep(RUNS_ON_S)
            if (closed := call.report().closed_by) is not None:
                raise Failed(f"the running call was cut at SIGTERM: {closed}")
            await call.hang_up()
        hung_up = trio.current_time()
        if code := await process.wait():
            raise Failed(f"exit code {code} after SIGTERM")
        return trio.current_time() - hung_up
    raise Failed(f"it had not ended {STOP_S} s after SIGTERM")


def _rss_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    assert found is not None
    return int(found.group(1)) / 1000


async def _read_log(process: trio.Process, log: list[dict[str, Any]]) -> None:
    assert process.stderr is not None
    rest = b""
    async for chunk in process.stderr:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            log.append(json.loads(line) if line.startswith(b"{") else {"event": line.decode()})


def _check_log(log: list[dict[str, Any]]) -> None:
    """JSON, calls that ended well, and nothing that is worse than a warning."""
    ends = [line["reason"] for line in log if line["event"] == "call ended"]
    bad = [line for line in log if line.get("level") not in {"info", "warning"}]
    if bad or ends != ["caller_hung_up"] * 3:
        raise Failed(f"calls ended with {ends}; its log: {bad or log}")
