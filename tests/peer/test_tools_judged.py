"""The tools' entries in the session, judged by the types of the API's owner."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from avr_bridge import ToolsConfig
from avr_bridge.tools import load_tools

pytestmark = pytest.mark.peer
pydantic = pytest.importorskip("pydantic")

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_every_kind_of_entry_is_one_of_the_api(tmp_path: Path) -> None:
    """Built-in, Python, HTTP and MCP: accepted as they are, no field unknown, none lost."""
    from openai.types.realtime import RealtimeToolsConfig

    for path in (EXAMPLES / "custom_tool.py", *(EXAMPLES / "tools").iterdir()):
        if path.is_file():
            (tmp_path / path.name).write_bytes(path.read_bytes())
    environ = {"SUPPORT_TOKEN": "x", "CRM_TOKEN": "x"}
    box = load_tools(ToolsConfig(directory=str(tmp_path)), environ)
    assert box.problems == ()
    assert {one.kind for one in box.loaded} == {"builtin", "python", "http", "mcp"}
    entries = box.descriptions()
    judge: Any = pydantic.TypeAdapter(RealtimeToolsConfig)
    judged = judge.validate_python(entries)
    assert judge.dump_python(judged, exclude_unset=True) == entries
    for entry, model in zip(entries, judged, strict=True):
        assert model.type == entry["type"]
        assert set(entry) <= set(type(model).model_fields)
