"""Ticks of several processes, and samples of the container, into figures."""

from __future__ import annotations

import pytest

from avr_bridge.soak.collect import Collector
from avr_bridge.soak.figures import figure_rows
from avr_bridge.soak.generators import shares
from avr_bridge.soak.plan import SoakPlan, Thresholds
from avr_bridge.soak.results import ProcessSample
from avr_bridge.soak.subject import slope_per_h, subject_figures
from tests.soak.runs import record, run, tick

PLAN = SoakPlan(url="ws://127.0.0.1:1", calls=10, duration_s=10)


def collector(*cores: int | None) -> Collector:
    return Collector(PLAN, Thresholds(), cores)


def test_a_second_is_whole_when_all_have_told_it() -> None:
    """Sums, all round trips, the worst lateness, the busiest process."""
    both = collector(None, None)
    assert both.add_tick(0, tick(1, up=3, probes_ms=[1.0], errors={"a": 1}, cpu=0.2)) == []
    (whole,) = both.add_tick(1, tick(1.1, up=4, probes_ms=[2.0], errors={"a": 1}, lag_ms=9))
    assert (whole.up, whole.probes_ms, whole.errors) == (7, [1.0, 2.0], {"a": 2})
    assert (whole.at_s, whole.lag_ms, whole.cpu) == (1.1, 9, 0.3)


def test_processes_on_one_core_share_it() -> None:
    """Two that use half a core each are a full core."""
    both = collector(1, 1)
    both.add_tick(0, tick(1, cpu=0.5))
    (whole,) = both.add_tick(1, tick(1, cpu=0.5))
    assert whole.cpu == 1.0


def test_a_process_that_ended_is_not_waited_for() -> None:
    """The other's seconds come through, those that waited too."""
    both = collector(None, None)
    both.add_tick(0, tick(1))
    both.add_tick(0, tick(2))
    assert [whole.at_s for whole in both.ended(1)] == [1, 2]
    assert len(both.add_tick(0, tick(3))) == 1


def test_phases_are_told_by_the_plan_and_by_the_ticks() -> None:
    """Ramp for calls / rate, then settling until ticks are measured."""
    one = collector(None)
    seen = []
    for second in range(1, 9):
        one.add_tick(0, tick(second, measured=second > 5))
        progress = one.progress()
        seen.append((progress.phase, round(progress.share, 2)))
    assert seen[:3] == [("ramp", 0.5), ("ramp", 1.0), ("settle", 0.2)]
    assert seen[-1] == ("measure", 0.3)


def test_errors_behind_the_last_tick_are_not_lost() -> None:
    """They are in the calls' records only."""
    report = run(calls=[record(1, error="lost"), record(2, error="lost"), record(3)])
    assert report.errors == {"lost": 2}
    assert report.calls_held == 1


def test_a_call_hung_up_by_plan_at_once_does_not_count_as_deaf() -> None:
    """Its share is of a few frames; one that failed so soon heard nothing."""
    early = record(1, talked_s=0.2, heard_share=0.3, model_heard_share=0.1, ended_by="hangup")
    assert run(calls=[early, record(2)]).heard_share_least == 0.999
    assert run(calls=[early, record(2)]).model_heard_share_least == 0.998
    brief = [record(number, talked_s=3.0, ended_by="hangup") for number in range(3)]
    assert run(calls=brief).heard_share_least == 0.999
    failed = record(1, talked_s=0.2, heard_share=0.3, error="lost")
    assert run(calls=[failed, record(2)]).heard_share_least == 0.0


def test_the_plan_is_divided_without_a_rest() -> None:
    """Calls, ramp and arrivals add up; seeds differ."""
    plan = SoakPlan(url="ws://x", calls=11, ramp_per_s=6, arrivals_per_s=3)
    parts = shares(plan, 3)
    assert [part.calls for part in parts] == [4, 4, 3]
    assert sum(part.ramp_per_s for part in parts) == pytest.approx(6)
    assert sum(part.arrivals_per_s for part in parts) == pytest.approx(3)
    assert len({part.seed for part in parts}) == 3


