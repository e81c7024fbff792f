"""The console in a real Chromium, as somebody watches it: what it shows, and for how long."""

from __future__ import annotations

import signal
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
UNKNOWN = "Not connected to the bridge: its calls are not known."
SILENT = "The bridge does not answer: its calls are not known."
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


WORDS_OF_THE_LINE = """async () => {
  const { Strip } = await import('/console/strip.js');
  const canvas = document.createElement('canvas');
  canvas.style.width = '520px';
  canvas.style.height = '176px';
  document.body.append(canvas);
  const pen = canvas.getContext('2d');
  const strip = new Strip(canvas);
  let now_s = 0;
  strip.start(() => now_s);
  strip.wait(2.0, 2.5);
  strip.interruption(3.0);
  strip.wait(4.0, 7.431);
  strip.wait(9.0, 9.9);
  strip.interruption(12.0);
  strip.key(12.5, '7');
  strip.wait(12.4, 12.6);
  strip.wait(13.0, 13.3);
  let drawn;
  pen.fillText = (words, x, y) => {
    if (!words.includes(':')) drawn.push({ words, x, y, half: pen.measureText(words).width / 2 });
  };
  const seen = [];
  for (now_s = 13.3; now_s < 32; now_s += 0.2) {
    drawn = [];
    strip.draw();
    seen.push({ now_s, drawn });
  }
  strip.stop();
  canvas.remove();
  return seen;
}"""


async def test_a_wait_keeps_its_own_number() -> None:
    """In the picture of the line words stand at what they are of, whole, and never over others;
    what has left the picture has none. A wait is told as in the list of turns, and the legend names
    every kind of mark."""
    places_s = {"500 ms": 2.25, "900 ms": 9.45, "200 ms": 12.5, "300 ms": 13.15, "3.43 s": 5.7155}
    async with open_bridge(SETTINGS, SimulatedRealtime()) as bridge:
        steps = [
            READY,
            {"do": "read", "name": "legend", "what": ".legend li"},
            measure("line", f"({WORDS_OF_THE_LINE})()"),
        ]
        seen = await drive(f"http://localhost:{bridge.port}/console", steps)
        assert await bridge.stop() == 0
    assert_clean(seen, bridge.port)
    told: set[str] = set()
    for moment in seen["read"]["line"]:
        for one in moment["drawn"]:
            told.add(one["words"])
            assert one["half"] <= one["x"] <= 520 - one["half"]
            if one["words"] in places_s:
                at_px = (places_s[one["words"]] - moment["now_s"] + 16) / 16 * 520
                assert abs(one["x"] - at_px) <= one["half"] + 2, moment
                assert at_px > -1
            for other in moment["drawn"]:
                apart = abs(one["x"] - other["x"]) >= one["half"] + other["half"]
                assert one is other or one["y"] != other["y"] or apart, moment
    waits = {"500 ms", "900 ms", "300 ms", "3.43 s"}
    assert told == {*waits, "interrupted", "7"}, "the newer of two in a place"
    assert seen["read"]["legend"] == ["you", "agent", "wait for the answer", "interrupted", "key"]


PAINTED = """(() => {
  const { width, height } = document.getElementById('strip');
  const pen = document.getElementById('strip').getContext('2d');
  const middle = (height - 16) / 2;
  const below = pen.getImageData(0, middle + 3, width, middle - 12).data;
  return below.filter((_, i) => i % 4 === 3).some((alpha) => alpha > 0);
})()"""
"""Whether the line shows something of the agent's side."""


