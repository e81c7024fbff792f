"""Tokens, as the model's bill counts them. Values and sums; what they cost is `prices.py`'s.

Where a server writes them in its events is known in `upstream/`.
"""

from __future__ import annotations

import attrs

__all__ = ["Usage"]


@attrs.frozen
class Usage:
    """Tokens of one response or transcription, or of many together.

    Every token stands in exactly one field, so that each can have a price of its own: the API
    counts what it had in its cache among the input, here it is taken out of it.

    Attributes:
        text_in: Text that was read anew: instructions, tools, results, earlier words.
        audio_in: Sound that was read anew.
        cached_text_in: Text that the server still had from an earlier response; cheaper.
        cached_audio_in: Sound likewise.
        other_in: Input of which the server does not say what it is, or which is neither.
        text_out: Text that was made, transcripts of answers and calls of tools included.
        audio_out: Sound that was made; one token is 50 ms.
        other_out: Output of which the server does not say what it is.
        heard_s: Seconds of sound, of a transcription that is billed by time and not by tokens.
    """

    text_in: int = 0
    audio_in: int = 0
    cached_text_in: int = 0
    cached_audio_in: int = 0
    other_in: int = 0
    text_out: int = 0
    audio_out: int = 0
    other_out: int = 0
    heard_s: float = 0.0

    def __add__(self, other: Usage) -> Usage:
        """Both together."""
        ours, theirs = attrs.astuple(self), attrs.astuple(other)
        return Usage(*(one + more for one, more in zip(ours, theirs, strict=True)))

    @property
    def tokens_in(self) -> int:
        """All input, cached or not."""
        return self.text_in + self.audio_in + self.tokens_cached + self.other_in

    @property
    def tokens_cached(self) -> int:
        """The cached part of the input."""
        return self.cached_text_in + self.cached_audio_in

    @property
    def tokens_out(self) -> int:
        """All output."""
        return self.text_out + self.audio_out + self.other_out
