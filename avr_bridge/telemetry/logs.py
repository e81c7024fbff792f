"""Structured logs by structlog: one JSON object a line, or readable text on a terminal.

A message is static text; what varies goes into fields. No transcript, digit, tool argument or
key is ever put into one; a traceback shows no local variables, for the same reason.
"""

from __future__ import annotations

import contextlib
import logging
import sys
from typing import TYPE_CHECKING, Any, TextIO, cast

import structlog

if TYPE_CHECKING:
    from avr_bridge.config import LogConfig

__all__ = ["configure_logging", "get_logger"]

_LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}


def configure_logging(config: LogConfig, stream: TextIO | None = None) -> None:
    """Set up logging for the whole process; programs that embed us may do it their own way.

    Args:
        config: Level and format.
        stream: Where lines go; default standard error.
    """
    stream = stream or sys.stderr
    as_text = config.format == "text" or (config.format == "auto" and stream.isatty())
    final: list[Any]
    if as_text:
        plain = structlog.dev.plain_traceback
        final = [structlog.dev.ConsoleRenderer(colors=stream.isatty(), exception_formatter=plain)]
    else:
        without_locals = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
        final = [
            structlog.processors.ExceptionRenderer(without_locals),
            structlog.processors.JSONRenderer(),
        ]
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *final,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[config.level]),
        logger_factory=structlog.WriteLoggerFactory(cast("TextIO", _Unfailing(stream))),
        cache_logger_on_first_use=False,
    )


class _Unfailing:
    """A stream whose reader may go away: a log that cannot be written ends no call."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()


def get_logger() -> Any:
    """A logger; `bind(call=...)` adds fields to every line of the one returned."""
    return structlog.get_logger()
