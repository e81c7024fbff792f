"""What the log says of the console when the port is open: where to find it, or why nobody can.

For the process that listens, with workers or without. Loads no web server.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from avr_bridge.proxies import is_loopback
from avr_bridge.server.console.access import CONSOLE_PATH
from avr_bridge.telemetry import get_logger

if TYPE_CHECKING:
    from collections.abc import Iterable

    from avr_bridge.config import ServerConfig

__all__ = ["announce_console", "console_address"]

EVERYWHERE = ("0.0.0.0", "::")


def announce_console(config: ServerConfig, addresses: Iterable[str]) -> None:
    """Write a line for each address that the bridge listens at for HTTP, if there is a console."""
    for listening in addresses if config.console else ():
        if urlsplit(listening).scheme != "http":
            continue
        page = console_address(listening)
        if config.token is None and urlsplit(page).hostname != "localhost":
            get_logger().warning("the console cannot be opened: set AVR_TOKEN", address=page)
        else:
            get_logger().info("console", open=page)


def console_address(listening: str) -> str:
    """What to open in a browser on this machine, where the bridge listens at this address."""
    parts = urlsplit(listening)
    host = parts.hostname or ""
    if host in EVERYWHERE or is_loopback(host):
        return f"http://localhost:{parts.port}{CONSOLE_PATH}"
    return f"http://{parts.netloc}{CONSOLE_PATH}"
