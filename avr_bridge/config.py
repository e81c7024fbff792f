"""Every setting, read from the environment once: frozen sections, one a layer.

The only reader of `os.environ`. Names and defaults are those of the Node container
avr-sts-openai 1.11 wherever it has the setting; what is ours begins with ``AVR_``. No name ends
in ``_URL`` but avr-sts-openai's own, since avr-app refuses such names in its panel.

Values are parsed here and not acted on: nothing is connected or fetched, and no file is read
but those that hold a secret (``..._FILE``).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit, urlunsplit

import attrs
import environ

from avr_bridge.environment import unquoted
from avr_bridge.errors import ConfigError
from avr_bridge.masking import Mask
from avr_bridge.proxies import is_loopback, proxy_for
from avr_bridge.sections import (
    DEFAULT_ENDPOINT,
    DEFAULT_MODEL,
    AudioConfig,
    LogConfig,
    ModelConfig,
    ServerConfig,
    TalkConfig,
    ToolsConfig,
)
from avr_bridge.settings import Secret, Setting, mask_of, secrets_in_address

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "AudioConfig",
    "BridgeConfig",
    "LogConfig",
    "ModelConfig",
    "Reading",
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

MANAGER_SETTINGS = ("AVR_MANAGER_ENDPOINT", "AVR_MANAGER_USER", "AVR_MANAGER_PASSWORD")
"""All of them or none: with one alone nothing is transferred."""

PROXY_VARIABLES = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY")
"""Known to every program in lower case too; where both are set, that one counts, as in curl."""

MAX_SECRET_FILE_BYTES = 16 * 1024
"""A key has about 200 bytes. A larger file is another one, and a device has no end."""

SHORT_TOKEN_CHARS = 16
"""Fewer can be guessed; ``openssl rand -hex 16`` gives 32."""

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
        reading = Reading.of(os.environ if environ is None else environ)
        if reading.faults:
            raise ConfigError(reading.faults)
        sections: dict[str, Any] = {
            name: _load(kind, reading.variables) for name, kind in SECTIONS.items()
        }
        return cls(**sections, warnings=reading.warnings)

    def mask(self) -> Mask:
        """Takes every secret of these settings out of a text."""
        return mask_of(self.model, self.server, self.talk, self.audio, self.tools, self.log)


SECTIONS: dict[str, type] = {
    "model": ModelConfig,
    "talk": TalkConfig,
    "server": ServerConfig,
    "audio": AudioConfig,
    "tools": ToolsConfig,
    "log": LogConfig,
}


@attrs.frozen
class Reading:
    """An environment, read as far as it goes. `BridgeConfig.from_env` and ``avr-bridge explain``.

    Attributes:
        given: Values by name as they were found: without quotes, empty ones left out, each second
            name also under its first, files still unread.
        variables: Values by setting as they count. Those that cannot be are missing.
        faults: One line for each setting that cannot be.
        warnings: What was changed or ignored.
        mask: Takes every secret out of a text.
    """

    given: dict[str, str] = attrs.field(repr=False)
    variables: dict[str, str] = attrs.field(repr=False)
    faults: list[str]
    warnings: tuple[str, ...]
    mask: Mask

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Self:
        """Read it. Never raises; no value of a secret is in a fault or a warning."""
        given = _cleaned(environ)
        variables, faults = _with_files(given)
        known = [one for kind in SECTIONS.values() for one in settings_of(kind)]
        mask = _mask_of(variables, known)
        bad = {
            one.env: fault
            for one in known
            if one.env in variables and (fault := one.fault(variables[one.env], mask))
        }
        faults += bad.values()
        faults += _contradictions(variables, key_given="OPENAI_API_KEY_FILE" in given)
        sound = {name: value for name, value in variables.items() if name not in bad}
        sound, warnings = _modernised(sound)
        return cls(given, sound, faults, tuple(warnings), mask)


def settings_of(kind: type) -> list[Setting]:
    """The settings of a section, in their order."""
    return [f.converter for f in attrs.fields(kind) if isinstance(f.converter, Setting)]


def _cleaned(environ: Mapping[str, str]) -> dict[str, str]:
    cleaned = {name: unquoted(value) for name, value in environ.items()}
    cleaned = {name: value for name, value in cleaned.items() if value}
    for alias, name in ALIASES.items():
        if alias in cleaned:
            cleaned.setdefault(name, cleaned[alias])
    for name in PROXY_VARIABLES:
        if name.lower() in cleaned:
            cleaned[name] = cleaned[name.lower()]
    return cleaned


def _secret_settings() -> list[Setting]:
    return [one for kind in SECTIONS.values() for one in settings_of(kind) if one.file_env]


def _with_files(variables: dict[str, str]) -> tuple[dict[str, str], list[str]]:
    """Put the content of ``..._FILE`` in its setting's place; say what cannot be."""
    variables, faults = dict(variables), []
    for known in _secret_settings():
        path = variables.pop(known.file_env or "", None)
        if path is None:
            continue
        if known.env in variables:
            faults.append(f"{known.env} and {known.file_env} are both set: expected one of them")
            continue
        # A key put here by mistake is not shown: only what is a path for sure.
        shown = path if path.startswith(("/", "./", "../")) else "***"
        try:
            value = _read_secret(path)
        except (OSError, ValueError) as error:
            words = error.strerror if isinstance(error, OSError) else str(error)
            faults.append(f"{known.file_env}={shown}: {words}; expected a file with the value")
            continue
        if known.fault(value):
            faults.append(f"{known.file_env}={shown}: expected {known.expected} in the file")
        else:
            variables[known.env] = value
    return variables, faults


