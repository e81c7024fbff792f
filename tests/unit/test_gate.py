"""The response gate: its table, and no request is ever lost or sent into a running answer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avr_bridge.upstream.gate import Gate, ResponseGate

STEPS = ("ask", "created", "created_by_server", "done", "give_up", "lost_the_race")


def at(state: Gate, *, kept: bool = False) -> ResponseGate:
    gate = ResponseGate()
    gate.state, gate.kept = state, kept
    return gate


def take(gate: ResponseGate, step: str) -> bool:
    """One step; whether a `response.create` is to be sent."""
    match step:
        case "ask":
            return gate.ask()
        case "created":
            gate.created("R")
            return False
        case "created_by_server":
            gate.created("S", ours=False)
            return False
        case "done":
            return gate.done()
        case "give_up":
            return gate.give_up()
        case _:
            return gate.lost_the_race()


@pytest.mark.parametrize(
    ("state", "kept", "step", "sends", "then", "then_kept"),
    [
        (Gate.FREE, False, "ask", True, Gate.REQUESTED, False),
        (Gate.FREE, False, "created", False, Gate.ACTIVE, False),
        (Gate.FREE, False, "done", False, Gate.FREE, False),
        (Gate.FREE, False, "lost_the_race", True, Gate.REQUESTED, False),
        (Gate.REQUESTED, False, "ask", False, Gate.REQUESTED, True),
        (Gate.REQUESTED, False, "created", False, Gate.ACTIVE, False),
        (Gate.REQUESTED, True, "created", False, Gate.ACTIVE, True),
        (Gate.REQUESTED, False, "done", False, Gate.FREE, False),
        (Gate.REQUESTED, True, "done", True, Gate.REQUESTED, False),
        (Gate.REQUESTED, False, "lost_the_race", False, Gate.ACTIVE, True),
        (Gate.ACTIVE, False, "ask", False, Gate.ACTIVE, True),
        (Gate.ACTIVE, True, "ask", False, Gate.ACTIVE, True),
        (Gate.ACTIVE, False, "created", False, Gate.ACTIVE, False),
        (Gate.ACTIVE, False, "done", False, Gate.FREE, False),
        (Gate.ACTIVE, True, "done", True, Gate.REQUESTED, False),
        (Gate.ACTIVE, False, "lost_the_race", False, Gate.ACTIVE, True),
    ],
)
def test_the_table(
    state: Gate, kept: bool, step: str, sends: bool, then: Gate, then_kept: bool
) -> None:
    """Each row of the table above the code."""
    gate = at(state, kept=kept)
    assert take(gate, step) is sends
    assert (gate.state, gate.kept) == (then, then_kept)


def test_the_running_answer_has_an_id_until_it_is_done() -> None:
    """A cancellation names it; afterwards there is none to name."""
    gate = ResponseGate()
    ids = [gate.active_id]
    for step in ("ask", "created", "done"):
        take(gate, step)
        ids.append(gate.active_id)
    assert ids == [None, None, "R", None]


def test_a_response_that_is_not_ours_leaves_our_request_on_its_way() -> None:
    """The server's own answer ends before ours begins: the gate stays shut, nothing is sent."""
    gate = at(Gate.FREE)
    assert gate.ask()
    gate.created("theirs", ours=False)
    assert not gate.done()
    states = [gate.state]
    gate.created("ours")
    assert not gate.done()
    states.append(gate.state)
    assert states == [Gate.REQUESTED, Gate.FREE]


def test_our_request_was_refused_for_one_that_is_over() -> None:
    """The refusal comes last of all: the request is made again at once."""
    gate = at(Gate.FREE)
    assert gate.ask()
    gate.created("theirs", ours=False)
    gate.done()
    assert gate.lost_the_race()
    gate.created("ours")
    assert not gate.done()
    assert gate.state is Gate.FREE


def test_a_refusal_during_the_servers_own_answer_is_kept() -> None:
    """It is made again once, when that answer is done."""
    gate = at(Gate.FREE)
    assert gate.ask()
    gate.created("theirs", ours=False)
    assert not gate.lost_the_race()
    assert gate.done()
    assert gate.state is Gate.REQUESTED
    assert not gate.kept


def test_a_request_that_is_given_up_is_on_its_way_no_longer() -> None:
    """Nothing came of it in time: the gate is free for the next one."""
    gate = at(Gate.FREE)
    assert gate.ask()
    gate.created("theirs", ours=False)
    gate.done()
    assert not gate.give_up()
    assert gate.state is Gate.FREE


@given(st.lists(st.sampled_from(STEPS)))
def test_a_request_is_sent_once_or_kept(steps: list[str]) -> None:
    """In any order: sending leaves the gate `REQUESTED`, nothing is sent out of `ACTIVE` but by
    its `done` or the end of waiting, and an ask that was not sent is kept."""
    gate = ResponseGate()
    for step in steps:
        before = gate.state
        sends = take(gate, step)
        if sends:
            assert gate.state is Gate.REQUESTED
            assert not gate.kept
            assert before is Gate.FREE or step in ("done", "give_up", "lost_the_race")
        elif step in ("ask", "lost_the_race"):
            assert gate.kept
