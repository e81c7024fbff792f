"""What was heard, and how smoothly: arithmetic on arrivals, as tables."""

from __future__ import annotations

import math

import pytest

from avr_bridge.soak.load.hearing import BUFFER_S, Heard, Playout


def arrivals(*, every_s: float, until_s: float, from_s: float = 0.0) -> list[float]:
    """Times of a regular stream."""
    return [from_s + every_s * n for n in range(math.ceil(round((until_s - from_s) / every_s, 6)))]


@pytest.mark.parametrize("open_s", [1.0, 1.03, 1.099])
@pytest.mark.parametrize("close_s", [3.0, 3.01, 3.05, 3.0999])
def test_a_whole_stream_is_heard_whole_wherever_the_window_lies(
    open_s: float, close_s: float
) -> None:
    """A share of 1 within rounding, though messages of 100 ms do not fit the window."""
    heard, opened = Heard(), False
    for now_s in arrivals(every_s=0.1, until_s=close_s):
        if not opened and now_s >= open_s:
            heard.open(open_s)
            opened = True
        heard.sound(0.1, now_s)
    heard.close(close_s)
    assert heard.share() == pytest.approx(1.0, abs=0.001)
    assert heard.time_s == pytest.approx(close_s - open_s)


def test_a_lost_tenth_is_a_share_of_nine_tenths() -> None:
    """Nine messages of ten: 0.9, within the one at the edge."""
    heard = Heard()
    heard.open(0.0)
    for number, now_s in enumerate(arrivals(every_s=0.1, until_s=20.0)):
        if number % 10:
            heard.sound(0.1, now_s)
    heard.close(20.0)
    assert heard.share() == pytest.approx(0.9, abs=0.005)


def test_a_stream_that_ends_early_is_missed_to_the_end_of_the_window() -> None:
    """Half of the window is silence: half is heard, and that is the gap."""
    heard = Heard()
    heard.open(0.0)
    for now_s in arrivals(every_s=0.1, until_s=5.0):
        heard.sound(0.1, now_s)
    heard.close(10.0)
    assert heard.share() == pytest.approx(0.5)
    assert heard.gap_s == pytest.approx(5.1)


def test_what_is_heard_between_windows_does_not_count() -> None:
    """Time and sound of a pause are left out, and its gap is none."""
    heard = Heard()
    heard.open(0.0)
    heard.sound(1.0, 0.0)
    heard.close(1.0)
    heard.sound(5.0, 1.5)
    heard.forget_ahead(3.0)
    heard.open(3.0)
    heard.sound(0.5, 3.0)
    heard.close(4.0)
    assert heard.time_s == pytest.approx(2.0)
    assert heard.share() == pytest.approx(0.75)
    assert heard.gap_s == pytest.approx(1.0)


def test_no_window_means_that_nothing_was_missed() -> None:
    """A call that ended before the measurement does not pull the least share down."""
    heard = Heard()
    heard.sound(1.0, 0.0)
    assert heard.share() == 1.0
    assert heard.share_at(5.0) is None


def test_time_in_which_nothing_was_said_is_taken_off() -> None:
    """A tool that takes half a second of two makes the other three halves the whole."""
    heard = Heard()
    heard.open(0.0)
    heard.sound(1.5, 0.0)
    heard.close(2.0)
    heard.except_for(0.5)
    assert heard.share() == 1.0


@pytest.mark.parametrize(
    ("times_s", "underruns", "dry_s"),
    [
        ([0.0, 0.1, 0.2, 0.3], 0, 0.0),
        ([0.0, 0.1 + BUFFER_S - 0.001, 0.2], 0, 0.0),
        ([0.0, 0.1 + BUFFER_S + 0.04, 0.3], 1, 0.04 + BUFFER_S),
        ([0.0, 0.5, 0.6, 1.5], 2, 0.34 + BUFFER_S + 0.74 + BUFFER_S),
    ],
)
def test_a_phone_runs_dry_when_sound_is_later_than_its_buffer(
    times_s: list[float], underruns: int, dry_s: float
) -> None:
    """60 ms late is no harm; more is an underrun until the buffer has filled again."""
    playout = Playout()
    playout.counting = True
    for now_s in times_s:
        playout.sound(0.1, now_s)
    assert playout.underruns == underruns
    assert playout.dry_s == pytest.approx(dry_s)


def test_an_interruption_is_no_underrun() -> None:
    """What stopped for a good reason starts anew; what stops without one counts at the end."""
    playout = Playout()
    playout.counting = True
    playout.sound(0.1, 0.0)
    playout.stop()
    playout.sound(0.1, 5.0)
    assert playout.underruns == 0
    playout.close(6.0)
    assert playout.underruns == 1
    assert playout.dry_s == pytest.approx(1.0 - 0.1 - BUFFER_S)
