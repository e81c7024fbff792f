"""The model's side breaks: what the caller sees of it, on real sockets.

Each row is played once, over both transports, with two innocent calls on the same bridge that must
lose no frame (`outages.py`); the tests judge the rows. Virtual time has the finer cases:
`tests/call/test_sessions.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from avr_bridge.audio.sounds import read_clip
from avr_bridge.testing.faults import (
    CutAfter,
    CutAfterCommit,
    CutInAnswer,
    Freeze,
    HangConnect,
    NoUpdate,
    Refuse,
    RefuseAfterUpgrade,
    SessionLength,
    StallAfterTool,
    StopAnsweringPings,
    StopReading,
    Unreachable,
)
from avr_bridge.testing.realtime import CallTool, Fail, Hang
from tests.faults.conftest import LATE_GENERATOR_MS
from tests.faults.outages import (
    BEFORE,
    GOES_ON,
    TRANSPORTS,
    WORDS,
    Case,
    Row,
    Scene,
    as_heard,
    play_all,
    speech,
)

if TYPE_CHECKING:
    from collections.abc import Callable

RESUME_S = 3.0
"""The goal: so long after a cut the caller hears the model again."""

PINGS_S = 15.0
"""So long after a network began to swallow everything it is noticed."""

SLACK_S = 2.0
"""What a busy machine may take for all else."""

FALLBACK = read_clip("fallback")

SPEAKS = (speech(40), GOES_ON)
ASKED = (WORDS, speech(20), GOES_ON)

NO_SESSION = Scene(
    (
        Case("unreachable once", (Unreachable(),), settles=True),
        Case("HTTP 503 once", (Refuse(503),), settles=True),
        Case("HTTP 401", (Refuse(401),), settles=True, ends=True),
        Case("a bad key, told after the upgrade", (RefuseAfterUpgrade(),), settles=True, ends=True),
        Case("accepts and says nothing, once", (HangConnect(),)),
        Case("never confirms the session, once", (NoUpdate(),)),
    )
)
LOST = Scene(
    (
        Case("lost in an answer (1006)", (CutAfter(6),), SPEAKS),
        Case("closed in an answer (1011)", (CutAfter(6, 1011),), SPEAKS),
        Case("lost after a second of an answer", (CutInAnswer(2, 1000),), ASKED, asks=True),
        Case("lost before the answer", (CutAfterCommit(),), (WORDS, GOES_ON), asks=True),
    )
)
SWALLOWED = Scene(
    (
        Case("sends nothing any more", (Freeze(5),), SPEAKS, strikes_after_s=5),
        Case("answers no pings", (StopAnsweringPings(5),), SPEAKS, strikes_after_s=5),
        Case("reads nothing any more", (StopReading(5),), SPEAKS, strikes_after_s=5),
    )
)
NEVER = Scene((Case("unreachable", ends=True),), Unreachable())
EXPIRES = Scene((Case("sessions of 20 s", answers=(WORDS,), sessions=3),), SessionLength(20))
ANSWERS = Scene(
    (
        Case("an answer never begins", answers=([Hang(cancellable=True)], GOES_ON)),
        Case(
            "no answer after a tool",
            (StallAfterTool(),),
            answers=([CallTool("no_such_tool", "{}")], GOES_ON),
        ),
        Case("every answer fails", answers=([Fail("server_error", "sorry")],), ends=True),
    )
)

type Rows = dict[tuple[str, str], Row]


@pytest.fixture(name="rows", scope="module")
def _rows() -> Rows:
    """All rows, played once."""
    return play_all((EXPIRES,), (NO_SESSION, LOST), (NEVER, SWALLOWED, ANSWERS))


def each(*scenes: Scene, only: Callable[[Case], bool] = lambda _: True) -> pytest.MarkDecorator:
    """Parameters: every case of these scenes, over both transports."""
    rows = [
        (case.name, transport)
        for scene in scenes
        for case in scene.cases
        if only(case)
        for transport in TRANSPORTS
    ]
    return pytest.mark.parametrize("key", rows, ids=[", ".join(row) for row in rows])


def told(key: tuple[str, str], row: Row, seen: str) -> None:
    """Print one row of the table in docs/reliability.md."""
    barked = ", ".join(f"{name} {count}" for name, count in row.ended["watchdogs"].items()) or "-"
    print(
        f"\n  {key[0]} | {key[1]} | {seen} | {row.ended['reason']} | {row.ended['reconnects']} "
        f"reconnects | {barked}"
    )


def assert_goes_on(row: Row, *, reconnects: int = 0) -> None:
    """The call outlived it, and nothing that the caller said was dropped."""
    assert row.report.closed_by == "caller"
    assert row.report.faults == row.report.errors == ()
    assert row.ended["reason"] == "caller_hung_up"
    assert row.ended["reconnects"] == reconnects
    if row.report.latest_frame_ms < LATE_GENERATOR_MS:  # else it sent seconds of sound at once
        assert row.ended["dropped_ms"] == 0


def assert_falls_back(row: Row, transport: str, reason: str) -> str:
    """The caller heard the shipped words to their end, and then a proper close."""
    assert row.received == FALLBACK
    assert row.report.closed_by == "bridge"
    assert row.report.faults == ()
    assert row.ended["reason"] == reason
    if transport == "ws":
        assert (row.report.close_code, row.report.close_reason) == (1011, reason)
        return "1011"
    assert row.report.close_reason == "the response ended"
    return "the end of the response"


@each(NO_SESSION, only=lambda case: not case.ends)
def test_the_first_attempt_fails(rows: Rows, key: tuple[str, str]) -> None:
    """The second succeeds: the caller waits, and is greeted."""
    row = rows[key]
    limit_s = 6 if isinstance(_fault_of(key), HangConnect | NoUpdate) else 0
    assert row.recovered_ms is not None
    greeted_s = row.recovered_ms / 1000
    told(key, row, f"the greeting after {greeted_s:.1f} s")
    assert_goes_on(row)
    assert row.ended["watchdogs"] == ({"session_setup": 1} if limit_s else {})
    assert limit_s < greeted_s < limit_s + RESUME_S


def _fault_of(key: tuple[str, str]) -> object:
    (case,) = [case for case in NO_SESSION.cases if case.name == key[0]]
    return case.faults[0]


@each(NO_SESSION, only=lambda case: case.ends)
def test_a_bad_key(rows: Rows, key: tuple[str, str]) -> None:
    """One attempt, then the words at once and the end."""
    row = rows[key]
    seen = assert_falls_back(row, key[1], "model_rejected")
    told(key, row, f"the fallback after {row.silent_s:.1f} s, {seen}")
    assert row.sessions == []
    assert row.silent_s < SLACK_S


@each(NEVER)
def test_it_cannot_be_reached_at_all(rows: Rows, key: tuple[str, str]) -> None:
    """Attempts for 10 s, then the words and the end."""
    row = rows[key]
    seen = assert_falls_back(row, key[1], "model_unavailable")
    told(key, row, f"the fallback after {row.silent_s:.1f} s, {seen}")
    assert 5 < row.silent_s < 10 + SLACK_S


@each(LOST)
def test_the_session_is_lost(rows: Rows, key: tuple[str, str]) -> None:
    """The call goes on in another one, within 3 s, the server's own delays included."""
    row = rows[key]
    told(key, row, f"the model again after {row.silent_s:.1f} s")
    assert_goes_on(row, reconnects=1)
    assert row.ended["watchdogs"] == {}
    assert len(row.sessions) == 2
    assert row.ended["turns"] == row.asked
    assert row.silent_s < RESUME_S
    assert row.report.answered_after_ms is not None
    assert row.report.answered_after_ms < row.struck_ms < (row.recovered_ms or 0.0)


