"""Which proxy is for which address: as curl and httpx judge the usual variables."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from avr_bridge import ModelConfig
from avr_bridge.proxies import is_loopback, proxy_for

WSS = "wss://api.example:443/v1"


def proxy(url: str = WSS, **settings: Any) -> str | None:
    found = proxy_for(ModelConfig(**settings), url)
    return None if found is None else str(found)


def test_each_scheme_has_its_variable() -> None:
    """ALL_PROXY stands in for either; without any the way is direct."""
    assert proxy(https_proxy="http://a:1", http_proxy="http://b:2") == "a:1"
    assert proxy("ws://h/v1", https_proxy="http://a:1", http_proxy="http://b:2") == "b:2"
    assert proxy("ws://h/v1", https_proxy="http://a:1") is None
    assert proxy("ws://h/v1", all_proxy="http://c:3") == "c:3"
    assert proxy(https_proxy="http://a:1", all_proxy="http://c:3") == "a:1"
    assert proxy() is None


def test_forms_of_the_address() -> None:
    """The scheme may be left out, the port too; IPv6 is written in brackets."""
    assert proxy(https_proxy="proxy.example:3128") == "proxy.example:3128"
    assert proxy(https_proxy="http://proxy.example") == "proxy.example:1080"
    assert proxy(https_proxy="http://[::1]:3128/") == "[::1]:3128"


def test_user_and_password_are_decoded_and_not_shown() -> None:
    """Basic needs the real signs; neither str nor repr has them."""
    found = proxy_for(ModelConfig(https_proxy="http://carl:p%40ss%3Aword@p:1"), WSS)
    assert found is not None
    assert found.basic is not None
    assert base64.b64decode(found.basic.reveal()) == b"carl:p@ss:word"
    assert found.basic.reveal() not in f"{found} {found!r}"


@pytest.mark.parametrize(
    "value",
    [
        "socks5://u:planted@h:1",
        "https://u:planted@h:1",
        "http://u:planted@",
        "http://u:planted@h:x",
    ],
)
def test_what_is_no_http_proxy_is_refused(value: str) -> None:
    """In words that name the variable and show no password."""
    with pytest.raises(ValueError, match="HTTPS_PROXY: ") as caught:
        proxy(https_proxy=value)
    assert "planted" not in str(caught.value)


@pytest.mark.parametrize(
    ("no_proxy", "host", "direct"),
    [
        ("*", "api.example", True),
        ("example", "api.example", True),
        (".example", "api.example", True),
        ("*.example", "api.example", True),
        ("API.Example", "api.example", True),
        ("other, api.example", "api.example.", True),
        ("pi.example", "api.example", False),
        ("api", "api.example", False),
        (".", "api.example", False),
        ("api.example:443", "api.example", True),
        ("api.example:444", "api.example", False),
        ("10.0.0.0/8", "10.1.2.3", True),
        ("10.0.0.0/8", "11.1.2.3", False),
        ("10.1.2.3", "10.1.2.3", True),
        ("::1", "[::1]", True),
        ("[::1]", "[::1]", True),
        ("localhost", "127.0.0.1", False),
        ("127.0.0.2", "127.0.0.1", False),
    ],
)
def test_no_proxy(no_proxy: str, host: str, direct: bool) -> None:
    """Names with all below them, networks, ports; the loopback only where it is named."""
    found = proxy(f"wss://{host}/v1", https_proxy="http://p:1", no_proxy=no_proxy)
    assert (found is None) is direct


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("localhost", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("sim.localhost", True),
        ("192.168.0.1", False),
        ("localhost.example", False),
    ],
)
def test_loopback(host: str, loopback: bool) -> None:
    """What stays on this machine needs no encryption."""
    assert is_loopback(host) is loopback
