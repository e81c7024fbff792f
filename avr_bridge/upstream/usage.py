"""The bill in the model's events: how GA and beta servers count tokens, as `Usage`.

Lenient by intent, like `events.py`: what is missing or makes no sense counts nothing. xAI bills by
the minute and says nothing here.

GA and beta agree but for one thing: `cached_tokens_details`, which says what kind the cached tokens
are, is GA's. Where it is missing they are taken for text first: what stays the same from one
response to the next begins with the instructions and tools.
"""

from __future__ import annotations

from typing import Any

from avr_bridge.telemetry.usage import Usage

__all__ = ["MOST_TOKENS", "usage_of_response", "usage_of_transcription"]

MOST_TOKENS = 1_000_000
"""More than any answer can have; a larger number is not a bill."""

MOST_HEARD_S = 24 * 3600.0


def usage_of_response(bill: Any) -> Usage | None:
    """The `usage` of a `response.done`; None if the server says nothing of it."""
    return _usage(bill) if isinstance(bill, dict) and bill else None


def usage_of_transcription(bill: Any) -> Usage | None:
    """The `usage` of an `...input_audio_transcription.completed`, in tokens or in seconds."""
    if not isinstance(bill, dict) or not bill:
        return None
    if bill.get("type") != "duration":
        return _usage(bill)
    seconds = bill.get("seconds")
    if not isinstance(seconds, int | float) or not 0 <= seconds <= MOST_HEARD_S:
        return None
    return Usage(heard_s=float(seconds))


def _usage(bill: dict[str, Any]) -> Usage:
    tokens_in, tokens_out = _count(bill, "input_tokens"), _count(bill, "output_tokens")
    heard, made = _object(bill, "input_token_details"), _object(bill, "output_token_details")
    text_in, audio_in = _count(heard, "text_tokens"), _count(heard, "audio_tokens")
    audio_out = _count(made, "audio_tokens")
    text_out = _count(made, "text_tokens")
    if made or bill.get("type") == "tokens":
        # Reasoning is billed as text; a transcription makes nothing else, and gives no details.
        text_out = max(text_out, tokens_out - audio_out)
    cached = _count(heard, "cached_tokens")
    kinds = _object(heard, "cached_tokens_details")
    cached_text = _count(kinds, "text_tokens") if kinds else min(cached, text_in)
    cached_audio = _count(kinds, "audio_tokens") if kinds else min(cached - cached_text, audio_in)
    cached_text, cached_audio = min(cached_text, text_in), min(cached_audio, audio_in)
    return Usage(
        text_in=text_in - cached_text,
        audio_in=audio_in - cached_audio,
        cached_text_in=cached_text,
        cached_audio_in=cached_audio,
        other_in=max(tokens_in - text_in - audio_in, 0),
        text_out=text_out,
        audio_out=audio_out,
        other_out=max(tokens_out - text_out - audio_out, 0),
    )


def _object(bill: dict[str, Any], name: str) -> dict[str, Any]:
    value = bill.get(name)
    return value if isinstance(value, dict) else {}


def _count(bill: dict[str, Any], name: str) -> int:
    value = bill.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MOST_TOKENS:
        return 0
    return value
