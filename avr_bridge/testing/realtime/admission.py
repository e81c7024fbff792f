"""Who may open a session: the address, the key, the dialect. Pure.

The refusal is handed back as HTTP status and body, or as an event and a close code after the
upgrade; the transports deliver it.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import attrs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from avr_bridge.testing.realtime.options import SimulatorOptions

__all__ = ["Admitted", "RefusedAfterUpgrade", "RefusedByHttp", "admit"]

REALTIME_PATH = "/v1/realtime"
"""The only address of the server."""


@attrs.frozen
class Admitted:
    """Come in."""

    model: str


@attrs.frozen
class RefusedByHttp:
    """No upgrade: this status and this JSON body."""

    status: int
    body: bytes


@attrs.frozen
class RefusedAfterUpgrade:
    """An upgrade, then one `error` event and a close code."""

    error: str
    close_code: int
    close_reason: str


def admit(
    target: str, headers: Sequence[tuple[str, str]], options: SimulatorOptions
) -> Admitted | RefusedByHttp | RefusedAfterUpgrade:
    """Judge a request by its address (path and query, or a whole URL) and its headers."""
    parts = urlsplit(target)
    if parts.path.rstrip("/") != REALTIME_PATH:
        return _by_http(404, "not_found", f"Invalid URL (GET {parts.path})")
    sent = {name.lower(): value for name, value in headers}
    authorization = sent.get("authorization", "")
    key = authorization.removeprefix("Bearer ").strip()
    if options.api_key is not None and not (authorization.startswith("Bearer ") and key):
        return _by_http(401, None, "Missing bearer authentication in header")
    if options.api_key is not None and key != options.api_key:
        message = "Incorrect API key provided."
        if options.key_check == "http":
            return _by_http(401, "invalid_api_key", message)
        return _after_upgrade("invalid_api_key", message, 3000)
    if sent.get("openai-beta") == "realtime=v1":
        message = "The Realtime Beta API is no longer supported. Please use the GA API."
        return _after_upgrade("beta_api_shape_disabled", message, 4000)
    model = parse_qs(parts.query).get("model", [""])[0]
    if not model:
        return _by_http(400, "missing_required_parameter", "Missing required parameter: 'model'.")
    return Admitted(model)


def _error(code: str | None, message: str) -> dict[str, Any]:
    return {"type": "invalid_request_error", "code": code, "message": message, "param": None}


def _by_http(status: int, code: str | None, message: str) -> RefusedByHttp:
    return RefusedByHttp(status, json.dumps({"error": _error(code, message)}).encode())


def _after_upgrade(code: str, message: str, close_code: int) -> RefusedAfterUpgrade:
    error = _error(code, message) | {"event_id": None}
    event = {"type": "error", "event_id": "event_refused", "error": error}
    return RefusedAfterUpgrade(json.dumps(event), close_code, f"invalid_request_error.{code}")
