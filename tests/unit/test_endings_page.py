"""What `docs/endings.md` says of each way in which a call ends is what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from avr_bridge.call.ending import BLAMED_ON_CALLER, CLOSE_CODES, EndReason
from avr_bridge.call.session import _TOLD_TO_CALLER

CHECKOUT = Path(__file__).parents[2]
PAGE = CHECKOUT / "docs" / "endings.md"
UNSEEN = {EndReason.CALLER_HUNG_UP, EndReason.CALLER_STALLED, EndReason.CALLER_VANISHED}
"""The caller's side has left by then, or is cut off: the close code does not reach it."""


def rows() -> dict[str, list[str]]:
    """The table's rows by reason, each with its other cells."""
    found: dict[str, list[str]] = {}
    for line in PAGE.read_text().splitlines():
        if line.startswith("| `"):
            name, *cells = [cell.strip() for cell in line.strip("|").split("|")]
            assert name not in found, line
            found[name.strip("`")] = cells
    return found


def test_every_reason_has_its_row_and_its_code() -> None:
    """In the order of the code, none too many, and no cell empty."""
    assert list(rows()) == [reason.value for reason in EndReason]
    assert set(CLOSE_CODES) == set(EndReason)
    for reason in EndReason:
        code, *words = rows()[reason.value]
        assert code == (
            f"({CLOSE_CODES[reason]})" if reason in UNSEEN else f"{CLOSE_CODES[reason]}"
        )
        assert len(words) == 3
        assert all(words)


def test_the_page_says_who_gets_an_error() -> None:
    """`error` before the close: where the session tells the caller's side something."""
    told = {name for name, cells in rows().items() if "`error` before" in cells[1]}
    assert told == {reason.value for reason in _TOLD_TO_CALLER}
    assert BLAMED_ON_CALLER.keys() <= _TOLD_TO_CALLER.keys()


@pytest.mark.parametrize("reason", EndReason)
def test_every_reason_is_the_end_of_a_call_in_some_test(reason: EndReason) -> None:
    """Calls in memory or over sockets: one of them expects it."""
    words = rf"EndReason\.{reason.name}\b|[\"(]{reason.value}[\")]"
    files = [
        path for kind in ("call", "faults") for path in (CHECKOUT / "tests" / kind).glob("*.py")
    ]
    assert [path.name for path in files if re.search(words, path.read_text())]
