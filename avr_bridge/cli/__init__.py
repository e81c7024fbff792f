"""The command line: ``avr-bridge serve | explain | check | health | demo | call | ...``.

Each command has a module of its own, loaded when it is called.
"""

from __future__ import annotations

import importlib
from typing import Any

import click

from avr_bridge import __version__

__all__ = ["main"]

COMMANDS = {
    "serve": "Run the bridge (the container's command).",
    "explain": "Show every setting: its value, where it came from, and what nobody reads.",
    "check": "Try the key and the model as a call would, and say what is wrong.",
    "health": "Ask the bridge on this machine whether it is well (for HEALTHCHECK).",
    "demo": "Hear one call through the bridge, with a simulated model unless a key is set.",
    "call": "Place one call to any STS container and say what happened.",
    "simulate": "Run the simulated Realtime model alone.",
    "soak": "Place calls by the hundred to any STS container, and judge what came back.",
    "tools": "List the tools that the model gets, and where each was found.",
}


class _Commands(click.Group):
    """Finds each command in ``avr_bridge.cli.<name>``, so that `serve` loads no test code."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module: Any = importlib.import_module(f".{cmd_name}", __package__)
        command: click.Command = getattr(module, cmd_name)
        return command


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="avr-bridge")
def main() -> None:
    """Carry calls between Agent Voice Response and the OpenAI Realtime API."""
