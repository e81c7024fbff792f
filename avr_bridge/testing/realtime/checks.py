"""Small checks of JSON values that refuse in the API's own codes and words.

The alphabet only; which fields exist is written down in `schema.py`.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from typing import Any

from avr_bridge.testing.realtime.refusal import Refusal

__all__ = [
    "Check",
    "anything",
    "array",
    "base64_audio",
    "boolean",
    "choice",
    "first_of",
    "integer",
    "literal",
    "mapping",
    "nullable",
    "number",
    "string",
    "tagged",
]

type Check = Callable[[Any, str], None]
"""Takes a value and its path; raises `Refusal` or returns."""

_NAMES: dict[type, str] = {
    type(None): "null",
    bool: "a boolean",
    int: "an integer",
    float: "a decimal",
    str: "a string",
    list: "an array",
    dict: "an object",
}


def _wrong_type(value: Any, path: str, expected: str) -> Refusal:
    found = _NAMES.get(type(value), "something else")
    return Refusal(
        "invalid_type",
        f"Invalid type for '{path}': expected {expected}, but got {found} instead.",
        path,
    )


def _wrong_value(value: Any, path: str, supported: tuple[str, ...]) -> Refusal:
    listed = ", ".join(f"'{name}'" for name in supported)
    return Refusal(
        "invalid_value", f"Invalid value: '{value}'. Supported values are: {listed}.", path
    )


def anything(value: Any, path: str) -> None:
    """Whatever JSON can say."""


def boolean(value: Any, path: str) -> None:
    """true or false; null is neither."""
    if not isinstance(value, bool):
        raise _wrong_type(value, path, "a boolean")


def string(max_length: int | None = None) -> Check:
    """Text of at most `max_length` characters."""

    def check(value: Any, path: str) -> None:
        if not isinstance(value, str):
            raise _wrong_type(value, path, "a string")
        if max_length is not None and len(value) > max_length:
            raise Refusal(
                "string_above_max_length",
                f"Invalid '{path}': string too long. Expected a string with maximum length "
                f"{max_length}, but got a string with length {len(value)} instead.",
                path,
            )

    return check


def _bounds(value: float, path: str, kind: str, low: float | None, high: float | None) -> None:
    for limit, beyond, word, sign in (
        (low, low is not None and value < low, "below_min_value", ">="),
        (high, high is not None and value > high, "above_max_value", "<="),
    ):
        if beyond:
            raise Refusal(
                f"{kind}_{word}",
                f"Invalid '{path}': {kind} {word.replace('_', ' ').replace('min', 'minimum')}. "
                f"Expected a value {sign} {limit}, but got {value} instead.",
                path,
            )


def integer(low: int | None = None, high: int | None = None) -> Check:
    """A whole number within the limits."""

    def check(value: Any, path: str) -> None:
        if not isinstance(value, int) or isinstance(value, bool):
            raise _wrong_type(value, path, "an integer")
        _bounds(value, path, "integer", low, high)

    return check


def number(low: float | None = None, high: float | None = None) -> Check:
    """Any number within the limits."""

    def check(value: Any, path: str) -> None:
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise _wrong_type(value, path, "a decimal")
        _bounds(value, path, "decimal", low, high)

    return check


def literal(*supported: str) -> Check:
    """One of these words."""

    def check(value: Any, path: str) -> None:
        if not isinstance(value, str):
            raise _wrong_type(value, path, "a string")
        if value not in supported:
            raise _wrong_value(value, path, supported)

    return check


def base64_audio(max_bytes: int) -> Check:
    """Base64 text of at most `max_bytes` bytes."""

    def check(value: Any, path: str) -> None:
        if not isinstance(value, str):
            raise _wrong_type(value, path, "a string")
        try:
            size_bytes = len(base64.b64decode(value, validate=True))
        except (binascii.Error, ValueError):
            raise Refusal(
                "invalid_value",
                f"Invalid '{path}'. Expected base64-encoded audio bytes, but got an invalid value.",
                path,
            ) from None
        if size_bytes > max_bytes:
            raise Refusal(
                "string_above_max_length",
                f"Invalid '{path}': audio too long. Expected at most {max_bytes} bytes, but got "
                f"{size_bytes} instead.",
                path,
            )

    return check


def nullable(inner: Check) -> Check:
    """null, or what `inner` accepts."""

    def check(value: Any, path: str) -> None:
        if value is not None:
            inner(value, path)

    return check


def array(inner: Check) -> Check:
    """A list whose every entry `inner` accepts."""

    def check(value: Any, path: str) -> None:
        if not isinstance(value, list):
            raise _wrong_type(value, path, "an array")
        for index, entry in enumerate(value):
            inner(entry, f"{path}[{index}]")

    return check


def mapping(fields: Mapping[str, Check], *, required: tuple[str, ...] = ()) -> Check:
    """An object with these fields and no others; `required` ones must be there."""

    def check(value: Any, path: str) -> None:
        if not isinstance(value, dict):
            raise _wrong_type(value, path, "an object")
        for name in required:
            if name not in value:
                where = _join(path, name)
                raise Refusal(
                    "missing_required_parameter", f"Missing required parameter: '{where}'.", where
                )
        for name, entry in value.items():
            where = _join(path, name)
            if name not in fields:
                raise Refusal("unknown_parameter", f"Unknown parameter: '{where}'.", where)
            fields[name](entry, where)

    return check


def tagged(tag: str, kinds: Mapping[str, Check]) -> Check:
    """An object whose field `tag` names the check that it must pass."""

    def check(value: Any, path: str) -> None:
        if not isinstance(value, dict):
            raise _wrong_type(value, path, "an object")
        where = _join(path, tag)
        if tag not in value:
            raise Refusal(
                "missing_required_parameter", f"Missing required parameter: '{where}'.", where
            )
        literal(*kinds)(value[tag], where)
        kinds[value[tag]](value, path)

    return check


def choice(*words: str, otherwise: Check) -> Check:
    """One of these words if it is a string; else what `otherwise` accepts."""

    def check(value: Any, path: str) -> None:
        (literal(*words) if isinstance(value, str) else otherwise)(value, path)

    return check


def first_of(select: Callable[[Any], Check]) -> Check:
    """The check that `select` picks for the value."""

    def check(value: Any, path: str) -> None:
        select(value)(value, path)

    return check


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
