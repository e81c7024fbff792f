"""What the console shows of the settings: all of them, and no secret in any of its disguises."""

from __future__ import annotations

from typing import Any

from avr_bridge import BridgeConfig
from avr_bridge.config import SECTIONS, settings_of
from avr_bridge.server.console.settings_shown import settings_shown

SECRET = "planted-secret"
PROMPT = "Write to shop@example.com, or see https://example.com?page=1 for more."


def shown(**environ: str) -> dict[str, dict[str, Any]]:
    """Settings by name, of this environment."""
    config = BridgeConfig.from_env({"OPENAI_API_KEY": "k", **environ})
    return {one["name"]: one for section in settings_shown(config) for one in section["settings"]}


def test_every_setting_is_there() -> None:
    """Once, with the meaning that its page has, under a title."""
    known = {one.env: one.help for kind in SECTIONS.values() for one in settings_of(kind)}
    assert {name: one["help"] for name, one in shown().items()} == known


def test_a_value_is_written_as_it_would_be_set() -> None:
    """Switches, numbers, nothing; the prompt as it is."""
    settings = shown(AVR_CONSOLE="yes", AVR_IDLE_S="8.50", OPENAI_INSTRUCTIONS=PROMPT)
    assert settings["AVR_CONSOLE"]["value"] == "on"
    assert settings["AVR_IDLE_S"]["value"] == "8.5"
    assert settings["AVR_IDLE_S"]["changed"]
    assert settings["AVR_MAX_CALL_S"]["value"] == "0"
    assert not settings["AVR_MAX_CALL_S"]["changed"]
    assert settings["AVR_TOKEN"]["value"] is None
    assert settings["OPENAI_INSTRUCTIONS"]["value"] == PROMPT


def test_no_secret_is_shown() -> None:
    """Neither one of its own nor one within an address, with a scheme or without, nor one that was
    written into another setting."""
    settings = shown(
        AVR_TOKEN=SECRET,
        OPENAI_ENDPOINT=f"wss://model.example/v1?key={SECRET}",
        OPENAI_URL_INSTRUCTIONS=f"https://user:{SECRET}@prompts.example/one",
        HTTPS_PROXY=f"user:{SECRET}@proxy.example:3128",
        OPENAI_INSTRUCTIONS=f"Never say {SECRET}.",
    )
    assert SECRET not in str(settings)
    assert settings["AVR_TOKEN"]["value"] == "***"
    assert settings["OPENAI_ENDPOINT"]["value"] == "wss://model.example/v1?***"
    assert settings["HTTPS_PROXY"]["value"] == "***@proxy.example:3128"
