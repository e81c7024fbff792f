"""What the model is told of interrupted items: never more than it sent, never twice."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avr_bridge.audio.format import PCM16_24K, ULAW_8K, AudioFormat
from avr_bridge.audio.playback import Heard
from avr_bridge.upstream.answers import LEAST_TRUNCATED_MS, MOST_ITEMS, Answers, Cut


@pytest.mark.parametrize(
    ("heard_ms", "whole", "complete", "end_ms"),
    [
        (400, False, False, 400),
        (400, False, True, 400),
        (1500, False, False, 1000),  # our clock ran ahead: no more than was received
        (1000, True, False, 1000),  # all that came was heard, but more may come
        (20, False, False, 20),
        (19, False, False, None),  # less than a frame is nothing: delete
        (0, False, True, None),
    ],
)
@pytest.mark.parametrize("fmt", [ULAW_8K, PCM16_24K])
def test_one_item(
    heard_ms: int, whole: bool, complete: bool, end_ms: int | None, fmt: AudioFormat
) -> None:
    """A second of sound was received; what is cut of it, in both formats."""
    answers = Answers()
    answers.received("A", 2, fmt.bytes_of_ms(1000))
    if complete:
        answers.complete("A")
    share = (end_ms or 0) / 1000
    assert answers.stopped([Heard("A", heard_ms, whole)], fmt) == [Cut("A", 2, end_ms, share)]
    assert not answers.unheard


def test_what_was_heard_to_its_end_is_not_cut() -> None:
    """Told by the playback, before the stop or with it."""
    answers = Answers()
    for item_id in ("A", "B"):
        answers.received(item_id, 0, 800)
        answers.complete(item_id)
    answers.heard("A")
    assert not answers.is_unheard("A")
    assert answers.is_unheard("B")
    assert answers.stopped([Heard("A", 100, True), Heard("B", 100, True)], ULAW_8K) == []


def test_items_that_the_caller_never_came_to_are_deleted() -> None:
    """In order, behind the one that was cut; an item of nobody's is left alone."""
    answers = Answers()
    for item_id in ("A", "B", "C"):
        answers.received(item_id, 0, 8000)
    told = answers.stopped([Heard("recorded greeting", 5, False), Heard("A", 60, False)], ULAW_8K)
    assert told == [Cut("A", 0, 60, 0.06), Cut("B", 0, None), Cut("C", 0, None)]


def test_items_of_a_session_that_is_gone() -> None:
    """They are still heard, and nothing more of them comes; the new session has no such sound."""
    answers = Answers()
    answers.received("A", 0, 8000)
    answers.disown()
    answers.received("B", 0, 8000)
    assert not answers.is_open("A")
    told = answers.stopped([Heard("A", 500, False)], ULAW_8K)
    assert told == [Cut("A", 0, 500, 0.5, disowned=True), Cut("B", 0, None)]


def test_completing_what_is_unknown_does_nothing() -> None:
    """The model may finish an item that made no sound."""
    answers = Answers()
    answers.complete("A")
    assert not answers.unheard


def test_items_are_bounded() -> None:
    """A model that never lets an item be heard costs a bounded amount; the oldest goes."""
    answers = Answers()
    for number in range(MOST_ITEMS * 2):
        answers.received(str(number), 0, 1)
    assert len(answers.stopped([], ULAW_8K)) == MOST_ITEMS


@given(
    st.lists(st.tuples(st.sampled_from("ABC"), st.integers(1, 40_000)), max_size=20),
    st.lists(
        st.builds(Heard, st.sampled_from("ABCX"), st.integers(0, 60_000), st.booleans()),
        unique_by=lambda heard: heard.item_id,
    ),
    st.sets(st.sampled_from("ABC")),
)
def test_never_beyond_what_was_received(
    deltas: list[tuple[str, int]], heard: list[Heard], complete: set[str]
) -> None:
    """Whatever the playback claims: each item once, only ones with sound, and no end behind the
    last received millisecond; after that nothing is left to tell."""
    answers = Answers()
    received: dict[str, int] = {}
    for item_id, n_bytes in deltas:
        answers.received(item_id, 0, n_bytes)
        received[item_id] = received.get(item_id, 0) + n_bytes
    for item_id in complete:
        answers.complete(item_id)
    cuts = answers.stopped(heard, ULAW_8K)
    assert len({cut.item_id for cut in cuts}) == len(cuts)
    for cut in cuts:
        assert cut.item_id in received
        if cut.audio_end_ms is not None:
            assert LEAST_TRUNCATED_MS <= cut.audio_end_ms <= received[cut.item_id] / 8
    assert not answers.unheard
    assert answers.stopped(heard, ULAW_8K) == []
