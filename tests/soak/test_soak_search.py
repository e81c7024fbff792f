"""The search for the most calls that hold, as numbers only."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avr_bridge.soak.search import PRECISION, LimitSearch


def search_to_the_end(search: LimitSearch, limit: int) -> list[int]:
    tried = []
    while (calls := search.next_calls()) is not None:
        tried.append(calls)
        search.report(calls <= limit)
    return tried


@given(first=st.integers(1, 2_000), limit=st.integers(0, 20_000))
def test_any_limit_is_found_to_its_precision(first: int, limit: int) -> None:
    """Below the limit by 3 % or one call at most, never above, and in few steps."""
    search = LimitSearch(first)
    tried = search_to_the_end(search, limit)
    assert search.held <= limit
    assert search.failed is not None
    assert search.failed > limit
    assert search.failed - search.held <= max(1, search.held * PRECISION)
    assert len(tried) <= 60


@given(first=st.integers(1, 100), limit=st.integers(0, 400), noise=st.sets(st.integers(0, 40)))
def test_one_bad_try_of_a_step_changes_nothing(first: int, limit: int, noise: set[int]) -> None:
    """Steps that fail once and hold the second time lead to the same limit."""
    quiet, noisy = LimitSearch(first), LimitSearch(first)
    search_to_the_end(quiet, limit)
    step = 0
    while (calls := noisy.next_calls()) is not None:
        unlucky = step in noise and not noisy.again
        noisy.report(calls <= limit and not unlucky)
        step += 1
    assert noisy.held == quiet.held


def test_a_step_that_fails_is_tried_again() -> None:
    """The same number once more, marked as such; then half."""
    search = LimitSearch(8)
    assert (search.next_calls(), search.again) == (8, False)
    search.report(False)
    assert (search.next_calls(), search.again) == (8, True)
    search.report(False)
    assert (search.next_calls(), search.again) == (4, False)


def test_it_stops_at_the_most() -> None:
    """Where all hold, the most is the limit; a further report is a bug of the driver."""
    search = LimitSearch(3, most=10)
    assert search_to_the_end(search, 10**6) == [3, 6, 10]
    assert (search.held, search.failed) == (10, None)
    with pytest.raises(RuntimeError):
        search.report(True)


@pytest.mark.parametrize("first", [0, -1, 11])
def test_a_first_step_that_cannot_be(first: int) -> None:
    """Refused at once."""
    with pytest.raises(ValueError, match="first must be"):
        LimitSearch(first, most=10)
