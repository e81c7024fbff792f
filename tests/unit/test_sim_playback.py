"""What the caller hears: tables of (what arrives when) to (what is played)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avr_bridge.testing.playback import PlayedOut

A, B, C = (bytes([n, n]) * 160 for n in (0x11, 0x22, 0x33))
S = bytes(320)
START = 1_000.0


def at(ms: float) -> float:
    return START + ms / 1000


@pytest.mark.parametrize(
    ("arrivals", "until_ms", "heard"),
    [
        ([], 60, [S, S, S]),
        ([(0, A)], 60, [A, S, S]),
        ([(5, A)], 60, [S, A, S]),
        ([(20, A)], 60, [S, A, S]),
        ([(0, A + B + C)], 60, [A, B, C]),
        ([(0, A), (1, B), (2, C)], 80, [A, B, C, S]),
        ([(0, A), (20, B), (40, C)], 60, [A, B, C]),
        ([(0, A), (21, B)], 60, [A, S, B]),
        ([(0, A[:100]), (5, A[100:] + B)], 40, [A[:100] + S[100:], (A[100:] + B)[:320]]),
        ([(0, A)], 19, []),
        ([(0, A)], 39.9, [A]),
        ([(0, b"")], 20, [S]),
    ],
)
def test_heard(arrivals: list[tuple[float, bytes]], until_ms: float, heard: list[bytes]) -> None:
    """One frame every 20 ms from what is there, silence when nothing is; whole frames only."""
    played = PlayedOut(START)
    for ms, pcm in arrivals:
        played.push(pcm, at(ms))
    assert played.heard(at(until_ms)) == b"".join(heard)


def test_interruption_flushes_all_but_the_frame_in_flight() -> None:
    """The rest of the queue is never heard, and is counted; new audio follows at once."""
    played = PlayedOut(START)
    played.push(A + A + A + A, at(0))
    played.interrupt(at(25))
    played.push(B, at(30))
    assert played.heard(at(80)) == A + A + B + S
    stats = played.stats(at(80))
    assert stats.flushed_bytes == 640
    assert stats.received_bytes == 5 * 320
    assert stats.played_bytes == 3 * 320
    assert (stats.interruptions, stats.underruns) == (1, 0)


@pytest.mark.parametrize(
    ("arrivals", "underruns", "underrun_ms"),
    [
        ([(0, A + B), (30, C)], 0, 0),
        ([(0, A), (25, B)], 1, 20),
        ([(0, A), (25, B), (100, C)], 2, 60),
        ([(0, A[:160]), (5, B)], 1, 10),
        ([(300, A)], 0, 0),
        ([(0, A), (415, B)], 1, 400),
        ([(0, A), (425, B)], 0, 0),
    ],
    ids=["none", "one", "two", "part of a frame", "late start", "longest", "another answer"],
)
def test_underruns(arrivals: list[tuple[float, bytes]], underruns: int, underrun_ms: float) -> None:
    """A hole of up to 400 ms between two pieces of audio is an underrun; a longer one is not."""
    played = PlayedOut(START)
    for ms, pcm in arrivals:
        played.push(pcm, at(ms))
    stats = played.stats(at(2_000))
    assert (stats.underruns, stats.underrun_ms) == (underruns, underrun_ms)


def test_hole_after_an_interruption_is_no_underrun() -> None:
    """The silence that an interruption makes was asked for."""
    played = PlayedOut(START)
    played.push(A + B, at(0))
    played.interrupt(at(10))
    played.push(C, at(100))
    assert played.stats(at(200)).underruns == 0


def test_levels_and_times() -> None:
    """Lead, idle time and first audio are told exactly, at any moment."""
    played = PlayedOut(START)
    assert played.idle_ms(at(10)) == pytest.approx(10)
    assert played.first_audible_at(START, at(30)) is None
    played.push(S + A + B, at(30))
    assert played.buffered_ms(at(30)) == 60
    assert played.idle_ms(at(30)) == 0
    assert played.buffered_ms(at(41)) == 40
    assert played.buffered_ms(at(81)) == 0
    assert played.idle_ms(at(95)) == 0
    assert played.idle_ms(at(150)) == pytest.approx(50)
    assert played.silent_ms(at(150)) == pytest.approx(50)
    assert played.first_audible_at(START, at(150)) == pytest.approx(at(60))
    assert played.first_audible_at(at(61), at(150)) == pytest.approx(at(80))
    assert played.first_audible_at(at(81), at(150)) is None
    assert played.last_audible_at(at(150)) == pytest.approx(at(100))
    stats = played.stats(at(150))
    assert stats.first_audio_at == at(30)
    assert stats.longest_lead_ms == 60
    assert stats.audible_ms == 40


def test_endless_silence_is_silent_but_not_idle() -> None:
    """A bridge that sends silence keeps the queue busy; nothing is heard of it all the same."""
    played = PlayedOut(START)
    played.push(S * 10, at(0))
    assert played.idle_ms(at(100)) == 0
    assert played.silent_ms(at(100)) == pytest.approx(100)


def test_sound_need_not_be_kept() -> None:
    """Without keeping, the figures are the same and the sound is gone."""
    played = PlayedOut(START, keep_heard=False)
    played.push(A + B, at(0))
    assert played.heard(at(100)) == b""
    assert played.stats(at(100)).audible_ms == 40


@given(
    pieces=st.lists(st.tuples(st.integers(0, 200), st.integers(0, 5), st.booleans()), max_size=30)
)
def test_nothing_is_lost_or_made(pieces: list[tuple[int, int, bool]]) -> None:
    """Whatever arrives is played, flushed or waiting, and time is always filled to the frame."""
    played = PlayedOut(START)
    now_ms = 0
    for wait_ms, n_frames, interrupts in pieces:
        now_ms += wait_ms
        played.push(A * n_frames, at(now_ms))
        if interrupts:
            played.interrupt(at(now_ms))
    stats = played.stats(at(now_ms))
    waiting = played.buffered_ms(at(now_ms)) * 16
    assert stats.received_bytes == stats.played_bytes + stats.flushed_bytes + waiting
    assert len(played.heard(at(now_ms))) == now_ms // 20 * 320
