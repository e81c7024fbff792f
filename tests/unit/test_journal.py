"""The journal: every listener is told everything, in order, and none of them can harm a call."""

from __future__ import annotations

from typing import Any

import structlog

from avr_bridge.telemetry.journal import CallBegan, Journal, KeyPressed, Moment, SpeechStarted

BEGAN = CallBegan(0.0, "u-1", {"from": "1"}, "websocket")


class Listening:
    """Keeps what it is told; raises at the moments of one kind."""

    def __init__(self, fails_at: type[Moment] | None = None) -> None:
        self.told: list[tuple[str, Moment]] = []
        self._fails_at = fails_at

    def __call__(self, uuid: str, moment: Moment) -> None:
        self.told.append((uuid, moment))
        if self._fails_at is not None and isinstance(moment, self._fails_at):
            raise ValueError("my planted secret")


def test_all_listeners_are_told_with_the_calls_id() -> None:
    """From its beginning on each moment comes with the call it belongs to."""
    first, second = Listening(), Listening()
    journal = Journal([first, second])
    moments = [BEGAN, SpeechStarted(1.0), KeyPressed(2.0, "5")]
    for moment in moments:
        journal.tell(moment)
    assert first.told == second.told == [("u-1", moment) for moment in moments]
    assert journal.uuid == "u-1"


def test_a_listener_that_raises_is_dropped_and_logged_once() -> None:
    """The others, before it and behind it, are told on; its words, which may be the call's, are in
    no log."""
    before, broken, behind = Listening(), Listening(fails_at=SpeechStarted), Listening()
    journal = Journal([before, broken, behind])
    with structlog.testing.capture_logs() as log:
        for moment in (BEGAN, SpeechStarted(1.0), SpeechStarted(2.0), KeyPressed(3.0, "5")):
            journal.tell(moment)
    assert len(before.told) == len(behind.told) == 4
    assert [moment for _, moment in broken.told] == [BEGAN, SpeechStarted(1.0)]
    (line,) = log
    assert (line["call"], line["error"]) == ("u-1", "ValueError")
    assert line["listener"] == "Listening"
    assert line["at"].startswith(__file__)
    assert "planted" not in str(line)


def test_nobody_listens() -> None:
    """A call without listeners tells nobody."""
    Journal().tell(BEGAN)


def test_a_listener_may_tell_another_journal() -> None:
    """Calls do not share anything."""
    other = Listening()

    def pass_on(uuid: str, moment: Moment) -> None:
        Journal([other]).tell(moment)

    Journal([pass_on]).tell(SpeechStarted(1.0))
    assert other.told == [("", SpeechStarted(1.0))]


def test_moments_are_values() -> None:
    """They can be kept, compared and never changed."""
    kept: Any = SpeechStarted(1.0)
    assert kept == SpeechStarted(1.0) != SpeechStarted(2.0)
    try:
        kept.at_s = 2.0
    except AttributeError:
        return
    raise AssertionError("a moment was changed")
