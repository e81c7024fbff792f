"""Which session belongs to which call, found by the times of probes alone."""

from __future__ import annotations

from random import Random

from avr_bridge.soak.load.caller import Caller
from avr_bridge.soak.load.clock import FrameClock
from avr_bridge.soak.load.matching import Matching
from avr_bridge.soak.load.model import ModelSession, StandIn
from avr_bridge.soak.plan import SoakPlan


def a_caller(number: int) -> Caller:
    """One that says nothing."""
    return Caller(number, "steady", Random(1), lambda *probe: None, lambda kind: None)


def sessions(count: int) -> list[ModelSession]:
    """Of one stand-in, without a socket."""
    stand_in = StandIn(SoakPlan(url="ws://127.0.0.1"), FrameClock(), Random(1))
    return [stand_in.new_session() for _ in range(count)]


def answer(matching: Matching, session: ModelSession, now_s: float) -> None:
    """As the session does it."""
    session.answered_s = now_s
    matching.answered(session, now_s)


def test_a_call_finds_its_session_among_those_that_answer_at_the_same_time() -> None:
    """Another one answers within the first round trip, but not within the next ones."""
    matching, caller, (ours, other) = Matching(), a_caller(1), sessions(2)
    answer(matching, other, 0.01)
    answer(matching, ours, 0.02)
    matching.heard(caller, 0.0, 0.04)
    assert matching.session_of(caller) is None
    for sent_s in (1.1, 2.0, 3.2):
        answer(matching, ours, sent_s + 0.02)
        matching.heard(caller, sent_s, sent_s + 0.04)
    assert matching.session_of(caller) is ours
    assert matching.strangers([ours, other], [caller]) == [other]


def test_a_call_whose_session_lives_elsewhere_finds_none() -> None:
    """Sessions that happen to answer in time do so only once."""
    matching, caller, here = Matching(), a_caller(1), sessions(4)
    for number, session in enumerate(here):
        answer(matching, session, number + 0.02)
        matching.heard(caller, number, number + 0.04)
        assert matching.session_of(caller) is None
    assert matching.strangers(here, [caller]) == here


def test_a_call_follows_to_another_session() -> None:
    """The container has gone on in a new session: that one is the call's from then on."""
    matching, caller, (old, new) = Matching(), a_caller(1), sessions(2)
    for number in range(8):
        answer(matching, old if number < 4 else new, number + 0.02)
        matching.heard(caller, number, number + 0.04)
        if number == 3:
            assert matching.session_of(caller) is old
    assert matching.session_of(caller) is new


def test_tools_of_sessions_that_nobody_claims_are_told_once() -> None:
    """Sums over all calls are right although it is not known whose they were."""
    matching, (gone,) = Matching(), sessions(1)
    gone.tools, gone.tools_answered = 3, 2
    matching.gone(gone)
    assert matching.tools_of(None) == (3, 2)
    assert matching.tools_of(None) == (0, 0)
