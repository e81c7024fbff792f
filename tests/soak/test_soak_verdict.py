"""What a soak run is worth: table after table of runs and the words for them."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from avr_bridge.soak.figures import headline
from avr_bridge.soak.plan import Thresholds
from avr_bridge.soak.results import Report, Verdict
from avr_bridge.soak.verdict import HOLDS, exit_code, judge, judged, late_limit_ms
from tests.soak.runs import SECONDS, SUBJECT, record, run, tick


def seconds(count: int = SECONDS, **changed: Any) -> list[Any]:
    return [tick(second, **changed) for second in range(1, count + 1)]


ALL = Thresholds(
    max_p99_ms=60,
    min_heard=0.99,
    max_errors=0,
    max_lost_probes=0,
    max_cpu_ms=4,
    max_rss_mb_per_call=2,
)


def test_a_good_run_passes_and_holds() -> None:
    """Nothing void, nothing missed, exit code 0."""
    report = judged(run(asked=ALL))
    assert report.verdict == Verdict([], [])
    assert report.holds
    assert exit_code(report.verdict) == 0


def test_what_was_not_asked_is_not_missed_but_does_not_hold() -> None:
    """Slow round trips pass without a threshold; the common measure still says no."""
    report = judged(run(seconds(probes_ms=[100.0])))
    assert report.verdict.passed
    assert not report.holds


@pytest.mark.parametrize(
    ("report", "asked", "words"),
    [
        (run(seconds(probes_ms=[20, 90])), "max_p99_ms", "p99 was 90.0 ms, asked for at most 60"),
        (run(calls=[record(1, heard_share=0.9712)]), "min_heard", "a caller heard 0.9712"),
        (run(calls=[record(1, model_heard_share=0.5)]), "min_heard", "a model heard 0.5000"),
        (run(calls=[record(1, error="lost", talked_s=0.1)]), "min_heard", "a caller heard 0.0000"),
        (run(seconds(errors={"lost": 2})), "max_errors", "errors was 40, asked for at most 0"),
        (run(seconds(lost_probes=1)), "max_lost_probes", "lost probes was 20"),
        (run(), "max_cpu_ms", "per call-second was 3.25 ms, asked for at most 3 ms"),
        (run(), "max_rss_mb_per_call", "memory per call was 1.250 MB, asked for at most 1 MB"),
    ],
)
def test_a_missed_threshold_is_told_with_its_figures(
    report: Report, asked: str, words: str
) -> None:
    """Exactly the one that was asked is missed; exit code 1."""
    limits: dict[str, Any] = {"max_cpu_ms": 3.0, "max_rss_mb_per_call": 1.0}
    only = Thresholds(**{asked: limits.get(asked, getattr(HOLDS, asked, None))})
    verdict = judge(run_with(report, only))
    (missed,) = verdict.missed
    assert words in missed
    assert verdict.void == []
    assert exit_code(verdict) == 1


def run_with(report: Report, asked: Thresholds) -> Report:
    return msgspec.structs.replace(report, thresholds=asked)


@pytest.mark.parametrize(
    ("report", "words"),
    [
        (run(seconds(cpu=0.9)), "90% of its core in the median second"),
        (run([*seconds(18), tick(19, cpu=0.99), tick(20, cpu=0.99)]), "bottleneck now and then"),
        (run(seconds(lag_ms=45.0)), "behind by 45 ms or more, and 20 ms are the most"),
        (run(seconds(4)), "only 4 s were measured; 5 s are the least"),
        (run(seconds(15)), "only 15 of 20 s were measured"),
        (run(seconds(measured=False)), "only 0 s were measured"),
        (run(seconds(errors={"Too many open files": 1})), "want of its own descriptors"),
        (run(seconds(up=0, errors={"EMFILE": 1})), "want of its own descriptors"),
        (run(seconds(probes_ms=[])), "does the container use the stand-in"),
        (
            run(seconds(probes_ms=[]), asked=Thresholds(max_p99_ms=60), model_port=None),
            "round trips and lost probes cannot be judged",
        ),
        (
            run(
                seconds(probes_ms=[], lost_probes=1),
                asked=Thresholds(max_lost_probes=0),
                model_port=None,
            ),
            "round trips and lost probes cannot be judged",
        ),
        (run(asked=Thresholds(max_cpu_ms=1), subject=None), "process could not be watched"),
    ],
)
def test_a_void_run_says_why(report: Report, words: str) -> None:
    """One reason; exit code 3, and it does not hold."""
    whole = judged(report)
    (void,) = whole.verdict.void
    assert words in void
    assert exit_code(whole.verdict) == 3
    assert not whole.holds


def test_slow_round_trips_in_late_seconds_only_are_the_generators() -> None:
    """One second of the machine's own trouble: void. The same without lateness: missed."""
    stalled = [200.0] * 5
    late = [*seconds(18), tick(19, probes_ms=stalled, lag_ms=180.0), tick(20, probes_ms=stalled)]
    verdict = judge(run(late, asked=Thresholds(max_p99_ms=60)))
    assert "only around 1 second in which the generator" in verdict.void[0]
    slow = [*seconds(18), tick(19, probes_ms=stalled), tick(20, probes_ms=stalled)]
    verdict = judge(run(slow, asked=Thresholds(max_p99_ms=60)))
    assert (verdict.void, len(verdict.missed)) == ([], 1)


