"""`avr-bridge health` without a bridge: where it asks, and how little it loads."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from avr_bridge import ServerConfig
from avr_bridge.health import address_of, health_of, run_in_short

LIMIT_S = 20


@pytest.mark.parametrize(
    ("environ", "address"),
    [
        ({}, ("127.0.0.1", 6030)),
        ({"AVR_HOST": "0.0.0.0", "PORT": "6031"}, ("127.0.0.1", 6031)),
        ({"AVR_HOST": "::"}, ("::1", 6030)),
        ({"AVR_HOST": "::1"}, ("::1", 6030)),
        ({"AVR_HOST": "10.1.2.3"}, ("10.1.2.3", 6030)),
        ({"AVR_HOST": "localhost", "PORT": " "}, ("localhost", 6030)),
        ({"AVR_HOST": '"0.0.0.0"', "PORT": "'6032'"}, ("127.0.0.1", 6032)),
    ],
)
def test_where_the_bridge_of_an_environment_is_asked(
    environ: dict[str, str], address: tuple[str, int]
) -> None:
    """An address to listen on becomes one that can be called; quotes go, as for the bridge."""
    assert address_of(environ) == address


def test_the_defaults_are_the_bridges() -> None:
    """One place says both."""
    default = ServerConfig()
    environ = {"AVR_HOST": default.host, "PORT": str(default.port)}
    assert address_of({}) == address_of(environ)


@pytest.mark.parametrize("port", ["0", "x", "70000", "-1", "6030.0"])
def test_a_port_that_is_none_is_told(port: str) -> None:
    """No traceback, no guess."""
    well, words = health_of({"PORT": port})
    assert not well
    assert words.startswith("unhealthy: PORT")


@pytest.mark.parametrize("url", ["https://h", "h:1", "http://", "http://h:x", "http://a:b@h", ""])
def test_an_address_that_cannot_be_is_told(url: str) -> None:
    """Its password, if it has one, is not."""
    well, words = health_of({"PORT": "0"}, url=url or None)
    assert not well
    assert "a:b" not in words


def test_other_arguments_are_left_to_the_command_line() -> None:
    """Help and addresses are not worth a parser of their own."""
    assert run_in_short(["health", "--help"]) is None
    assert run_in_short(["health", "--url", "http://h"]) is None


def test_a_probe_loads_next_to_nothing() -> None:
    """A HEALTHCHECK every few seconds costs 30 ms of processor time, not the server's 600."""
    code = (
        "import sys; sys.argv[1:] = ['health']\n"
        "from avr_bridge.__main__ import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n"
        "    print(end.code, *sorted(sys.modules), file=sys.stderr)"
    )
    environ = {**os.environ, "PORT": "1", "AVR_HOST": "127.0.0.1"}
    ran = subprocess.run(
        [sys.executable, "-c", code],
        env=environ,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=True,
    )
    code_and_modules = ran.stderr.split()
    assert code_and_modules[0] == "1"
    assert "Connection refused at http://127.0.0.1:1/healthz" in ran.stdout
    heavy = {"attr", "click", "trio", "ssl", "email", "http", "http.client", "urllib", "asyncio"}
    assert not heavy & set(code_and_modules)
