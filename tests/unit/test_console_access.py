"""Who may have the console, and which web pages may place calls."""

from __future__ import annotations

import attrs
import pytest

from avr_bridge.server.console.access import Asked, may_call, why_not_served

OWN = Asked("127.0.0.1", "localhost:6030", "http://localhost:6030", "same-origin")
FROM_ELSEWHERE = ["192.0.2.7", "172.17.0.1", "2001:db8::1", "::ffff:192.0.2.7", "", "localhost"]
STRANGERS = [
    attrs.evolve(OWN, origin="https://evil.example"),
    attrs.evolve(OWN, origin="http://localhost:8080"),
    attrs.evolve(OWN, origin="http://localhost:6030.evil.example"),
    attrs.evolve(OWN, origin="http://127.0.0.1:6030"),
    attrs.evolve(OWN, origin="null"),
    attrs.evolve(OWN, origin=""),
    attrs.evolve(OWN, origin="file://localhost:6030"),
    attrs.evolve(OWN, origin="http://["),
    attrs.evolve(OWN, fetch_site="cross-site"),
    attrs.evolve(OWN, fetch_site="same-site"),
    attrs.evolve(OWN, origin=None, fetch_site="cross-site"),
]
REBOUND = Asked("127.0.0.1", "evil.example:6030", "http://evil.example:6030", "same-origin")
"""A stranger's name that has become our address: page and host agree, and are not ours."""


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.9", "::1", "::ffff:127.0.0.1"])
@pytest.mark.parametrize("host", ["localhost:6030", "localhost", "127.0.0.1:6030", "[::1]:6030"])
def test_this_machine_is_served(address: str, host: str) -> None:
    """By whatever of its own names it asks, page and data."""
    asked = Asked(address, host)
    assert why_not_served(asked, token_set=False) is None
    assert why_not_served(asked, token_set=False, data=True) is None


@pytest.mark.parametrize("address", FROM_ELSEWHERE)
def test_another_machine_is_served_only_with_a_token(address: str) -> None:
    """The refusal says what to do about it."""
    asked = Asked(address, "localhost:6030")
    assert "AVR_TOKEN" in (why_not_served(asked, token_set=False) or "")
    assert why_not_served(asked, token_set=True, data=True) is None


def of_scope(http_version: str = "1.1", **headers: str) -> Asked:
    given = [(name.encode(), value.encode()) for name, value in headers.items()]
    client, host = ("127.0.0.1", 40000), [(b"host", b"localhost")]
    return Asked.of({"client": client, "http_version": http_version, "headers": [*host, *given]})


@pytest.mark.parametrize(
    "asked",
    [
        of_scope(**{"x-forwarded-for": "192.0.2.7"}),
        of_scope(**{"x-real-ip": "192.0.2.7"}),
        of_scope(forwarded="for=192.0.2.7"),
        of_scope(via="1.1 proxy"),
        of_scope(http_version="1.0"),
    ],
)
def test_a_proxy_on_this_machine_is_not_this_machine(asked: Asked) -> None:
    """It would bring the whole world in."""
    assert "proxy" in (why_not_served(asked, token_set=False) or "")
    assert why_not_served(asked, token_set=True) is None
    assert not may_call(
        attrs.evolve(asked, origin="http://localhost"), token_set=False, console_on=True
    )


def test_what_a_request_says() -> None:
    """Of a browser's page on this machine, and where nothing is known."""
    asked = of_scope(origin="http://localhost", **{"sec-fetch-site": "same-origin"})
    assert asked == Asked("127.0.0.1", "localhost", "http://localhost", "same-origin")
    assert Asked.of({"client": None, "headers": []}) == Asked("", "")


@pytest.mark.parametrize("host", ["evil.example:6030", "", "192.0.2.1", "localhost.evil.example"])
def test_only_this_machines_names_lead_here(host: str) -> None:
    """A name that somebody pointed at us (DNS rebinding) is none of them."""
    assert "localhost" in (why_not_served(Asked("127.0.0.1", host), token_set=False) or "")


@pytest.mark.parametrize("asked", STRANGERS)
def test_a_strangers_page_gets_no_data_and_no_call(asked: Asked) -> None:
    """Whatever it is told of itself; it may link to the page, which holds nothing."""
    assert why_not_served(asked, token_set=False) is None
    assert why_not_served(asked, token_set=False, data=True) is not None
    assert not may_call(asked, token_set=False, console_on=True)
    assert not may_call(asked, token_set=False, console_on=False)
    assert may_call(asked, token_set=True, console_on=False)


def test_our_own_page_may_call_where_it_is_served() -> None:
    """And not where it is not, or from another machine, or by a stranger's name."""
    assert may_call(OWN, token_set=False, console_on=True)
    assert not may_call(OWN, token_set=False, console_on=False)
    assert not may_call(attrs.evolve(OWN, address="192.0.2.7"), token_set=False, console_on=True)
    assert not may_call(REBOUND, token_set=False, console_on=True)


@pytest.mark.parametrize("address", ["127.0.0.1", *FROM_ELSEWHERE])
def test_what_is_no_page_calls_as_ever(address: str) -> None:
    """avr-core names no origin."""
    for console_on in (False, True):
        assert may_call(Asked(address, "bridge:6030"), token_set=False, console_on=console_on)
