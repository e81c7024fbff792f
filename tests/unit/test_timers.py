"""Deadlines by name: at most one each, taken out once, earliest first."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from avr_bridge.upstream.timers import Timers

NAMES = "abcd"


def test_nothing_is_due_without_deadlines() -> None:
    """Infinity means: nothing is waited for."""
    timers: Timers[str] = Timers()
    assert timers.next_s == math.inf
    assert list(timers.due(1e9)) == []


def test_a_deadline_moves_and_is_forgotten() -> None:
    """Setting again moves it; clearing forgets it; clearing what is not set is fine."""
    timers: Timers[str] = Timers()
    timers.set("a", 1.0)
    timers.set("a", 5.0)
    assert timers.next_s == 5.0
    assert list(timers.due(4.999)) == []
    timers.clear("a")
    timers.clear("never")
    assert not timers.is_set("a")
    assert list(timers.due(9.0)) == []


def test_a_deadline_is_due_at_its_very_moment_and_once() -> None:
    """Whoever sleeps until `next_s` finds it due, and not a second time."""
    timers: Timers[str] = Timers()
    timers.set("late", 2.0)
    timers.set("early", 1.0)
    assert list(timers.due(timers.next_s)) == ["early"]
    assert list(timers.due(2.0)) == ["late"]
    assert list(timers.due(3.0)) == []
    assert timers.next_s == math.inf


def test_a_deadline_may_be_moved_by_what_is_done_about_another() -> None:
    """Both have passed, but the second was set anew when the first was handled."""
    timers: Timers[str] = Timers()
    timers.set("first", 1.0)
    timers.set("second", 1.0)
    for name in timers.due(1.0):
        assert name == "first"
        timers.set("second", 8.0)
    assert timers.next_s == 8.0


@given(
    st.lists(
        st.tuples(st.sampled_from(["set", "clear", "due"]), st.sampled_from(NAMES), st.floats(0, 9))
    )
)
def test_like_a_plain_dict(steps: list[tuple[str, str, float]]) -> None:
    """Any order of calls: the same as a dict that is searched."""
    timers: Timers[str] = Timers()
    model: dict[str, float] = {}
    for step, name, at_s in steps:
        if step == "set":
            timers.set(name, at_s)
            model[name] = at_s
        elif step == "clear":
            timers.clear(name)
            model.pop(name, None)
        else:
            passed = list(timers.due(at_s))
            assert sorted(passed) == sorted(n for n, d in model.items() if d <= at_s)
            assert [model[n] for n in passed] == sorted(model[n] for n in passed)
            model = {n: d for n, d in model.items() if d > at_s}
        assert timers.next_s == min(model.values(), default=math.inf)
        assert [timers.is_set(n) for n in NAMES] == [n in model for n in NAMES]
