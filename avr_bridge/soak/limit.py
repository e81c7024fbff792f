"""Runs step after step until the most calls that hold are found.

The search is `search.py`'s, a step is `run.py`'s; this is the loop between them, and its record.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from avr_bridge.soak.results import Report

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from avr_bridge.soak.search import LimitSearch

__all__ = ["LimitReport", "Step", "find_limit"]

GENERATOR_IS_THE_LIMIT = "the generator is the limit"


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One run of the search.

    Attributes:
        calls: Steady calls.
        outcome: ``held``, ``missed`` or ``void``.
        again: Whether it repeats the step before, which failed.
        report: The run.
    """

    calls: int
    outcome: str
    again: bool
    report: Report


class LimitReport(msgspec.Struct, frozen=True, kw_only=True):
    """The search.

    Attributes:
        limit: Most calls that held; 0: none did.
        ended: Why the search ended: ``found``, ``interrupted``, or ``void`` (a step was void twice:
            more calls may hold than `limit`).
        words: The same for a person.
        steps: In order.
    """

    limit: int
    ended: str
    words: str
    steps: list[Step]

    @property
    def terminated(self) -> bool:
        """Whether SIGTERM ended it, so that nobody knows what it would have found."""
        return self.ended == "interrupted" and self.steps[-1].report.terminated

    @property
    def best(self) -> Report:
        """The run at the limit; if none held, the last."""
        held = [step.report for step in self.steps if step.outcome == "held"]
        return max(held, key=lambda report: report.plan.calls) if held else self.steps[-1].report


async def find_limit(
    search: LimitSearch,
    run_at: Callable[[int], Awaitable[Report]],
    told: Callable[[Step], None],
) -> LimitReport:
    """Search to the end.

    Args:
        search: Fresh.
        run_at: A run with so many calls, on a fresh bridge.
        told: Called with each step that has ended.
    """
    steps: list[Step] = []
    ended = "found"
    while (calls := search.next_calls()) is not None:
        again = search.again
        report = await run_at(calls)
        outcome = _outcome(report)
        steps.append(Step(calls=calls, outcome=outcome, again=again, report=report))
        told(steps[-1])
        if report.interrupted:
            ended = "interrupted"
            break
        if outcome == "void" and again:
            ended = "void"
            break
        search.report(outcome == "held")
    return LimitReport(
        limit=search.held, ended=ended, words=_words(search, ended, steps), steps=steps
    )


def _outcome(report: Report) -> str:
    if report.verdict.void and not report.verdict.facts:
        return "void"
    return "missed" if report.verdict.missed else "held"


def _words(search: LimitSearch, ended: str, steps: list[Step]) -> str:
    held = f"{search.held} calls hold" if search.held else "no step held"
    if ended == "void":
        why = steps[-1].report.verdict.void[0]
        if "the generator" in why:
            return f"{held}; {GENERATOR_IS_THE_LIMIT} beyond"
        return f"{held}; beyond, nothing could be judged: {why}"
    if ended == "interrupted":
        return f"interrupted: {held} so far"
    return f"{held}, {search.failed} do not" if search.failed else held