async def test_a_bridge_that_dies() -> None:
    """In the middle of a call: the page says that the connection was lost, not that anybody ended
    the call, and no longer shows calls of a bridge that it knows nothing of."""
    shown = ("state", "events", "calls-card")
    async with open_bridge(SETTINGS, SimulatedRealtime()) as bridge:
        steps: list[dict[str, Any]] = [
            READY,
            *WITHOUT_MICROPHONE,
            START,
            UP,
            {"do": "wait", "what": "#calls", "words": "(yours)"},
            {"do": "wait", "what": "#transcript", "words": "greeting"},
            measure("picture before", PAINTED),
            {"do": "kill", "pid": bridge.process.pid},
            {"do": "wait", "what": "#bridge", "words": "not connected"},
            DOWN,
            SOON,
            *({"do": "read", "name": what, "what": f"#{what}"} for what in shown),
            START,
            {"do": "wait", "what": "#notice", "words": "cannot be reached"},
            measure("picture after", PAINTED),
        ]
        seen = await drive(f"http://localhost:{bridge.port}/console", steps)
        bridge.exit_code = await bridge.process.wait()
    assert bridge.exit_code == -signal.SIGKILL
    assert seen["read"]["state"] == ["The connection was lost"]
    assert "The connection was lost" in seen["read"]["events"][0]
    assert "ended the call" not in seen["read"]["events"][0]
    assert seen["read"]["picture before"]
    assert not seen["read"]["picture after"], "the next call's line is not the last one's"
    (calls,) = seen["read"]["calls-card"]
    assert calls.replace("\n\n", ": ") == f"Calls now: {UNKNOWN}"


HIDDEN = """Object.defineProperty(document, 'hidden', { configurable: true, value: true })"""
SEEN = "delete document.hidden"


async def test_a_bridge_that_hangs() -> None:
    """It is stopped in the middle of a call: seconds later the page says that it does not answer,
    if it is in sight, and when the bridge goes on all is as it was."""
    own = {"do": "wait", "what": "#calls", "words": "(yours)"}
    async with open_bridge(SETTINGS, SimulatedRealtime()) as bridge:
        pid = bridge.process.pid
        steps: list[dict[str, Any]] = [
            READY,
            *WITHOUT_MICROPHONE,
            START,
            own,
            measure("-", HIDDEN),
            {"do": "kill", "pid": pid, "signal": "SIGSTOP"},
            {"do": "sleep", "ms": 10_000},
            {"do": "read", "name": "hidden", "what": "#bridge"},
            measure("-", SEEN),
            {"do": "sleep", "ms": 4000},
            {"do": "read", "name": "soon", "what": "#bridge"},
            {"do": "wait", "what": "#bridge", "words": "does not answer"},
            {"do": "read", "name": "calls", "what": "#calls-card"},
            {"do": "kill", "pid": pid, "signal": "SIGCONT"},
            READY,
            own,
            {"do": "read", "name": "note", "what": "#calls-note"},
            START,
            DOWN,
        ]
        seen = await drive(f"http://localhost:{bridge.port}/console", steps)
        assert await bridge.stop() == 0
    assert_clean(seen, bridge.port)
    assert seen["read"]["hidden"] == seen["read"]["soon"] == ["ready"]
    (calls,) = seen["read"]["calls"]
    assert calls.replace("\n\n", ": ") == f"Calls now: {SILENT}"
    assert "not known" not in seen["read"]["note"][0]


WENT_SILENT = """async () => {
  const { Feed } = await import('/console/feed.js');
  const real = globalThis.setInterval;
  globalThis.setInterval = (act, ms) => real(act, ms / 100);
  const told = [];
  let asked = 0;
  globalThis.fetch = async (url, { signal }) => {
    asked += 1;
    told.push(`asked ${asked}`);
    if (asked === 3) throw new TypeError('refused');
    return new Response(new ReadableStream({
      start(stream) {
        const pulse = new TextEncoder().encode('data: {"type": "pulse"}\\n\\n');
        const tell = () => stream.enqueue(pulse);
        if (asked === 1) tell();
        if (asked === 2) setTimeout(tell, 100);
        signal.addEventListener('abort', () => stream.error(signal.reason));
      },
    }));
  };
  const feed = new Feed('feed', {});
  for (const type of ['pulse', 'silent', 'heard', 'lost']) {
    feed.addEventListener(type, () => told.push(type));
  }
  feed.run();
  await new Promise((resolve) => feed.addEventListener('lost', resolve));
  return told;
}"""


