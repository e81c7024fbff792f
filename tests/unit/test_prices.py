"""Prices as data: what is listed costs what its list says, and what is not has no cost at all."""

from __future__ import annotations

import os
import re
import tomllib
from importlib import resources
from typing import TYPE_CHECKING

import pytest
import structlog

from avr_bridge import ModelConfig
from avr_bridge.telemetry.prices import load_prices, prices_file_fault
from avr_bridge.telemetry.usage import Usage

if TYPE_CHECKING:
    from pathlib import Path

MILLION = 1_000_000
USED = Usage(
    text_in=MILLION,
    cached_text_in=2 * MILLION,
    text_out=3 * MILLION,
    audio_in=4 * MILLION,
    cached_audio_in=5 * MILLION,
    audio_out=6 * MILLION,
)
SHIPPED = resources.files("avr_bridge.telemetry").joinpath("prices.toml").read_text("utf-8")


@pytest.mark.parametrize(
    ("model", "dollars"),
    [
        ("gpt-realtime-2.1", 4 + 2 * 0.4 + 3 * 24 + 4 * 32 + 5 * 0.4 + 6 * 64),
        ("gpt-realtime-2", 4 + 2 * 0.4 + 3 * 24 + 4 * 32 + 5 * 0.4 + 6 * 64),
        ("gpt-realtime", 4 + 2 * 0.4 + 3 * 16 + 4 * 32 + 5 * 0.4 + 6 * 64),
        ("gpt-realtime-2025-08-28", 4 + 2 * 0.4 + 3 * 16 + 4 * 32 + 5 * 0.4 + 6 * 64),
        ("gpt-realtime-mini-2025-12-15", 0.6 + 2 * 0.06 + 3 * 2.4 + 4 * 10 + 5 * 0.3 + 6 * 20),
        ("gpt-realtime-2.1-mini", 0.6 + 2 * 0.06 + 3 * 2.4 + 4 * 10 + 5 * 0.3 + 6 * 20),
        ("gpt-4o-realtime-preview", 5 + 2 * 2.5 + 3 * 20 + 4 * 40 + 5 * 2.5 + 6 * 80),
    ],
)
def test_each_kind_has_its_price(model: str, dollars: float) -> None:
    """Text, sound, what was cached of them, and what was made."""
    assert load_prices(None).cost_usd(model, USED) == pytest.approx(dollars)


@pytest.mark.parametrize(
    "model",
    [
        "gpt-realtime-3",
        "gpt-realtime-2.2",
        "gpt-realtime-nano",
        "my-deployment",
        "grok-voice-latest",
        "",
    ],
)
def test_what_is_not_listed_has_no_cost(model: str) -> None:
    """None, not 0; a model of tomorrow is not taken for one of today."""
    assert load_prices(None).cost_usd(model, USED) is None


def test_the_default_models_have_prices() -> None:
    """What the bridge uses unless it is told otherwise."""
    default = ModelConfig()
    assert load_prices(None).cost_usd(default.model, USED) is not None
    assert load_prices(None).cost_usd(default.transcription_model, Usage(heard_s=60)) == 0.006


def test_what_is_not_known_of_the_bill() -> None:
    """Tokens of no kind, or seconds where tokens have prices, cannot be priced; no bill neither."""
    prices = load_prices(None)
    assert prices.cost_usd("gpt-realtime", Usage(text_in=5, other_out=1)) is None
    assert prices.cost_usd("gpt-realtime", Usage(heard_s=1.0)) is None
    assert prices.cost_usd("whisper-1", Usage(audio_in=5)) is None
    assert prices.cost_usd("gpt-realtime", None) is None
    assert prices.cost_usd("gpt-realtime", Usage()) == 0.0


def test_the_list_says_when_and_whence() -> None:
    """Prices change: who reads the list has to see how old it is."""
    assert re.search(r"^# Date: 20\d\d-\d\d-\d\d\. Source: ", SHIPPED, re.MULTILINE)
    names = [name for entry in tomllib.loads(SHIPPED)["price"] for name in entry["models"]]
    assert len(names) == len(set(names))


OWN = """
[[price]]
models = ["gpt-realtime*", "my-deployment"]
audio_out = 1.0
"""


def test_an_own_list_goes_first(tmp_path: Path) -> None:
    """Its entries replace those that ship, as a whole; what it does not name stays."""
    path = tmp_path / "prices.toml"
    path.write_text(OWN)
    assert prices_file_fault(str(path)) is None
    prices = load_prices(str(path))
    assert prices.cost_usd("my-deployment", Usage(audio_out=MILLION)) == 1.0
    assert prices.cost_usd("gpt-realtime-2.1", Usage(audio_out=MILLION)) == 1.0
    assert prices.cost_usd("gpt-realtime-2.1", USED) is None
    assert prices.cost_usd("whisper-1", Usage(heard_s=60)) == 0.006


@pytest.mark.parametrize(
    "text",
    [
        "[[price]",
        "",
        "[[price]]\ntext_in = 1.0\n",
        OWN + "text_inn = 1.0\n",
        OWN + "text_in = -1.0\n",
        OWN + 'text_in = "1"\n',
        OWN + "text_in = inf\n",
        OWN + "text_in = nan\n",
        OWN + "#" * 1024 * 1024,
        "\x00",
        None,
    ],
)
def test_a_list_that_cannot_be_leaves_no_price(tmp_path: Path, text: str | None) -> None:
    """A server is told what is wrong with it. Elsewhere it is said in the log, and every cost is
    unknown from then on."""
    path = tmp_path / "prices.toml"
    if text is not None:
        path.write_text(text)
    fault = prices_file_fault(str(path))
    assert fault is not None
    assert fault.startswith(f"AVR_PRICES_FILE={path}: ")
    assert fault.endswith("; expected a list of prices in TOML")
    with structlog.testing.capture_logs() as log:
        prices = load_prices(str(path))
    assert [line["log_level"] for line in log] == ["error"]
    assert prices.cost_usd("gpt-realtime", USED) is None


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    """A pipe has no end before somebody writes into it; a folder has no text."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (pipe, tmp_path):
        fault = prices_file_fault(str(path))
        assert fault is not None
        assert fault.startswith(f"AVR_PRICES_FILE={path}: no regular file; expected")
