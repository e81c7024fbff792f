"""A model's server that answers the upgrade with an HTTP status: whether another try can help.

Pure; `dial.py` gets the answer.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec

from avr_bridge.errors import UpstreamError, UpstreamRejected, UpstreamUnavailable
from avr_bridge.upstream.error_codes import Severity, severity_of
from avr_bridge.upstream.events import ErrorDetail

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["refusal_of"]

MAX_BODY_BYTES = 64 * 1024
"""Real ones have some hundred bytes."""

_CODE = re.compile(r"[A-Za-z][A-Za-z0-9_]{2,63}", re.ASCII)
"""What names of errors look like. Azure has the status in their place, which tells nothing more."""


class _Name(msgspec.Struct):
    code: str | None = None


class _Body(msgspec.Struct):
    error: _Name


def refusal_of(status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes) -> UpstreamError:
    """The error to raise: `UpstreamUnavailable` for 429 and 5xx, else `UpstreamRejected`.

    A used-up quota is told as 429 too, and waiting brings none: that is a rejection.
    """
    error_code = _error_code(body)
    words = f"the model's server answered HTTP {status}"
    words += f" ({error_code})" if error_code else ""
    transient = status == 429 or status >= 500
    hopeless = severity_of(ErrorDetail(code=error_code)) is Severity.FATAL
    error: UpstreamError = UpstreamRejected(words)
    if transient and not hopeless:
        error = UpstreamUnavailable(words, _retry_after_s(headers))
    error.status, error.error_code = status, error_code
    return error


def _error_code(body: bytes) -> str:
    """The server's name for it. Nothing else of the body: its message may quote the key."""
    try:
        found = msgspec.json.decode(body[:MAX_BODY_BYTES], type=_Body).error.code
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return ""
    return found if found and _CODE.fullmatch(found) else ""


def _retry_after_s(headers: Iterable[tuple[bytes, bytes]]) -> float | None:
    """`Retry-After` in seconds; its other form, a date, is not used by these servers."""
    for name, value in headers:
        if name.lower() == b"retry-after" and value.strip().isdigit():
            return float(value)
    return None
