"""The model's address from the settings."""

from __future__ import annotations

import pytest

from avr_bridge import ModelConfig
from avr_bridge.upstream.endpoint import realtime_url


@pytest.mark.parametrize(
    ("endpoint", "url"),
    [
        (None, "wss://api.openai.com/v1/realtime?model=m"),
        ("ws://127.0.0.1:8080/v1", "ws://127.0.0.1:8080/v1/realtime?model=m"),
        ("ws://127.0.0.1:8080", "ws://127.0.0.1:8080/realtime?model=m"),
        ("http://host/v1/", "ws://host/v1/realtime?model=m"),
        ("https://host/openai", "wss://host/openai/realtime?model=m"),
        ("wss://r.example/openai/v1", "wss://r.example/openai/v1/realtime?model=m"),
        ("wss://host/my/own/path", "wss://host/my/own/path?model=m"),
        ("wss://host/v1/realtime?model=other", "wss://host/v1/realtime?model=other"),
        ("wss://host/v1?tenant=a", "wss://host/v1/realtime?tenant=a&model=m"),
        (
            "wss://r.example/openai/realtime?api-version=1-preview&deployment=d",
            "wss://r.example/openai/realtime?api-version=1-preview&deployment=d",
        ),
        ("wss://[::1]:9/v1", "wss://[::1]:9/v1/realtime?model=m"),
    ],
)
def test_url(endpoint: str | None, url: str) -> None:
    """A base gets /realtime, a full address stays, the model is named once."""
    assert realtime_url(ModelConfig(model="m", endpoint=endpoint)) == url


def test_a_models_name_is_escaped() -> None:
    """A name cannot smuggle parameters into the address."""
    assert realtime_url(ModelConfig(model="a&b=c d")).endswith("?model=a%26b%3Dc%20d")
