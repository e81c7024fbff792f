"""A process of a soak run's own: how long it lives."""

from __future__ import annotations

import signal
import subprocess
import sys

import psutil
import trio

from avr_bridge.soak.child import open_child

LIMIT_S = 20
SLEEPER = [sys.executable, "-c", "import time; time.sleep(600)"]
PARENT = f"""
import trio
from avr_bridge.soak.child import open_child

async def main():
    async with open_child({SLEEPER!r}) as child:
        print(child.process.pid, flush=True)
        await trio.sleep_forever()

trio.run(main)
"""


def test_a_child_of_a_parent_that_is_killed_ends_too() -> None:
    """SIGKILL leaves the parent no time for anything; what it started is gone all the same."""
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
    _, alive = psutil.wait_procs([child], timeout=LIMIT_S)
    assert alive == []


async def test_a_child_ends_by_sigterm_and_leaves_nothing() -> None:
    """Behind the body there is no process, nor one that watched it."""
    with trio.fail_after(LIMIT_S):
        async with open_child(SLEEPER) as child:
            assert child.process.poll() is None
    assert child.process.returncode == -signal.SIGTERM
    assert psutil.Process().children(recursive=True) == []
