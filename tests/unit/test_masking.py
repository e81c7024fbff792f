"""Secrets in texts of others: found however they are written, and nothing else is cut out."""

from __future__ import annotations

import json
from urllib.parse import quote

import pytest

from avr_bridge import ModelConfig, Secret
from avr_bridge.masking import Mask, masked_address
from avr_bridge.settings import mask_of

ODD = 'k"e\\y/+<pass>word=='


@pytest.mark.parametrize(
    "written",
    [
        ODD,
        json.dumps(ODD)[1:-1],
        json.dumps(ODD)[1:-1].replace("/", "\\/"),
        json.dumps(ODD)[1:-1].replace("<", "\\u003C").replace("+", "\\u002b"),
        repr(ODD)[1:-1],
        quote(ODD, safe=""),
        quote(ODD, safe="").lower(),
    ],
)
def test_a_secret_is_found_however_it_is_escaped(written: str) -> None:
    """As JSON, a repr or a URL write it; what stands around it stays."""
    assert Mask([ODD])(f"before {written} after") == "before *** after"


def test_a_plain_secret_and_the_longer_of_two() -> None:
    """Of two secrets, one in the other, nothing of either is left."""
    mask = Mask(["planted-one", "planted-one-and-more"])
    assert mask("a planted-one-and-more, a planted-one") == "a ***, a ***"
    assert repr(mask) == "Mask()"


@pytest.mark.parametrize("text", ["the task-based risk-averse desk-bound", "no secret ***", ""])
def test_words_are_left_alone(text: str) -> None:
    """A placeholder for a key is a word; so is what only begins like a key."""
    assert Mask(["none", "local", ""])(text) == text
    assert Mask(["none"])("there is none") == "there is none"


@pytest.mark.parametrize(
    "told",
    [
        "Incorrect API key provided: sk-someone_elses-1234. You can find yours.",
        "Incorrect API key provided: sk-proj-********************wxyz. You can find yours.",
        "Incorrect API key provided: abcd****************wxyz. You can find yours.",
        "Incorrect API key provided: xai-1234567. You can find yours.",
    ],
)
def test_what_looks_like_a_key_is_masked_unknown(told: str) -> None:
    """OpenAI's own words, with a key that is not ours, or with stars in its middle."""
    assert Mask()(told) == "Incorrect API key provided: ***. You can find yours."


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("wss://user:pass@host/v1", "wss://***@host/v1"),
        ("wss://user:p/a?s@s@host/v1", "wss://***@host/v1"),
        ("user:pass@host", "***@host"),
        ("//user:pass@host", "//***@host"),
        ("wss:user:pass@host", "***@host"),
        ("wss://host/v1?api-key=x", "wss://host/v1?***"),
        ("user:pa\nss@host", "***@host"),
        ("wss://host/v1", "wss://host/v1"),
    ],
)
def test_an_address_is_shown_without_its_credentials(value: str, shown: str) -> None:
    """Also one that is no address, since that is when it is shown."""
    assert masked_address(value) == shown


def test_a_sections_secrets_are_all_masked() -> None:
    """The key, and a proxy's password in each form in which it travels."""
    config = ModelConfig(
        api_key=Secret("planted-key"), https_proxy="http://carl:pass%40word@proxy:3128"
    )
    mask = mask_of(config)
    for secret in ("planted-key", "pass%40word", "pass@word", "Y2FybDpwYXNzQHdvcmQ="):
        assert mask(f"<{secret}>") == "<***>"
    assert "pass" not in repr(config)
    assert "planted" not in repr(config)
    assert "***@proxy:3128" in repr(config)
