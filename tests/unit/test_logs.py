"""Logs: one JSON object a line, readable text, and a reader that may go away."""

from __future__ import annotations

import io
import json
import logging
from typing import TYPE_CHECKING

import pytest
import structlog
import trio

from avr_bridge import LogConfig, ModelConfig, Secret
from avr_bridge.telemetry import (
    SeldomLog,
    bind_call,
    configure_logging,
    get_logger,
    log_all_of,
    log_no_more_of,
)

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


def test_a_line_with_fields_of_its_own_is_left_to_debug() -> None:
    """By kind, whatever is in it; nothing is kept of the fields, so a flood fills no memory."""
    now_s = 0.0
    with structlog.testing.capture_logs() as lines:
        log = SeldomLog(lambda: now_s)
        for number in range(3):
            log.info("ended", "silent", seen=number)
        log.info("ended", "torn", seen=3)
        now_s = 60.0
        log.info("ended", "silent", seen=4)
    shown = [(line["log_level"], line["seen"], line.get("count")) for line in lines]
    assert shown == [
        ("info", 0, 1),
        ("debug", 1, None),
        ("debug", 2, None),
        ("info", 3, 1),
        ("info", 4, 3),
    ]


def events_at(config: LogConfig, calls: list[str]) -> list[tuple[str, str]]:
    """Level and call of the lines that come of one at debug and one at info of each call."""
    stream = io.StringIO()
    configure_logging(config, stream)
    for call in calls:
        log = get_logger().bind(call=call)
        log.debug("seen closely")
        log.info("seen")
    get_logger().debug("of no call")
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    return [(line["level"], line.get("call", "")) for line in lines]


@pytest.mark.parametrize("named", ["u-2", "u-1*, u-2", "?-2", "other\nu-2"])
def test_a_call_can_be_logged_closely_by_its_id(named: str) -> None:
    """Its lines at debug, whatever the level of the others is; patterns are shell's."""
    config = LogConfig("info", "json", calls=named)
    assert events_at(config, ["u-2", "v-1"]) == [("debug", "u-2"), ("info", "u-2"), ("info", "v-1")]


def test_a_call_is_logged_closely_above_the_level_too() -> None:
    """AVR_LOG_LEVEL=error silences the others alone."""
    config = LogConfig("error", "json", calls="u-2")
    assert events_at(config, ["u-2", "u-1"]) == [("debug", "u-2"), ("info", "u-2")]


def test_no_pattern_fits_by_chance() -> None:
    """No call is chosen where none is named, and none without an id."""
    assert events_at(LogConfig("info", "json"), ["u-1", ""]) == [("info", "u-1"), ("info", "")]
    assert events_at(LogConfig("info", "json", calls="u"), ["u-1"]) == [("info", "u-1")]


def test_a_call_can_be_chosen_while_it_runs() -> None:
    """By what the instructions' address said of it, until it is over."""
    log_all_of("u-9")
    assert ("debug", "u-9") in events_at(LogConfig("info", "json"), ["u-9"])
    log_no_more_of("u-9")
    log_no_more_of("u-9")
    assert ("debug", "u-9") not in events_at(LogConfig("info", "json"), ["u-9"])


async def test_lines_of_a_call_name_it_whoever_logs_them() -> None:
    """A library's too, and those of tasks that were started within it; nobody else's."""
    stream = io.StringIO()
    configure_logging(LogConfig("info", "json"), stream)

    async def call() -> None:
        bind_call("u-1")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(work)

    async def work() -> None:
        await trio.lowlevel.checkpoint()
        logging.getLogger("some.library").warning("words")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(call)
    logging.getLogger("some.library").warning("words")
    first, second = map(json.loads, stream.getvalue().splitlines())
    assert first["call"] == "u-1"
    assert "call" not in second
