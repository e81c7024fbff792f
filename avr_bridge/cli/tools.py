"""``avr-bridge tools``: what the model may do, where each tool comes from, what is wrong.

Loads the tools as `serve` does and runs none. Shows no address, header or credential.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from avr_bridge.cli.output import say
from avr_bridge.cli.serve import config_or_exit
from avr_bridge.telemetry import configure_logging
from avr_bridge.tools import load_tools

if TYPE_CHECKING:
    from avr_bridge.tools import Toolbox

__all__ = ["tools"]

KEY = "OPENAI_API_KEY"


@click.command()
@click.option(
    "--directory",
    type=click.Path(path_type=Path),
    help="Directory with tools, instead of AVR_TOOLS_DIR.",
)
@click.option("--schema", is_flag=True, help="Show the JSON Schema of each tool's parameters too.")
def tools(directory: Path | None, schema: bool) -> None:
    """List the tools that the model gets, and where each was found.

    No key is needed. Ends with exit code 0, 1 if something in the directory cannot be used, 2 if
    a setting cannot be.

    JavaScript tools of avr-sts-openai are not run. Delete avr_hangup.js and avr_transfer.js: both
    are built in. What only asks a web service becomes an [[http]] entry in a TOML file. Any other
    becomes a Python file in the same directory:

    \b
    JavaScript                              Python
    name: "get_weather"                     async def get_weather(
    location: {type: "string",                  location: Annotated[str, "City."],
      description: "City."}
    handler: async (uuid, {...})                call: CallContext,   (call.uuid)
    days: {type: "integer", default: 0}         days: int = 0,
    description: "Tell the weather."        ): docstring \"\"\"Tell the weather.\"\"\"
    axios.get(url, {params})                await client.get(url, params=...)   (httpx2)
    process.env.KEY                         os.environ["KEY"]
    return "..." on failure                 raise ToolError("...")

    \b
    from typing import Annotated
    from avr_bridge.errors import ToolError
    from avr_bridge.tools import CallContext

    The source's docs/migration-from-js.md has a whole tool, line by line.
    """
    variables = {**os.environ, KEY: os.environ.get(KEY) or "not-needed-here"}
    variables.pop(f"{KEY}_FILE", None)
    if directory is not None:
        variables["AVR_TOOLS_DIR"] = str(directory)
    settings = config_or_exit(variables)
    mask = settings.mask()
    configure_logging(settings.log, mask=mask)
    config = settings.tools
    toolbox = load_tools(config)
    missing = "" if Path(config.directory).exists() else "  (does not exist)"
    say(f"directory: {config.directory}{missing}")
    _list(toolbox, with_schema=schema)
    for problem in toolbox.problems:
        say(f"problem: {mask(problem)}")
    sys.exit(1 if toolbox.problems else 0)


def _list(toolbox: Toolbox, *, with_schema: bool) -> None:
    schemas = {
        one["name"]: one["parameters"]
        for one in toolbox.descriptions()
        if one["type"] == "function"
    }
    for one in toolbox.loaded:
        say(f"{one.kind:<8} {one.name}  ({one.source})")
        say(f"         {one.description}")
        if with_schema and one.kind != "mcp":
            for line in json.dumps(schemas[one.name], indent=2, ensure_ascii=False).splitlines():
                say(f"         {line}")