def test_one_late_second_does_not_void_a_run_that_reaches_all() -> None:
    """A minute on a shared machine has one; nothing that was asked is in doubt by it."""
    late = [*seconds(19), tick(20, lag_ms=500.0)]
    assert judge(run(late, asked=ALL)).passed


def test_an_interrupted_run_is_valid_if_it_is_long_enough() -> None:
    """Six of twenty seconds say something; four do not."""
    assert judge(run(seconds(6), interrupted=True)).passed
    assert judge(run(seconds(4), interrupted=True)).void


def test_a_terminated_run_is_valid_if_most_of_it_was_measured() -> None:
    """By SIGTERM, as of a CI job whose time is up: 16 of 20 seconds are enough, 15 are not."""
    assert judge(run(seconds(16), interrupted=True, terminated=True)).passed
    verdict = judge(run(seconds(15), interrupted=True, terminated=True))
    assert verdict.void == ["only 15 of 20 s were measured: SIGTERM ended the run"]
    assert exit_code(verdict) == 3


def test_a_container_that_takes_no_call_is_a_miss() -> None:
    """Asked or not: the generator did its part, so the run is not void."""
    report = run(seconds(3, up=0, probes_ms=[], errors={"refused": 2}, measured=False), [])
    verdict = judge(report)
    assert verdict.void == []
    assert verdict.missed == ["no call came up: refused (6 times)"]


@pytest.mark.parametrize(
    ("model_port", "changed", "missed"),
    [
        (None, {"first_audio_ms": None, "talked_s": 0.0, "up_s": 11.0}, True),
        (0, {"first_audio_ms": None, "talked_s": 0.0, "up_s": 11.0}, True),
        (0, {"heard_share": 0.0, "up_s": 25.0}, True),
        (None, {"heard_share": 0.0, "up_s": 25.0}, False),
        (0, {"first_audio_ms": None, "talked_s": 0.0, "up_s": 1.5, "ended_by": "hangup"}, False),
    ],
)
def test_a_call_that_heard_nothing_is_a_miss(
    model_port: int | None, changed: dict[str, Any], missed: bool
) -> None:
    """Asked or not. One that was hung up at once does not count, nor a model of the container's
    own that is silent behind its greeting."""
    report = run(calls=[record(1), record(2, **changed)], model_port=model_port)
    assert judge(report).missed == (["1 call heard nothing at all"] if missed else [])


def test_a_core_that_others_used_excuses_a_miss_and_nothing_else() -> None:
    """A quarter of it gone: void if something was missed; passed if all was reached anyway."""
    shared = msgspec.structs.replace(SUBJECT, others_share=0.25)
    slow = run(seconds(probes_ms=[100.0]), asked=ALL, subject=shared)
    assert "others used 25% of the container's core" in judge(slow).void[0]
    assert judge(run(asked=ALL, subject=shared)).passed
    dear = run(asked=Thresholds(max_cpu_ms=0.001), subject=shared)
    assert judge(dear).void == []
    assert judge(slow, findings=["the container's process ended"]).void == []
    quiet = msgspec.structs.replace(SUBJECT, others_share=0.05)
    assert judge(run(seconds(probes_ms=[100.0]), asked=ALL, subject=quiet)).void == []


def test_troubles_are_void_and_findings_are_missed() -> None:
    """What befell the two processes, besides the figures."""
    verdict = judge(run(), ["a generator broke"], ["the container's process ended"])
    assert verdict.void == ["a generator broke"]
    assert verdict.missed == ["the container's process ended"]


def test_a_container_that_ended_is_a_miss_in_a_void_run_too() -> None:
    """The generator was late as well, which does not bring the process back: exit code 1."""
    gone = "the container's process ended after 12 s"
    report = judged(run(seconds(lag_ms=45.0)), findings=[gone])
    assert report.verdict.void
    assert report.verdict.facts == [gone]
    assert exit_code(report.verdict) == 1
    assert headline(report) == "MISSED"
    assert not report.holds


@pytest.mark.parametrize(("asked_ms", "limit_ms"), [(None, 20), (30, 20), (60, 20), (300, 100)])
def test_the_lateness_that_is_allowed_goes_by_what_is_asked(
    asked_ms: float | None, limit_ms: float
) -> None:
    """A third of the round trip, and a frame in any case."""
    assert late_limit_ms(Thresholds(max_p99_ms=asked_ms)) == pytest.approx(limit_ms)
