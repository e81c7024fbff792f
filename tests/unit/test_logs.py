"""Logs: one JSON object a line, readable text, and a reader that may go away."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING

import pytest
import structlog

from avr_bridge import LogConfig, ModelConfig, Secret
from avr_bridge.telemetry import SeldomLog, configure_logging, get_logger

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    yield
    structlog.reset_defaults()


def test_json_lines_with_fields_and_level() -> None:
    """Away from a terminal each line is one object; what is below the level is left out."""
    stream = io.StringIO()
    configure_logging(LogConfig("info", "auto"), stream)
    log = get_logger().bind(call="u-1")
    log.debug("unseen")
    log.warning("seen", ms=7)
    (line,) = stream.getvalue().splitlines()
    assert json.loads(line) | {"timestamp": ""} == {
        "event": "seen",
        "level": "warning",
        "call": "u-1",
        "ms": 7,
        "timestamp": "",
    }


def test_text_for_people() -> None:
    """On wish, and on a terminal by itself."""
    stream = io.StringIO()
    configure_logging(LogConfig("debug", "text"), stream)
    get_logger().debug("seen", call="u-1")
    assert "seen" in stream.getvalue()
    assert "call=u-1" in stream.getvalue()


def test_exceptions_keep_their_cause() -> None:
    """A bug's line holds the whole group, in one line."""
    stream = io.StringIO()
    configure_logging(LogConfig("info", "json"), stream)
    try:
        raise ExceptionGroup("bug", [ValueError("inner words")])
    except ExceptionGroup as group:
        get_logger().error("bug in a call", exc_info=group)
    (line,) = stream.getvalue().splitlines()
    assert "inner words" in line
    assert json.loads(line)["event"] == "bug in a call"


class _GoneReader(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError


def test_a_log_that_nobody_reads_harms_nothing() -> None:
    """The collector died: the call goes on without its log."""
    configure_logging(LogConfig("info", "json"), _GoneReader())
    get_logger().error("unheard")


@pytest.mark.parametrize("style", ["json", "text"])
def test_a_traceback_shows_no_local_variables(style: str) -> None:
    """The key, headers and prompts stand in local variables; none may reach the log."""
    stream = io.StringIO()
    configure_logging(LogConfig("info", style), stream)
    config = ModelConfig(api_key=Secret("sk-planted"), instructions="a private prompt")
    try:
        headers = [("Authorization", f"Bearer {config.api_key and config.api_key.reveal()}")]
        raise ExceptionGroup("bug", [ValueError(f"{len(headers)} headers")])
    except ExceptionGroup as group:
        get_logger().error("bug in a call", exc_info=group)
    assert "1 headers" in stream.getvalue()
    assert "sk-planted" not in stream.getvalue()
    assert "private prompt" not in stream.getvalue()


def test_a_line_that_peers_can_cause_comes_once_a_minute() -> None:
    """The first at once, then one a minute with the number of those before it; other kinds, and
    other fields, have lines of their own."""
    now_s = 0.0
    with structlog.testing.capture_logs() as lines:
        log = SeldomLog(lambda: now_s)
        for _ in range(1000):
            log.warning("refused", transport="http")
        log.warning("refused", transport="websocket")
        now_s = 59.9
        log.warning("refused", transport="http")
        now_s = 60.0
        log.warning("refused", transport="http")
    assert [(line["transport"], line["count"]) for line in lines] == [
        ("http", 1),
        ("websocket", 1),
        ("http", 1001),
    ]
