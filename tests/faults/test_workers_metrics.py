"""`/metrics` of several workers: whichever answers tells of all, and a death takes nothing back."""

from __future__ import annotations

import os
import signal

import httpx2
import trio

from avr_bridge.server.metrics import WRITE_EVERY_S
from tests.faults.conftest import Bridge, open_bridge
from tests.faults.test_workers import calls_by_worker, talking_calls, wait_logged, workers
from tests.unit.metrics_seen import value, values

LIMIT_S = 60
LAG = "avr_bridge_event_loop_lag_seconds"
PAGES = 8
"""Each over a connection of its own: both workers answer some of them."""


async def pages(bridge: Bridge) -> list[str]:
    """The page, so many times."""
    found = []
    async with httpx2.AsyncClient() as client:
        for _ in range(PAGES):
            got = await client.get(f"{bridge.url}/metrics", headers={"Connection": "close"})
            assert got.status_code == 200
            found.append(got.text)
    return found


async def wait_value(bridge: Bridge, name: str, number: float) -> list[str]:
    """Wait until every page has this number."""
    while True:
        found = await pages(bridge)
        if {value(page, name) for page in found} == {number}:
            return found
        await trio.sleep(0.2)


async def test_whichever_answers_tells_of_all() -> None:
    """Two calls, one in each worker, are told of by both; the lag by worker. When a worker is
    killed both tell of its death, what it had counted stays, and the one in its place goes on."""
    with trio.fail_after(LIMIT_S):
        async with open_bridge(AVR_WORKERS="2", AVR_MAX_CALLS="9") as bridge:
            async with talking_calls(bridge, "a", "b"):
                assert calls_by_worker(bridge) == {1: 1, 2: 1}
                found = await wait_value(bridge, "avr_bridge_calls", 2)
                for page in found:
                    assert value(page, "avr_bridge_workers") == 2
                    assert value(page, "avr_bridge_workers_wanted") == 2
                    assert value(page, "avr_bridge_calls_limit") == 9
                    assert set(values(page, LAG, "worker")) == {
                        ("1",),
                        ("2",),
                    }
                    assert value(page, "avr_bridge_calls_started_total", transport="websocket") == 2
            await bridge.wait_ended("a")
            await bridge.wait_ended("b")
            await wait_value(bridge, "avr_bridge_first_audio_seconds_count", 2)
            await trio.sleep(WRITE_EVERY_S * 1.2)  # what it counted since is lost with it
            os.kill(workers(bridge)[1], signal.SIGKILL)
            await wait_logged(bridge, "a worker was replaced")
            found = await wait_value(bridge, "avr_bridge_workers", 2)
            assert {value(page, "avr_bridge_worker_deaths_total") for page in found} == {1}
            assert {value(page, "avr_bridge_first_audio_seconds_count") for page in found} == {2}
            async with talking_calls(bridge, "c", "d"):
                pass
            await bridge.wait_ended("c")
            await bridge.wait_ended("d")
            for page in await wait_value(bridge, "avr_bridge_first_audio_seconds_count", 4):
                assert value(page, "avr_bridge_calls_started_total", transport="websocket") == 4
                assert value(page, "avr_bridge_calls") == 0
