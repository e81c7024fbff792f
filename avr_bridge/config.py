"""Every setting, read from the environment once: frozen sections, one a layer.

The only reader of `os.environ`. Names and defaults are those of the Node container
avr-sts-openai 1.11 wherever it has the setting; what is ours begins with ``AVR_``. No name ends
in ``_URL`` but avr-sts-openai's own, since avr-app refuses such names in its panel.

Values are parsed here and not acted on: nothing is connected, opened or fetched.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Self, dataclass_transform
from urllib.parse import urlsplit

import attrs
import environ

from avr_bridge.errors import ConfigError
from avr_bridge.settings import Secret, Setting, choice, number, text, unquoted, url, whole_number

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "AudioConfig",
    "BridgeConfig",
    "LogConfig",
    "ModelConfig",
    "Secret",
    "ServerConfig",
    "ToolsConfig",
]

DEFAULT_MODEL = "gpt-realtime-2"
DEFAULT_INSTRUCTIONS = (
    "You are a helpful assistant on the telephone. Answer briefly, in the caller's language."
)
RETIRED_MODEL_PREFIXES = ("gpt-4o-realtime-preview", "gpt-4o-mini-realtime-preview")
"""Switched off by OpenAI in May 2026 together with the beta API; people's Compose files from
2025 still name them."""


def setting(env: str, *, default: Any, parse: Any, expected: str, help: str) -> Any:
    """Declare one setting of a section: its variable, its default and what it may be."""
    return environ.var(
        default=default, name=env, help=help, converter=Setting(env, parse, expected, default, help)
    )


@dataclass_transform(frozen_default=True, field_specifiers=(setting,))
def section[T](cls: type[T]) -> type[T]:
    """Make a class a frozen section that `BridgeConfig.from_env` fills from the environment."""
    made: type[T] = environ.config(prefix="", frozen=True)(cls)
    return made


@section
class ServerConfig:
    """Where the bridge listens."""

    host: str = setting(
        "AVR_HOST",
        default="0.0.0.0",
        parse=text,
        expected="an address to listen on",
        help="Address to listen on. The default is every IPv4 address, as avr-core needs it.",
    )
    port: int = setting(
        "PORT",
        default=6030,
        parse=whole_number(0, 65535),
        expected="a port number, 0 to 65535 (0: any free one)",
        help="Port of both transports, WebSocket and HTTP.",
    )


@section
class ModelConfig:
    """The Realtime session that each call gets."""

    api_key: Secret | None = setting(
        "OPENAI_API_KEY",
        default=None,
        parse=Secret.parse,
        expected="the key of the Realtime API",
        help="Bearer key. Needed unless OPENAI_ENDPOINT names a server that asks for none.",
    )
    model: str = setting(
        "OPENAI_MODEL",
        default=DEFAULT_MODEL,
        parse=text,
        expected="a Realtime model's name",
        help="Model. A name that OpenAI has retired is replaced by the default, with a warning.",
    )
    endpoint: str | None = setting(
        "OPENAI_ENDPOINT",
        default=None,
        parse=url("ws", "wss", "http", "https"),
        expected="an address such as wss://host/v1 or ws://127.0.0.1:8080/v1",
        help="Another Realtime server: a base address, or a full one with its own path.",
    )
    voice: str = setting(
        "OPENAI_VOICE", default="alloy", parse=text, expected="a voice's name", help="Voice."
    )
    language: str | None = setting(
        "OPENAI_LANGUAGE",
        default=None,
        parse=text,
        expected="a language code such as en",
        help="Language of the caller's transcript. Unset: detected.",
    )
    instructions: str | None = setting(
        "OPENAI_INSTRUCTIONS",
        default=None,
        parse=text,
        expected="text",
        help="System prompt. Wins over the two settings below.",
    )
    instructions_url: str | None = setting(
        "OPENAI_URL_INSTRUCTIONS",
        default=None,
        parse=url("http", "https"),
        expected="an http or https address",
        help='Address that answers {"system": "..."} for each call; asked with X-AVR-UUID.',
    )
    instructions_file: str | None = setting(
        "OPENAI_FILE_INSTRUCTIONS",
        default=None,
        parse=text,
        expected="a file's path",
        help="File with the system prompt, read anew for each call.",
    )
    temperature: float | None = setting(
        "OPENAI_TEMPERATURE",
        default=None,
        parse=number(0.0, 2.0),
        expected="a number from 0 to 2",
        help="Accepted and ignored with a warning: the Realtime API no longer takes it.",
    )
    max_tokens: int | None = setting(
        "OPENAI_MAX_TOKENS",
        default=None,
        parse=whole_number(1, 32_768, infinite=("inf", "unlimited")),
        expected="a whole number from 1 to 32768, or inf",
        help="Longest answer in tokens, audio included; binds every answer. Unset: no limit.",
    )
    reasoning_effort: str = setting(
        "OPENAI_REASONING_EFFORT",
        default="low",
        parse=choice("minimal", "low", "medium", "high", "xhigh"),
        expected="minimal, low, medium, high or xhigh",
        help="Only sent to models that reason (gpt-realtime-2 and newer).",
    )
    transcription_model: str = setting(
        "OPENAI_TRANSCRIPTION_MODEL",
        default="whisper-1",
        parse=text,
        expected="a transcription model's name",
        help="Model that transcribes the caller.",
    )
    turn_detection: str = setting(
        "OPENAI_TURN_DETECTION",
        default="server_vad",
        parse=choice("server_vad", "semantic_vad"),
        expected="server_vad or semantic_vad",
        help="How the end of the caller's turn is found.",
    )
    eagerness: str | None = setting(
        "OPENAI_TURN_DETECTION_EAGERNESS",
        default=None,
        parse=choice("low", "medium", "high", "auto"),
        expected="low, medium, high or auto",
        help="How soon semantic_vad ends a turn.",
    )
    audio_format: str = setting(
        "OPENAI_AUDIO_FORMAT",
        default="pcmu",
        parse=choice("pcmu", "pcma", "pcm"),
        expected="pcmu, pcma or pcm",
        help="Audio between bridge and model: G.711 µ-law, A-law, or 24 kHz PCM.",
    )


@section
class AudioConfig:
    """How sound is converted."""

    resampler: str = setting(
        "AVR_RESAMPLER",
        default="fir",
        parse=choice("fir", "audioop"),
        expected="fir or audioop",
        help="Filter between 8 and 24 kHz, used with OPENAI_AUDIO_FORMAT=pcm.",
    )


@section
class ToolsConfig:
    """Call control beside the audio."""

    ami_url: str = setting(
        "AMI_URL",
        default="http://127.0.0.1:6006",
        parse=url("http", "https"),
        expected="an http or https address",
        help="avr-ami, which hangs up and transfers calls.",
    )


@section
class LogConfig:
    """What is written about the work."""

    level: str = setting(
        "AVR_LOG_LEVEL",
        default="info",
        parse=choice("debug", "info", "warning", "error"),
        expected="debug, info, warning or error",
        help="Least severity that is logged.",
    )
    format: str = setting(
        "AVR_LOG_FORMAT",
        default="auto",
        parse=choice("auto", "json", "text"),
        expected="auto, json or text",
        help="auto: text on a terminal, else one JSON object a line.",
    )


@attrs.frozen
class BridgeConfig:
    """All sections of one bridge. `from_env` fills it; a program may also build it itself."""

    model: ModelConfig = attrs.field(factory=ModelConfig)
    server: ServerConfig = attrs.field(factory=ServerConfig)
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
    return {name: value for name, value in cleaned.items() if value}


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
    if model.startswith(RETIRED_MODEL_PREFIXES):
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
