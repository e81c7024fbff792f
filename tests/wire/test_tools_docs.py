"""The tools in docs/ are tools: each block loads, and the migration keeps its promises."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from avr_bridge import ToolsConfig
from avr_bridge.tools import Toolbox, load_tools

DOCS = Path(__file__).parents[2] / "docs"
VARIABLES = {"SUPPORT_TOKEN": "x", "CRM_TOKEN": "x", "WEATHER_KEY": "x"}


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", (DOCS / page).read_text(), re.M | re.S)


def loaded(directory: Path, text: str, suffix: str) -> Toolbox:
    (directory / f"t{suffix}").write_text(text)
    box = load_tools(ToolsConfig(directory=str(directory)), VARIABLES)
    assert box.problems == ()
    return box


@pytest.mark.parametrize(
    "text", [*blocks("tools.md", "toml"), *blocks("migration-from-js.md", "toml")]
)
def test_tool_files_load(tmp_path: Path, text: str) -> None:
    """Without a problem."""
    assert len(loaded(tmp_path, text, ".toml").loaded) == 3


def test_the_python_tools_load(tmp_path: Path) -> None:
    """The one of each page; the second is the JavaScript tool's schema again."""
    first = blocks("tools.md", "python")[0]
    assert loaded(tmp_path, first, ".py").loaded[2].name == "order_status"
    (after,) = blocks("migration-from-js.md", "python")
    described = loaded(tmp_path, after, ".py").descriptions()[2]
    assert described["name"] == "get_weather"
    assert described["description"] == "Tell the weather of a place."
    assert described["parameters"]["required"] == ["location"]
    assert described["parameters"]["properties"]["days"] == {
        "type": "integer",
        "description": "Days ahead.",
        "default": 0,
    }
    (before,) = blocks("migration-from-js.md", "js")
    for words in (described["name"], described["description"], "City.", "Days ahead."):
        assert json.dumps(words) in before