@each(SWALLOWED)
def test_pings_find_a_network_that_swallows(rows: Rows, key: tuple[str, str]) -> None:
    """Within 15 s, and 3 s later the model is heard from another session."""
    row = rows[key]
    assert row.second_ms is not None
    found_s = (row.second_ms - row.struck_ms) / 1000
    told(key, row, f"another session after {found_s:.1f} s, heard after {row.silent_s:.1f} s")
    assert_goes_on(row, reconnects=1)
    assert row.ended["watchdogs"] == {"pings_unanswered": 1}
    assert found_s < PINGS_S + SLACK_S
    assert row.silent_s < PINGS_S + RESUME_S


@each(EXPIRES)
def test_sessions_end_and_the_call_does_not(rows: Rows, key: tuple[str, str]) -> None:
    """40 s in sessions of 20 s, with a question in each: all are answered, every sample came, and
    no session met its end. The changes come in silence; virtual time has those in mid-speech."""
    row = rows[key]
    latest_s = max(row.report.answer_latencies_ms) / 1000
    renewals = row.ended["renewals"]
    told(key, row, f"nothing: {row.asked} answers, the latest after {latest_s:.1f} s; {renewals=}")
    assert_goes_on(row)
    assert renewals == 2
    assert len(row.sessions) == 3
    assert row.asked == 3
    assert {session.close_code for session in row.sessions} == {1000}
    assert row.received == as_heard(BEFORE) * (1 + row.asked)
    assert row.ended["turns"] == row.asked == len(row.report.answer_latencies_ms)
    assert row.ended["caller_audio_ms"] >= (row.report.sent_frames - 5) * 20
    assert latest_s < RESUME_S


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize(
    ("name", "watchdog", "limit_s"),
    [
        ("an answer never begins", "no_first_audio", 12),
        ("no answer after a tool", "stalled_after_tool", 8),
    ],
)
def test_an_answer_that_does_not_come(
    rows: Rows, name: str, transport: str, watchdog: str, limit_s: float
) -> None:
    """Its watchdog barks, and another answer is asked for in the same session."""
    row = rows[name, transport]
    told((name, transport), row, f"another answer after {row.silent_s:.1f} s")
    assert_goes_on(row)
    assert row.ended["watchdogs"] == {watchdog: 1}
    assert len(row.sessions) == 1
    assert limit_s < row.silent_s < limit_s + RESUME_S


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_every_answer_fails(rows: Rows, transport: str) -> None:
    """Three times in each of two sessions; then the words and the end."""
    row = rows["every answer fails", transport]
    seen = assert_falls_back(row, transport, "model_failed")
    assert row.recovered_ms is not None
    fell_back_s = row.recovered_ms / 1000
    told(("every answer fails", transport), row, f"the fallback after {fell_back_s:.1f} s, {seen}")
    assert len(row.sessions) == 2
    assert [session.sent_types.count("response.created") for session in row.sessions] == [3, 3]
    if transport == "ws":
        told_last = "the model does not answer"
        assert row.report.errors == (*["an answer failed: sorry"] * 6, told_last)
    assert fell_back_s < 14 + SLACK_S
