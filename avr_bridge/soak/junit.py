"""The verdict as JUnit XML, which CI servers show: a test for each threshold.

No figure that is not in the report, and no other dialect.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from avr_bridge.soak.figures import figure_rows
from avr_bridge.soak.verdict import outcomes

if TYPE_CHECKING:
    from avr_bridge.soak.results import Report

__all__ = ["junit"]

VALID = "the run is valid"
UNASKED = "the container took calls to the end"
_NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit(report: Report) -> bytes:
    """A suite of one testcase for the run's validity, one for each threshold that was asked, and
    one for a container that failed altogether.

    In a void run the first is an error and the others are skipped, for nothing is known of them;
    but a container whose process ended failed in any run.
    """
    void, facts = report.verdict.void, report.verdict.facts
    cases = outcomes(report)
    known = {words for _, words in cases}
    unasked = [words for words in report.verdict.missed if words not in known]
    cases.append((UNASKED, "\n".join(facts or unasked)))
    judged = [(name, words) for name, words in cases if not void or (facts and name == UNASKED)]
    length_s = report.ticks[-1].at_s if report.ticks else 0.0
    suite = ElementTree.Element(
        "testsuite",
        name="avr-bridge soak",
        timestamp=report.started_at,
        time=f"{length_s:.1f}",
        tests=str(len(cases) + 1),
        failures=str(sum(bool(words) for _, words in judged)),
        errors=str(int(bool(void))),
        skipped=str(len(cases) - len(judged)),
    )
    valid = _case(suite, VALID)
    if void:
        _say(ElementTree.SubElement(valid, "error"), "\n".join(void))
    for name, words in cases:
        case = _case(suite, name)
        if (name, words) not in judged:
            ElementTree.SubElement(case, "skipped", message="the run is void")
        elif words:
            _say(ElementTree.SubElement(case, "failure"), words)
    rows = "\n".join(f"{name}: {value}" for name, value in figure_rows(report))
    ElementTree.SubElement(suite, "system-out").text = _clean(rows)
    root = ElementTree.Element("testsuites")
    root.append(suite)
    ElementTree.indent(root)
    written: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return written


def _case(suite: ElementTree.Element, name: str) -> ElementTree.Element:
    return ElementTree.SubElement(suite, "testcase", classname="soak", name=name)


def _say(element: ElementTree.Element, words: str) -> None:
    element.set("message", _clean(words.splitlines()[0]))
    element.text = _clean(words)


def _clean(text: str) -> str:
    """Without what XML cannot hold: a container's last words may have any sign."""
    return _NOT_IN_XML.sub("\ufffd", text)
