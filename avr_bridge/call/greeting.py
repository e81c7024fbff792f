"""The recorded greeting: read when it is new, played before the model has said a word."""

from __future__ import annotations

import functools
import os
from typing import TYPE_CHECKING, Any, cast

import attrs

from avr_bridge.audio.transcode import clip_in
from avr_bridge.audio.wav import read_wav
from avr_bridge.call.orders import FinishItemSound, PlaySound
from avr_bridge.upstream.closing import GREETING_ITEM

if TYPE_CHECKING:
    from avr_bridge.audio.format import AudioFormat
    from avr_bridge.call.line import CallLine
    from avr_bridge.config import TalkConfig

__all__ = [
    "check_recorded_greeting",
    "play_recorded_greeting",
    "recorded_greeting",
    "without_greeting_file",
]


def recorded_greeting(path: str) -> bytes:
    """The recording as PCM16 LE mono, 8 kHz; read again when the file was changed.

    Raises:
        OSError: There is no such file.
        ValueError: It is no WAV that we can read.
    """
    found = os.stat(path)
    return _read(path, found.st_mtime_ns, found.st_size)


@functools.lru_cache(maxsize=16)
def _read(path: str, _mtime_ns: int, _size_bytes: int) -> bytes:
    return read_wav(path)


def check_recorded_greeting(config: TalkConfig, log: Any) -> None:
    """Read it now, before there are calls: a bad one is logged, and the next call tries again."""
    _read_or_log(config, log)


def play_recorded_greeting(config: TalkConfig, leg: AudioFormat, line: CallLine, log: Any) -> bool:
    """Play it, if there is one.

    Args:
        leg: The format of the caller's leg.

    Returns:
        False for a file that cannot be read: it is logged, and the model has to greet.
    """
    if not config.greeting_file:
        return True
    pcm = _read_or_log(config, log)
    if not pcm:
        return False
    line.orders.give(PlaySound(clip_in(leg, pcm), GREETING_ITEM))
    line.orders.give(FinishItemSound(GREETING_ITEM, lambda _item_id: line.greeting_heard()))
    return True


def _read_or_log(config: TalkConfig, log: Any) -> bytes:
    """Empty for none, and for a file that cannot be read or has no sound, which is logged."""
    if not config.greeting_file:
        return b""
    try:
        pcm = recorded_greeting(config.greeting_file)
    except (OSError, ValueError) as error:
        log.warning("greeting file failed", error=str(error))
        return b""
    if not pcm:
        log.warning("greeting file failed", error="it has no sound")
    return pcm


def without_greeting_file(config: TalkConfig) -> TalkConfig:
    """The same settings, as if there were no recording."""
    talk: TalkConfig = attrs.evolve(cast("Any", config), greeting_file=None)
    return talk
