"""``avr-bridge explain``: what the bridge makes of its environment, before or beside `serve`.

Connects to nothing and needs no key; `avr-bridge check` tries what these settings lead to.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import click

from avr_bridge.cli.output import say
from avr_bridge.cli.serve import EXIT_USAGE
from avr_bridge.config import BridgeConfig, ToolsConfig
from avr_bridge.explaining import TITLES, Explanation, explain_settings
from avr_bridge.telemetry.budget import price_faults
from avr_bridge.telemetry.prices import prices_file_fault

if TYPE_CHECKING:
    from collections.abc import Iterator

    from avr_bridge.explaining import Explained, Unread

__all__ = ["explain"]

SHOWN_CHARS = 80
"""Of a value, in text; a prompt would fill the screen. JSON has all of it."""

MOST_TOOL_FILE_BYTES = 1024 * 1024


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object, with every field.")
def explain(as_json: bool) -> None:
    """Show every setting: its value, where it came from, its default, what avr-app would refuse.

    Then: variables that look like settings and that nobody reads, with the nearest setting; what
    the bridge changed or ignored; and what cannot be. Secrets are shown as ***. Exit code 0, or 2
    if a setting cannot be.
    """
    explanation = _with_prices(explain_settings(os.environ))
    explanation = attrs.evolve(explanation, unread=_not_even_by_tools(explanation))
    if as_json:
        say(json.dumps(attrs.asdict(explanation), indent=2, ensure_ascii=False))
    else:
        for line in _lines(explanation):
            say(line)
    sys.exit(EXIT_USAGE if explanation.faults else 0)


def _with_prices(explanation: Explanation) -> Explanation:
    """With what `serve` refuses beside settings that cannot be: a list of prices that cannot be
    read, and a limit of cost for a model that has no price."""
    if not explanation.faults:
        faults = price_faults(BridgeConfig.from_env(os.environ))
    else:
        (path,) = [one.value for one in explanation.settings if one.name == "AVR_PRICES_FILE"]
        fault = prices_file_fault(path or None)
        faults = [fault] if fault else []
    names = {fault.partition("=")[0] for fault in faults}
    settings = tuple(
        attrs.evolve(one, value=one.default, fault=True) if one.name in names else one
        for one in explanation.settings
    )
    return attrs.evolve(explanation, settings=settings, faults=(*explanation.faults, *faults))


def _not_even_by_tools(explanation: Explanation) -> tuple[Unread, ...]:
    """Without those that a tool's file names: they are the user's own."""
    (directory,) = [one.value for one in explanation.settings if one.name == "AVR_TOOLS_DIR"]
    texts = list(_tool_files(Path(directory or ToolsConfig().directory)))
    return tuple(
        one for one in explanation.unread if not any(one.name.encode() in text for text in texts)
    )


def _tool_files(directory: Path) -> Iterator[bytes]:
    try:
        for path in sorted(directory.iterdir()):
            if path.is_file() and path.stat().st_size <= MOST_TOOL_FILE_BYTES:
                yield path.read_bytes()
    except OSError:
        return  # `avr-bridge tools` says what is wrong with it


def _lines(explanation: Explanation) -> Iterator[str]:
    for section, title in TITLES.items():
        yield title
        for one in explanation.settings:
            if one.section == section:
                yield f"  {_line(one)}"
        yield ""
    refused = [one for one in explanation.settings if one.avr_app]
    yield from _listed(
        "In avr-app's panel these names are refused:",
        [f"{one.name}: {one.avr_app}" for one in refused],
    )
    yield from _listed(
        "Nobody reads these variables:", [_unread_line(one) for one in explanation.unread]
    )
    yield from _listed("Changed or ignored:", list(explanation.warnings))
    yield from _listed("These settings cannot be:", list(explanation.faults))


def _listed(title: str, lines: list[str]) -> Iterator[str]:
    if lines:
        yield title
        yield from (f"  {line}" for line in lines)
        yield ""


def _line(one: Explained) -> str:
    if one.fault:
        return f"{one.name} cannot be used, see below  ({one.source})"
    about = [one.source]
    if one.given:
        about.append(f"set to {_short(one.given)}")
    if one.value != one.default:
        about.append(f"default {_short(one.default)}" if one.default else "default: unset")
    return f"{one.name} = {_short(one.value) or '(unset)'}  ({'; '.join(about)})"


def _unread_line(one: Unread) -> str:
    meant = f": {one.nearest} may be meant" if one.nearest else ""
    return f"{one.name}{meant}" + (f" ({one.avr_app})" if one.avr_app else "")


def _short(value: str) -> str:
    """One line of it."""
    line = " ".join(value.split())
    return line if len(line) <= SHOWN_CHARS else f"{line[:SHOWN_CHARS]}..."
