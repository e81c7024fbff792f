"""``avr-bridge serve --workers 2``: calls in both processes, and what happens when one dies, or the
process above them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
import trio

from avr_bridge.audio.sounds import read_clip
from avr_bridge.server.workers_watch import KILL_S, SILENT_S
from avr_bridge.testing import SimulatedCall, open_simulated_call
from avr_bridge.testing.faults.callers import open_faulty_caller
from tests.faults.conftest import Bridge, innocent_call, open_bridge
from tests.wire.test_cli_serve import bare_environ, read_until, run_serve
from tests.wire.test_early_signals import COMMANDS, SERVE, held_up

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

LIMIT_S = 60
WORDS = read_clip("farewell")


def workers(bridge: Bridge) -> dict[int, int]:
    """The worker processes: their number, and their pid."""
    found = {}
    for pid in children_of(bridge.process.pid):
        words = Path(f"/proc/{pid}/cmdline").read_text().rstrip("\0").split("\0")
        found[int(words[-1].partition("/")[0])] = pid
    return found


def children_of(pid: int) -> list[int]:
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


async def wait_logged(bridge: Bridge, event: str, count: int = 1, **fields: Any) -> dict[str, Any]:
    """Wait for so many lines of this kind; the last of them."""
    while len(bridge.logged(event, **fields)) < count:  # noqa: ASYNC110 - another process says so
        await trio.sleep(0.01)
    return bridge.logged(event, **fields)[-1]


def calls_by_worker(bridge: Bridge) -> Counter[int]:
    """How many calls each began."""
    return Counter(line["worker"] for line in bridge.logged("call started"))


def worker_of(bridge: Bridge, uuid: str) -> int:
    number: int = bridge.logged("call started", call=uuid)[0]["worker"]
    return number


@asynccontextmanager
async def talking_calls(bridge: Bridge, *uuids: str) -> AsyncGenerator[list[SimulatedCall]]:
    """Calls one after the other, all up within the block."""
    async with AsyncExitStack() as stack:
        calls = []
        for uuid in uuids:
            call = await stack.enter_async_context(open_simulated_call(bridge.ws, uuid=uuid))
            await call.wait_heard_speech()
            calls.append(call)
        yield calls


async def wait_dead(pid: int) -> None:
    """Wait until this process, which is not our child, is gone."""
    while state_of(pid) not in ("gone", "Z"):  # noqa: ASYNC110 - only the kernel knows
        await trio.sleep(0.01)


def state_of(pid: int) -> str:
    """A letter, such as Z for one that nobody has buried, or ``gone``."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "gone"


async def test_calls_are_spread_evenly() -> None:
    """Twelve calls in the same moment, then eight one by one: ten in each process (one more or
    less), the parent carries none, and one line says where all listen."""
    with trio.fail_after(LIMIT_S):
        async with open_bridge(AVR_WORKERS="2") as bridge:
            (listening,) = bridge.logged("listening")
            assert listening["workers"] == 2
            assert "worker" not in listening
            assert sorted(workers(bridge)) == [1, 2]
            async with AsyncExitStack() as stack, trio.open_nursery() as nursery:

                async def place(number: int) -> None:
                    await stack.enter_async_context(
                        open_faulty_caller(bridge.url, transport="http", uuid=f"c-{number}")
                    )

                for number in range(12):
                    nursery.start_soon(place, number)
                await wait_logged(bridge, "call started", 12)
                for number in range(12, 20):
                    await place(number)
                    await wait_logged(bridge, "call started", number + 1)
            spread = calls_by_worker(bridge)
            assert sum(spread.values()) == 20
            assert max(spread.values()) - min(spread.values()) <= 2, spread


async def test_a_signal_drains_all() -> None:
    """SIGTERM to the parent: refused in both, and the calls in both hear the farewell whole. A
    second one to the workers themselves, as systemd sends, cuts nothing. Exit code 0."""
    with trio.fail_after(LIMIT_S):
        async with (
            open_bridge(ends=True, AVR_WORKERS="2", AVR_DRAIN_S="6") as bridge,
            talking_calls(bridge, "a", "b") as calls,
        ):
            assert calls_by_worker(bridge) == {1: 1, 2: 1}
            pids = workers(bridge).values()
            bridge.process.terminate()
            await wait_logged(bridge, "draining", 2)
            for pid in pids:
                os.kill(pid, signal.SIGTERM)
            async with httpx2.AsyncClient() as client:
                for _ in range(4):
                    ready = await client.get(
                        f"{bridge.url}/readyz", headers={"Connection": "close"}
                    )
                    assert ready.status_code == 503
                    assert ready.json() == {"status": "the bridge is stopping"}
            for call in calls:
                await call.wait_closed()
                assert call.report().close_code == 1001
                assert call.received().endswith(WORDS)
            assert await bridge.process.wait() == 0
    assert bridge.logged("a worker died") == []
    assert bridge.model.open_sessions == 0


