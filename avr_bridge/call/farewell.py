"""`say_farewell`: the bridge ends a running call itself, with words that need no model.

Beside the conversation, which may be in the middle of an answer or may never have begun. The
words go the road of every other sound, through the outbound pump, so they are paced and the call
ends when the caller has heard them. Which words, and when, is decided elsewhere.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Literal

import trio

from avr_bridge.audio.format import PCM16_8K
from avr_bridge.audio.sounds import read_clip
from avr_bridge.audio.wav import read_wav
from avr_bridge.call.orders import LastWords
from avr_bridge.telemetry import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable

    from avr_bridge.call.ending import EndReason
    from avr_bridge.call.line import CallLine

__all__ = ["FAREWELL_SLACK_S", "clip_of", "clip_s", "say_farewell"]

FAREWELL_SLACK_S = 0.5
"""From the moment at which the words should have been heard until the call ends all the same: what
the peer had still to play (200 ms), and a late wake-up on a busy machine."""

THEN_LIMIT_S = 10.0
"""For what is done in place of ending, such as a transfer; avr-ami answers within 5 s."""


def clip_s(pcm: bytes) -> float:
    """How long a clip of PCM16 LE mono, 8 kHz, sounds, in seconds."""
    return PCM16_8K.ms(len(pcm)) / 1000


def clip_of(path: str | None, shipped: Literal["farewell", "fallback"]) -> bytes:
    """Words of the bridge's own: PCM16 LE mono, 8 kHz; empty for none.

    Args:
        shipped: The clip that ships for this occasion.
        path: A WAV file, ``"off"`` for none, or None for the clip that ships. A file that cannot
            be read is logged, and the clip that ships is played in its place.
    """
    if path == "off":
        return b""
    if path is not None:
        try:
            return read_wav(path)
        except (OSError, ValueError) as error:
            get_logger().warning(f"{shipped} file failed", error=str(error))
    return read_clip(shipped)


def say_farewell(
    line: CallLine,
    clip_pcm: bytes,
    reason: EndReason,
    detail: str = "",
    *,
    finish_for_s: float = 0.0,
    then: Callable[[], None] | None = None,
) -> bool:
    """Say last words to the caller and end the call. Never waits, and may be called twice.

    Works in the middle of an answer, before the model was reached, and after it was lost. What
    the model says or closes from now on neither delays nor stops it, nor does the caller's speech;
    the caller's hangup does.
    The call ends when the words should have been heard, even if nothing can be played.

    Args:
        line: The running call.
        clip_pcm: PCM16 LE mono, 8 kHz. May be empty: the call then ends without words, at the
            end of the answer.
        reason: Why the call ends.
        detail: More about it, for the summary and the log.
        finish_for_s: How long an answer that is being heard may go on; 0 stops it at once. The
            words begin as soon as nothing is heard.
        then: Called once in place of ending when the words were heard, for example to transfer
            the call; it sees to the end itself. After `THEN_LIMIT_S` the call ends all the same.

    Returns:
        False if the call is over, or a farewell was begun before; that one stands.
    """
    now_s = trio.current_time()
    heard_by_s = now_s + finish_for_s + clip_s(clip_pcm) + FAREWELL_SLACK_S
    if not line.ending.plan(heard_by_s, reason, detail):
        return False
    pcm = clip_pcm + bytes(-len(clip_pcm) % PCM16_8K.frame_bytes)
    heard = line.ending.end_as_planned if then is None else partial(_go_on, line, then)
    orders = line.orders
    orders.give(LastWords(pcm, now_s + finish_for_s, lambda cut: orders.on_cut(cut), heard))
    return True


def _go_on(line: CallLine, then: Callable[[], None]) -> None:
    line.ending.end_planned_by(trio.current_time() + THEN_LIMIT_S)
    then()