async def test_a_connection_that_died_in_silence() -> None:
    """No end of it comes: the page asks anew, by itself, and says nothing else than that nothing
    comes until it knows more. A hundred times as fast as it is."""
    async with open_bridge(SETTINGS, SimulatedRealtime()) as bridge:
        steps = [READY, measure("told", f"({WENT_SILENT})()")]
        seen = await drive(f"http://localhost:{bridge.port}/console", steps)
        assert await bridge.stop() == 0
    assert seen["read"]["told"] == [
        *("asked 1", "pulse", "silent"),
        *("asked 2", "heard", "pulse", "silent"),
        *("asked 3", "lost"),
    ]


CALLS = 6
"""The kernel chooses the worker: one time in 64 it is always the page's own."""

LEAST_TOLD = """() => new Promise((done) => {
  const told = [];
  const until_ms = performance.now() + 1200;
  const look = () => {
    const words = document.getElementById('calls-note').textContent;
    told.push(Number(words.match(/All together carry (\\d+)/)[1]));
    if (performance.now() < until_ms) requestAnimationFrame(look);
    else done(Math.min(...told));
  };
  look();
})"""


async def test_the_own_call_counts_at_once() -> None:
    """With two workers, whichever of them carries it: it is listed, and the number of all calls
    waits for no pulse. When it is over the number falls."""
    over = {"do": "wait", "what": "#calls-note", "words": "All together carry 0"}
    steps: list[dict[str, Any]] = [READY, *WITHOUT_MICROPHONE, over]
    for number in range(CALLS):
        steps += [START, UP, measure(f"least {number}", f"({LEAST_TOLD})()")]
        for name, what in (("count", "#calls-count"), ("rows", "#calls tr")):
            steps.append({"do": "read", "name": f"{name} {number}", "what": what})
        steps += [START, DOWN, over]
    async with open_bridge({**SETTINGS, "AVR_WORKERS": "2"}, SimulatedRealtime()) as bridge:
        seen = await drive(f"http://localhost:{bridge.port}/console", steps)
        assert await bridge.stop() == 0
    assert_clean(seen, bridge.port)
    for number in range(CALLS):
        assert seen["read"][f"least {number}"] == 1
        assert seen["read"][f"count {number}"] == ["1"]
        (row,) = seen["read"][f"rows {number}"]
        assert "(yours)" in row
        assert "0:0" in row, "since when"


PLACES = """(() => {
  const box = (selector) => document.querySelector(selector).getBoundingClientRect();
  const [title, legend] = [box('#line-title'), box('.legend')];
  const [card, turns, words] = [box('#turns-card'), box('#turns-title'), box('#turns-card .empty')];
  return {
    apart: legend.left >= title.right || legend.top >= title.bottom,
    above: words.top - turns.bottom,
    beneath: card.bottom - words.bottom,
  };
})()"""


async def test_everything_has_its_place() -> None:
    """Whatever the width: the title of the line and its legend stand apart, and what stands in an
    empty card stands in its middle."""
    widths = (360, 390, 720, 768, 800, 1000, 1130, 1360)
    steps: list[dict[str, Any]] = [READY]
    for width in widths:
        size = {"do": "size", "width": width, "height": 800}
        steps += [size, SOON, measure(str(width), PLACES)]
    async with open_bridge(SETTINGS, SimulatedRealtime()) as bridge:
        seen = await drive(f"http://localhost:{bridge.port}/console", steps)
        assert await bridge.stop() == 0
    assert_clean(seen, bridge.port)
    for width, places in seen["read"].items():
        assert places["apart"], width
        assert abs(places["above"] - places["beneath"]) < 16, width
