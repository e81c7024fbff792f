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

__all__ = ["Admitted", "RefusedAfterUpgrade", "RefusedByHttp", "admit", "refused_after_upgrade"]

REALTIME_PATH = "/v1/realtime"
"""Where the server is found, whatever it speaks."""

AZURE_PATHS = {"ga": "/openai/v1/realtime", "beta": "/openai/realtime"}
"""Where it is found as well: as Azure, with a deployment in place of a model and `api-key`."""


@attrs.frozen
class Admitted:
    """Come in."""

    model: str


@attrs.frozen
class RefusedByHttp:
    """No upgrade: this status and this JSON body."""

    status: int
    body: bytes
    retry_after_s: float | None = None


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
    path = parts.path.rstrip("/")
    azure = path == AZURE_PATHS.get(options.dialect)
    asked = parse_qs(parts.query)
    if path != REALTIME_PATH and not azure:
        return _by_http(404, "not_found", f"Invalid URL (GET {parts.path})")
    if azure and ("api-version" in asked) != (options.dialect == "beta"):
        return _by_http(401 if options.dialect == "ga" else 404, None, "Wrong api-version")
    sent = {name.lower(): value for name, value in headers}
    key = _key_of(sent, azure=azure)
    if options.api_key is not None and not key:
        return _by_http(401, None, "Missing bearer authentication in header")
    if options.api_key is not None and key != options.api_key:
        message = "Incorrect API key provided."
        if options.key_check == "http":
            return _by_http(401, "invalid_api_key", message)
        return refused_after_upgrade("invalid_api_key", message, 3000)
    if options.dialect == "ga" and sent.get("openai-beta") == "realtime=v1":
        message = "The Realtime Beta API is no longer supported. Please use the GA API."
        return refused_after_upgrade("beta_api_shape_disabled", message, 4000)
    model = asked.get("deployment" if azure and options.dialect == "beta" else "model", [""])[0]
    if not model:
        return _by_http(400, "missing_required_parameter", "Missing required parameter: 'model'.")
    return Admitted(model)


def _key_of(sent: dict[str, str], *, azure: bool) -> str:
    if azure and "api-key" in sent:
        return sent["api-key"]
    authorization = sent.get("authorization", "")
    return authorization.removeprefix("Bearer ").strip() if "Bearer " in authorization else ""


def _error(code: str | None, message: str, kind: str = "invalid_request_error") -> dict[str, Any]:
    return {"type": kind, "code": code, "message": message, "param": None}


def _by_http(status: int, code: str | None, message: str) -> RefusedByHttp:
    return RefusedByHttp(status, json.dumps({"error": _error(code, message)}).encode())


def refused_after_upgrade(
    code: str, message: str, close_code: int, kind: str = "invalid_request_error"
) -> RefusedAfterUpgrade:
    """The `error` event of type `kind`, and a close whose reason is `<kind>.<code>`."""
    error = _error(code, message, kind) | {"event_id": None}
    event = {"type": "error", "event_id": "event_refused", "error": error}
    return RefusedAfterUpgrade(json.dumps(event), close_code, f"{kind}.{code}")
