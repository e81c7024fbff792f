"""The benchmark: its arithmetic, its record, and that its yardstick carries a call. No times."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import msgspec
import pytest
import trio

from avr_bridge.soak.container import ContainerFailed, free_port
from avr_bridge.soak.layout import Layout
from avr_bridge.soak.plan import SoakPlan
from avr_bridge.soak.results import ProcessSample, Report, Verdict
from avr_bridge.soak.run import run_soak
from avr_bridge.soak.verdict import HOLDS
from benchmarks import calls, contestants, figures, history, yardstick
from benchmarks.figures import Figures, Row
from tests.soak.runs import SUBJECT, record, run, tick

LIMIT_S = 60.0
CALLS = 2
YARDSTICK_SHA256 = "549a268f7298e26fc8e150fb720d384b5502f7a361cf79c7e0ff34e38cdce85c"


def steady(cpu_ms: float, void: str = "") -> Figures:
    """A run that cost so much."""
    return Figures(cpu_ms=cpu_ms, p99_ms=10.0, held=True, void=void)


def test_a_ratio_is_the_median_of_the_rounds_and_not_of_the_machine() -> None:
    """Each round is set against the yardstick's same round, however slow the machine was in it."""
    bare = [steady(10.0), steady(40.0), steady(20.0)]
    row = figures.row("bridge", 10, [steady(20.0), steady(80.0), steady(30.0)], bare)
    assert row.ratios == {"cpu_ms": 2.0, "p99_ms": 1.0}
    assert row.medians.cpu_ms == 30.0
    assert (row.runs, row.held) == (3, 3)


def test_a_void_run_counts_neither_in_a_median_nor_in_a_ratio() -> None:
    """Nor does the round in which the yardstick's was void."""
    mine = [steady(20.0), steady(900.0, "late"), steady(60.0)]
    row = figures.row("bridge", 10, mine, [steady(10.0), steady(10.0), steady(1.0, "late")])
    assert (row.runs, row.medians.cpu_ms, row.ratios["cpu_ms"]) == (2, 40.0, 2.0)


def test_of_a_disturbed_run_processor_time_counts_and_round_trips_do_not() -> None:
    """Unless all were disturbed: then what there is is shown, and the row says so."""
    calm, other = steady(20.0), steady(10.0)
    bad = Figures(cpu_ms=30.0, p99_ms=500.0, disturbed="others")
    row = figures.row("bridge", 10, [calm, bad], [other, other])
    assert (row.medians.cpu_ms, row.medians.p99_ms) == (25.0, 10.0)
    assert row.ratios == {"cpu_ms": 2.5, "p99_ms": 1.0}
    assert (row.runs, row.disturbed) == (2, 1)
    row = figures.row("bridge", 10, [bad], [other])
    assert row.ratios == {"cpu_ms": 3.0, "p99_ms": 50.0}
    assert "1 disturbed" in figures.table([row])[-1]


def test_a_run_is_disturbed_where_others_made_it_miss_the_common_measure() -> None:
    """Asked for nothing it is not void; slow on a core of its own, it is simply slow."""
    for others_share, disturbed in ((0.4, True), (0.0, False)):
        subject = msgspec.structs.replace(SUBJECT, others_share=others_share)
        slow = run(
            [tick(second, probes_ms=[90.0] * 10) for second in range(1, 21)], subject=subject
        )
        found = figures.steady_figures(slow, None)
        assert found.void == ""
        assert ("others used 40%" in found.disturbed) is disturbed


def test_a_run_whose_container_ended_or_failed_short_calls_is_void() -> None:
    """What it cost until then is not what the run would have cost."""
    ended = msgspec.structs.replace(run(), verdict=Verdict(missed=["the process ended"]))
    assert figures.steady_figures(ended, None).void == "the process ended"
    failed = msgspec.structs.replace(set_up_run(), arrivals_failed=2)
    assert figures.set_up_figures(failed, None, 1.0).void == "2 of 20 short calls failed"
    assert figures.set_up_figures(set_up_run(), None, 1.0).void == ""


def test_where_all_runs_are_void_the_table_says_so() -> None:
    """Their figures are shown, marked, and compared with nothing."""
    row = figures.row("bridge", 10, [steady(20.0, "late")], [steady(10.0)])
    assert (row.runs, row.medians.cpu_ms, row.ratios) == (0, 20.0, {})
    line = figures.table([row])[-1]
    assert "| 20.00 |" in line
    assert "(all void)" in line


def test_the_table_shows_figure_and_ratio() -> None:
    """As many cells as heads, the ratio in brackets, nothing where nothing was measured."""
    mine = Figures(cpu_ms=20.0, p50_ms=2.0, heard=0.5, others=0.04, steal=0.01)
    head, _, line = figures.table([figures.row("bridge", 10, [mine], [steady(16.0)])])
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert len(cells) == len(head.strip("|").split("|"))
    assert cells[:6] == ["10", "bridge", "20.00 (1.25)", "2.0", "", "50.00%"]
    assert cells[8] == "4%, 1%"


def set_up_run() -> Report:
    """20 short calls of 0.5 s beside two steady ones, at 0 and 2.5 s, until 12 s."""
    cpu_s = {0.0: 1.0, 1.0: 1.5, 2.0: 2.0, 8.0: 3.0, 15.0: 4.0}
    samples = [ProcessSample(at_s, used_s, 60.0, 10, 1, 0) for at_s, used_s in cpu_s.items()]
    short = [record(number, kind="arrival") for number in range(20)]
    report = run(
        [tick(float(second)) for second in range(1, 13)],
        [record(100), record(101), *short],
    )
    plan = msgspec.structs.replace(report.plan, calls=2, ramp_per_s=0.4, arrival_s=0.5)
    return msgspec.structs.replace(report, plan=plan, samples=samples)


