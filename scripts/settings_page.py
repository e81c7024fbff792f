"""Write docs/settings.md from the config classes: ``python scripts/settings_page.py``."""

from __future__ import annotations

from pathlib import Path

from avr_bridge.config import SECTIONS, settings_of
from avr_bridge.explaining import TITLES
from avr_bridge.settings import OFF_WORDS, ON_WORDS

PAGE = Path(__file__).parents[1] / "docs" / "settings.md"
HEAD = """# Settings

All settings come from the environment. Names and defaults are those of `avr-sts-openai` where it
has the setting. An empty value counts as unset, and one pair of quotes around a value is taken
off. A value that cannot be is refused at start: all faults in one message, exit code 2.

Where a setting is on or off, {on} mean on, and {off}
mean off, in upper case too. Nothing else is taken.

A secret may come from a file instead: the variable with `_FILE` behind its name then holds the
file's path. The file is read once, at start; blanks and newlines around the value are taken off.
It is a fault to set both, and if the file cannot be read or is empty.

This page is made from the code by `make docs`.
"""


def page() -> str:
    """The page's text."""
    head = HEAD.rstrip().replace("{on}", _listed(ON_WORDS)).replace("{off}", _listed(OFF_WORDS))
    parts = [head]
    for name, kind in SECTIONS.items():
        parts += ["", f"## {TITLES[name]}", "", "| variable | default | meaning | may be |"]
        parts.append("|---|---|---|---|")
        for known in settings_of(kind):
            default = f"`{written}`" if (written := known.written(known.default)) else ""
            name = f"`{known.env}`" + (f", `{known.file_env}`" if known.file_env else "")
            parts.append(f"| {name} | {default} | {known.help} | {known.expected} |")
    return "\n".join(parts) + "\n"


def _listed(words: tuple[str, ...]) -> str:
    *most, last = (f"`{word}`" for word in words)
    return f"{', '.join(most)} and {last}"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
