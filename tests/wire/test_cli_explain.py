"""`avr-bridge explain` as a process: what it prints, and its exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import attrs

from avr_bridge.explaining import explain_settings

if TYPE_CHECKING:
    from pathlib import Path

LIMIT_S = 30
KEY = "sk-planted-secret-0123456789"


@attrs.frozen
class Ran:
    code: int
    out: str


def explain(*arguments: str, **variables: str) -> Ran:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("OPENAI_", "AVR_", "PORT"))}
    done = subprocess.run(
        [sys.executable, "-m", "avr_bridge", "explain", *arguments],
        env={**kept, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert KEY not in done.stdout
    assert "Traceback" not in done.stdout
    return Ran(done.returncode, done.stdout)


def test_every_setting_has_a_line() -> None:
    """Value, source and default; exit code 0."""
    ran = explain(OPENAI_API_KEY=KEY, OPENAI_VOICE="marin", OPENAI_MODEL="gpt-4o-realtime-preview")
    assert ran.code == 0
    for one in explain_settings({}).settings:
        assert f"  {one.name} = " in ran.out
    assert "  OPENAI_API_KEY = ***  (environment; default: unset)" in ran.out
    assert "  OPENAI_VOICE = marin  (environment; default alloy)" in ran.out
    assert "  OPENAI_LANGUAGE = (unset)  (default)" in ran.out
    assert "(changed by the bridge; set to gpt-4o-realtime-preview)" in ran.out
    assert "was retired by OpenAI" in ran.out


def test_what_avr_app_refuses_has_a_place_of_its_own() -> None:
    """With the name to use there."""
    assert "AMI_URL: set by avr-app itself; in its panel the name is AVR_AMI_ENDPOINT" in (
        explain(OPENAI_API_KEY=KEY).out
    )


def test_slips_are_named_and_names_of_tools_are_none(tmp_path: Path) -> None:
    """A variable that only a tool's file reads is read."""
    (tmp_path / "crm.toml").write_text("# ${AVR_CRM_KEY} is the key of our own CRM\n")
    variables = {"OPENAI_APIKEY": KEY, "AVR_CRM_KEY": KEY, "AVR_TOOLS_DIR": str(tmp_path)}
    ran = explain(OPENAI_API_KEY=KEY, **variables)
    assert "OPENAI_APIKEY: OPENAI_API_KEY may be meant" in ran.out
    assert "AVR_CRM_KEY" not in ran.out
    assert ran.code == 0


def test_bad_settings_are_all_shown() -> None:
    """Exit code 2; what is good is explained all the same."""
    ran = explain(PORT="x", OPENAI_MAX_TOKENS="many", OPENAI_VOICE="marin")
    assert ran.code == 2
    assert "PORT cannot be used, see below  (environment)" in ran.out
    assert "PORT=x: expected a port number" in ran.out
    assert "OPENAI_MAX_TOKENS=many: expected" in ran.out
    assert "OPENAI_API_KEY is not set" in ran.out
    assert "OPENAI_VOICE = marin" in ran.out


def test_a_limit_of_cost_without_a_price_is_a_fault() -> None:
    """As `serve` and `check` find it."""
    variables = {"OPENAI_API_KEY": KEY, "AVR_MAX_COST_PER_CALL": "0.5", "OPENAI_MODEL": "mine"}
    ran = explain(**variables)
    assert ran.code == 2
    assert "AVR_MAX_COST_PER_CALL=0.5: no price is known for OPENAI_MODEL=mine" in ran.out
    assert "AVR_MAX_COST_PER_CALL cannot be used, see below" in ran.out
    assert explain(**variables, AVR_MAX_TOKENS_PER_CALL="9").code == 2
    assert explain(**(variables | {"OPENAI_MODEL": "gpt-realtime-2"})).code == 0


def test_a_list_of_prices_that_cannot_be_read_is_a_fault() -> None:
    """Alone, and beside other faults."""
    words = "AVR_PRICES_FILE=/no/such.toml: No such file or directory; expected a list of prices"
    alone = explain("--json", OPENAI_API_KEY=KEY, AVR_PRICES_FILE="/no/such.toml")
    beside = explain(AVR_PRICES_FILE="/no/such.toml", PORT="x")
    for ran in (alone, beside):
        assert ran.code == 2
        assert words in ran.out
    assert "PORT=x: expected" in beside.out
    assert "AVR_PRICES_FILE cannot be used, see below" in beside.out
    marked = [one for one in json.loads(alone.out)["settings"] if one["fault"]]
    assert [(one["name"], one["value"]) for one in marked] == [("AVR_PRICES_FILE", "")]


def test_json_has_all_of_it() -> None:
    """Also what text cuts short."""
    prompt = "Be brief. " * 50
    ran = explain("--json", OPENAI_API_KEY=KEY, OPENAI_INSTRUCTIONS=prompt, PORT="x")
    assert ran.code == 2
    found = json.loads(ran.out)
    assert found.keys() == {"settings", "unread", "faults", "warnings"}
    by_name = {one["name"]: one for one in found["settings"]}
    assert by_name["OPENAI_INSTRUCTIONS"]["value"] == prompt.strip()
    assert by_name["PORT"]["fault"] is True
    assert by_name["AMI_URL"]["avr_app"]


def test_a_reader_that_is_gone() -> None:
    """`avr-bridge explain | head -1`: no traceback."""
    ran = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m avr_bridge explain | head -1"],
        env={**os.environ, "OPENAI_API_KEY": KEY},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=True,
    )
    assert ran.stdout == "The model\n"
    assert ran.stderr == ""
