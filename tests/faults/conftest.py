"""A bridge in a process of its own, so that its memory and descriptors can be counted, the
simulated model, and an innocent call that must not notice what happens beside it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import deque
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import trio

from avr_bridge.audio.codec import decode, encode
from avr_bridge.audio.format import PCM16_8K, Encoding
from avr_bridge.testing import (
    Say,
    SimulatedRealtime,
    Step,
    Turn,
    clip,
    open_simulated_call,
    read_wav,
)
from avr_bridge.testing.faults.callers import Seen

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

CHECKOUT = Path(__file__).parents[2]
START_S = 30
STOP_S = 15
SPEECH_S = 90
INNOCENT_UUID = "00000000-0000-4000-8000-000000000001"
LATE_GENERATOR_MS = 100
"""A frame of the innocent caller that left so late: this machine was too busy to measure gaps."""
LATE_MS = 80
"""So much the caller and the bridge's process together were late for want of a core: the gap is the
machine's. At least 120 ms lie ahead of the caller: by itself the bridge was late by 40 at most."""
LATE_WITHIN_S = 0.2
SAMPLE_S = 0.02


class _Machine:
    """How long a process had to wait for a core, at worst, within `LATE_WITHIN_S`."""

    def __init__(self, pid: int) -> None:
        self._path = Path(f"/proc/{pid}/schedstat")
        self.worst_ms = 0.0

    async def watch(self) -> None:
        """Runs until cancelled, or the process has ended."""
        samples = deque[tuple[float, float]]()
        with suppress(FileNotFoundError, ProcessLookupError):
            while True:
                now_s, waited_ms = trio.current_time(), int(self._path.read_text().split()[1]) / 1e6
                samples.append((now_s, waited_ms))
                while len(samples) > 2 and samples[1][0] < now_s - LATE_WITHIN_S:
                    samples.popleft()
                self.worst_ms = max(self.worst_ms, waited_ms - samples[0][1])
                await trio.sleep(SAMPLE_S)


class SpeaksOn:
    """Greets each caller with a minute and a half of speech, so that a gap would be heard."""

    def __init__(self) -> None:
        question = read_wav(clip("question"))
        self.pcm = (question * 60)[: PCM16_8K.bytes_of_ms(SPEECH_S * 1000)]

    def answer(self, turn: Turn) -> list[Step]:
        return [Say(self.pcm, 8000, "on and on")] if turn.index == 0 else []


