"""What an error on the model's side means, and what to do about it, in words. A table; no I/O.

By the server's own name for it first, then by HTTP status, then by how far the connection had
come. The names and their meaning are those of `upstream/error_codes.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from avr_bridge.errors import UpstreamClosed, UpstreamRejected

if TYPE_CHECKING:
    from avr_bridge.errors import UpstreamError
    from avr_bridge.upstream.events import ErrorDetail

__all__ = ["CONNECTION", "NAME", "TLS", "UPGRADE", "Finding", "of_error", "of_event"]

NAME, CONNECTION, TLS, UPGRADE = "name", "connection", "TLS", "upgrade"
"""Steps of a connection, by the names under which they are told."""


@attrs.frozen
class Finding:
    """What is wrong, and what to do."""

    words: str
    advice: str


_KEY = Finding(
    "the key is not accepted",
    "Look at OPENAI_API_KEY (or the file of OPENAI_API_KEY_FILE): a whole key of this provider, "
    "not revoked, of the right project.",
)
_QUOTA = Finding(
    "the account has no quota left",
    "Add credit, or raise the limit, with the provider. The key itself is good.",
)
_RATE = Finding(
    "too many requests for this account",
    "Try again in a minute. If it stays: ask the provider for a higher rate limit.",
)
_MODEL = Finding(
    "the model is not known, or not open to this key",
    "Look at OPENAI_MODEL, and whether the key's project may use it.",
)
_CODES = {
    "invalid_api_key": _KEY,
    "insufficient_quota": _QUOTA,
    "billing_hard_limit_reached": _QUOTA,
    "account_deactivated": Finding(
        "the account was switched off", "Ask the provider why; another account's key works."
    ),
    "model_not_found": _MODEL,
    "rate_limit_exceeded": _RATE,
    "beta_api_shape_disabled": Finding(
        "the server no longer speaks the beta protocol",
        "Set OPENAI_DIALECT=auto, and look whether OPENAI_ENDPOINT asks for an old API version.",
    ),
    "session_expired": Finding("the session had expired", "Try again."),
}
_STATUSES = {
    400: Finding(
        "the server does not understand the request",
        "Look at OPENAI_ENDPOINT and OPENAI_MODEL; on Azure: can the deployment do Realtime?",
    ),
    401: _KEY,
    403: Finding(
        "the key may not use this",
        "Look whether the account, its project and its region have access to the Realtime API.",
    ),
    404: Finding(
        "there is no Realtime API at this address",
        "Look at OPENAI_ENDPOINT; on Azure at the deployment's name, and at /openai/v1 in it.",
    ),
    429: _RATE,
}
_OUTAGE = Finding(
    "the server has trouble of its own",
    "Look at the provider's status page, and try again.",
)
_SETTINGS = {
    "voice": "OPENAI_VOICE",
    "speed": "OPENAI_SPEED",
    "transcription": "OPENAI_TRANSCRIPTION_MODEL and OPENAI_LANGUAGE",
    "noise_reduction": "OPENAI_NOISE_REDUCTION",
    "turn_detection": "OPENAI_TURN_DETECTION and its neighbours",
    "reasoning": "OPENAI_REASONING_EFFORT and OPENAI_MODEL",
    "max_output_tokens": "OPENAI_MAX_TOKENS",
    "tools": "the tools: `avr-bridge tools --schema`",
    "instructions": "the instructions",
    "format": "OPENAI_AUDIO_FORMAT",
    "type": "OPENAI_DIALECT; auto finds out by itself",
}
"""Parts of a session's field names, to where they are set."""

SHOWN_CHARS = 300


def of_event(error: ErrorDetail) -> Finding:
    """What the server refuses, or fails at, in the middle of a session."""
    said = " ".join((error.message or "").split())[:SHOWN_CHARS]
    known = _CODES.get(error.code or "")
    if known is not None:
        return attrs.evolve(known, words=_with(known.words, said))
    words = _with(error.code or "an error without a name", said)
    field = error.param or ""
    setting = next((where for part, where in _SETTINGS.items() if part in field), "")
    if setting:
        return Finding(f"the server refuses {field}: {words}", f"Look at {setting}.")
    return Finding(words, "The words are the server's; what it names is what to change.")


def of_error(error: UpstreamError, at: str, *, proxied: bool) -> Finding:
    """Why there is no connection, or no longer.

    Args:
        at: The step that it happened in.
        proxied: Whether a proxy is on the way.
    """
    if isinstance(error, UpstreamClosed):
        name = error.reason.rpartition(".")[2]
        found = _CODES.get(name, Finding("the server closed the connection", _OUTAGE.advice))
    elif error.status is not None:
        found = _CODES.get(error.error_code) or _STATUSES.get(error.status, _OUTAGE)
    else:
        found = _by_step(error, at, proxied=proxied)
    return attrs.evolve(found, words=_with(found.words, str(error)))


def _by_step(error: UpstreamError, at: str, *, proxied: bool) -> Finding:
    if at == TLS and isinstance(error, UpstreamRejected):
        return Finding(
            "the server's certificate is not accepted",
            "If a company's proxy looks into TLS, give its certificate by SSL_CERT_FILE; else "
            "somebody else answers under this name. The machine's clock matters too.",
        )
    if at == TLS:
        return Finding(
            "no TLS with the server",
            "Look whether the port of OPENAI_ENDPOINT is one for TLS; without TLS it is ws://.",
        )
    if at == CONNECTION and proxied:
        return Finding(
            "no way through the proxy",
            "Look at HTTPS_PROXY, HTTP_PROXY, ALL_PROXY (address, user, password) and NO_PROXY, "
            "and whether the proxy lets CONNECT through to this host and port.",
        )
    if at == CONNECTION:
        return Finding(
            "no connection to the server",
            "Look at the firewall and the network of the container; where only a proxy leads out, "
            "set HTTPS_PROXY.",
        )
    return Finding(
        "no WebSocket at this address",
        "Look at OPENAI_ENDPOINT, and whether a proxy on the way lets WebSockets through.",
    )


def _with(words: str, said: str) -> str:
    return f"{words} ({said})" if said else words
