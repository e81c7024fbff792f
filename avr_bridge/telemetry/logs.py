"""Structured logs by structlog: one JSON object a line, or readable text on a terminal.

A message is static text; what varies goes into fields. No key is ever put into one, and a
traceback shows no local variables; what others put into a text is masked on the way out.
Transcripts, digits and tool arguments go through `ContentLog`, which is off by default.
"""

from __future__ import annotations

import contextlib
import logging
import sys
from typing import TYPE_CHECKING, Any, TextIO, cast

import structlog

from avr_bridge.masking import Mask
from avr_bridge.telemetry.background import BackgroundStream
from avr_bridge.telemetry.levels import Levels

if TYPE_CHECKING:
    from avr_bridge.config import LogConfig

__all__ = ["ContentLog", "bind_call", "configure_logging", "get_logger"]


def configure_logging(
    config: LogConfig,
    stream: TextIO | None = None,
    *,
    mask: Mask | None = None,
    background: bool = False,
) -> None:
    """Set up logging for the whole process; programs that embed us may do it their own way.

    What libraries log, from warnings on, becomes lines of ours.

    Args:
        config: Level and format, and the calls of which every line is logged.
        stream: Where lines go; default standard error.
        mask: Takes secrets out of every line; default: only what looks like a key.
        background: Write from a thread, so that a reader who stalls stalls nothing else.
    """
    stream = stream or sys.stderr
    written = cast("TextIO", BackgroundStream(stream)) if background else stream
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
            Levels(config.level, config.calls),
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *final,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),
        logger_factory=structlog.WriteLoggerFactory(
            cast("TextIO", _Unfailing(written, mask or Mask()))
        ),
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    for handler in [one for one in root.handlers if isinstance(one, _FromLibraries)]:
        root.removeHandler(handler)
    root.addHandler(_FromLibraries(logging.WARNING))


class _FromLibraries(logging.Handler):
    """Quart's and other libraries' records, as lines of our log."""

    def emit(self, record: logging.LogRecord) -> None:
        words = record.getMessage()
        log = get_logger().bind(library=record.name, words=words)
        log.log(record.levelno, "a library reports", exc_info=record.exc_info)


class _Unfailing:
    """A stream whose reader may go away: a log that cannot be written ends no call.

    Each line passes here as a whole, so here secrets are taken out of it.
    """

    def __init__(self, stream: TextIO, mask: Mask) -> None:
        self._stream = stream
        self._mask = mask

    def write(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(self._mask(text))

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()


def get_logger() -> Any:
    """A logger; `bind(call=...)` adds fields to every line of the one returned."""
    return structlog.get_logger()


def bind_call(uuid: str) -> None:
    """Name the call on every line of this task and of those that it starts, a library's too."""
    structlog.contextvars.bind_contextvars(call=uuid)


class ContentLog:
    """What people said and did in a call; logs it only where AVR_LOG_CONTENT is on.

    Args:
        config: Says whether it is.
        log: A logger bound to the call.
    """

    def __init__(self, config: LogConfig, log: Any) -> None:
        self._log = log if config.content else None

    def transcript(self, role: str, text: str) -> None:
        """A finished piece of what was said."""
        if self._log is not None:
            self._log.info("transcript", role=role, text=text)

    def digit(self, digit: str) -> None:
        """A key of the keypad."""
        if self._log is not None:
            self._log.info("key pressed", digit=digit)

    def tool_called(self, name: str, arguments: str) -> None:
        """A tool as the model asked for it."""
        if self._log is not None:
            self._log.info("tool called", tool=name, arguments=arguments)