def sample(at_s: float, cpu_s: float, rss_mb: float, descriptors: int = 10) -> ProcessSample:
    return ProcessSample(at_s, cpu_s, rss_mb, descriptors, 3, 0)


def test_the_containers_cost_is_that_of_the_measured_time() -> None:
    """30 % of a core for 10 calls and 5 short ones: 20 ms for a second of a call."""
    ticks = [tick(second, short_up=5, measured=second > 3) for second in range(1, 14)]
    samples = [sample(0, 5.0, 50)]
    samples += [sample(s + 0.5, 9 + 0.3 * (s + 0.5), 60 + s, 30) for s in range(1, 14)]
    samples.append(sample(17, 20.0, 55, 11))
    figures = subject_figures(samples, ticks, calls=10, tasks=(7, 8))
    assert figures is not None
    assert figures.cpu_ms_per_call_s == pytest.approx(20)
    assert figures.cpu_share == pytest.approx(0.3)
    assert figures.rss_idle_mb == 50
    assert figures.rss_mb_per_call == pytest.approx((figures.rss_mb - 50) / 10)
    assert figures.rss_slope_mb_per_h == pytest.approx(3600)
    assert (figures.rss_after_mb, figures.descriptors_after) == (55, 11)
    assert (figures.descriptors_idle, figures.descriptors) == (10, 30)
    assert (figures.tasks_idle, figures.tasks_after) == (7, 8)


def test_a_process_that_ended_left_nothing_that_could_be_told() -> None:
    """Its cost is of the five seconds that it lived, and the last sample is not what was left."""
    ticks = [tick(second) for second in range(1, 11)]
    samples = [sample(s, 0.3 * s, 60) for s in range(6)]
    figures = subject_figures(samples, ticks, calls=10, ended=True)
    assert figures is not None
    assert figures.cpu_share == pytest.approx(0.3)
    after = figures.rss_after_mb, figures.descriptors_after, figures.threads_after
    assert after == (None, None, None)
    rows = dict(figure_rows(run(ticks, subject=figures)))
    assert "none after: its process had ended" in rows["container's memory"]
    assert "none after: its process had ended" in rows["descriptors"]
    assert subject_figures(samples[:1], ticks, calls=10, ended=True) is None


def test_what_others_took_of_the_core_is_told() -> None:
    """A core that was busy for half of the time, of which the container used 30 %: 20 % theirs."""
    ticks = [tick(second) for second in range(1, 11)]
    samples = [ProcessSample(s, 0.3 * s, 60, 9, 3, 10, 100 + 0.5 * s) for s in range(12)]
    figures = subject_figures(samples, ticks, calls=10)
    assert figures is not None
    assert figures.others_share == pytest.approx(0.2)
    unbound = subject_figures([sample(0, 0, 1), sample(11, 3, 1)], ticks, calls=10)
    assert unbound is not None
    assert unbound.others_share is None


def test_no_figures_without_a_measured_second() -> None:
    """A run that was cut in its ramp says nothing of the cost."""
    samples = [sample(0, 1, 1), sample(1, 2, 1)]
    assert subject_figures(samples, [tick(1, measured=False)], 10) is None
    assert subject_figures(samples[:1], [tick(1)], 10) is None


@pytest.mark.parametrize("points", [[], [(1.0, 5.0)], [(1.0, 5.0), (1.0, 6.0)]])
def test_no_slope_without_two_moments(points: list[tuple[float, float]]) -> None:
    """Flat, rather than an error."""
    assert slope_per_h(points) == 0.0


def test_a_call_that_was_lost_counts_with_what_it_heard_and_is_not_held() -> None:
    """Placed again, its successor is up at the end and is held no more than it."""
    lost = record(1, talked_s=3.0, heard_share=0.9, error="lost", ended_by="container")
    again = record(11, talked_s=4.0)
    report = run(calls=[lost, again, *(record(number) for number in range(2, 11))])
    assert report.heard_share_least == 0.9
    assert report.calls_held == 9