def test_a_set_up_costs_what_talking_did_not() -> None:
    """From 2 s on: 2 s of processor for 21 set-ups and 10 + 9.5 + 20 x 0.5 s of talking."""
    assert figures.set_up_ms(set_up_run(), 0.0) == pytest.approx(2000 / 21)
    assert figures.set_up_ms(set_up_run(), 20.0) == pytest.approx((2000 - 29.5 * 20) / 21)


def test_a_run_without_short_calls_tells_no_set_up() -> None:
    """None rather than a figure of something else."""
    report = msgspec.structs.replace(set_up_run(), arrivals=0)
    assert figures.set_up_ms(report, 1.0) is None


def test_a_runs_figures_are_the_worse_end_and_the_verdict() -> None:
    """Of caller and model the one that heard less; void in words."""
    report = msgspec.structs.replace(run(), heard_share_least=0.99, model_heard_share_least=0.98)
    found = figures.steady_figures(report, 0.02)
    assert (found.heard, found.cpu_ms, found.mb_per_call) == (0.98, 3.25, 1.25)
    assert (found.steal, found.void) == (0.02, "")


def test_each_second_round_goes_backwards() -> None:
    """So that nobody is measured behind the same one always."""
    all_of_them = contestants.contestants(["node=serve {port}"])
    names = [[one.name for one in calls.in_turn(all_of_them, number)] for number in (0, 1)]
    assert names[0] == ["yardstick", "bridge", "bridge pcm", "node"]
    assert names[1] == names[0][::-1]


@pytest.mark.parametrize("also", ["node", "=serve", "node=", "bridge=serve"])
def test_a_contestant_without_a_name_of_its_own_is_refused(also: str) -> None:
    """In words, before anything is measured."""
    with pytest.raises(ValueError, match=r"NAME=command|already"):
        contestants.contestants([also])


def test_port_and_model_are_filled_in_and_other_braces_left() -> None:
    """A shell's own braces are the shell's."""
    words = contestants.filled(
        ["sh", "-c", "${A} {port} {model}"], {"port": "1", "model": "ws://m"}
    )
    assert words == ["sh", "-c", "${A} 1 ws://m"]


def test_our_settings_are_forgotten_and_others_kept() -> None:
    """A resampler in the environment would be in the ratio."""
    environ = {"AVR_RESAMPLER": "audioop", "OPENAI_AUDIO_FORMAT": "pcm", "PATH": "/bin"}
    contestants.forget_settings(environ)
    assert environ == {"PATH": "/bin"}


def test_the_record_gives_back_what_was_written(tmp_path: Path) -> None:
    """Line by line, the oldest first; the history has a line for each row but the yardstick's."""
    path = tmp_path / "results.jsonl"
    assert history.read(path) == []
    rows = [
        Row(name="yardstick", calls=10, runs=1, held=1, medians=steady(10.0), ratios={}),
        Row(name="bridge", calls=10, runs=1, held=1, medians=steady(20.0), ratios={"cpu_ms": 2.0}),
    ]
    results = [
        history.new_result(rows, rounds=number, duration_s=8.0, bound=True) for number in (1, 2)
    ]
    for result in results:
        history.append(result, path)
    assert history.read(path) == results
    lines = history.history(history.read(path))
    assert len(lines) == 2 + len(results)
    assert "| 10 | bridge | 2.00 |" in lines[-1]


def test_a_commit_with_changes_is_marked_but_not_for_the_record_itself() -> None:
    """The record changes with each run, and is no part of what is measured."""
    assert history.commit_words("0123456789abcdef\n", "") == "0123456789ab"
    assert history.commit_words("0123456789abcdef\n", " M benchmarks/results.jsonl\n")[-1] == "b"
    assert history.commit_words("0123456789abcdef\n", " M avr_bridge/config.py\n")[-1] == "+"


def test_what_was_recorded_can_be_read() -> None:
    """The file in the repository has the shape of today, and a ratio in each line."""
    for result in history.read():
        assert any(row.ratios for row in result.rows)


def test_the_yardstick_is_the_same_as_ever() -> None:
    """Every line of it: whoever changes it makes all that is recorded worthless."""
    source = Path(yardstick.__file__).read_bytes()
    assert hashlib.sha256(source).hexdigest() == YARDSTICK_SHA256


async def test_the_yardstick_carries_calls() -> None:
    """Both ends hear all but what a busy machine delays, probes come back, nothing fails."""
    bare = contestants.contestants([])[0]
    port = free_port()
    plan = SoakPlan(
        url=f"ws://127.0.0.1:{port}", calls=CALLS, duration_s=3.0, settle_s=1.0, model_port=0
    )
    with trio.fail_after(LIMIT_S):
        report = await run_soak(
            plan,
            HOLDS,
            version="test",
            layout=Layout.unbound(1),
            container=lambda model_url: bare.open(model_url, port, None),
            stop=trio.Event(),
            watch=lambda progress: None,
        )
    found = figures.steady_figures(report, None)
    assert (report.calls_held, report.errors) == (CALLS, {})
    assert found.p50_ms is not None
    assert found.heard is not None
    assert found.heard > 0.9
    assert found.cpu_ms is not None
    assert found.cpu_ms > 0


async def test_a_container_that_ends_at_once_is_told_with_its_last_words() -> None:
    """Nothing is measured, and its process is gone."""
    dying = contestants.contestants([f"dying={sys.executable} -c 'import not_there'"])[-1]
    with trio.fail_after(LIMIT_S), pytest.raises(ContainerFailed, match="not_there"):
        async with dying.open("ws://127.0.0.1:1", free_port(), None):
            pytest.fail("it was taken for a container")