@attrs.define(eq=False)
class Bridge:
    """A running ``avr-bridge serve``."""

    url: str
    log: list[dict[str, Any]]
    process: trio.Process
    model: SimulatedRealtime

    @property
    def ws(self) -> str:
        return self.url.replace("http:", "ws:")

    @property
    def audiosocket(self) -> str:
        """Where Asterisk dials, with AVR_AUDIOSOCKET_PORT."""
        address: str = self.logged("listening")[0]["addresses"][1]
        return address

    def address(self, transport: str) -> str:
        """Where a simulated caller calls."""
        if transport == "audiosocket":
            return self.audiosocket
        return self.ws if transport == "ws" else f"{self.url}/speech-to-speech-stream"

    def rss_mb(self) -> float:
        """Memory of the process."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

    def cpu_s(self) -> float:
        """Processor time that the process took so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return sum(int(ticks) for ticks in fields[11:13]) / os.sysconf("SC_CLK_TCK")

    def descriptors(self) -> int:
        """Open files and sockets of the process."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def logged(self, event: str, **fields: Any) -> list[dict[str, Any]]:
        """Log lines of one kind."""
        return [
            line for line in self.log if line["event"] == event and fields.items() <= line.items()
        ]

    async def wait_ended(self, call: str = "faulty", calls: int = 1) -> dict[str, Any]:
        """Wait for the line that says how this call ended: the latest of so many."""
        while True:
            ended = self.logged("call ended", call=call)
            if len(ended) >= calls:
                return ended[-1]
            await trio.sleep(0.01)

    async def wait_descriptors(self, most: int) -> int:
        """Wait until no more are open."""
        while True:
            now = self.descriptors()
            if now <= most:
                return now
            await trio.sleep(0.02)


@asynccontextmanager
async def open_bridge(
    *,
    ends: bool = False,
    exit_code: int = 0,
    model: SimulatedRealtime | None = None,
    **settings: str,
) -> AsyncGenerator[Bridge]:
    """Run a bridge with these settings. At the end it must still be alive, and then end with 0;
    or, with `ends`, have been told to end by the test, and do so with `exit_code`. `model` is one
    that speaks on and on unless given."""
    inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    model = model or SimulatedRealtime(SpeaksOn())
    log: list[dict[str, Any]] = []
    async with trio.open_nursery() as nursery:
        endpoint = await nursery.start(model.serve)
        env = {
            **inherited,
            "OPENAI_ENDPOINT": endpoint,
            "AVR_LOG_FORMAT": "json",
            "AVR_MAX_LAG_MS": "0",
            **settings,
        }
        process = await trio.lowlevel.open_process(
            [sys.executable, "-m", "avr_bridge", "serve", "--host", "127.0.0.1", "--port", "0"],
            cwd=CHECKOUT,
            env=env,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        assert process.stderr is not None
        try:
            with trio.fail_after(START_S):
                url = await nursery.start(partial(_read_log, process.stderr, log))
            yield Bridge(url, log, process, model)
            if not ends:
                assert process.poll() is None, f"the bridge died: {log[-3:]}"
                process.terminate()
            with trio.fail_after(STOP_S):
                assert await process.wait() == exit_code
        finally:
            process.kill()
            with trio.CancelScope(shield=True, deadline=trio.current_time() + STOP_S):
                await process.wait()
            nursery.cancel_scope.cancel()
    assert not [line for line in log if line["event"].startswith("bug")], log


async def _read_log(
    stream: trio.abc.ReceiveStream,
    log: list[dict[str, Any]],
    *,
    task_status: trio.TaskStatus[str],
) -> None:
    rest = b""
    started = False
    async with stream:
        async for chunk in stream:
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                fields = json.loads(line) if line.startswith(b"{") else {"event": line.decode()}
                log.append(fields)
                if fields["event"] == "listening":
                    started = True
                    task_status.started(fields["addresses"][0])
    if not started:
        raise RuntimeError(f"the bridge did not start: {log}")


@asynccontextmanager
async def innocent_call(bridge: Bridge, transport: str = "ws") -> AsyncGenerator[None]:
    """A call beside the block. At its end: every sample came, in order, both ways.

    Prints the gaps in what it heard; on a machine that is fast enough to say, there are none.
    """
    # Asterisk's is 16 bytes, and what it gets begins with silence.
    from_asterisk = transport == "audiosocket"
    uuid = INNOCENT_UUID if from_asterisk else f"innocent-{transport}"
    machine = _Machine(bridge.process.pid)
    async with (
        open_simulated_call(bridge.address(transport), uuid=uuid) as call,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(machine.watch)
        await call.wait_heard_speech()
        yield
        assert call.report().closed_by is None, "the innocent call was ended"
        received, heard = call.received(), call.heard()
        nursery.cancel_scope.cancel()
    report = call.report()
    ended = await bridge.wait_ended(uuid)
    spoken = decode(encode(SpeaksOn().pcm, Encoding.ULAW), Encoding.ULAW)
    if from_asterisk:
        spoken, received, heard = (pcm.lstrip(b"\0") for pcm in (spoken, received, heard))
    # Where a busy machine kept the bridge from speaking in time, Asterisk got silence meanwhile.
    if not (from_asterisk and ended["underruns"]):
        assert received == spoken[: len(received)], "the innocent caller lost sound"
    assert len(received) > 0
    assert report.faults == report.errors == ()
    assert ended["reason"] == "caller_hung_up"
    assert ended["dropped_ms"] == 0
    assert ended["caller_audio_ms"] >= (report.sent_frames - 5) * 20
    print(
        f"\n  innocent over {transport}: {report.received_s:.1f} s heard, no frame lost, "
        f"{report.underruns} gaps of {report.underrun_ms:.0f} ms in all "
        f"(its own latest frame: {report.latest_frame_ms:.0f} ms; "
        f"the bridge waited {machine.worst_ms:.0f} ms for a core)"
    )
    if report.latest_frame_ms + machine.worst_ms < LATE_MS:
        # Silence flows before the words, and nobody hears a gap in that.
        gapless = heard == spoken[: len(heard)] if from_asterisk else report.underruns == 0
        assert gapless, "the innocent caller heard a gap"


def told(fault: str, transport: str, seen: object, ended: dict[str, Any], took_s: float) -> None:
    """Print one row of the table in docs/reliability.md."""
    reason = ended.get("reason", "no call")
    if isinstance(seen, Seen):
        words = f"; {len(seen.errors)} errors, {seen.errors[-1]!r}" if seen.errors else ""
        seen = f"{seen.how} {seen.code} {seen.reason}{words}"
    print(f"\n  {fault} | {transport} | {seen} | {reason} | {took_s:.1f} s")
