"""The order of the transcript: every line once, in the conversation's order, none held for ever."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from avr_bridge.upstream.transcripts import CUT_MARK, MOST_ITEMS, Fate, Line, TranscriptOrder


def nothing_plays(item_id: str) -> bool:
    return False


def everything_plays(item_id: str) -> bool:
    return True


def test_the_callers_words_come_before_the_answer_to_them() -> None:
    """The answer's text is there first and waits."""
    order = TranscriptOrder()
    order.expect("U")
    order.expect("A", "U")
    order.agent_text("A", "Yes.")
    order.fate("A", Fate.HEARD)
    assert order.release() == []
    order.user_text("U", "Are you there?")
    assert order.release() == [Line("user", "Are you there?"), Line("agent", "Yes.")]
    assert order.release() == []


def test_an_item_goes_behind_the_one_that_precedes_it() -> None:
    """The server may tell of the answer before the turn that it answers."""
    order = TranscriptOrder()
    order.expect("first")
    order.expect("last", "second")
    order.expect("second", "first")
    for item_id in ("last", "second", "first"):
        order.user_text(item_id, item_id)
    assert [line.text for line in order.release()] == ["first", "second", "last"]


def test_a_text_without_a_fate_waits() -> None:
    """An answer's text is there long before it was heard."""
    order = TranscriptOrder()
    order.expect("A")
    order.agent_text("A", "Yes.")
    order.response_over(["A"], everything_plays)
    assert order.release() == []
    order.fate("A", Fate.CUT)
    assert order.release() == [Line("agent", "Yes." + CUT_MARK, cut=True)]


def test_what_nobody_heard_is_not_in_the_transcript() -> None:
    """An item that was deleted has no line, and holds up none."""
    order = TranscriptOrder()
    order.expect("A")
    order.expect("U", "A")
    order.agent_text("A", "never heard")
    order.fate("A", Fate.UNHEARD)
    order.user_text("U", "Stop.")
    assert order.release() == [Line("user", "Stop.")]


def test_the_first_word_counts() -> None:
    """A text or a fate that comes twice changes nothing."""
    order = TranscriptOrder()
    order.agent_text("A", "one")
    order.agent_text("A", "two")
    order.fate("A", Fate.CUT)
    order.fate("A", Fate.HEARD)
    assert order.release() == [Line("agent", "one" + CUT_MARK, cut=True)]


def test_an_answer_without_sound_has_been_said_as_it_is() -> None:
    """No playback will tell of it; items of other kinds are not waited for."""
    order = TranscriptOrder()
    order.expect("A")
    order.agent_text("A", "silent words")
    order.response_over(["call of a tool", "A"], nothing_plays)
    assert order.release() == [Line("agent", "silent words")]


def test_an_answer_without_text_holds_nothing_up() -> None:
    """The response is over, so none will come: the item has no line."""
    order = TranscriptOrder()
    order.expect("A")
    order.response_over(["A"], everything_plays)
    order.fate("A", Fate.HEARD)
    order.user_text("U", "Hello.")
    assert order.release() == [Line("user", "Hello.")]


def test_an_unknown_text_is_given_up() -> None:
    """ "" is how the conversation says that a transcript will not come."""
    order = TranscriptOrder()
    order.expect("U")
    order.user_text("U", "")
    assert order.release() == []
    order.user_text("U2", "next")
    assert order.release() == [Line("user", "next")]


def test_waiting_is_bounded() -> None:
    """An item whose text never comes is given up when too many wait behind it."""
    order = TranscriptOrder()
    order.expect("lost")
    lines = []
    for number in range(MOST_ITEMS + 5):
        order.user_text(str(number), str(number))
        lines += order.release()
    assert [line.text for line in lines] == [str(n) for n in range(MOST_ITEMS + 5)]


@given(st.permutations(range(12)))
def test_every_line_once_and_in_order(news: list[int]) -> None:
    """Texts and fates of six items come in any order: all lines come out, once, in the order of
    the items."""
    order = TranscriptOrder()
    for number in range(6):
        order.expect(str(number), str(number - 1) if number else None)
    lines = []
    for step in news:
        item_id = str(step // 2)
        if step % 2:
            order.agent_text(item_id, item_id)
        else:
            order.fate(item_id, Fate.HEARD)
        lines += order.release()
    assert [line.text for line in lines] == [str(number) for number in range(6)]
