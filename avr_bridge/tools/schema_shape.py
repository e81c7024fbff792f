"""Whether a JSON Schema is one, and what the Realtime API asks of it beyond that.

The API refuses a whole session update for one schema that it cannot read, and with it each call.
The shapes are those of JSON Schema 2020-12, of the keywords that describe arguments; a keyword
that is not listed is nobody's fault. What arguments fit a schema is `schema.py`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["KEYWORDS", "completed", "fault_in"]

TYPES = ("string", "integer", "number", "boolean", "array", "object", "null")
NOT_AT_THE_TOP = ("oneOf", "anyOf", "allOf", "enum", "const", "not")
"""OpenAI: "schema must have type 'object' and not have 'oneOf'/'anyOf'/... at the top level"."""

_SCHEMA = (
    "items",
    "contains",
    "additionalProperties",
    "propertyNames",
    "unevaluatedItems",
    "unevaluatedProperties",
    "not",
    "if",
    "then",
    "else",
)
_SCHEMAS = ("anyOf", "oneOf", "allOf", "prefixItems")
_NAMED_SCHEMAS = ("properties", "patternProperties", "dependentSchemas", "$defs", "definitions")


def fault_in(schema: dict[str, Any]) -> str | None:
    """What is wrong with the schema of a tool's parameters, in words; None if nothing is.

    Raises:
        RecursionError: It is too deep.
    """
    if schema.get("type") != "object":
        return 'they need type = "object"'
    for word in NOT_AT_THE_TOP:
        if word in schema:
            return f"{word} may not stand at the top"
    return next(_faults(schema, ""), None)


def completed(schema: Any) -> Any:
    """The same schema in the form that OpenAI takes: it refuses arrays without ``items``."""
    if not isinstance(schema, dict):
        return schema
    made = dict(schema)
    for word in _SCHEMA:
        if word in made:
            made[word] = completed(made[word])
    for word in _SCHEMAS:
        if word in made:
            made[word] = [completed(each) for each in made[word]]
    for word in _NAMED_SCHEMAS:
        if word in made:
            made[word] = {name: completed(each) for name, each in made[word].items()}
    kinds = made.get("type")
    if kinds == "array" or (isinstance(kinds, list) and "array" in kinds):
        made.setdefault("items", {})
    return made


def _faults(schema: Any, at: str) -> Iterator[str]:
    """Each fault, with the way to it: ``properties.order.minLength``."""
    if isinstance(schema, bool):
        return
    if not isinstance(schema, dict):
        yield f"{at}: expected a schema, an object"
        return
    for word, value in schema.items():
        where = f"{at}.{word}" if at else word
        if word in _SCHEMA:
            yield from _faults(value, where)
        elif word in _SCHEMAS:
            yield from _faults_of_list(value, where)
        elif word in _NAMED_SCHEMAS:
            yield from _faults_of_names(value, where)
        elif word in _SHAPES:
            fits, expected = _SHAPES[word]
            if not fits(value):
                yield f"{where}: expected {expected}"


def _faults_of_list(value: Any, at: str) -> Iterator[str]:
    if not isinstance(value, list) or not value:
        yield f"{at}: expected a list of schemas"
        return
    for number, each in enumerate(value, 1):
        yield from _faults(each, f"{at}.{number}")


def _faults_of_names(value: Any, at: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{at}: expected an object with schemas"
        return
    for name, each in value.items():
        yield from _faults(each, f"{at}.{name}")


def _is_type(value: Any) -> bool:
    if isinstance(value, list):
        return bool(value) and _are_names(value) and set(value) <= set(TYPES)
    return isinstance(value, str) and value in TYPES


def _are_names(value: Any) -> bool:
    return (
        isinstance(value, list)
        and all(isinstance(each, str) for each in value)
        and len(set(value)) == len(value)
    )


def _is_number(value: Any) -> bool:
    """As JSON has them: TOML also knows infinity."""
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int) and not isinstance(value, bool)


def _is_count(value: Any) -> bool:
    whole = value.is_integer() if isinstance(value, float) else _is_number(value)
    return whole and value >= 0


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_truth(value: Any) -> bool:
    return isinstance(value, bool)


_SHAPES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "type": (_is_type, f"one of {', '.join(TYPES)}, or a list of these"),
    "required": (_are_names, "a list of names, each once"),
    "enum": (lambda value: isinstance(value, list) and bool(value), "a list of values"),
    **dict.fromkeys(
        ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"), (_is_number, "a number")
    ),
    "multipleOf": (lambda value: _is_number(value) and value > 0, "a number above 0"),
    **dict.fromkeys(
        (
            *("minLength", "maxLength", "minItems", "maxItems"),
            *("minProperties", "maxProperties", "minContains", "maxContains"),
        ),
        (_is_count, "a whole number, 0 or more"),
    ),
    **dict.fromkeys(
        ("pattern", "format", "title", "description", "$ref", "$comment"), (_is_text, "text")
    ),
    **dict.fromkeys(
        ("uniqueItems", "deprecated", "readOnly", "writeOnly"), (_is_truth, "true or false")
    ),
    "examples": (lambda value: isinstance(value, list), "a list"),
}
"""A keyword to what its value must be, where that is no schema."""

KEYWORDS = (*_SCHEMA, *_SCHEMAS, *_NAMED_SCHEMAS, *_SHAPES)
"""All that is checked."""