def _mask_of(variables: Mapping[str, str], known: list[Setting]) -> Mask:
    """For the secrets, those within addresses too: also of settings that cannot be."""
    secrets = [variables[one.env] for one in known if one.file_env and one.env in variables]
    for one in known:
        value = variables.get(one.env, "")
        if "://" in value or one.env in PROXY_VARIABLES:
            secrets += secrets_in_address(value)
    return Mask(secrets)


def _read_secret(path: str) -> str:
    with open(path, "rb") as file:
        data = file.read(MAX_SECRET_FILE_BYTES + 1)
    if len(data) > MAX_SECRET_FILE_BYTES:
        raise ValueError("the file is too long")
    try:
        value = data.decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        # Not chained into the fault: the error holds the file's content.
        raise ValueError("the file is no text") from None
    if not value:
        raise ValueError("the file is empty")
    return value


def _contradictions(variables: Mapping[str, str], *, key_given: bool) -> list[str]:
    """Settings that are sound alone and not together."""
    faults = []
    if not key_given and not {"OPENAI_API_KEY", "OPENAI_ENDPOINT"} & set(variables):
        faults.append("OPENAI_API_KEY is not set: expected the key of the Realtime API")
    manager = [name for name in MANAGER_SETTINGS if name in variables]
    if manager:
        missing = sorted(set(MANAGER_SETTINGS) - set(manager))
        faults += [f"{name} is not set: {manager[0]} needs it" for name in missing]
    port = _port(variables, "PORT", str(ServerConfig().port))
    if port and port == _port(variables, "AVR_AUDIOSOCKET_PORT", "off"):
        faults.append(f"AVR_AUDIOSOCKET_PORT={port}: expected another one than PORT")
    try:
        # Only the proxy on the way to the model has to be one that we can use.
        endpoint = variables.get("OPENAI_ENDPOINT")
        proxies = (variables.get(name) for name in PROXY_VARIABLES)
        https_proxy, http_proxy, all_proxy, no_proxy = proxies
        model = ModelConfig(
            endpoint=endpoint,
            https_proxy=https_proxy,
            http_proxy=http_proxy,
            all_proxy=all_proxy,
            no_proxy=no_proxy,
        )
        proxy_for(model, endpoint or DEFAULT_ENDPOINT)
    except ConfigError:
        pass  # the address cannot be: told already
    except ValueError as error:
        faults.append(str(error))
    return faults


