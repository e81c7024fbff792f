"""How one environment value becomes a setting: parsers, their errors, and secrets.

`config.py` declares the settings; this module knows no setting by name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import attrs

from avr_bridge.errors import ConfigError

__all__ = [
    "Secret",
    "Setting",
    "choice",
    "number",
    "switch",
    "text",
    "unquoted",
    "url",
    "whole_number",
]

LONGEST_SHOWN_CHARS = 80
"""A bad value is quoted in its error up to here; a pasted prompt would fill the screen."""


@attrs.frozen(repr=False, str=False)
class Secret:
    """A value that no repr, log or error shows. `reveal` is the only way to it."""

    _value: str

    @classmethod
    def parse(cls, value: str | Secret) -> Secret:
        """Wrap a plain value; a secret stays itself.

        Raises:
            ValueError: It has blanks within or signs that no header can carry. The value is not
                in the error.
        """
        if isinstance(value, Secret):
            return value
        value = value.strip()
        if not value or not value.isascii() or not value.isprintable() or " " in value:
            raise ValueError("not fit for a header")
        return cls(value)

    def reveal(self) -> str:
        """The value itself, for the one place that sends it."""
        return self._value

    def __repr__(self) -> str:
        return "Secret('***')"

    __str__ = __repr__


@attrs.frozen
class Setting:
    """One setting: its variable, how it is read, and what it may be.

    Used as the attrs converter of its field, so a section built in code is checked like one
    read from the environment. A default is taken as it is.
    """

    env: str
    parse: Callable[[Any], Any]
    expected: str
    default: Any
    help: str

    def __call__(self, value: Any) -> Any:
        """Convert `value`.

        Raises:
            ConfigError: The value cannot be.
        """
        if value is None or value is self.default:
            return value
        fault = self.fault(value)
        if fault:
            raise ConfigError([fault])
        return self.parse(value)

    def fault(self, value: Any) -> str | None:
        """What is wrong with `value`, in one line that names the setting; None if nothing."""
        try:
            self.parse(value)
        except ValueError:
            return f"{self.env}={self._shown(value)}: expected {self.expected}"
        return None

    def _shown(self, value: Any) -> str:
        if isinstance(value, Secret) or self.parse == Secret.parse:
            return "***"
        shown = str(value)
        cut = "..." if len(shown) > LONGEST_SHOWN_CHARS else ""
        return f"{shown[:LONGEST_SHOWN_CHARS]}{cut}"


def unquoted(value: str) -> str:
    """`value` without surrounding blanks and without one pair of quotes around it."""
    value = value.strip()
    if len(value) >= 2 and value[0] == value[-1] and value[0] in "\"'":
        return value[1:-1]
    return value


def text(value: str) -> str:
    """Any text."""
    if not isinstance(value, str) or not value:
        raise ValueError(value)
    return value


def choice(*allowed: str) -> Callable[[str], str]:
    """One of a few words, whatever its case."""

    def parse(value: str) -> str:
        if not isinstance(value, str) or value.lower() not in allowed:
            raise ValueError(value)
        return value.lower()

    return parse


def switch(value: str | bool) -> bool:
    """On or off, in the words that people write."""
    if isinstance(value, bool):
        return value
    word = value.lower()
    if word in ("on", "true", "yes", "1"):
        return True
    if word in ("off", "false", "no", "0"):
        return False
    raise ValueError(value)


def whole_number(
    least: int, most: int, *, infinite: tuple[str, ...] = ()
) -> Callable[[str | int], int | None]:
    """A whole number within bounds; a word in `infinite` means None, no limit."""

    def parse(value: str | int) -> int | None:
        if isinstance(value, str) and value.lower() in infinite:
            return None
        if isinstance(value, float | bool):
            raise ValueError(value)
        parsed = int(value)
        if not least <= parsed <= most:
            raise ValueError(value)
        return parsed

    return parse


def number(least: float, most: float) -> Callable[[str | float], float]:
    """A number within bounds."""

    def parse(value: str | float) -> float:
        parsed = float(value)
        if not least <= parsed <= most:
            raise ValueError(value)
        return parsed

    return parse


def url(*schemes: str) -> Callable[[str], str]:
    """An absolute address with a host, of one of the schemes."""

    def parse(value: str) -> str:
        if not value.isascii() or not value.isprintable() or " " in value:
            raise ValueError(value)
        parts = urlsplit(value)
        if parts.scheme not in schemes or not parts.hostname:
            raise ValueError(value)
        _ = parts.port  # raises ValueError for a port that cannot be
        return value

    return parse
