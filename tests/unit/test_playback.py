"""The ledger of what was heard: against a list of single frames, in any interleaving."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from avr_bridge.audio.format import FRAME_MS
from avr_bridge.audio.playback import RECENT_FRAMES, Heard, PlaybackLedger


def test_one_item_cut_in_the_middle() -> None:
    """50 frames went out, 200 ms of them will not be heard, more was waiting."""
    ledger = PlaybackLedger()
    ledger.sent([("A", 50)])
    assert ledger.stop(200.0, ["A"]) == [Heard("A", 800, whole=False)]


def test_all_was_heard() -> None:
    """Nothing unplayed, nothing waiting: the item is whole."""
    ledger = PlaybackLedger()
    ledger.sent([("A", 50)])
    assert ledger.stop(0.0, []) == [Heard("A", 1000, whole=True)]


def test_the_unplayed_end_belongs_to_the_last_items() -> None:
    """150 ms unplayed: all 100 ms of B, and 50 ms of A before it."""
    ledger = PlaybackLedger()
    ledger.sent([("A", 10), ("B", 5)])
    assert ledger.stop(150.0, ["C"]) == [
        Heard("A", 150, whole=False),
        Heard("B", 0, whole=False),
        Heard("C", 0, whole=False),
    ]


def test_nothing_is_known_after_a_stop() -> None:
    """The next answer starts from zero, also under the same name."""
    ledger = PlaybackLedger()
    ledger.sent([("A", 50)])
    ledger.stop(0.0, [])
    assert ledger.stop(0.0, []) == []
    ledger.sent([("A", 1)])
    assert ledger.stop(0.0, []) == [Heard("A", 20, whole=True)]


def test_items_long_over_are_forgotten() -> None:
    """An hour of items costs no memory: two seconds are remembered, whole items."""
    ledger = PlaybackLedger()
    for number in range(3600):
        ledger.sent([(f"item {number}", 50)])
    assert max(len(kept) for kept in vars(ledger).values() if hasattr(kept, "__len__")) <= 3
    heard = ledger.stop(0.0, [])
    assert [entry.item_id for entry in heard] == [f"item {n}" for n in (3597, 3598, 3599)]
    assert all(entry.whole for entry in heard)


def test_a_long_item_is_counted_from_its_first_frame() -> None:
    """What is forgotten are pieces, not the count of an item that goes on."""
    ledger = PlaybackLedger()
    for _ in range(500):
        ledger.sent([("A", 2)])
    assert ledger.stop(100.0, []) == [Heard("A", 500 * 2 * FRAME_MS - 100, whole=False)]


@given(
    st.lists(st.tuples(st.sampled_from("ABC"), st.integers(1, 8)), max_size=12),
    st.integers(0, RECENT_FRAMES * FRAME_MS),
    st.lists(st.sampled_from("CDE"), max_size=3, unique=True),
)
def test_like_counting_frames(
    pieces: list[tuple[str, int]], unplayed_ms: int, waiting: list[str]
) -> None:
    """The same as listing every millisecond that was sent and dropping the last ones."""
    ledger = PlaybackLedger()
    for piece in pieces:
        ledger.sent([piece])
    sent = [item for item, frames in pieces for _ in range(frames * FRAME_MS)]
    played = sent[: max(len(sent) - unplayed_ms, 0)]
    expected = [
        Heard(
            item,
            played.count(item),
            whole=item not in waiting and played.count(item) == sent.count(item),
        )
        for item in dict.fromkeys([item for item, _ in pieces] + waiting)
    ]
    assert ledger.stop(float(unplayed_ms), waiting) == expected
