"""``avr-bridge health``: is the bridge on this machine well? One line, and an exit code.

What it does stands in `avr_bridge/health.py`, which the console script calls without this module,
or any other of the command line, where it can.
"""

from __future__ import annotations

import os
import sys

import click

from avr_bridge.cli.output import say
from avr_bridge.health import health_of

__all__ = ["health"]


@click.command()
@click.option("--ready", is_flag=True, help="Ask whether it would take a call now (/readyz).")
@click.option(
    "--url",
    metavar="URL",
    help="Ask there, such as http://127.0.0.1:6030, and not where AVR_HOST and PORT say.",
)
def health(ready: bool, url: str | None) -> None:
    """Ask the bridge on this machine whether it lives, for the HEALTHCHECK of a container.

    Asks /healthz at AVR_HOST and PORT, which the bridge beside it has too. Exit code 0 if it
    answers well, 1 if not. Needs no key and no other setting.
    """
    well, words = health_of(os.environ, ready=ready, url=url)
    say(words)
    sys.exit(0 if well else 1)
