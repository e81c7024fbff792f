"""The soak report's page and JUnit file: they parse, have the figures, and need no other host."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

from avr_bridge.soak.charts import MOST_POINTS, Line, histogram, line_chart
from avr_bridge.soak.figures import figure_rows, headline
from avr_bridge.soak.junit import junit
from avr_bridge.soak.limit import LimitReport, Step
from avr_bridge.soak.page import limit_page, page
from avr_bridge.soak.plan import Thresholds
from avr_bridge.soak.results import ProcessSample, Report
from avr_bridge.soak.verdict import HOLDS, judged
from tests.soak.runs import record, run, tick

VOID_TAGS = {"meta", "br"}
ASKED = Thresholds(max_p99_ms=60, min_heard=0.99, max_errors=0, max_cpu_ms=3)


class Page(HTMLParser):
    """Finds tags that are not closed, and what a page would fetch."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.fetched: list[str] = []
        self.text: list[str] = []
        self.tags: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.fetched += [v or "" for k, v in attrs if k in ("src", "href", "xlink:href", "action")]
        if tag not in VOID_TAGS:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def full(asked: Thresholds = ASKED, **changed: object) -> Report:
    """A run with all that a page can show."""
    seconds = [tick(second, **changed) for second in range(1, 21)]
    report = judged(
        run(seconds, [record(n) for n in range(10)] + [record(10, error="<b>&")], asked)
    )
    report.samples.extend(ProcessSample(s, s * 0.3, 60 + s, 12, 3, 10) for s in range(21))
    return report


@pytest.mark.parametrize("report", [full(), judged(run([], [], subject=None)), full(cpu=0.99)])
def test_the_page_is_whole_and_alone(report: Report) -> None:
    """Well-formed, every figure in it, nothing to fetch; what a container says is no markup."""
    text = page(report)
    seen = Page(text)
    assert seen.open == []
    assert seen.fetched == []
    assert "script" not in seen.tags
    assert not re.search(r"https?://|@import|url\(", text)
    shown = "\n".join(seen.text)
    for name, value in figure_rows(report):
        assert name in shown
        assert value in shown
    for words in (*report.verdict.void, *report.verdict.missed):
        assert words in shown
    assert headline(report) in shown
    assert seen.tags.count("figure") == 5
    assert "<b>" not in text
    assert "prefers-color-scheme:dark" in text


def test_every_call_is_in_the_page() -> None:
    """A row for each, with its error."""
    rows = re.findall(r"<tr><td>(\d+)</td><td>steady", page(full()))
    assert rows == [str(number) for number in range(11)]


def test_a_search_is_a_page_of_steps_and_the_best_run() -> None:
    """Each step with its outcome; then the figures of the run at the limit."""
    held, missed = full(HOLDS), full(cpu=0.99)
    found = LimitReport(
        limit=10,
        ended="found",
        words="10 calls hold, 11 do not",
        steps=[
            Step(calls=10, outcome="held", again=False, report=held),
            Step(calls=11, outcome="void", again=True, report=missed),
        ],
    )
    seen = Page(limit_page(found))
    shown = "\n".join(seen.text)
    assert seen.open == []
    assert "10 calls hold, 11 do not" in shown
    assert "void, second try" in shown
    assert found.best is held


def test_lines_of_a_long_run_keep_their_peaks() -> None:
    """A day is drawn with as many points as there are pixels for; the highest is among them."""
    points = [(float(second), 1.0) for second in range(86_400)]
    points[50_001] = (50_001.0, 777.0)
    drawn = line_chart("x", "", [Line("a", points)])
    (line,) = re.findall(r'polyline class="s0" points="([^"]*)"', drawn)
    tops = [float(point.split(",")[1]) for point in line.split()]
    assert len(tops) <= MOST_POINTS
    assert min(tops) < 30 < sorted(tops)[1]


def test_the_histogram_counts_every_value() -> None:
    """Those beyond its end are in its last bar."""
    drawn = histogram("x", " ms", [1.0] * 500 + [2.0] * 300 + [900.0])
    assert sum(int(count) for count in re.findall(r"ms: (\d+)</title>", drawn)) == 801


def suite(report: Report) -> ElementTree.Element:
    found = ElementTree.fromstring(junit(report)).find("testsuite")
    assert found is not None
    return found


def test_junit_has_a_case_for_each_threshold() -> None:
    """The missed one fails in words with figures; the counts agree."""
    cases = suite(full())
    names = [case.get("name") for case in cases.iter("testcase")]
    assert names[0] == "the run is valid"
    assert "round trip p99 at most 60 ms" in names
    failed = [case for case in cases.iter("testcase") if case.find("failure") is not None]
    messages = [case.find("failure").get("message") or "" for case in failed]  # type: ignore[union-attr]
    assert any("3.25 ms, asked for at most 3 ms" in message for message in messages)
    assert cases.get("failures") == str(len(failed))
    assert cases.get("tests") == str(len(names))
    assert cases.get("errors") == cases.get("skipped") == "0"


def test_junit_of_a_void_run_is_an_error_and_skips() -> None:
    """No threshold is said to be reached or missed."""
    cases = suite(full(cpu=0.99))
    (error,) = cases.iter("error")
    assert "bottleneck" in (error.get("message") or "")
    assert cases.get("errors") == "1"
    assert cases.get("failures") == "0"
    assert len(list(cases.iter("skipped"))) == int(cases.get("tests") or 0) - 1


def test_junit_of_a_void_run_says_that_the_container_ended() -> None:
    """That is no figure, and no generator's fault: a failure beside the error."""
    report = judged(full(cpu=0.99), findings=["the container's process ended after 12 s"])
    cases = suite(report)
    (failure,) = cases.iter("failure")
    assert failure.get("message") == "the container's process ended after 12 s"
    assert (cases.get("errors"), cases.get("failures")) == ("1", "1")
    skipped = len(list(cases.iter("skipped")))
    assert skipped == int(cases.get("skipped") or 0) == int(cases.get("tests") or 0) - 2


def test_junit_takes_any_last_words() -> None:
    """Signs that XML cannot hold are replaced; the miss that nobody asked about has its case."""
    report = judged(run(), findings=["the container's process ended:\n\x1b[31m<\x00>"])
    failures = list(suite(report).iter("failure"))
    assert len(failures) == 1
    assert failures[0].get("message") == "the container's process ended:"