def _port(variables: Mapping[str, str], name: str, default: str) -> int | None:
    """A port as a number, however it is written; None if it is off, or cannot be."""
    try:
        return int(variables.get(name, default))
    except ValueError:
        return None


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
    if "AVR_AUDIOSOCKET_CODEC" in variables and _audiosocket_off(variables):
        warnings.append("AVR_AUDIOSOCKET_CODEC is ignored: it needs AVR_AUDIOSOCKET_PORT")
    warnings += [
        f"{name} is ignored: calls straight from Asterisk are transferred through its manager "
        "interface (AMI), not ARI; see AVR_MANAGER_ENDPOINT"
        for name in sorted(variables)
        if name.startswith("AVR_ARI_")
    ]
    variables, exposed = _unexposed(variables)
    warnings += exposed
    endpoint = variables.get("OPENAI_ENDPOINT")
    if endpoint and urlsplit(endpoint).query and "OPENAI_MODEL" in variables:
        query = urlsplit(endpoint).query
        if "model=" in query or "deployment=" in query:
            warnings.append("OPENAI_MODEL is ignored in the address: OPENAI_ENDPOINT names its own")
    dialect = variables.get("OPENAI_DIALECT", "auto").lower()
    is_at_xai = ModelConfig(endpoint=endpoint, dialect=dialect).is_at_xai
    if is_at_xai and int(variables.get("AVR_MAX_TOKENS_PER_CALL", "0")):
        warnings.append(
            "AVR_MAX_TOKENS_PER_CALL will count nothing: xAI bills by the minute and tells of no "
            "tokens; AVR_MAX_CALL_S bounds a call"
        )
    return variables, warnings


def _audiosocket_off(variables: Mapping[str, str]) -> bool:
    return variables.get("AVR_AUDIOSOCKET_PORT", "off").lower() == "off"


def _unexposed(variables: dict[str, str]) -> tuple[dict[str, str], list[str]]:
    """What secrets are in danger, in words; those that nobody needs are left out."""
    warnings = []
    endpoint = variables.get("OPENAI_ENDPOINT")
    if endpoint:
        parts = urlsplit(endpoint)
        if "@" in parts.netloc:
            bare = parts._replace(netloc=parts.netloc.rpartition("@")[2])
            variables = {**variables, "OPENAI_ENDPOINT": urlunsplit(bare)}
            warnings.append(
                "the user and password in OPENAI_ENDPOINT are ignored: "
                "the key belongs into OPENAI_API_KEY"
            )
        if parts.scheme in ("ws", "http") and not is_loopback(parts.hostname or ""):
            warnings.append(
                f"OPENAI_ENDPOINT is not encrypted ({parts.scheme}://) and not on this machine: "
                "the key and what callers say can be read on the way"
            )
    if "AVR_TOKEN" in variables and not _audiosocket_off(variables):
        warnings.append("AVR_TOKEN does not protect AVR_AUDIOSOCKET_PORT: AudioSocket knows none")
    webhook = urlsplit(variables.get("AVR_CALL_WEBHOOK", ""))
    if webhook.scheme == "http" and not is_loopback(webhook.hostname or ""):
        warnings.append(
            "AVR_CALL_WEBHOOK is not encrypted (http://) and not on this machine: "
            "what callers say can be read on the way"
        )
    warnings += [
        f"{name} is short: it should have {SHORT_TOKEN_CHARS} signs or more"
        for name in ("AVR_TOKEN", "AVR_METRICS_TOKEN", "AVR_CALL_WEBHOOK_SECRET")
        if 0 < len(variables.get(name, "")) < SHORT_TOKEN_CHARS
    ]
    return variables, warnings


def _load[T](kind: type[T], variables: Mapping[str, str]) -> T:
    loaded: T = environ.to_config(kind, dict(variables))
    return loaded
