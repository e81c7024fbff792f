"""Tools described in a TOML or JSON file: web addresses, and remote MCP servers.

``${NAME}`` in an address, a header or an authorization is taken from the environment. Nothing is
connected here.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, Literal

import attrs
import msgspec

from avr_bridge.masking import learn_secrets
from avr_bridge.settings import secrets_in_address, unquoted, url
from avr_bridge.tools.http import HttpEndpoint
from avr_bridge.tools.schema import parser_of_schema
from avr_bridge.tools.schema_shape import completed
from avr_bridge.tools.signature import NotATool, sane_name
from avr_bridge.tools.tool import LoadedTool, Tool

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

__all__ = ["McpServer", "read_tool_file"]

type _Words = Annotated[str, msgspec.Meta(min_length=1)]

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e]*")
"""RFC 9110, 5.1 and 5.5, in ASCII: what else a request could not be sent with."""


@attrs.frozen
class McpServer:
    """A remote MCP server that the model itself asks; the bridge only introduces them."""

    label: str
    source: str
    allowed_tools: tuple[str, ...]
    entry: dict[str, Any] = attrs.field(repr=False)

    def described(self) -> dict[str, Any]:
        """The entry of ``session.tools``; may hold a credential."""
        return dict(self.entry)

    def loaded(self) -> LoadedTool:
        """Its line in the list of what was loaded."""
        allowed = f"Remote MCP server, allowed: {', '.join(self.allowed_tools)}"
        return LoadedTool(self.label, "mcp", self.source, allowed)


class _Http(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    description: _Words
    url: str
    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"] = "POST"
    timeout_s: Annotated[float, msgspec.Meta(gt=0, le=600)] | None = None
    headers: dict[str, str] = {}
    parameters: dict[str, Any] = msgspec.field(
        default_factory=lambda: {"type": "object", "properties": {}}
    )


class _Mcp(msgspec.Struct, forbid_unknown_fields=True):
    server_label: str
    server_url: str
    allowed_tools: Annotated[list[_Words], msgspec.Meta(min_length=1)]
    authorization: str | None = None
    require_approval: Literal["never"] = "never"  # nobody could be asked during a call


class _File(msgspec.Struct, forbid_unknown_fields=True):
    http: list[dict[str, Any]] = []
    mcp: list[dict[str, Any]] = []


def read_tool_file(path: Path, environ: Mapping[str, str]) -> Iterator[Tool | McpServer | NotATool]:
    """Every entry of a file, or why it cannot be one; a bad entry leaves the others alone.

    Raises:
        OSError: The file cannot be read.
        NotATool: The file as a whole cannot be used.
    """
    decode = msgspec.toml.decode if path.suffix == ".toml" else msgspec.json.decode
    try:
        content = decode(path.read_bytes(), type=_File)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise NotATool(str(error)) from error
    if not content.http and not content.mcp:
        raise NotATool("it has neither [[http]] nor [[mcp]] entries")
    for kind, entries, make in (
        ("http", content.http, _http_tool),
        ("mcp", content.mcp, _mcp_server),
    ):
        for number, entry in enumerate(entries, 1):
            name = entry.get("name" if kind == "http" else "server_label")
            try:
                yield make(entry, str(path), environ)
            except (NotATool, msgspec.ValidationError) as error:
                yield NotATool(f"{kind} entry {number} ({name}): {error}")


def _http_tool(entry: dict[str, Any], source: str, environ: Mapping[str, str]) -> Tool:
    given = msgspec.convert(entry, _Http)
    endpoint = HttpEndpoint(
        method=given.method,
        url=_address(given.url, environ),
        headers={name: _header(name, value, environ) for name, value in given.headers.items()},
    )
    return Tool(
        name=sane_name(given.name),
        kind="http",
        source=source,
        description=given.description,
        parse=parser_of_schema(given.parameters),
        parameters=completed(given.parameters),
        act=endpoint.act,
        limit_s=given.timeout_s,
    )


def _mcp_server(entry: dict[str, Any], source: str, environ: Mapping[str, str]) -> McpServer:
    given = msgspec.convert(entry, _Mcp)
    described: dict[str, Any] = {
        "type": "mcp",
        "server_label": sane_name(given.server_label),
        "server_url": _address(given.server_url, environ),
        "allowed_tools": given.allowed_tools,
        "require_approval": given.require_approval,
    }
    if given.authorization:
        described["authorization"] = _secret(given.authorization, environ, whole=True)
    return McpServer(given.server_label, source, tuple(given.allowed_tools), described)


def _address(value: str, environ: Mapping[str, str]) -> str:
    try:
        address = url("http", "https")(_filled(value, environ))
    except ValueError:
        raise NotATool("its address is no http or https address") from None
    learn_secrets(secrets_in_address(address))
    return address


def _secret(value: str, environ: Mapping[str, str], *, whole: bool = False) -> str:
    """`_filled`; what comes from variables, or the whole, is masked from now on wherever it shows:
    the other side may quote it."""
    filled = _filled(value, environ)
    names = _VARIABLE.findall(value)
    learn_secrets([unquoted(environ[name]) for name in names] + [filled] * whole)
    return filled


def _header(name: str, value: str, environ: Mapping[str, str]) -> str:
    """A header's value, filled in and without blanks around it; it is never shown."""
    if not _HEADER_NAME.fullmatch(name):
        raise NotATool(f"{name!r} is no header's name")
    filled = _secret(value, environ).strip(" \t")
    if not _HEADER_VALUE.fullmatch(filled):
        raise NotATool(f"the header {name} has a line break, or a sign that no header can have")
    return filled


def _filled(value: str, environ: Mapping[str, str]) -> str:
    """`value` with its variables; an empty one counts as unset, as for all settings."""

    def found(match: re.Match[str]) -> str:
        known = unquoted(environ.get(match[1], ""))
        if not known:
            raise NotATool(f"the variable {match[1]} is not set")
        return known

    return _VARIABLE.sub(found, value)
