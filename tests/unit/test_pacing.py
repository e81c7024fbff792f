"""The pacer: bounded lead, absolute deadlines, restart after a pause."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avr_bridge.audio.pacing import Pacer


def test_the_first_frames_fill_the_lead_at_once() -> None:
    """200 ms of lead are ten frames; the eleventh waits."""
    pacer = Pacer(lead_ms=200)
    assert pacer.frames_due(5.0) == 10
    pacer.sent(10, 5.0)
    assert pacer.frames_due(5.0) == 0
    assert pacer.next_due_s() == pytest.approx(5.02)
    assert pacer.frames_due(5.02) == 1


def test_frames_wait_for_a_whole_chunk() -> None:
    """With chunks of two frames there are 25 messages a second, each of 40 ms."""
    pacer = Pacer(lead_ms=200, chunk_frames=2)
    pacer.sent(10, 0.0)
    assert pacer.frames_due(0.02) == 0
    assert pacer.next_due_s() == pytest.approx(0.04)
    assert pacer.frames_due(0.04) == 2


def test_late_wake_ups_do_not_drift() -> None:
    """Ten minutes of frames, each wake-up 7 ms late: the clock is still the first start's."""
    pacer = Pacer(lead_ms=60)
    now_s, sent = 0.0, 0
    while sent < 30_000:
        frames = pacer.frames_due(now_s)
        if frames:
            pacer.sent(frames, now_s)
            sent += frames
        now_s = pacer.next_due_s() + 0.007
    assert pacer.plays_until_s == pytest.approx(sent * 0.02, abs=1e-6)


def test_after_a_pause_the_clock_starts_anew() -> None:
    """A peer that has played everything gets a whole lead again, counted from now."""
    pacer = Pacer(lead_ms=100)
    pacer.sent(5, 0.0)
    assert not pacer.is_dry(0.09)
    assert pacer.is_dry(0.1)
    assert pacer.frames_due(3.0) == 5
    pacer.sent(5, 3.0)
    assert pacer.plays_until_s == pytest.approx(3.1)


def test_reset_means_the_peer_dropped_everything() -> None:
    """After an interruption the next answer starts at once."""
    pacer = Pacer(lead_ms=100)
    pacer.sent(5, 1.0)
    pacer.reset()
    assert pacer.is_dry(1.0)
    assert pacer.frames_due(1.0) == 5


def test_a_lead_below_one_frame_still_moves() -> None:
    """Nothing can be sent in less than a frame, so that is the least lead there is."""
    pacer = Pacer(lead_ms=0, chunk_frames=4)
    assert pacer.frames_due(0.0) == 1
    pacer.sent(1, 0.0)
    assert pacer.frames_due(0.02) == 1


@given(
    lead_ms=st.integers(20, 400),
    chunk=st.integers(1, 5),
    late_ms=st.lists(st.integers(0, 90), min_size=1, max_size=80),
)
def test_never_more_than_the_lead_ahead(lead_ms: int, chunk: int, late_ms: list[int]) -> None:
    """However wake-ups fall, what lies ahead of now never exceeds the lead."""
    pacer = Pacer(lead_ms, chunk)
    now_s = 0.0
    for late in late_ms:
        frames = pacer.frames_due(now_s)
        if frames:
            pacer.sent(frames, now_s)
        assert pacer.plays_until_s - now_s <= lead_ms / 1000 + 1e-6
        now_s = max(now_s, pacer.next_due_s()) + late / 1000
        assert pacer.frames_due(now_s) > 0
