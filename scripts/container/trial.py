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
from typing import TYPE_CHECKING, Any

import attrs
import trio

from avr_bridge.soak.container import free_port
from avr_bridge.testing import (
    CallReport,
    Parrot,
    SimulatedRealtime,
    clip,
    likeness,
    open_simulated_call,
    read_wav,
)
from scripts.container.box import Box, Running
from scripts.container.shell import Failed

if TYPE_CHECKING:
    import subprocess
    from collections.abc import AsyncGenerator


__all__ = ["Findings", "try_out", "try_with_workers"]

START_S = 15
CALL_S = 40
STOP_S = 20
ALIKE = 0.9
ATTEMPTS = 3
LATE_MS = 60
RUNS_ON_S = 1.0
"""How long the call that runs at SIGTERM goes on."""
WORKERS_TELL_S = 2.5
"""A worker's numbers are two seconds old at the most."""
HEALTH_ASKED_S = 0.2
SHOWN_LOG_LINES = 10


@attrs.frozen
class Findings:
    """What the trial measured."""

    healthy_after_s: float
    health_took_s: float
    answered_after_ms: Mapping[str, float]
    idle_mb: float
    ended_after_s: float


@attrs.define(eq=False)
class _Trial:
    """A running bridge in its box.

    Attributes:
        settings: Its environment, but for what the image says.
        log: Its log lines so far.
        calls: How many it was called.
    """

    box: Box
    running: Running
    settings: Mapping[str, str]
    log: list[dict[str, Any]]
    calls: int = 0

    def address(self, transport: str) -> str:
        place = f"127.0.0.1:{self.settings['PORT']}"
        return (
            f"ws://{place}"
            if transport == "WebSocket"
            else (f"http://{place}/speech-to-speech-stream")
        )

    async def run(self, *command: str) -> subprocess.CompletedProcess[bytes]:
        """Run a program in the box, with the bridge's own environment."""
        return await self.running.run(*command, env=self.box.env(self.settings))

    async def wait_healthy(self) -> tuple[float, float]:
        """Ask as the image says. Seconds until it is healthy, and for the last question."""
        since = trio.current_time()
        while True:
            asked = trio.current_time()
            said = await self.run(*self.health_command())
            now = trio.current_time()
            if said.returncode == 0:
                return now - since, now - asked
            if self.running.process.poll() is not None:
                raise Failed(f"it ended with exit code {self.running.process.returncode}")
            if now - since > START_S:
                raise Failed(f"not healthy after {START_S} s: {said.stdout + said.stderr!r}")
            await trio.sleep(HEALTH_ASKED_S)

    def health_command(self) -> list[str]:
        """What a container engine runs for HEALTHCHECK."""
        check = self.box.image.healthcheck
        assert check is not None
        kind, *command = check.test
        assert kind == "CMD"
        return command

    async def check_metrics(self, calls: int) -> None:
        """The autoscaler's number, from inside, where Prometheus' request ends up too."""
        address = f"http://127.0.0.1:{self.settings['PORT']}/metrics"
        fetch = f"import urllib.request as r; print(r.urlopen({address!r}).read().decode())"
        said = (await self.run("python", "-c", fetch)).stdout.decode()
        if not re.search(rf"^avr_bridge_calls {calls}\.0$", said, re.M):
            raise Failed(f"/metrics does not tell of {calls} calls: {said}")

    async def call(self, transport: str) -> float:
        """One call that is answered in its own words. Milliseconds to the first sound.

        On a machine that is too busy words have holes: then it is placed once more.
        """
        for _ in range(ATTEMPTS):
            report, alike = await self._place(transport)
            well = not (report.errors or report.faults) and alike >= ALIKE
            if well and report.answered_after_ms is not None:
                return report.answered_after_ms
            if not report.underruns and report.latest_frame_ms < LATE_MS:
                break
        raise Failed(f"a call over {transport}: {alike:.2f} alike; {report}")

    async def _place(self, transport: str) -> tuple[CallReport, float]:
        """One call: its report, and how like what was heard is to what was said."""
        self.calls += 1
        question = read_wav(clip("question"))
        with trio.move_on_after(CALL_S) as limit:
            async with open_simulated_call(self.address(transport)) as call:
                await call.wait_heard_speech()
                await call.wait_quiet()
                call.say(question)
                await call.wait_said()
                await call.wait_heard_speech()
                await call.wait_quiet()
                await call.hang_up()
            return call.report(), likeness(question, call.heard()).correlation
        assert limit.cancelled_caught
        raise Failed(f"a call over {transport} was not over after {CALL_S} s")

    async def stop_during_a_call(self) -> float:
        """SIGTERM to the first process. The call goes on to its own end, then all is over.

        Returns seconds from the call's end until the process has ended.
        """
        self.calls += 1
        with trio.move_on_after(STOP_S):
            async with open_simulated_call(self.address("WebSocket")) as call:
                await call.wait_heard_speech()
                await trio.sleep(WORKERS_TELL_S)
                await self.check_metrics(1)
                os.kill(self.running.first_pid, signal.SIGTERM)
                await trio.sleep(RUNS_ON_S)
                if (await self.run(*self.health_command())).returncode != 0:
                    raise Failed("it is not healthy any more while it drains")
                if (closed := call.report().closed_by) is not None:
                    raise Failed(f"the running call was cut at SIGTERM: {closed}")
                await call.hang_up()
            hung_up = trio.current_time()
            if code := await self.running.process.wait():
                raise Failed(f"exit code {code} after SIGTERM")
            return trio.current_time() - hung_up
        raise Failed(f"it had not ended {STOP_S} s after SIGTERM")

    def check_log(self) -> None:
        """JSON, calls that ended well, and nothing that is worse than a warning."""
        ends = [line["reason"] for line in self.log if line["event"] == "call ended"]
        bad = [line for line in self.log if line.get("level") not in {"info", "warning"}]
        if bad or ends != ["caller_hung_up"] * self.calls:
            raise Failed(f"calls ended with {ends}; bad lines: {bad}")


