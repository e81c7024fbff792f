"""The report as one HTML page that needs nothing else: no script, no font, no other host.

Puts together what `figures.py` and `charts.py` make; light or dark as the reader's system is.
"""

from __future__ import annotations

import itertools
from html import escape
from typing import TYPE_CHECKING

from avr_bridge.soak.charts import Line, histogram, line_chart
from avr_bridge.soak.figures import figure_rows, headline, verdict_lines
from avr_bridge.soak.results import Spread

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from avr_bridge.soak.limit import LimitReport, Step
    from avr_bridge.soak.results import CallRecord, Report

__all__ = ["limit_page", "page"]

STYLE = """
:root{--bg:#fff;--fg:#1b1f24;--dim:#66707b;--line:#dde2e7;--a:#1668c4;--b:#c4501b;--c:#3b8f4a;
--good:#1f7a36;--bad:#b3261e;--void:#8a6100}
@media(prefers-color-scheme:dark){:root{--bg:#14171a;--fg:#e4e8ec;--dim:#949ea9;--line:#30363d;
--a:#64aaf2;--b:#f0935f;--c:#7ac98a;--good:#6fd08a;--bad:#ff8a80;--void:#e7b94f}}
body{background:var(--bg);color:var(--fg);font:15px/1.5 system-ui,sans-serif;max-width:60rem;
margin:2rem auto;padding:0 1rem}
h1 .passed{color:var(--good)}h1 .missed{color:var(--bad)}h1 .void{color:var(--void)}
table{border-collapse:collapse;font-variant-numeric:tabular-nums}.wide{overflow-x:auto}
th,td{padding:.2rem .7rem .2rem 0;text-align:left;border-bottom:1px solid var(--line)}
th{font-weight:600}td{vertical-align:top;white-space:pre-line}
figure{margin:1.5rem 0}svg{width:100%;height:auto}
polyline{fill:none;stroke-width:1.5}.grid{stroke:var(--line)}.label{fill:var(--dim);font-size:11px}
.s0{stroke:var(--a)}.s1{stroke:var(--b)}.s2{stroke:var(--c)}.bar{fill:var(--a)}
.key{margin-left:1rem}.k0{color:var(--a)}.k1{color:var(--b)}.k2{color:var(--c)}
li{white-space:pre-line}summary{cursor:pointer}
"""
CALL_HEAD = (
    "call",
    "kind",
    "talked s",
    "set-up ms",
    "first sound ms",
    "heard",
    "model heard",
    "p50 ms",
    "p99 ms",
    "lost probes",
    "ran dry",
    "gap ms",
    "barge-ins",
    "tools",
    "ended by",
    "error",
)


def page(report: Report) -> str:
    """A whole run."""
    return _document(headline(report), _run(report))


def limit_page(found: LimitReport) -> str:
    """A search: its steps, then the run at the limit."""
    head = ("calls", "outcome", "p99 ms", "heard", "errors", "container CPU", "generator CPU", "")
    steps = _table(head, (_step(step) for step in found.steps))
    body = f"<h2>Steps</h2>{steps}<h2>The run with {found.best.plan.calls} calls</h2>"
    return _document(found.words, f"<h1>{escape(found.words)}</h1>{body}{_run(found.best)}")


def _run(report: Report) -> str:
    word = headline(report)
    kind = word.split()[0].lower()
    lines = "".join(f"<li>{escape(line)}</li>" for line in verdict_lines(report))
    when = f"{report.plan.url}, {report.started_at}, avr-bridge {report.version}"
    rows = "".join(
        f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>"
        for name, value in figure_rows(report)
    )
    calls = _table(CALL_HEAD, (_call(call) for call in report.calls))
    return (
        f'<h1>Soak run: <span class="{kind}">{escape(word)}</span></h1><ul>{lines}</ul>'
        f"<p>{escape(when)}</p><table>{rows}</table>{_charts(report)}"
        f"<details><summary>Every call ({len(report.calls)})</summary>{calls}</details>"
    )


def _charts(report: Report) -> str:
    ticks, samples = report.ticks, report.samples
    spreads = [(tick.at_s, Spread.of(tick.probes_ms)) for tick in ticks if tick.probes_ms]
    pairs = itertools.pairwise(samples)
    cpu = [
        (now.at_s, 100 * (now.cpu_s - before.cpu_s) / (now.at_s - before.at_s))
        for before, now in pairs
        if now.at_s > before.at_s
    ]
    lag = [(tick.at_s, tick.lag_ms) for tick in ticks]
    up = Line("calls up", [(tick.at_s, tick.up + tick.short_up) for tick in ticks])
    charts = [
        line_chart(
            "Round trips",
            " ms",
            [
                Line("p50", [(at_s, spread.p50) for at_s, spread in spreads]),
                Line("p99", [(at_s, spread.p99) for at_s, spread in spreads]),
            ],
        ),
        histogram(
            "Round trips of the measured time, how many",
            " ms",
            [ms for tick in ticks if tick.measured for ms in tick.probes_ms],
        ),
        line_chart(
            "Processor, share of a core",
            " %",
            [
                Line("container", cpu),
                Line("generator", [(tick.at_s, tick.cpu * 100) for tick in ticks]),
            ],
        ),
        line_chart(
            "Container's memory and calls up",
            "",
            [Line("MB", [(sample.at_s, sample.rss_mb) for sample in samples]), up],
        ),
        line_chart("Generator's lateness", " ms", [Line("worst", lag)]),
    ]
    return "".join(charts)


def _step(step: Step) -> Sequence[str]:
    report = step.report
    cpu = f"{report.subject.cpu_share:.0%}" if report.subject else ""
    why = [*report.verdict.void, *report.verdict.missed]
    return (
        str(step.calls),
        step.outcome + (", second try" if step.again else ""),
        f"{report.probes_ms.p99:.1f}",
        f"{report.heard_share_least:.2%}",
        str(sum(report.errors.values())),
        cpu,
        f"{report.generator_cpu:.0%}",
        "\n".join(why),
    )


def _call(call: CallRecord) -> Sequence[str]:
    probes = Spread.of(call.probes_ms)
    return (
        str(call.number),
        call.kind,
        f"{call.talked_s:.1f}",
        _or_none(call.set_up_ms),
        _or_none(call.first_audio_ms),
        f"{call.heard_share:.2%}",
        "" if call.model_heard_share is None else f"{call.model_heard_share:.2%}",
        f"{probes.p50:.1f}" if probes.count else "",
        f"{probes.p99:.1f}" if probes.count else "",
        str(call.lost_probes),
        str(call.underruns),
        f"{call.gap_ms:.0f}",
        f"{call.interruptions}/{call.barge_ins}",
        f"{call.tools_answered}/{call.tools}",
        call.ended_by,
        call.error,
    )


def _or_none(value: float | None) -> str:
    return "" if value is None else f"{value:.0f}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    names = "".join(f"<th>{escape(name)}</th>" for name in head)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    table = f"<table><thead><tr>{names}</tr></thead><tbody>{body}</tbody></table>"
    return f'<div class="wide">{table}</div>'


def _document(title: str, body: str) -> str:
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>Soak run: {escape(title)}</title><style>{STYLE}</style></head>"
        f"<body>{body}</body></html>\n"
    )
