"""Every setting, read from the environment once: frozen sections, one a layer.

The only reader of `os.environ`. Names and defaults are those of the Node container
avr-sts-openai 1.11 wherever it has the setting; what is ours begins with ``AVR_``. No name ends
in ``_URL`` but avr-sts-openai's own, since avr-app refuses such names in its panel.

Values are parsed here and not acted on: nothing is connected, opened or fetched.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

import attrs
import environ

from avr_bridge.errors import ConfigError
from avr_bridge.sections import (
    DEFAULT_MODEL,
    AudioConfig,
    LogConfig,
    ModelConfig,
    ServerConfig,
    TalkConfig,
    ToolsConfig,
)
from avr_bridge.settings import Secret, Setting, unquoted

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "AudioConfig",
    "BridgeConfig",
    "LogConfig",
    "ModelConfig",
    "Secret",
    "ServerConfig",
    "TalkConfig",
    "ToolsConfig",
]

DEFAULT_INSTRUCTIONS = (
    "You are a helpful assistant on the telephone. Answer briefly, in the caller's language."
)
ALIASES = {"AVR_AMI_ENDPOINT": "AMI_URL"}
"""Second names, for avr-app's panel, which refuses those that end in ``_URL``."""

RETIRED_MODEL_PREFIXES = ("gpt-4o-realtime-preview", "gpt-4o-mini-realtime-preview")
"""Switched off by OpenAI in May 2026 together with the beta API; people's Compose files from
2025 still name them."""


@attrs.frozen
class BridgeConfig:
    """All sections of one bridge. `from_env` fills it; a program may also build it itself."""

    model: ModelConfig = attrs.field(factory=ModelConfig)
    server: ServerConfig = attrs.field(factory=ServerConfig)
    talk: TalkConfig = attrs.field(factory=TalkConfig)
    audio: AudioConfig = attrs.field(factory=AudioConfig)
    tools: ToolsConfig = attrs.field(factory=ToolsConfig)
    log: LogConfig = attrs.field(factory=LogConfig)
    warnings: tuple[str, ...] = ()
    """What `from_env` changed or ignored, in words fit for the log."""

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Self:
        """Read all settings, or say everything that is wrong with them at once.

        Args:
            environ: Variables by name; default `os.environ`. An empty value counts as unset,
                and one pair of quotes around a value is taken off (Compose files in list form
                carry them as part of the value).

        Raises:
            ConfigError: With one line for each setting that cannot be.
        """
        variables = _cleaned(os.environ if environ is None else environ)
        faults = [line for kind in SECTIONS.values() for line in _faults(kind, variables)]
        faults += _contradictions(variables)
        if faults:
            raise ConfigError(faults)
        variables, warnings = _modernised(variables)
        sections: dict[str, Any] = {name: _load(kind, variables) for name, kind in SECTIONS.items()}
        return cls(**sections, warnings=tuple(warnings))


SECTIONS: dict[str, type] = {
    "model": ModelConfig,
    "talk": TalkConfig,
    "server": ServerConfig,
    "audio": AudioConfig,
    "tools": ToolsConfig,
    "log": LogConfig,
}


def settings_of(kind: type) -> list[Setting]:
    """The settings of a section, in their order."""
    return [f.converter for f in attrs.fields(kind) if isinstance(f.converter, Setting)]


def _cleaned(environ: Mapping[str, str]) -> dict[str, str]:
    cleaned = {name: unquoted(value) for name, value in environ.items()}
    cleaned = {name: value for name, value in cleaned.items() if value}
    for alias, name in ALIASES.items():
        if alias in cleaned:
            cleaned.setdefault(name, cleaned[alias])
    return cleaned


def _faults(kind: type, variables: Mapping[str, str]) -> list[str]:
    return [
        fault
        for known in settings_of(kind)
        if known.env in variables and (fault := known.fault(variables[known.env]))
    ]


def _contradictions(variables: Mapping[str, str]) -> list[str]:
    """Settings that are sound alone and not together."""
    if "OPENAI_API_KEY" not in variables and "OPENAI_ENDPOINT" not in variables:
        return ["OPENAI_API_KEY is not set: expected the key of the Realtime API"]
    return []


def _modernised(variables: dict[str, str]) -> tuple[dict[str, str], list[str]]:
    """Make an older container's environment work today; say what was changed."""
    warnings = []
    model = variables.get("OPENAI_MODEL", "")
    elsewhere = variables.get("OPENAI_DIALECT") == "beta" or "azure.com" in variables.get(
        "OPENAI_ENDPOINT", ""
    )
    if model.startswith(RETIRED_MODEL_PREFIXES) and not elsewhere:
        variables = {**variables, "OPENAI_MODEL": DEFAULT_MODEL}
        warnings.append(f"OPENAI_MODEL={model} was retired by OpenAI; {DEFAULT_MODEL} is used")
    if "OPENAI_TEMPERATURE" in variables:
        warnings.append("OPENAI_TEMPERATURE is ignored: the Realtime API no longer takes it")
    if "OPENAI_TURN_DETECTION_EAGERNESS" in variables and (
        variables.get("OPENAI_TURN_DETECTION") != "semantic_vad"
    ):
        warnings.append(
            "OPENAI_TURN_DETECTION_EAGERNESS is ignored: it needs "
            "OPENAI_TURN_DETECTION=semantic_vad"
        )
    endpoint = variables.get("OPENAI_ENDPOINT")
    if endpoint and urlsplit(endpoint).query and "OPENAI_MODEL" in variables:
        query = urlsplit(endpoint).query
        if "model=" in query or "deployment=" in query:
            warnings.append("OPENAI_MODEL is ignored in the address: OPENAI_ENDPOINT names its own")
    return variables, warnings


def _load[T](kind: type[T], variables: Mapping[str, str]) -> T:
    loaded: T = environ.to_config(kind, dict(variables))
    return loaded
