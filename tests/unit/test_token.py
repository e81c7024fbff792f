"""AVR_TOKEN: who is let in, and that the secret becomes no metadata."""

from __future__ import annotations

from base64 import b64encode

import pytest

from avr_bridge import Secret
from avr_bridge.server.token import is_admitted, without_token

TOKEN = Secret("the-shared-secret")


def basic(pair: str) -> str:
    """The header that a user and a password make."""
    return "Basic " + b64encode(pair.encode()).decode()


@pytest.mark.parametrize(
    ("authorization", "queried", "admitted"),
    [
        ("Bearer the-shared-secret", [], True),
        ("bearer  the-shared-secret ", [], True),
        ("", ["the-shared-secret"], True),
        ("Bearer wrong", ["the-shared-secret"], True),
        ("", ["a call's own", "the-shared-secret"], True),
        ("", ["wrong"] * 4 + ["the-shared-secret"], False),
        ("", [], False),
        ("", [""], False),
        ("Bearer", [], False),
        ("Bearer ", [""], False),
        ("Basic the-shared-secret", [], False),
        (basic("asterisk:the-shared-secret"), [], True),
        (basic(":the-shared-secret"), [], True),
        (basic("the-shared-secret:"), [], False),
        (basic("the-shared-secret"), [], False),
        (basic("asterisk:the-shared-secret2"), [], False),
        ("Basic \u2028", [], False),
        ("Basic //79", [], False),
        ("the-shared-secret", [], False),
        ("Bearer the-shared-secre", [], False),
        ("Bearer the-shared-secret2", ["the-shared-secre"], False),
        ("Bearer thé-shared-secret", ["\udcff\u2028\0"], False),
    ],
)
def test_who_is_admitted(authorization: str, queried: list[str], admitted: bool) -> None:
    """The header or the address; any signs at all may come, and none raises."""
    assert is_admitted(TOKEN, authorization, queried) is admitted


def test_without_the_setting_everybody_is() -> None:
    """As avr-core expects of every connector."""
    assert is_admitted(None, "", [])


def test_the_token_is_no_metadata() -> None:
    """Metadata goes to tools, prompts and the instructions' address."""
    assert without_token({"from": "1", "token": "the-shared-secret"}) == {"from": "1"}
