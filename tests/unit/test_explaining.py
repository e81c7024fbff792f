"""What `avr-bridge explain` knows: values, where they came from, and what nobody reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import pytest

from avr_bridge import BridgeConfig
from avr_bridge.config import SECTIONS, settings_of
from avr_bridge.explaining import TITLES, Explained, explain_settings, refused_by_avr_app
from avr_bridge.sections import DEFAULT_MODEL

if TYPE_CHECKING:
    from pathlib import Path

KEY = "sk-planted-secret-0123456789"


def explained(name: str, **variables: str) -> Explained:
    found = explain_settings({"OPENAI_API_KEY": KEY} | variables)
    (one,) = [one for one in found.settings if one.name == name]
    return one


def test_every_setting_is_explained_under_a_heading() -> None:
    """None is forgotten, by a new section least of all."""
    known = [one.env for kind in SECTIONS.values() for one in settings_of(kind)]
    assert [one.name for one in explain_settings({}).settings] == known
    assert TITLES.keys() == SECTIONS.keys()


def test_a_default_is_told_as_one() -> None:
    """As somebody would set it, and with its source."""
    assert explained("AVR_LOG_CONTENT") == Explained(
        "AVR_LOG_CONTENT", "log", "off", "off", "default"
    )
    assert explained("OPENAI_LANGUAGE").value == ""


@pytest.mark.parametrize(
    ("name", "variables", "value", "source"),
    [
        ("OPENAI_VOICE", {"OPENAI_VOICE": "marin"}, "marin", "environment"),
        ("OPENAI_VOICE", {"OPENAI_VOICE": '"marin"'}, "marin", "environment, without its quotes"),
        ("OPENAI_VOICE", {"OPENAI_VOICE": " "}, "alloy", "default"),
        ("AVR_LOG_CONTENT", {"AVR_LOG_CONTENT": "yes"}, "on", "environment"),
        ("OPENAI_MAX_TOKENS", {"OPENAI_MAX_TOKENS": "inf"}, "inf", "environment"),
        (
            "AMI_URL",
            {"AVR_AMI_ENDPOINT": "http://ami:6006"},
            "http://ami:6006",
            "environment, as AVR_AMI_ENDPOINT",
        ),
        (
            "HTTPS_PROXY",
            {"HTTPS_PROXY": "http://a:1", "https_proxy": "http://b:2"},
            "http://b:2",
            "environment, as https_proxy",
        ),
        ("OPENAI_API_KEY", {}, "***", "environment"),
    ],
)
def test_where_a_value_came_from(
    name: str, variables: dict[str, str], value: str, source: str
) -> None:
    """In words, for each way that there is."""
    one = explained(name, **variables)
    assert (one.value, one.source) == (value, source)


def test_a_secret_from_a_file_names_the_file_and_not_the_secret(tmp_path: Path) -> None:
    """Also where what should be a path may be the secret itself."""
    (tmp_path / "key").write_text(KEY)
    found = explain_settings({"OPENAI_API_KEY_FILE": str(tmp_path / "key")})
    (one,) = [one for one in found.settings if one.name == "OPENAI_API_KEY"]
    assert (one.value, one.source) == ("***", f"file {tmp_path / 'key'} (OPENAI_API_KEY_FILE)")
    assert found.faults == ()
    misplaced = explain_settings({"OPENAI_API_KEY_FILE": KEY})
    assert misplaced.faults
    assert KEY not in str(attrs.asdict(misplaced))


def test_what_the_bridge_changed_is_told_with_what_was_set() -> None:
    """The model of people's Compose files from 2025; the warning is there too."""
    one = explained("OPENAI_MODEL", OPENAI_MODEL="gpt-4o-realtime-preview")
    assert one.value == DEFAULT_MODEL
    assert one.source == "changed by the bridge"
    assert one.given == "gpt-4o-realtime-preview"
    found = explain_settings({"OPENAI_API_KEY": KEY, "OPENAI_TEMPERATURE": "0.8"})
    assert any("OPENAI_TEMPERATURE is ignored" in line for line in found.warnings)


