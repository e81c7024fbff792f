"""Where the model is: the WebSocket address, made from the settings.

Pure: nothing is connected here, `dial.py` does that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote, urlsplit, urlunsplit

from avr_bridge.sections import DEFAULT_ENDPOINT

if TYPE_CHECKING:
    from avr_bridge.config import ModelConfig

__all__ = ["realtime_url"]

BASE_PATHS = ("", "/v1", "/openai", "/openai/v1")
"""Paths that are a base, to which ``/realtime`` belongs; any other path is taken as given."""
_SECURE = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}


def realtime_url(config: ModelConfig) -> str:
    """The address to dial for one session.

    ``http`` becomes ``ws`` and ``https`` ``wss``; ``/realtime`` is appended to a base path;
    ``model=`` is added unless the address already names a model, a deployment or a call (the
    rules that livekit's and OpenAI's own clients follow for compatible servers). A user and
    password are left out: the key has its own setting.
    """
    parts = urlsplit(config.endpoint or DEFAULT_ENDPOINT)
    path = parts.path.rstrip("/")
    if path in BASE_PATHS:
        path += "/realtime"
    named = {name for name, _ in parse_qsl(parts.query, keep_blank_values=True)}
    query = parts.query
    if not named & {"model", "deployment", "call_id"}:
        query += ("&" if query else "") + f"model={quote(config.model, safe='')}"
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((_SECURE[parts.scheme], host, path, query, ""))
