"""The console in a real Chromium, as somebody watches it: what it shows, and for how long."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from avr_bridge.testing import SimulatedRealtime

from .browser.harness import drive, prepare_browser
from .node.harness import open_bridge
from .test_console import DOWN, SETTINGS, START, UP, assert_clean

if TYPE_CHECKING:
    from collections.abc import Sequence

pytestmark = pytest.mark.peer

READY = {"do": "wait", "what": "#bridge", "words": "ready"}
WITHOUT_MICROPHONE = [
    {"do": "click", "what": "summary"},
    {"do": "choose", "what": "#microphone", "value": "none"},
    {"do": "click", "what": "summary"},
]
SOON = {"do": "sleep", "ms": 400}


@pytest.fixture(autouse=True, scope="module")
def _browser() -> None:
    prepare_browser()


def measure(name: str, script: str) -> dict[str, Any]:
    return {"do": "measure", "name": name, "script": script}


def keys(digits: str) -> Sequence[dict[str, Any]]:
    """Each is an event of its own in the list of events."""
    return [{"do": "key", "key": digit} for digit in digits]


async def test_the_end_of_a_list_stays_in_sight() -> None:
    """While events come, the page is turned and widened; only somebody who scrolls up stops it, and
    who scrolls back to the end goes on."""
    away = "(() => { const l = document.getElementById('events');"
    left = f"{away} return Math.round(l.scrollHeight - l.scrollTop - l.clientHeight); }})()"
    up = f"{away} l.scrollTop = 20; }})()"
    back = f"{away} l.scrollTop = l.scrollHeight; }})()"
    long = f"{away} return l.scrollHeight - l.clientHeight; }})()"
    sizes = [(800, 390), (1280, 900), (390, 800)]
    steps: list[dict[str, Any]] = [
        READY,
        *WITHOUT_MICROPHONE,
        START,
        UP,
        *keys("123456789*0123456789*0"),
    ]
    for width, height in sizes:
        steps += [
            {"do": "size", "width": width, "height": height},
            SOON,
            measure(f"turned {width}", left),
            *keys("1"),
            SOON,
            measure(f"grown {width}", left),
        ]
    steps += [measure("up", up), SOON, *keys("2"), SOON, measure("scrolled", left)]
    steps += [{"do": "size", "width": 800, "height": 390}, SOON, measure("scrolled, turned", left)]
    steps += [measure("back", back), SOON, *keys("3"), SOON, measure("again", left)]
    steps += [measure("long", long), START, DOWN]
    async with open_bridge(SETTINGS, SimulatedRealtime()) as bridge:
        url = f"http://localhost:{bridge.port}/console"
        seen = await drive(url, steps, width=390, height=800)
        assert await bridge.stop() == 0
    assert_clean(seen, bridge.port)
    read = seen["read"]
    assert read["long"] > 200, "there is something to scroll"
    for width, _ in sizes:
        assert abs(read[f"turned {width}"]) <= 1
        assert abs(read[f"grown {width}"]) <= 1
    assert read["scrolled"] > 100
    assert read["scrolled, turned"] > 100
    assert abs(read["again"]) <= 1
