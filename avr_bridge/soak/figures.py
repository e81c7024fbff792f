"""The figures of a report as rows of words: one list for the terminal and for the page.

Chooses and formats; it computes nothing but what a row needs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from avr_bridge.soak.results import Report, Spread, SubjectFigures

__all__ = ["figure_rows", "headline", "verdict_lines"]

NOT_WATCHED = [("container", "not watched: no --pid")]
SLOPE_LEAST_S = 300
"""Of a slope in memory that is shown: over less it is the allocator's steps."""


def headline(report: Report) -> str:
    """The verdict in a word or two."""
    cut = " (interrupted)" if report.interrupted else ""
    if report.verdict.void and not report.verdict.facts:
        return f"VOID{cut}"
    return f"{'PASSED' if report.verdict.passed else 'MISSED'}{cut}"


def verdict_lines(report: Report) -> list[str]:
    """Why, a line each; then whether the run holds by the common measure."""
    verdict = report.verdict
    lines = [f"void: {words}" for words in verdict.void]
    lines += [f"missed: {words}" for words in verdict.missed]
    if not verdict.void:
        answer = "yes" if report.holds else "no"
        lines.append(
            f"holds (each end heard 99 %, p99 at most 60 ms, no error, no lost probe): {answer}"
        )
    return lines


def figure_rows(report: Report) -> list[tuple[str, str]]:
    """Name and value of each figure, in the order of importance."""
    plan = report.plan
    measured = sum(tick.measured for tick in report.ticks)
    heard = f"{report.heard_share_least:.2%}"
    if report.model_heard_share_least is not None:
        heard += f"; model {report.model_heard_share_least:.2%}"
    errors = ", ".join(f"{kind} ({count})" for kind, count in sorted(report.errors.items()))
    rows = [
        ("calls", f"{report.calls_held} of {plan.calls} held for {measured} s, {plan.transport}"),
        ("round trip", _ms(report.probes_ms)),
        ("lost probes", _lost(report)),
        ("heard at least", heard),
        ("errors", errors or "none"),
        ("call set-up", _ms(report.set_up_ms)),
        ("first sound", _ms(report.first_audio_ms)),
        ("playout ran dry", f"{report.underruns} times, {report.underrun_ms:.0f} ms in all"),
        ("longest gap", _ms(report.gap_ms)),
    ]
    if report.stop_ms.count:
        rows.append(("stop after barge-in", _ms(report.stop_ms)))
    tools = sum(call.tools for call in report.calls)
    if tools:
        answered = sum(call.tools_answered for call in report.calls)
        rows.append(("tools", f"{answered} of {tools} answered"))
    if report.arrivals:
        rows.append(("short calls", f"{report.arrivals}, {report.arrivals_failed} of them failed"))
    rows += _subject_rows(report.subject, measured) if report.subject else NOT_WATCHED
    lag = report.generator_lag_ms
    rows += [
        (
            "generator",
            f"{report.generator_cpu:.0%} of its core; late {lag.p95:.1f} ms at p95, "
            f"{lag.most:.1f} ms at most",
        ),
        ("machine", report.machine),
    ]
    return rows


def _subject_rows(subject: SubjectFigures, measured_s: int) -> list[tuple[str, str]]:
    slope = f", {subject.rss_slope_mb_per_h:+.1f} MB/h" if measured_s >= SLOPE_LEAST_S else ""
    rows = [
        (
            "container's processor",
            f"{subject.cpu_ms_per_call_s:.2f} ms per call-second, "
            f"{subject.cpu_share:.0%} of a core",
        ),
        (
            "container's memory",
            f"{subject.rss_idle_mb:.1f} MB idle, {subject.rss_mb:.1f} MB with calls "
            f"({subject.rss_mb_per_call:.3f} MB per call{slope}), "
            f"{_after(subject.rss_after_mb, '.1f', ' MB')}",
        ),
        (
            "descriptors",
            f"{_known(subject.descriptors_idle)} idle, {_known(subject.descriptors)} at most, "
            f"{_after(subject.descriptors_after)}",
        ),
    ]
    if subject.others_share is not None:
        rows.append(("others on its core", f"{subject.others_share:.0%} of it"))
    if subject.tasks_idle is not None and subject.tasks_after is not None:
        rows.append(("tasks", f"{subject.tasks_idle} idle, {subject.tasks_after} after"))
    return rows


def _after(value: float | None, figure: str = "", unit: str = "") -> str:
    if value is None:
        return "none after: its process had ended"
    shown = f"{value:{figure}}{unit}" if value >= 0 else "unknown"
    return f"{shown} after"


def _lost(report: Report) -> str:
    answered = report.probes_ms.count
    if not answered and report.plan.model_port is None:
        return "unknown: the container's own model answers none"
    return f"{report.lost_probes} of {report.lost_probes + answered}"


def _known(count: int) -> str:
    return "unknown" if count < 0 else str(count)


def _ms(spread: Spread) -> str:
    if not spread.count:
        return "none"
    return (
        f"p50 {spread.p50:.1f} ms, p95 {spread.p95:.1f} ms, p99 {spread.p99:.1f} ms, "
        f"most {spread.most:.1f} ms"
    )
