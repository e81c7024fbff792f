"""Keys become entries: by terminator, by length, by pause; no key is lost or doubled."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avr_bridge.upstream.digits import DigitCollector


@pytest.mark.parametrize(
    ("terminator", "most", "keys", "entries", "left"),
    [
        ("#", 32, "12#", ["12"], ""),
        ("#", 32, "#", ["#"], ""),
        ("#", 32, "##", ["#", "#"], ""),
        ("#", 32, "12#34#5", ["12", "34"], "5"),
        ("#", 4, "123456", ["1234"], "56"),
        ("#", 4, "1234#", ["1234", "#"], ""),
        ("#", 1, "12", ["1", "2"], ""),
        ("*", 32, "1#2*", ["1#2"], ""),
        ("", 32, "1#*2", [], "1#*2"),
        ("#", 32, "AD", [], "AD"),
    ],
)
def test_entries(terminator: str, most: int, keys: str, entries: list[str], left: str) -> None:
    """What each key completes, and what a pause would then take out."""
    collector = DigitCollector(terminator, most)
    pressed = [collector.press(key) for key in keys]
    assert [entry for entry in pressed if entry is not None] == entries
    assert collector.take() == left
    assert collector.take() == ""


@given(
    st.text("0123456789*#ABCD", max_size=60), st.sampled_from(["", "#", "*"]), st.integers(1, 128)
)
def test_no_key_is_lost(keys: str, terminator: str, most: int) -> None:
    """Entries and the rest together are the keys in order, without the terminators that ended an
    entry; no entry is empty or too long."""
    collector = DigitCollector(terminator, most)
    entries = [entry for key in keys if (entry := collector.press(key)) is not None]
    rest = collector.take()
    assert all(0 < len(entry) <= most for entry in entries)
    assert len(rest) < most
    without = [part.replace(terminator, "") if terminator else part for part in [*entries, rest]]
    assert "".join(without) == (keys.replace(terminator, "") if terminator else keys)
