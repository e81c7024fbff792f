"""Finds the tools at start: the built-in ones, then the files of one directory, by name.

Reads only the directory itself, not what is below it. Nothing here ends the bridge: what cannot
be used becomes a sentence in `Toolbox.problems`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from avr_bridge.tools.builtin import BUILTIN_NAMES, builtin_tools
from avr_bridge.tools.files import McpServer, read_tool_file
from avr_bridge.tools.python_files import package_for, read_python_file
from avr_bridge.tools.signature import NotATool
from avr_bridge.tools.tool import Tool
from avr_bridge.tools.toolbox import Toolbox
from avr_bridge.tools.web import prepare_tls

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from avr_bridge.config import ToolsConfig

__all__ = ["MIGRATION_PAGE", "load_tools"]

MIGRATION_PAGE = "docs/migration-from-js.md"
MIGRATION_HELP = "avr-bridge tools --help"
"""The page is not in the image; the command is wherever the bridge runs, with the page's gist."""

JAVASCRIPT = (".js", ".mjs", ".cjs", ".ts")
OF_NODE = ("package.json", "package-lock.json", "tsconfig.json", "jsconfig.json")
"""JSON files that stand beside JavaScript tools and describe no tool."""


def load_tools(config: ToolsConfig, environ: Mapping[str, str] | None = None) -> Toolbox:
    """Load all tools, once, at start. A directory that does not exist is no problem.

    Runs the Python files of the directory, as imports do.

    Args:
        config: The directory, and the limit for tools that set none.
        environ: For ``${NAME}`` in tool files; default `os.environ`. The names are the user's
            own, so no setting can stand for them.
    """
    variables = os.environ if environ is None else environ
    prepare_tls()
    tools = {tool.name: tool for tool in builtin_tools()}
    servers: dict[str, McpServer] = {}
    problems: list[str] = []
    for path, found in _everything_in(Path(config.directory), variables):
        match found:
            case NotATool():
                problems.append(f"{path}: {found}.")
            case Tool() if taken := tools.get(found.name):
                problems.append(f"{path}: {_clash(found.name, taken.source)}.")
            case McpServer() if other := servers.get(found.label):
                problems.append(f"{path}: {_clash(found.label, other.source)}.")
            case Tool():
                tools[found.name] = found
            case McpServer():
                servers[found.label] = found
    return Toolbox(
        list(tools.values()),
        config.timeout_s,
        servers=list(servers.values()),
        problems=problems,
    )


def _clash(name: str, source: str) -> str:
    return f"the name {name} is taken by the tool from {source}, which is used"


def _everything_in(
    directory: Path, environ: Mapping[str, str]
) -> Iterator[tuple[Path, Tool | McpServer | NotATool]]:
    try:
        paths = sorted(directory.iterdir())
    except FileNotFoundError:
        return
    except OSError as error:
        yield directory, NotATool(f"the directory cannot be read: {error.strerror}")
        return
    package = package_for(directory)
    for path in paths:
        if path.name.startswith(("_", ".")) or path.name in OF_NODE or not path.is_file():
            continue
        try:
            for found in _read(path, package, environ):
                yield path, found
        except NotATool as problem:
            yield path, problem
        except OSError as error:
            yield path, NotATool(f"it cannot be read: {error.strerror}")


def _read(
    path: Path, package: str, environ: Mapping[str, str]
) -> Iterable[Tool | McpServer | NotATool]:
    if path.suffix == ".py":
        return read_python_file(path, package)
    if path.suffix in (".toml", ".json"):
        return read_tool_file(path, environ)
    if path.suffix in JAVASCRIPT:
        return [_javascript(path)]
    return []


def _javascript(path: Path) -> NotATool:
    if path.stem in BUILTIN_NAMES:
        return NotATool(f"a JavaScript tool is not run; {path.stem} is built into the bridge")
    return NotATool(
        f"a JavaScript tool is not run; `{MIGRATION_HELP}`, or {MIGRATION_PAGE} of the source, "
        "shows it as a Python one"
    )