async def try_out(box: Box, tools: set[str]) -> Findings:
    """The whole trial.

    Args:
        box: With a folder of tools mounted.
        tools: Their names.

    Raises:
        Failed: Something is not as it should be.
    """
    async with _open_trial(box) as trial:
        healthy_after_s, health_took_s = await trial.wait_healthy()
        await _check_inside(trial, tools)
        idle_mb = await _rss_mb(trial.running.first_pid)
        answered = {transport: await trial.call(transport) for transport in ("WebSocket", "HTTP")}
        ended_after_s = await trial.stop_during_a_call()
    return Findings(healthy_after_s, health_took_s, answered, idle_mb, ended_after_s)


async def try_with_workers(box: Box) -> None:
    """A shorter one, of what else may be said of a container: several processes.

    Raises:
        Failed: Something is not as it should be.
    """
    async with _open_trial(box, AVR_WORKERS="2") as trial:
        await trial.wait_healthy()
        await trial.call("WebSocket")
        await trial.stop_during_a_call()


@asynccontextmanager
async def _open_trial(box: Box, **settings: str) -> AsyncGenerator[_Trial]:
    """A bridge that is started, and then has ended by itself; with what is wrong of its log."""
    failure: BaseException | None = None
    log: list[dict[str, Any]] = []
    try:
        async with trio.open_nursery() as nursery:
            given = {
                "OPENAI_ENDPOINT": await nursery.start(SimulatedRealtime(Parrot()).serve),
                "AVR_HOST": "127.0.0.1",
                "AVR_MAX_LAG_MS": "0",  # this machine may be busy
                "PORT": str(free_port()),
                **settings,
            }
            async with box.run(given) as running:
                async with trio.open_nursery() as reading:
                    reading.start_soon(_read_log, running.process, log)
                    trial = _Trial(box, running, given, log)
                    yield trial
                trial.check_log()
            nursery.cancel_scope.cancel()
    except* Failed as group:
        failure = group
    while isinstance(failure, BaseExceptionGroup):
        failure = failure.exceptions[0]
    if failure is not None:
        lines = "".join(f"\n  {line}" for line in log[-SHOWN_LOG_LINES:])
        raise Failed(f"{failure}\nits log:{lines}")


async def _check_inside(trial: _Trial, tools: set[str]) -> None:
    image = trial.box.image
    uid = (await trial.run("id", "-u")).stdout.decode().strip()
    if uid != image.user.partition(":")[0]:
        raise Failed(f"it runs as {uid}")
    for folder in (image.folder, "/tmp", "/dev", "/opt/avr-bridge"):
        wrote = await trial.run("touch", f"{folder}/written")
        if b"Read-only file system" not in wrote.stderr:
            raise Failed(f"{folder} is no read-only file system: {wrote.stderr.decode()}")
    listed = (await trial.run("avr-bridge", "tools")).stdout.decode()
    if missing := [name for name in tools if name not in listed]:
        raise Failed(f"tools that are mounted are not loaded: {missing}: {listed}")
    # A module that has no compiled form is compiled at each start: nothing can be kept.
    verbose = await trial.run(
        "python", "-v", "-c", "import avr_bridge.cli.serve, avr_bridge.server.serve"
    )
    slow = re.findall(r"^# code object from '?([^']*\.py)'?$", verbose.stderr.decode(), re.M)
    if verbose.returncode or slow:
        raise Failed(f"{len(slow)} modules are not compiled, such as {slow[:5]}")


async def _rss_mb(pid: int) -> float:
    status = await trio.Path(f"/proc/{pid}/status").read_text()
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
