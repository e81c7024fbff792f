"""Which dialect a Realtime server speaks, and how it wants to be greeted at the door.

GA is the one vocabulary inside the bridge; at the edge to the model every event passes through
the connection's `Dialect`. The dialects themselves are modules of `dialects/`: a newer protocol is
one more of them, and one more line in each table here.

``OPENAI_DIALECT=auto`` takes two looks: `dialect_of_url` before the connection, because headers
depend on it, and `verified_dialect` at the first `session.created`, which is believed where it
says something. Nothing dialect-bound has been sent before that. No I/O and no state here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

from avr_bridge.model_section import XAI_HOST
from avr_bridge.upstream.dialects.base import Dialect, DialectName, JsonObject
from avr_bridge.upstream.dialects.beta import BetaDialect
from avr_bridge.upstream.dialects.ga import GaDialect
from avr_bridge.upstream.dialects.xai import XaiDialect

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "Dialect",
    "DialectName",
    "dialect_of_session",
    "dialect_of_url",
    "headers_for",
    "make_dialect",
    "verified_dialect",
]

AZURE_HOSTS = ("openai.azure.com", "cognitiveservices.azure.com", "services.ai.azure.com")
OPENAI_HOSTS = ("api.openai.com",)
XAI_HOSTS = (XAI_HOST,)

AZURE_PREVIEW_PATHS = ("/openai", "/openai/realtime")
"""With ``api-version=`` in the query; Azure GA is ``/openai/v1/realtime`` and has none."""

_BETA_FIELDS = frozenset(
    (
        *("modalities", "input_audio_format", "output_audio_format"),
        *("input_audio_transcription", "max_response_output_tokens"),
    )
)
"""Fields of a session that GA never shows. Beta always shows some of them."""

_XAI_FIELDS = frozenset(("voice", "turn_detection"))
"""At the top of a session *beside* `audio`: xAI's mixture."""

_MAKERS: dict[DialectName, Callable[[], Dialect]] = {
    DialectName.GA: GaDialect,
    DialectName.BETA: BetaDialect,
    DialectName.XAI: XaiDialect,
}


def make_dialect(name: DialectName) -> Dialect:
    """A fresh dialect for one connection."""
    return _MAKERS[name]()


def dialect_of_url(url: str) -> DialectName:
    """The likeliest dialect of an address: GA unless it is known to be another."""
    parts = urlsplit(url)
    if _is_at(parts.hostname, XAI_HOSTS):
        return DialectName.XAI
    path = parts.path.rstrip("/")
    asked = {name for name, _ in parse_qsl(parts.query, keep_blank_values=True)}
    if "api-version" in asked and path.endswith(AZURE_PREVIEW_PATHS):
        return DialectName.BETA
    return DialectName.GA


def dialect_of_session(session_created: JsonObject) -> DialectName | None:
    """The dialect that an undecoded `session.created` is in.

    None: this cannot tell (another event, a bare session), and the earlier guess stands.
    """
    session: Any = session_created.get("session")
    if session_created.get("type") != "session.created" or not isinstance(session, dict):
        return None
    has_audio = isinstance(session.get("audio"), dict)
    if has_audio and session.keys() & _XAI_FIELDS:
        return DialectName.XAI
    if session.keys() & _BETA_FIELDS:
        return DialectName.BETA
    if has_audio or session.get("type") == "realtime":
        return DialectName.GA
    return None


def verified_dialect(guess: DialectName, session_created: JsonObject) -> DialectName:
    """What `auto` settles on at the first `session.created`.

    xAI's host is certain knowledge, while its mixed session can look like anybody's.
    """
    if guess is DialectName.XAI:
        return guess
    return dialect_of_session(session_created) or guess


def headers_for(url: str, key: str | None, name: DialectName) -> list[tuple[str, str]]:
    """Headers of the upgrade request.

    Azure takes a key as ``api-key`` and others as ``Authorization``. ``OpenAI-Beta`` goes to
    beta servers alone, and never to OpenAI: it closes such sessions, whatever they speak.
    """
    host = urlsplit(url).hostname
    azure = _is_at(host, AZURE_HOSTS)
    headers: list[tuple[str, str]] = []
    if key is not None:
        headers.append(("api-key", key) if azure else ("Authorization", f"Bearer {key}"))
    if name is DialectName.BETA and not azure and not _is_at(host, OPENAI_HOSTS):
        headers.append(("OpenAI-Beta", "realtime=v1"))
    return headers


def _is_at(host: str | None, domains: tuple[str, ...]) -> bool:
    """Whether a host is one of the domains or below one."""
    return host is not None and any(host == one or host.endswith(f".{one}") for one in domains)
