"""What a session's `expires_at` means for the call, and when it is not believed."""

from __future__ import annotations

import time

import pytest

from avr_bridge.call.standby import AHEAD_S, AT_THE_LATEST_S, lifetime_of


def test_the_next_session_is_opened_ahead_of_the_end() -> None:
    """A minute before, and left two seconds before; on Trio's clock."""
    life = lifetime_of(time.time() + 3600, 100.0)
    assert life is not None
    assert life.renew_at_s == pytest.approx(3700 - AHEAD_S, abs=1)
    assert life.leave_by_s == pytest.approx(3700 - AT_THE_LATEST_S, abs=1)


@pytest.mark.parametrize("left_s", [-3600, -1, 0, 2, 4.5, 200_000])
def test_a_clock_that_is_not_ours_is_not_believed(left_s: float) -> None:
    """Over already, in a moment, or in days: no session is replaced for that."""
    assert lifetime_of(time.time() + left_s, 100.0) is None


def test_a_server_that_says_nothing_of_it() -> None:
    """Its end is met when it comes."""
    assert lifetime_of(None, 100.0) is None
