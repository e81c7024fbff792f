"""How one environment value becomes a setting of a section: parsers, their errors, and secrets.

`config.py` declares the settings; this module knows no setting by name.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator
from typing import Any, dataclass_transform
from urllib.parse import unquote, urlsplit

import attrs
import environ

from avr_bridge.environment import unquoted
from avr_bridge.errors import ConfigError
from avr_bridge.masking import MASKED, Mask, masked_address

__all__ = [
    "OFF_WORDS",
    "ON_WORDS",
    "Secret",
    "Setting",
    "call_action",
    "choice",
    "mask_of",
    "number",
    "secrets_in_address",
    "section",
    "setting",
    "switch",
    "text",
    "transfer_target",
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

    @property
    def file_env(self) -> str | None:
        """The variable that names a file with the value; None where there is none."""
        return f"{self.env}_FILE" if self.parse == Secret.parse else None

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

    def written(self, value: Any) -> str:
        """A value of this setting as somebody would set it, "" for none; a secret is ``***``."""
        if value is None:
            return ""
        if isinstance(value, bool):
            return "on" if value else "off"
        if isinstance(value, Secret):
            return MASKED
        return f"{value:g}" if isinstance(value, float) else str(value)

    def fault(self, value: Any, mask: Mask | None = None) -> str | None:
        """What is wrong with `value`, in one line that names the setting; None if nothing.

        Args:
            value: What was found.
            mask: Takes the secrets of other settings out of what is shown of it.
        """
        try:
            self.parse(value)
        except ValueError:
            return f"{self.env}={self._shown(value, mask or Mask())}: expected {self.expected}"
        return None

    def _shown(self, value: Any, mask: Mask) -> str:
        if isinstance(value, Secret) or self.parse == Secret.parse:
            return MASKED
        shown = mask(masked_address(str(value)))
        cut = "..." if len(shown) > LONGEST_SHOWN_CHARS else ""
        return f"{shown[:LONGEST_SHOWN_CHARS]}{cut}"


def setting(env: str, *, default: Any, parse: Any, expected: str, help: str) -> Any:
    """Declare one setting of a section: its variable, its default and what it may be."""
    return environ.var(
        default=default, name=env, help=help, converter=Setting(env, parse, expected, default, help)
    )


@dataclass_transform(frozen_default=True, field_specifiers=(setting,))
def section[T](cls: type[T]) -> type[T]:
    """Make a class a frozen section that `BridgeConfig.from_env` fills from the environment."""
    made: type[T] = environ.config(prefix="", frozen=True)(cls)
    made.__repr__ = _section_shown  # type: ignore[method-assign]
    return made


def _section_shown(self: Any) -> str:
    """A section's `repr`: addresses may carry a user and password, which are left out."""
    values = attrs.asdict(self, recurse=False).items()
    shown = (
        f"{name}={(masked_address(value) if isinstance(value, str) else value)!r}"
        for name, value in values
    )
    return f"{type(self).__name__}({', '.join(shown)})"


def mask_of(*sections: Any) -> Mask:
    """A mask for every secret that these sections hold, those within addresses too."""
    return Mask(secret for one in sections for secret in _secrets_in(one))


def _secrets_in(section: Any) -> Iterator[str]:
    for value in attrs.asdict(section, recurse=False).values():
        if isinstance(value, Secret):
            yield value.reveal()
        elif isinstance(value, str) and "@" in value:
            yield from secrets_in_address(value)


def secrets_in_address(address: str) -> Iterator[str]:
    """The user and password of an address, in every form in which they are sent or shown."""
    try:
        user_info = urlsplit(address if "://" in address else f"//{address}").netloc
    except ValueError:
        return  # no address: a text with an @ in it
    given, at, _ = user_info.rpartition("@")
    if not at:
        return
    plain = unquote(given)
    yield from (given, plain, base64.b64encode(plain.encode()).decode())
    yield from (given.partition(":")[2], plain.partition(":")[2])


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


ON_WORDS = ("on", "true", "yes", "1")
OFF_WORDS = ("off", "false", "no", "0")
"""What Compose files of other programs have; in upper case too. The page of settings names them."""


def switch(value: str | bool) -> bool:
    """On or off, in the words that people write."""
    if isinstance(value, bool):
        return value
    word = value.lower()
    if word in ON_WORDS:
        return True
    if word in OFF_WORDS:
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


_TRANSFER = re.compile(r"transfer:([\w*#+.-]{1,64})(?:@([\w.-]{1,64}))?", re.ASCII)


def call_action(value: str) -> str:
    """``hangup``, or ``transfer:EXTENSION`` with ``@CONTEXT`` or without.

    Raises:
        ValueError: It is neither.
    """
    if value != "hangup" and not _TRANSFER.fullmatch(value):
        raise ValueError("no such action")
    return value


def transfer_target(action: str) -> tuple[str, str] | None:
    """Extension and context of a `call_action`; None for a hangup."""
    found = _TRANSFER.fullmatch(action)
    return (found[1], found[2] or "demo") if found else None


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


def host_url(*schemes: str) -> Callable[[str], str]:
    """An address of a host and its port, with nothing before and behind that would be ignored."""
    whole = url(*schemes)

    def parse(value: str) -> str:
        parts = urlsplit(whole(value))
        if "@" in parts.netloc or parts.path not in ("", "/") or "?" in value or "#" in value:
            raise ValueError(value)
        return value

    return parse
