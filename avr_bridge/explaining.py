"""Every setting with its value, where it came from, and what of the environment nobody reads.

Goes by the same reading as `BridgeConfig.from_env`, so what it tells is what counts. Values leave
it as a person may see them: a secret is ``***``, whatever it stands in. Printing is
`cli/explain.py`'s.
"""

from __future__ import annotations

import difflib
import os
from typing import TYPE_CHECKING

import attrs

from avr_bridge.config import ALIASES, PROXY_VARIABLES, SECTIONS, Reading, settings_of
from avr_bridge.environment import unquoted
from avr_bridge.masking import MASKED, masked_address

if TYPE_CHECKING:
    from collections.abc import Mapping

    from avr_bridge.settings import Setting

__all__ = ["TITLES", "Explained", "Explanation", "Unread", "explain_settings", "refused_by_avr_app"]

TITLES = {
    "model": "The model",
    "talk": "The conversation",
    "server": "The port",
    "audio": "Sound",
    "tools": "Call control",
    "log": "Logs and records",
}
"""Headings of the sections, here and on the page of settings."""

DEFAULT = "default"

OURS = ("AVR_", "OPENAI_")
"""Beginnings of the names that are looked at: others belong to the machine, or to somebody else."""

KNOWN_ELSEWHERE = {
    "OPENAI_BASE_URL": "OPENAI_ENDPOINT",
    "OPENAI_API_BASE": "OPENAI_ENDPOINT",
    "AVR_ARI_ENDPOINT": "AVR_MANAGER_ENDPOINT",
    "AVR_ARI_USER": "AVR_MANAGER_USER",
    "AVR_ARI_PASSWORD": "AVR_MANAGER_PASSWORD",
    "AVR_ARI_PASSWORD_FILE": "AVR_MANAGER_PASSWORD_FILE",
}
"""What other programs, or Asterisk's other interface, call it; no likeness leads there."""

LEAST_LIKENESS = 0.7
"""Of names that are worth a guess: one letter more, less or other in five."""

RESERVED = frozenset({"AGENT_ID", "AGENT_NAME", "PORT", "HTTP_PORT", "WEBHOOK_SECRET"})
"""Names that avr-app gives a container itself; its panel refuses them, with all that begin with
``PROVIDER_`` or end in ``_URL`` (agentvoiceresponse/avr-app, agents.service.ts)."""


@attrs.frozen
class Explained:
    """One setting.

    Attributes:
        section: The name of its section in `BridgeConfig`.
        value: As somebody would set it; "" for none, ``***`` for a secret.
        default: The same of its default.
        source: Where the value came from, in words.
        given: What was set, where that is not what counts; "" otherwise.
        fault: Whether what was set cannot be; the value is then the default.
        avr_app: What avr-app does with the name, if it refuses it in its panel; "" otherwise.
    """

    name: str
    section: str
    value: str
    default: str
    source: str
    given: str = ""
    fault: bool = False
    avr_app: str = ""


@attrs.frozen
class Unread:
    """A variable that looks like a setting and is none.

    Attributes:
        nearest: The setting that may be meant; "" if none is near.
        avr_app: As in `Explained`.
    """

    name: str
    nearest: str
    avr_app: str = ""


@attrs.frozen
class Explanation:
    """All of it.

    Attributes:
        faults: One line for each setting that cannot be, as `ConfigError` has them.
        warnings: What was changed or ignored, as `BridgeConfig` has them.
    """

    settings: tuple[Explained, ...]
    unread: tuple[Unread, ...]
    faults: tuple[str, ...]
    warnings: tuple[str, ...]


def explain_settings(environ: Mapping[str, str] | None = None) -> Explanation:
    """Explain an environment; default `os.environ`. Never raises."""
    environ = os.environ if environ is None else environ
    reading = Reading.of(environ)
    settings = [
        _explained(known, section, environ, reading)
        for section, kind in SECTIONS.items()
        for known in settings_of(kind)
    ]
    return Explanation(
        tuple(settings),
        tuple(_unread(environ)),
        tuple(reading.faults),
        tuple(reading.mask(one) for one in reading.warnings),
    )


def refused_by_avr_app(name: str) -> str:
    """What to do about a name that avr-app's panel refuses, in words; "" for any other."""
    other = {target: alias for alias, target in ALIASES.items()}.get(name)
    if other is not None:
        return f"set by avr-app itself; in its panel the name is {other}"
    if name in RESERVED or name.startswith("PROVIDER_"):
        return "set by avr-app itself, and refused in its panel"
    return "refused in avr-app's panel, as every name that ends in _URL" * name.endswith("_URL")


def _explained(
    known: Setting, section: str, environ: Mapping[str, str], reading: Reading
) -> Explained:
    source = _source(known, environ, reading)
    shown = Explained(
        known.env,
        section,
        known.written(known.default),
        known.written(known.default),
        source,
        avr_app=refused_by_avr_app(known.env),
    )
    if known.env in reading.variables:
        value = reading.variables[known.env]
        given = reading.given.get(known.env, value)
        if value != given:
            shown = attrs.evolve(
                shown, source="changed by the bridge", given=_shown(known, given, reading)
            )
        return attrs.evolve(shown, value=_shown(known, value, reading))
    return attrs.evolve(shown, fault=source != DEFAULT)


def _shown(known: Setting, value: str, reading: Reading) -> str:
    if known.file_env:
        return MASKED
    written = known.written(known.parse(value)) or value  # "inf" is written as it was set
    is_one_word = " " not in written
    looks_like_address = ("://" in written and is_one_word) or known.env in PROXY_VARIABLES
    return reading.mask(masked_address(written) if looks_like_address else written)


def _source(known: Setting, environ: Mapping[str, str], reading: Reading) -> str:
    """Where the value was found; `DEFAULT` if nowhere."""
    found = {name for name, value in environ.items() if unquoted(value)}
    name = known.env
    if known.file_env in found and name not in found:
        path = reading.given[known.file_env or ""]
        # What is no path for sure may be the secret itself, put there by mistake.
        shown = reading.mask(path) if path.startswith(("/", "./", "../")) else MASKED
        return f"file {shown} ({known.file_env})"
    if name in PROXY_VARIABLES and name.lower() in found:
        return f"environment, as {name.lower()}"
    if name in found:
        quoted = unquoted(environ[name]) != environ[name].strip()
        return "environment, without its quotes" if quoted else "environment"
    for alias, target in ALIASES.items():
        if target == name and alias in found:
            return f"environment, as {alias}"
    return DEFAULT


def _unread(environ: Mapping[str, str]) -> list[Unread]:
    known = [one for kind in SECTIONS.values() for one in settings_of(kind)]
    names = {one.env for one in known} | {one.file_env for one in known if one.file_env}
    names |= set(ALIASES)
    return [
        Unread(name, _nearest(name, names), refused_by_avr_app(name))
        for name in sorted(environ)
        if name.upper().startswith(OURS) and name not in names
    ]


def _nearest(name: str, names: set[str]) -> str:
    if name.upper() in KNOWN_ELSEWHERE:
        return KNOWN_ELSEWHERE[name.upper()]
    near = difflib.get_close_matches(name.upper(), sorted(names), 1, LEAST_LIKENESS)
    return near[0] if near else ""
