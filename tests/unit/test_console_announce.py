"""Where the log says the console is."""

from __future__ import annotations

import pytest
import structlog

from avr_bridge import Secret, ServerConfig
from avr_bridge.server.console.announce import announce_console, console_address


@pytest.mark.parametrize(
    ("listening", "address"),
    [
        ("http://0.0.0.0:6030", "http://localhost:6030/console"),
        ("http://[::]:6030", "http://localhost:6030/console"),
        ("http://127.0.0.1:80", "http://localhost:80/console"),
        ("http://192.0.2.7:6030", "http://192.0.2.7:6030/console"),
        ("http://[2001:db8::7]:6030", "http://[2001:db8::7]:6030/console"),
    ],
)
def test_where_it_is(listening: str, address: str) -> None:
    """A name for which a browser gives a microphone, where there is one."""
    assert console_address(listening) == address


@pytest.mark.parametrize(
    ("listening", "token", "said"),
    [
        ("http://0.0.0.0:6030", None, "console"),
        ("http://192.0.2.7:6030", None, "the console cannot be opened: set AVR_TOKEN"),
        ("http://192.0.2.7:6030", "planted-token", "console"),
    ],
)
def test_the_line(listening: str, token: str | None, said: str) -> None:
    """It says where to find the page, or that nobody can have it; nothing without a console."""
    secret = Secret(token) if token else None
    with structlog.testing.capture_logs() as lines:
        announce_console(ServerConfig(console=False, token=secret), [listening])
        announce_console(ServerConfig(console=True, token=secret), [listening])
    (line,) = lines
    assert line["event"] == said
    assert "planted" not in str(line)


def test_other_ports_have_no_console() -> None:
    """Asterisk's AudioSocket is no place for a browser."""
    with structlog.testing.capture_logs() as lines:
        announce_console(ServerConfig(console=True), ["audiosocket://127.0.0.1:6031"])
    assert lines == []
