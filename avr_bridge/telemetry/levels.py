"""Which lines are logged: those of the level, and all of the calls that are looked at closely.

Such a call is named by AVR_LOG_CALLS, or by what the instructions' address said of it. A line
belongs to the call in its field ``call``.
"""

from __future__ import annotations

import logging
import re
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import structlog

if TYPE_CHECKING:
    from collections.abc import MutableMapping

__all__ = ["LEVELS", "Levels", "log_all_of", "log_no_more_of"]

LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "exception": logging.ERROR,
    "critical": logging.CRITICAL,
}

_calls: set[str] = set()
"""Those that run now, in this process."""


def log_all_of(call: str) -> None:
    """Log every line of this call from now on."""
    _calls.add(call)


def log_no_more_of(call: str) -> None:
    """The call is over; also one that was never named."""
    _calls.discard(call)


class Levels:
    """A processor of structlog that drops what is not to be logged.

    Args:
        level: A name of `LEVELS`: the least severity of other lines.
        calls: Ids or patterns with ``*`` and ``?``, with commas or blanks between.
    """

    def __init__(self, level: str, calls: str | None = None) -> None:
        self._least = LEVELS[level]
        self._patterns = tuple(one for one in re.split(r"[,\s]+", calls or "") if one)

    def __call__(
        self, _logger: Any, method: str, line: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        """The line as it is.

        Raises:
            structlog.DropEvent: It is not to be logged.
        """
        if not self.lets_through(method, str(line.get("call") or "")):
            raise structlog.DropEvent
        return line

    def lets_through(self, level: str, call: str) -> bool:
        """Whether a line is logged; `call` is "" for one that belongs to none."""
        if LEVELS.get(level, logging.CRITICAL) >= self._least:
            return True
        if not call:
            return False
        return call in _calls or any(fnmatchcase(call, one) for one in self._patterns)
