"""The audio formats that a session asks for, and those that it really has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from avr_bridge.audio.format import ALAW_8K, PCM16_24K, ULAW_8K, AudioFormat, Encoding

if TYPE_CHECKING:
    from avr_bridge.config import ModelConfig

__all__ = ["format_in", "requested_format"]

_REQUESTED = {"pcmu": ULAW_8K, "pcma": ALAW_8K, "pcm": PCM16_24K}
_BY_NAME = {
    Encoding.ULAW.value: ULAW_8K,
    Encoding.ALAW.value: ALAW_8K,
    Encoding.PCM16.value: PCM16_24K,
}


def requested_format(config: ModelConfig) -> AudioFormat:
    """The format that the settings ask for, in both directions."""
    return _REQUESTED[config.audio_format]


def format_in(session: dict[str, Any], side: str, requested: AudioFormat) -> AudioFormat | None:
    """The format that a `session.updated` shows; `requested` if it shows none, None if unknown."""
    found = session
    for key in ("audio", side, "format"):
        inner = found.get(key)
        if not isinstance(inner, dict):
            return requested
        found = inner
    fmt = _BY_NAME.get(str(found.get("type")))
    if fmt is PCM16_24K and found.get("rate", 24_000) != 24_000:
        return None
    return fmt
