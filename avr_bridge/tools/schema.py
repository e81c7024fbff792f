"""A JSON Schema that a user wrote, as a check of what the model sends.

The schema becomes a msgspec type. Kept are types, properties, required ones, items, enumerations
and bounds; a keyword beyond that is shown to the model and not checked, and so is a legal one that
msgspec cannot express, such as a pattern in JavaScript's syntax. Unlike JSON Schema, a
property that is not named is refused unless ``additionalProperties`` says otherwise: it is an
argument that the model made up.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union

import msgspec

from avr_bridge.tools.schema_shape import fault_in
from avr_bridge.tools.signature import NotATool

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["parser_of_schema"]

_PLAIN: dict[str, Any] = {"string": str, "integer": int, "number": float, "boolean": bool}
_BOUNDS = {
    "minimum": "ge",
    "maximum": "le",
    "exclusiveMinimum": "gt",
    "exclusiveMaximum": "lt",
    "minLength": "min_length",
    "maxLength": "max_length",
    "minItems": "min_length",
    "maxItems": "max_length",
    "pattern": "pattern",
}
_BOUNDS_OF = {
    "string": {"minLength", "maxLength", "pattern"},
    "integer": {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"},
    "number": {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"},
    "array": {"minItems", "maxItems"},
}

_INEXPRESSIBLE = (TypeError, ValueError, OverflowError, NotImplementedError, re.error)
"""What msgspec says to a type that it cannot check. JSON Schema's patterns are ECMA-262's, which
are not all of Python's; its numbers know no bounds; two lower bounds at once are legal."""


def parser_of_schema(schema: dict[str, Any]) -> Callable[[bytes], dict[str, Any]]:
    """A function that reads JSON text and returns it as it is, if it fits.

    Raises:
        NotATool: The schema cannot be one.
    """
    try:
        fault = fault_in(schema)
        if fault:
            raise NotATool(f"its parameters are no JSON Schema that can be used: {fault}")
        checker: msgspec.json.Decoder[Any] = msgspec.json.Decoder(_type_of(schema))
    except RecursionError as error:
        raise NotATool("its parameters are too deep") from error

    def parse(data: bytes) -> dict[str, Any]:
        checker.decode(data)
        return msgspec.json.decode(data, type=dict[str, Any])

    return parse


def _type_of(schema: Any) -> Any:
    try:
        kind = _written_as(schema)
        msgspec.json.Decoder(kind)
    except _INEXPRESSIBLE:
        return Any
    return kind


def _written_as(schema: Any) -> Any:
    if not isinstance(schema, dict):
        return Any
    if isinstance(schema.get("enum"), list):
        return _enumeration(schema["enum"])
    kind = schema.get("type")
    if isinstance(kind, list):
        parts = [_type_of({**schema, "type": each}) for each in kind]
        return Any if Any in parts else Union[tuple(parts)]  # noqa: UP007 - made at run time
    if kind == "null":
        return None
    if kind == "array":
        return _bounded(list[_type_of(schema.get("items"))], "array", schema)  # type: ignore[misc]
    if kind == "object":
        return _object(schema)
    return _bounded(_PLAIN[kind], kind, schema) if kind in _PLAIN else Any


def _enumeration(values: list[Any]) -> Any:
    """Only words, whole numbers and null can be a Literal; others are left unchecked."""
    if values and all(each is None or type(each) in (str, int) for each in values):
        return Literal[tuple(values)]
    return Any


def _object(schema: dict[str, Any]) -> Any:
    properties = schema.get("properties", {})
    required = set(schema.get("required", ()))
    strict = not schema.get("additionalProperties", False)
    if unknown := required - set(properties):
        if strict:  # an argument of that name would be refused: no call could be right
            raise NotATool(f"required names {', '.join(sorted(unknown))}, no property")
        properties = {**properties, **dict.fromkeys(unknown, True)}
    if not properties and not strict:
        return dict[str, Any]
    fields: list[tuple[str, Any, Any]] = []
    for at, (name, each) in enumerate(properties.items()):
        kept: Any = msgspec.field(name=name)
        kind = _type_of(each)
        if name not in required:
            kept = msgspec.field(default=msgspec.UNSET, name=name)
            kind = Any if kind is Any else Union[kind, msgspec.UnsetType]  # noqa: UP007
        fields.append((f"field_{at}", kind, kept))
    return msgspec.defstruct("Object", fields, kw_only=True, forbid_unknown_fields=strict)


def _bounded(kind: Any, word: str, schema: dict[str, Any]) -> Any:
    """`kind` with those bounds that msgspec can check."""
    bounds: dict[str, Any] = {}
    for key in _BOUNDS_OF.get(word, ()) & schema.keys():
        more = {**bounds, _BOUNDS[key]: schema[key]}
        try:
            msgspec.json.Decoder(Annotated[kind, msgspec.Meta(**more)])
        except _INEXPRESSIBLE:
            continue
        bounds = more
    return Annotated[kind, msgspec.Meta(**bounds)] if bounds else kind