async def test_a_second_signal_ends_all_at_once() -> None:
    """With ten minutes for the drain: 1001 in both, and exit code 0."""
    with trio.fail_after(LIMIT_S):
        async with (
            open_bridge(ends=True, AVR_WORKERS="2", AVR_DRAIN_S="600") as bridge,
            talking_calls(bridge, "a", "b") as calls,
        ):
            bridge.process.send_signal(signal.SIGINT)
            await wait_logged(bridge, "draining", 2)
            bridge.process.send_signal(signal.SIGINT)
            for call in calls:
                await call.wait_closed()
                assert call.report().close_code == 1001
            assert await bridge.process.wait() == 0


async def test_a_worker_that_dies_is_replaced() -> None:
    """SIGKILL: its call is lost, the other one's lost no frame, the log says what happened, and the
    new process takes the next call, having none."""
    with trio.fail_after(LIMIT_S):
        async with open_bridge(AVR_WORKERS="2") as bridge, innocent_call(bridge):
            async with talking_calls(bridge, "lost") as (lost,):
                dying = worker_of(bridge, "lost")
                assert dying != worker_of(bridge, "innocent-ws")
                before = workers(bridge)
                os.kill(before[dying], signal.SIGKILL)
                await lost.wait_closed()
            died = await wait_logged(bridge, "a worker died")
            assert (died["worker"], died["status"], died["calls"]) == (dying, "SIGKILL", 1)
            await wait_logged(bridge, "a worker was replaced", worker=dying)
            after = workers(bridge)
            assert after.keys() == before.keys()
            assert after[dying] != before[dying]
            async with talking_calls(bridge, "next"):
                assert worker_of(bridge, "next") == dying


async def test_a_worker_that_hangs_keeps_no_call_waiting() -> None:
    """Stopped, with no connection of its own: the other one takes all that come. At the end the
    other one's calls are closed at once, and it is killed, which the exit code 1 tells."""
    with trio.fail_after(LIMIT_S):
        async with (
            open_bridge(ends=True, exit_code=1, AVR_WORKERS="2", AVR_DRAIN_S="0") as bridge,
            talking_calls(bridge, "a"),
        ):
            busy = worker_of(bridge, "a")
            hung = workers(bridge)[3 - busy]
            os.kill(hung, signal.SIGSTOP)
            async with talking_calls(bridge, "b", "c", "d") as calls:
                assert {worker_of(bridge, uuid) for uuid in "bcd"} == {busy}
                bridge.process.terminate()
                for call in calls:
                    await call.wait_closed()
                    assert call.report().close_code == 1001
            await wait_logged(bridge, "a worker hangs and is killed", worker=3 - busy)


async def test_a_worker_that_hangs_is_replaced() -> None:
    """Stopped in the midst of a call, while nobody ends the service: the log says so in some
    seconds; then it is killed, with its reason, and a new one takes its place. The other one's call
    lost no frame, and the exit code is 0."""
    with trio.fail_after(LIMIT_S):
        async with open_bridge(AVR_WORKERS="2") as bridge, innocent_call(bridge):
            async with talking_calls(bridge, "lost") as (lost,):
                hung = worker_of(bridge, "lost")
                before = workers(bridge)[hung]
                os.kill(before, signal.SIGSTOP)
                begun_s = trio.current_time()
                silent = await wait_logged(bridge, "a worker does not answer", worker=hung)
                assert (silent["level"], silent["calls"]) == ("warning", 1)
                assert trio.current_time() - begun_s >= SILENT_S - 1
                await lost.wait_closed()
            killed = await wait_logged(bridge, "a worker hangs and is killed", worker=hung)
            assert (killed["level"], killed["calls"]) == ("error", 1)
            assert killed["silent_s"] >= KILL_S
            died = await wait_logged(bridge, "a worker died", worker=hung)
            assert died["status"] == "SIGKILL"
            await wait_logged(bridge, "a worker was replaced", worker=hung)
            assert workers(bridge)[hung] != before
            assert bridge.logged("a worker does not answer", worker=3 - hung) == []


async def test_a_worker_that_stood_still_for_a_while_goes_on() -> None:
    """Told, and told again when it is over. It is the same process, with its call."""
    with trio.fail_after(LIMIT_S):
        async with open_bridge(AVR_WORKERS="2") as bridge, talking_calls(bridge, "a"):
            number = worker_of(bridge, "a")
            pid = workers(bridge)[number]
            os.kill(pid, signal.SIGSTOP)
            await wait_logged(bridge, "a worker does not answer", worker=number)
            os.kill(pid, signal.SIGCONT)
            await wait_logged(bridge, "a worker answers again", worker=number)
            assert workers(bridge)[number] == pid
    assert bridge.logged("a worker died") == []