def test_faults_are_all_told_and_the_other_settings_explained() -> None:
    """As `serve` tells them; what is good is still shown."""
    variables = {"PORT": "x", "OPENAI_MAX_TOKENS": "many", "OPENAI_VOICE": "marin"}
    found = explain_settings(variables)
    assert len(found.faults) == 3
    by_name = {one.name: one for one in found.settings}
    assert by_name["PORT"].fault
    assert by_name["OPENAI_MAX_TOKENS"].fault
    assert not by_name["OPENAI_API_KEY"].fault  # it is missing: told among the faults
    assert by_name["OPENAI_VOICE"].value == "marin"


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("OPENAI_APIKEY", "OPENAI_API_KEY"),
        ("AVR_LOGLEVEL", "AVR_LOG_LEVEL"),
        ("AVR_MAX_CALL", "AVR_MAX_CALLS"),
        ("avr_token", "AVR_TOKEN"),
        ("OPENAI_BASE_URL", "OPENAI_ENDPOINT"),
        ("AVR_ARI_ENDPOINT", "AVR_MANAGER_ENDPOINT"),
        ("AVR_ARI_PASSWORD_FILE", "AVR_MANAGER_PASSWORD_FILE"),
        ("OPENAI_INSTRUCTION", "OPENAI_INSTRUCTIONS"),
        ("AVR_SOMETHING_QUITE_DIFFERENT", ""),
    ],
)
def test_a_variable_that_nobody_reads_is_named_with_the_nearest(name: str, nearest: str) -> None:
    """Its value is not: it may be a key behind a name with a slip in it."""
    found = explain_settings({"OPENAI_API_KEY": "k" * 20, name: KEY})
    assert [(one.name, one.nearest) for one in found.unread] == [(name, nearest)]
    assert KEY not in str(attrs.asdict(found))


def test_what_is_read_is_not_called_unread() -> None:
    """Settings, their files, second names, and what is not ours."""
    names = ("OPENAI_VOICE", "AVR_TOKEN_FILE", "AVR_AMI_ENDPOINT", "AMI_URL", "STS_URL", "PATH")
    assert explain_settings(dict.fromkeys(names, "/x")).unread == ()


@pytest.mark.parametrize("name", ["PORT", "AGENT_ID", "PROVIDER_X", "SOME_URL", "AMI_URL"])
def test_names_that_avr_apps_panel_refuses(name: str) -> None:
    """Those that it sets itself, and all that end in _URL; with the other name if there is one."""
    assert refused_by_avr_app(name)
    assert "AVR_AMI_ENDPOINT" in refused_by_avr_app("AMI_URL")


def test_no_other_setting_of_ours_has_a_name_that_the_panel_refuses() -> None:
    """The rule of CONTRIBUTING, checked."""
    refused = {one.name for one in explain_settings({}).settings if one.avr_app}
    assert refused == {"PORT", "AMI_URL"}


@pytest.mark.parametrize(
    "variables",
    [
        {"OPENAI_ENDPOINT": f"wss://user:{KEY}@host/v1"},
        {"OPENAI_ENDPOINT": f"wss://host/v1?api-key={KEY}"},
        {"HTTPS_PROXY": f"http://user:{KEY}@host"},
        {"https_proxy": f"user:{KEY}@host"},
        {"OPENAI_INSTRUCTIONS": f"The key is {KEY}."},
        {"OPENAI_VOICE": KEY},
        {"AVR_TOKEN": KEY},
        {"AVR_NO_SUCH_THING": KEY},
        {"OPENAI_MAX_TOKENS": KEY},
        {"OPENAI_ENDPOINT": KEY},
    ],
)
def test_no_secret_leaves_wherever_it_stands(variables: dict[str, str]) -> None:
    """Values, warnings and faults."""
    found = explain_settings({"OPENAI_API_KEY": KEY} | variables)
    assert KEY not in str(attrs.asdict(found))


def test_values_are_those_that_count() -> None:
    """What is explained is what `from_env` made of the same environment."""
    variables = {
        "OPENAI_API_KEY": KEY,
        "OPENAI_MODEL": '"gpt-realtime-2.1"',
        "AVR_IDLE_S": "12.50",
        "AVR_DTMF_INTERRUPTS": "TRUE",
        "PORT": "06031",
        "OPENAI_INSTRUCTIONS": "Write to info@example.org, or see https://example.org/?q=1 .",
    }
    config = BridgeConfig.from_env(variables)
    values = {one.name: one.value for one in explain_settings(variables).settings}
    for section, kind in SECTIONS.items():
        for known, field in zip(settings_of(kind), attrs.fields(kind), strict=True):
            assert values[known.env] == known.written(getattr(getattr(config, section), field.name))
