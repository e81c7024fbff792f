"""The response gate: its table, and no request is ever lost or sent into a running answer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avr_bridge.upstream.gate import Gate, ResponseGate

STEPS = ("ask", "created", "done", "lost_the_race")


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
        case "done":
            return gate.done()
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


def test_what_is_forgotten_is_not_sent() -> None:
    """A kept request that is no longer wanted does not follow the answer."""
    gate = at(Gate.ACTIVE, kept=True)
    gate.forget()
    assert not gate.done()
    assert gate.state is Gate.FREE


@given(st.lists(st.sampled_from(STEPS)))
def test_a_request_is_sent_once_or_kept(steps: list[str]) -> None:
    """In any order: sending leaves the gate `REQUESTED`, nothing is sent out of `ACTIVE` but by
    its `done`, and an ask that was not sent is kept."""
    gate = ResponseGate()
    for step in steps:
        before = gate.state
        sends = take(gate, step)
        if sends:
            assert gate.state is Gate.REQUESTED
            assert not gate.kept
            assert before is Gate.FREE or step == "done"
        elif step in ("ask", "lost_the_race"):
            assert gate.kept
