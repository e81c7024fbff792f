"""A Python function as a tool: its hints become a JSON Schema, its docstring the descriptions.

The hints become a msgspec Struct, which both writes the schema and checks what the model sends.
"""

from __future__ import annotations

import inspect
import re
import types
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Union, get_args, get_origin, get_type_hints

import attrs
import msgspec
import trio

from avr_bridge.tools.schema_shape import completed
from avr_bridge.tools.tool import CallContext, Kind, Tool

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["NotATool", "inlined", "sane_name", "tool_of_function"]

CALL_PARAMETER = "call"
MAX_BLOCKING_TOOLS = 40
"""Threads for tools that are ordinary functions, in the whole process. Their own number, and not
Trio's: a tool that never returns keeps its thread, and files and host names need threads too."""

_tool_threads = trio.lowlevel.RunVar[trio.CapacityLimiter]("tool threads")

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_SECTION = re.compile(r"(Args|Arguments|Parameters):")
_ENTRY = re.compile(r"(\w+)(?: \([^)]*\))?: *(.*)")


class NotATool(Exception):
    """A function or an entry of a file cannot be a tool; the text says why.

    Becomes a problem of the toolbox; it never leaves this package.
    """


def sane_name(name: str) -> str:
    """`name`, if the API takes it as the name of a function.

    Raises:
        NotATool: It does not.
    """
    if not _NAME.fullmatch(name):
        raise NotATool("a tool's name is up to 64 letters, digits, _ and -")
    return name


def tool_of_function(name: str, function: Callable[..., Any], kind: Kind, source: str) -> Tool:
    """A tool that calls `function`; one that is not ``async`` runs in a thread.

    A parameter ``call: CallContext`` is filled in and not shown to the model.

    Raises:
        NotATool: No schema can be made of its parameters; the text says why.
    """
    doc = _Docstring.of(function)
    gets_call, arguments = _arguments_of(function, doc)
    schema = _schema(arguments, function)
    decoder = msgspec.json.Decoder(arguments)
    is_async = any(map(inspect.iscoroutinefunction, (function, inspect.unwrap(function))))

    def parse(data: bytes) -> dict[str, Any]:
        given = msgspec.structs.asdict(decoder.decode(data))
        return {key: value for key, value in given.items() if value is not msgspec.UNSET}

    async def act(parsed: dict[str, Any], context: CallContext) -> object:
        if gets_call:
            parsed = {**parsed, CALL_PARAMETER: context}
        if is_async:
            return await function(**parsed)
        return await trio.to_thread.run_sync(
            partial(function, **parsed), abandon_on_cancel=True, limiter=_thread_limiter()
        )

    return Tool(
        name=sane_name(name),
        kind=kind,
        source=source,
        description=doc.summary,
        parameters=schema,
        parse=parse,
        act=act,
    )


def _thread_limiter() -> trio.CapacityLimiter:
    try:
        return _tool_threads.get()
    except LookupError:
        limiter = trio.CapacityLimiter(MAX_BLOCKING_TOOLS)
        _tool_threads.set(limiter)
        return limiter


def _arguments_of(
    function: Callable[..., Any], doc: _Docstring
) -> tuple[bool, type[msgspec.Struct]]:
    """Whether the call is asked for, and a Struct with all other parameters as fields.

    A parameter with a default may be left out, and is then left out of the Python call as well:
    its default need not be a value that JSON knows.
    """
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise NotATool("it yields; a tool returns its result")
    parameters = dict(inspect.signature(function).parameters)
    gets_call = CALL_PARAMETER in parameters and _is_call(parameters[CALL_PARAMETER].annotation)
    if gets_call:
        del parameters[CALL_PARAMETER]
    hints = _hints(function, set(parameters))
    fields: list[tuple[str, Any, Any] | tuple[str, Any]] = []
    for name, parameter in parameters.items():
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise NotATool(f"its parameter {name} cannot be given by name")
        if name not in hints:
            raise NotATool(f"its parameter {name} has no type hint")
        hint = _described(hints[name], doc.parameters.get(name))
        if parameter.default is parameter.empty:
            fields.append((name, hint))
        else:
            fields.append((name, Union[hint, msgspec.UnsetType], msgspec.UNSET))  # noqa: UP007
    try:
        made = msgspec.defstruct("Arguments", fields, kw_only=True, forbid_unknown_fields=True)
        msgspec.json.Decoder(made)
    except (TypeError, ValueError) as error:
        raise NotATool(f"its parameters cannot be described: {error}") from error
    return gets_call, made


