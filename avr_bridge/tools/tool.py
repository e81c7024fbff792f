"""A tool, what it may know of the call, and what comes of it. Values only; nothing runs here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Literal

import attrs

__all__ = ["CallContext", "ControlRequest", "Kind", "LoadedTool", "Tool", "ToolResult"]

type Kind = Literal["builtin", "python", "http", "mcp"]


@attrs.frozen
class CallContext:
    """What a tool may know of the call that it works for."""

    uuid: str
    metadata: Mapping[str, str] = attrs.field(factory=dict)


@attrs.frozen
class ControlRequest:
    """Something to be done to the call, once the caller has heard the goodbye."""

    action: Literal["hangup", "transfer"]
    extension: str = ""
    context: str = ""
    priority: int = 1


@attrs.frozen
class ToolResult:
    """What a tool came to. `output` is told to the model as it stands, success or not."""

    output: str
    ok: bool
    control: ControlRequest | None = None
    timed_out: bool = False


@attrs.frozen
class LoadedTool:
    """One line of ``avr-bridge tools``. For an MCP server, `name` is its label."""

    name: str
    kind: Kind
    source: str
    description: str


@attrs.frozen
class Tool:
    """A function that the model may call.

    Attributes:
        parameters: JSON Schema of the arguments, an object.
        parse: Makes arguments of JSON text; raises `msgspec.DecodeError` for what does not fit.
        act: Does the work. A str is told as it is, any other value as JSON; a `ToolResult` is
            the result itself; a `ToolError` is told in its own words.
        limit_s: Longest time, where it is not the one of all tools.
    """

    name: str
    kind: Kind
    source: str
    description: str
    parameters: dict[str, Any]
    parse: Callable[[bytes], Any] = attrs.field(repr=False)
    act: Callable[[Any, CallContext], Awaitable[object]] = attrs.field(repr=False)
    limit_s: float | None = None

    def described(self) -> dict[str, Any]:
        """The entry of ``session.tools``; flat, unlike that of chat completions."""
        return {
            "type": "function",
            "name": self.name,
            "description": self.description,
            "parameters": self.parameters,
        }
