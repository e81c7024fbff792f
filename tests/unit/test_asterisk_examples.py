"""What the pages on Asterisk show is what the examples' files say, and the tests run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
EXAMPLES = sorted((CHECKOUT / "examples" / "asterisk").glob("*.conf"))
PAGES = ("audiosocket.md", "chan-websocket.md")


def settings(text: str) -> list[str]:
    """Lines that say something, without blanks that mean nothing."""
    lines = (line.split(";")[0].strip() for line in text.splitlines())
    return [re.sub(r"\s*=\s*(?=\S)", "=", line, count=1) for line in lines if line]


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_shows_is_in_the_examples(page: str) -> None:
    """Line for line, whatever the order."""
    text = (CHECKOUT / "docs" / page).read_text()
    blocks = re.findall(r"^```ini\n(.*?)^```", text, re.M | re.S)
    shown = [line for block in blocks for line in settings(block)]
    known = {line for file in EXAMPLES for line in settings(file.read_text())}
    assert [line for line in shown if line not in known] == []
    assert len(shown) >= 5


def test_the_page_names_every_file() -> None:
    """And no other."""
    text = (CHECKOUT / "docs" / "asterisk.md").read_text()
    named = set(re.findall(r"^\| `(\w+\.conf)` \|", text, re.M))
    assert named == {file.name for file in EXAMPLES}
