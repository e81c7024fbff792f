"""`avr-bridge tools` and the tools in examples/: they load, and they work."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from avr_bridge import ToolsConfig
from avr_bridge.tools import CallContext, ControlRequest, Toolbox, load_tools

LIMIT_S = 60
EXAMPLES = Path(__file__).parents[2] / "examples"
VARIABLES = {"SUPPORT_TOKEN": "hush-1", "CRM_TOKEN": "hush-2"}


@pytest.fixture(name="directory")
def _directory(tmp_path: Path) -> Path:
    """All examples of tools, as a user would copy them."""
    for path in (EXAMPLES / "custom_tool.py", *(EXAMPLES / "tools").iterdir()):
        if path.is_file():
            shutil.copy(path, tmp_path)
    return tmp_path


def listed(directory: Path, *options: str, **variables: str) -> subprocess.CompletedProcess[str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("OPENAI_", "AVR_", "PORT"))}
    return subprocess.run(
        [sys.executable, "-m", "avr_bridge", "tools", "--directory", str(directory), *options],
        env={**kept, **variables},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )


def test_the_list_names_every_tool_and_its_place(directory: Path) -> None:
    """Without a key, and without a credential in the output; exit code 0."""
    ran = listed(directory, "--schema", **VARIABLES)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "builtin  avr_hangup  (avr-bridge)" in ran.stdout
    assert f"python   order_status  ({directory}/custom_tool.py:" in ran.stdout
    assert f"http     create_ticket  ({directory}/tickets.toml)" in ran.stdout
    assert f"http     stock  ({directory}/stock.json)" in ran.stdout
    assert f"mcp      crm  ({directory}/crm.toml)" in ran.stdout
    assert '"transfer_extension"' in ran.stdout
    assert "hush" not in ran.stdout + ran.stderr


def test_problems_are_listed(directory: Path) -> None:
    """A JavaScript tool, and a variable that is not set; exit code 1."""
    (directory / "weather.js").touch()
    ran = listed(directory, CRM_TOKEN="x")
    assert ran.returncode == 1
    problems = [line for line in ran.stdout.splitlines() if line.startswith("problem: ")]
    assert len(problems) == 2
    assert "SUPPORT_TOKEN is not set" in problems[0]
    assert "docs/migration-from-js.md" in problems[1]
    (command,) = re.findall(r"`avr-bridge ([^`]*)`", problems[1])
    shown = subprocess.run(
        [sys.executable, "-m", "avr_bridge", *command.split()],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=True,
    ).stdout
    assert "async def get_weather(" in shown
    for line in re.findall(r"^  from .* import .*", shown, re.M):
        exec(line.strip(), {})
    assert shown.count(" import ") == 3


def test_a_bad_setting_is_refused(tmp_path: Path) -> None:
    """As by `serve`: exit code 2."""
    ran = listed(tmp_path, AVR_TOOL_TIMEOUT_S="soon")
    assert ran.returncode == 2
    assert "AVR_TOOL_TIMEOUT_S" in ran.stderr


async def test_the_python_example_works(directory: Path) -> None:
    """Each of its tools, and the words of its failure."""
    box: Toolbox = load_tools(ToolsConfig(directory=str(directory)), VARIABLES)
    call = CallContext("u-1", {"language": "de"})
    found = await box.run("order_status", '{"order": "A-1"}', call)
    assert found.output == '{"state":"sent","arrives":"2030-01-31"}'
    missing = await box.run("order_status", '{"order": "B-2"}', call)
    assert (missing.ok, "no order of that number" in missing.output) == (False, True)
    assert (await box.run("opening_hours", '{"place": "shop"}', call)).output == "9 to 18 Uhr"
    person = await box.run("fetch_a_person", "{}", call)
    assert person.control == ControlRequest("transfer", "600", "demo", 1)