async def test_the_parents_death_ends_the_workers() -> None:
    """SIGKILL to the parent: the workers drain as after a signal, here without time for words."""
    with trio.fail_after(LIMIT_S):
        async with (
            open_bridge(
                ends=True, exit_code=-signal.SIGKILL, AVR_WORKERS="2", AVR_DRAIN_S="2"
            ) as bridge,
            talking_calls(bridge, "a", "b") as calls,
        ):
            pids = workers(bridge).values()
            bridge.process.kill()
            for call in calls:
                await call.wait_closed()
                assert call.report().close_code == 1001
            for pid in pids:
                await wait_dead(pid)


async def test_the_limit_counts_over_all() -> None:
    """Thirty calls in the same moment, with a limit of three: three are let in, neither process is
    ready then, and both are once a call has ended."""
    statuses: list[int] = []
    with trio.fail_after(LIMIT_S):
        async with open_bridge(AVR_WORKERS="2", AVR_MAX_CALLS="3") as bridge:
            async with trio.open_nursery() as nursery:

                async def place() -> None:
                    async with open_faulty_caller(bridge.url, transport="http") as caller:
                        head = bytes(await caller.stream.receive_some())
                        statuses.append(int(head.split()[1]))
                        await trio.sleep_forever()

                for _ in range(30):
                    nursery.start_soon(place)
                while len(statuses) < 30:  # noqa: ASYNC110 - others fill it
                    await trio.sleep(0.01)
                assert Counter(statuses) == {200: 3, 503: 27}
                async with httpx2.AsyncClient() as client:
                    ready = await client.get(f"{bridge.url}/readyz")
                    assert ready.json() == {"status": "the limit of 3 calls is reached"}
                nursery.cancel_scope.cancel()
            async with httpx2.AsyncClient() as client:
                ready_url = f"{bridge.url}/readyz"
                while (await client.get(ready_url)).status_code != 200:  # noqa: ASYNC110
                    await trio.sleep(0.1)


@pytest.mark.parametrize("workers", ["0", "many"])
def test_a_number_that_cannot_be(workers: str) -> None:
    """As a setting and as an option: exit code 2, and what was expected."""
    ran = run_serve(OPENAI_API_KEY="k", AVR_WORKERS=workers)
    assert ran.returncode == 2
    assert f"AVR_WORKERS={workers}: expected a whole number from 1 to 64, or auto" in ran.stderr
    command = [sys.executable, "-m", "avr_bridge", "serve", "--workers", workers]
    environ = {**os.environ, "OPENAI_API_KEY": "k"}
    asked = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert (asked.returncode, asked.stderr) == (2, ran.stderr)


def test_workers_that_cannot_start(tmp_path: Path) -> None:
    """A bug in the start of each: the parent gives up with 1, and does not try for ever."""
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\nif '--worker' in sys.orig_argv:\n    raise SystemExit(7)\n"
    )
    environ = {"OPENAI_API_KEY": "k", "PORT": "0", "AVR_HOST": "127.0.0.1"}
    ran = run_serve(**environ, AVR_WORKERS="2", PYTHONPATH=str(tmp_path))
    assert ran.returncode == 1
    assert "a worker died" in ran.stderr
    assert "listening" not in ran.stderr


def test_a_signal_during_the_start(tmp_path: Path) -> None:
    """While the workers load their tools: exit code 0 at once."""
    command = [*COMMANDS["module"], *SERVE, "--workers", "2"]
    with held_up(tmp_path, "a tool", command) as (process, written):
        assert written == b"held up\n"
        process.terminate()
        assert process.wait(LIMIT_S) == 0


def test_as_process_1(tmp_path: Path) -> None:
    """In a container: it buries what others leave behind, and a signal ends it with 0."""
    isolated = ["unshare", "--pid", "--fork", "--kill-child"]
    isolated += [] if os.geteuid() == 0 else ["--map-root-user"]
    if subprocess.run([*isolated, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("no process namespaces here")
    orphan = "import subprocess\nsubprocess.run(['sh', '-c', 'sleep 0.1 & exec true'])\n"
    (tmp_path / "orphan.py").write_text(orphan)
    environ = bare_environ(OPENAI_API_KEY="k", AVR_TOOLS_DIR=str(tmp_path), AVR_WORKERS="2")
    with subprocess.Popen(
        [*isolated, *COMMANDS["module"], *SERVE],
        env=environ,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        read_until(process, "listening")
        (parent,) = children_of(process.pid)
        limit_s = time.monotonic() + LIMIT_S
        while len(children_of(parent)) > 2 and time.monotonic() < limit_s:
            time.sleep(0.01)
        assert {state_of(pid) for pid in children_of(parent)} <= {"S", "R"}
        os.kill(parent, signal.SIGTERM)
        assert process.wait(LIMIT_S) == 0
