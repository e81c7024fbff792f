"""docs/settings-per-call.md and its example say what happens: both are asked for a real call."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import structlog
import trio

from avr_bridge import ModelConfig
from avr_bridge.call import instructions
from avr_bridge.call.instructions import CallSettings, settings_for_call

if TYPE_CHECKING:
    from collections.abc import Iterator

CHECKOUT = Path(__file__).parents[2]
PAGE = (CHECKOUT / "docs" / "settings-per-call.md").read_text()
LIMIT_S = 20


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.M | re.S)


@pytest.fixture(name="service")
def _service() -> Iterator[str]:
    """The example, running; its address."""
    with subprocess.Popen(
        [sys.executable, str(CHECKOUT / "examples" / "settings_service.py"), "0"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "NO_PROXY": "127.0.0.1"},
    ) as process:
        try:
            assert process.stdout is not None
            found = re.search(r"http://\S+", process.stdout.readline())
            assert found is not None
            yield found.group()
        finally:
            process.terminate()


async def test_the_service_answers_as_the_page_says(service: str) -> None:
    """The page's answer, and what becomes of it for the page's call."""
    config = ModelConfig(instructions_url=f"{service}?tenant=dentist")
    metadata = {"from": "+15550100", "to": "600", "tenant": "other"}
    with trio.fail_after(LIMIT_S):
        found = await settings_for_call(config, "u-1", metadata, structlog.get_logger())
    (answer,) = map(json.loads, blocks("json"))
    _, prompt = blocks("text")
    assert found == CallSettings(
        prompt.strip(),
        {**metadata, **answer["metadata"]},
        answer["voice"],
        "Example Dental, good day!",
        tuple(answer["tools"]),
    )


async def test_a_tenant_that_is_not_known_gets_the_file(service: str, tmp_path: Path) -> None:
    """The next source; the status is in the log."""
    (tmp_path / "prompt.txt").write_text("Take a message from {from}.")
    file = str(tmp_path / "prompt.txt")
    config = ModelConfig(instructions_url=f"{service}?tenant=x", instructions_file=file)
    with trio.fail_after(LIMIT_S), structlog.testing.capture_logs() as log:
        found = await settings_for_call(config, "u-1", {"from": "600"}, structlog.get_logger())
    assert found == CallSettings("Take a message from 600.", {"from": "600"})
    assert [line["error"] for line in log] == ["it answered with HTTP status 404"]


def test_the_pages_request_is_the_one_that_is_sent() -> None:
    """Its first line, made of the page's address and metadata."""
    request = blocks("text")[0].splitlines()[0].split()[1]
    metadata = {"from": "+15550100", "to": "600"}
    asked = instructions._address("http://h/call?tenant=dentist", metadata)
    assert asked.raw_path.decode() == request


def test_the_pages_limits_are_the_codes() -> None:
    """Each number, as it is written."""
    for limit in (
        f"{instructions.MOST_INSTRUCTIONS_CHARS:,} characters",
        f"{instructions.MOST_WELCOME_CHARS:,} characters",
        f"{instructions.MOST_ANSWER_BYTES // 1024} KiB",
        f"at most {instructions.FETCH_LIMIT_S:g} s",
    ):
        assert limit in PAGE
