"""The conversation as text for the next session: order, cuts, pairs, bounds."""

from __future__ import annotations

from avr_bridge.upstream.commands import function_output, text_item
from avr_bridge.upstream.history import MOST_CHARS, MOST_ITEMS, UNTRANSCRIBED, History


def test_turns_stand_where_the_server_put_them() -> None:
    """Not in the order in which their texts came."""
    history = History()
    history.expect("U1", "user")
    history.expect("A1", "assistant", "U1")
    history.expect("U2", "user", "A1")
    history.expect("U2", "user", "U1")  # told twice: the first place counts
    history.set_text("A1", "Nine.")
    history.set_text("U2", "Thanks.")
    history.set_text("U1", "When do you open?")
    assert history.items() == [
        text_item("user", "When do you open?"),
        text_item("assistant", "Nine."),
        text_item("user", "Thanks."),
    ]


def test_words_come_piece_by_piece_until_all_are_known() -> None:
    """An answer that was torn has the words that came; a whole one those of its transcript."""
    history = History()
    history.expect("A", "assistant")
    history.add_text("A", "We op")
    history.add_text("A", "en at")
    assert history.items() == [text_item("assistant", "We open at")]
    history.set_text("A", "We open at nine.")
    assert history.items() == [text_item("assistant", "We open at nine.")]


def test_only_what_was_heard_goes_over() -> None:
    """Cut behind a word; nothing of an item that was never heard or is forgotten."""
    history = History()
    for item_id in ("A", "B", "C"):
        history.expect(item_id, "assistant")
        history.set_text(item_id, "one two three four")
    assert history.cut("A", 0.5) == "one two"
    assert history.cut("B", 0.0) == ""
    history.forget("C")
    assert history.cut("C", 0.5) == ""
    assert history.items() == [text_item("assistant", "one two")]


def test_a_turn_without_a_transcript_is_not_left_out() -> None:
    """The model would otherwise see its own answers to nothing."""
    history = History()
    history.expect("U", "user")
    assert history.items() == [text_item("user", UNTRANSCRIBED)]


def test_calls_go_over_with_their_outputs() -> None:
    """A call that still runs goes over alone: its output follows into the new session."""
    history = History()
    history.call("c1", "fly", "{}")
    history.call("c2", "swim", "{}")
    history.put(function_output("c1", "flown"))
    kinds = [(item["type"], item["call_id"]) for item in history.items()]
    assert kinds == [
        ("function_call", "c1"),
        ("function_call", "c2"),
        ("function_call_output", "c1"),
    ]


def test_the_newest_that_fit() -> None:
    """By number and by length; an output whose call no longer fits is left out with it."""
    history = History()
    for number in range(MOST_ITEMS + 5):
        history.put(text_item("user", str(number)))
    assert len(history.items()) == MOST_ITEMS
    assert history.items()[-1] == text_item("user", str(MOST_ITEMS + 4))
    history.call("c", "fly", "x" * MOST_CHARS)
    history.put(function_output("c", "flown"))
    history.put(text_item("user", "so?"))
    assert history.items() == [text_item("user", "so?")]