def _is_call(annotation: Any) -> bool:
    """Also as text and unresolved: it may be imported for type checkers only."""
    if isinstance(annotation, str):
        return annotation.rpartition(".")[2] == CallContext.__name__
    return annotation is CallContext


def _hints(function: Callable[..., Any], wanted: set[str]) -> dict[str, Any]:
    function = inspect.unwrap(function)
    annotations = {k: v for k, v in function.__annotations__.items() if k in wanted}
    holder = types.SimpleNamespace(__annotations__=annotations)
    namespace = getattr(function, "__globals__", {})
    try:
        return get_type_hints(holder, globalns=namespace, include_extras=True)
    except (NameError, SyntaxError, TypeError, AttributeError) as error:
        raise NotATool(f"a type hint cannot be read: {error}") from error


def _described(hint: Any, words: str | None) -> Any:
    """`hint` with a description that reaches the schema: its own, or else the docstring's."""
    if get_origin(hint) is Annotated:
        bare, *extras = get_args(hint)
        own = [extra for extra in extras if isinstance(extra, msgspec.Meta)]
        if any(meta.description for meta in own):
            return hint
        words = next((extra for extra in extras if isinstance(extra, str)), words)
        for meta in own:
            bare = Annotated[bare, meta]
        hint = bare
    return Annotated[hint, msgspec.Meta(description=words)] if words else hint


def _schema(arguments: type[msgspec.Struct], function: Callable[..., Any]) -> dict[str, Any]:
    try:
        _, components = msgspec.json.schema_components([arguments], ref_template="{name}")
        schema: dict[str, Any] = completed(inlined(components.pop(arguments.__name__), components))
    except RecursionError as error:
        raise NotATool("a type of its parameters contains itself") from error
    except TypeError as error:
        why = str(error).partition("\n")[0]
        raise NotATool(f"its parameters cannot be described: {why}") from error
    for name, parameter in inspect.signature(function).parameters.items():
        if name in schema["properties"] and parameter.default not in (parameter.empty, None):
            try:
                schema["properties"][name]["default"] = msgspec.to_builtins(parameter.default)
            except TypeError:
                continue  # a default that only Python knows; the model may still leave it out
    return schema


def inlined(node: Any, components: dict[str, Any]) -> Any:
    """A schema without references and titles: not every server of this API follows them.

    Raises:
        RecursionError: A type contains itself.
    """
    if isinstance(node, list):
        return [inlined(each, components) for each in node]
    if not isinstance(node, dict):
        return node
    if isinstance(node.get("$ref"), str):
        node = {**components[node["$ref"]], **{k: v for k, v in node.items() if k != "$ref"}}
    made: dict[str, Any] = {}
    for key, value in node.items():
        if key == "properties":
            made[key] = {name: inlined(each, components) for name, each in value.items()}
        elif key in ("enum", "default", "const"):
            made[key] = value
            if key == "enum" and all(isinstance(each, str) for each in value):
                made["type"] = "string"
        elif key != "title":
            made[key] = inlined(value, components)
    return made


@attrs.frozen
class _Docstring:
    """First paragraph and the entries under ``Args:``, in Google's style."""

    summary: str
    parameters: dict[str, str]

    @classmethod
    def of(cls, function: Callable[..., Any]) -> _Docstring:
        text = inspect.cleandoc(function.__doc__ or "")
        return cls(" ".join(text.partition("\n\n")[0].split()), cls._entries(text.splitlines()))

    @staticmethod
    def _entries(lines: list[str]) -> dict[str, str]:
        start = next((at for at, line in enumerate(lines) if _SECTION.fullmatch(line)), None)
        entries: dict[str, str] = {}
        if start is None:
            return entries
        indent, current = "", ""
        for line in lines[start + 1 :]:
            if not line.strip():
                continue
            here = line[: len(line) - len(line.lstrip())]
            if not here:
                break
            indent = indent or here
            entry = _ENTRY.fullmatch(line.strip()) if here == indent else None
            if entry:
                current = entry[1]
                entries[current] = entry[2]
            elif current:
                entries[current] = f"{entries[current]} {line.strip()}".strip()
        return entries
