"""What the pages on Asterisk show is what the examples' files say, and the tests run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
FOLDER = CHECKOUT / "examples" / "asterisk"
EXAMPLES = sorted(FOLDER.rglob("*.conf"))
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
    named = set(re.findall(r"^\| `([\w/]+\.conf)` \|", text, re.M))
    assert named == {str(file.relative_to(FOLDER)) for file in EXAMPLES}


COMES_WITH_ASTERISK = {"extensions", "manager", "modules", "websocket_client"}
"""Files of these names are read by Asterisk itself, and there already."""


def test_what_is_added_to_an_asterisk_overwrites_nothing() -> None:
    """Each such file has a name of its own and no section that other files have, but for the list
    of modules, which adds to it. Only those for a fresh Asterisk are whole."""
    for file in FOLDER.glob("*.conf"):
        assert file.stem not in COMES_WITH_ASTERISK
        sections = re.findall(r"^\[([\w-]+)\](.*)$", file.read_text(), re.M)
        assert sections, file.name
        assert [name for name, adds in sections if not name.startswith("avr")] == (
            ["modules"] if file.stem == "modules_avr" else []
        )
        assert all(adds == "(+)" for name, adds in sections if name == "modules")
    assert {file.stem for file in (FOLDER / "fresh").glob("*.conf")} == COMES_WITH_ASTERISK


def test_each_file_is_included_once_and_each_context_too() -> None:
    """By those for a fresh Asterisk: what no file includes, and no telephone can dial, is of no
    use."""
    text = "\n".join(file.read_text() for file in (FOLDER / "fresh").glob("*.conf"))
    included = re.findall(r'^#include "(.*)"$', text, re.M)
    assert sorted(included) == sorted(file.name for file in FOLDER.glob("*.conf"))
    contexts = re.findall(
        r"^\[([\w-]+)\]", "\n".join(f.read_text() for f in FOLDER.glob("extensions_*")), re.M
    )
    assert sorted(re.findall(r"^include => (.*)$", text, re.M)) == sorted(contexts)
