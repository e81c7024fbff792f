"""Asterisk's media WebSocket without the socket: what chan_websocket says, and what it is told.

Text messages are control, in plain text or in JSON, whichever Asterisk begins with; binary ones
are sound in the leg's codec. Source: Asterisk's documentation of the channel driver (20.16, 21.11,
22.6, 23 and newer), its source, and an exchange recorded with 22.10.1. Unknown events are faults
that are counted and change nothing. What an event leads to is decided by the call, not here.
"""

from __future__ import annotations

from typing import Any

import attrs
import msgspec

from avr_bridge.audio.format import (
    ALAW_8K,
    FRAME_MS,
    PCM16_8K,
    PCM16_16K,
    PCM16_24K,
    ULAW_8K,
    AudioFormat,
)
from avr_bridge.caller.metadata import cleaned
from avr_bridge.caller.protocol import DTMF_DIGITS
from avr_bridge.caller.transport import CallerFault, DtmfDigit, MarkPlayed, SoundHeld

__all__ = [
    "ChanEvent",
    "ChanProtocol",
    "FormatUnknown",
    "MediaStarted",
    "Status",
    "format_named",
]

FORMATS = {
    "ulaw": ULAW_8K,
    "alaw": ALAW_8K,
    "slin": PCM16_8K,
    "slin16": PCM16_16K,
    "slin24": PCM16_24K,
}
"""By Asterisk's names, as after ``c(`` in the dial string."""

MOST_COMMAND_BYTES = 128
"""Asterisk leaves longer commands unread."""


@attrs.frozen
class MediaStarted:
    """The leg is there: its ids, the format of its sound, and what JSON adds of the channel.

    Attributes:
        channel: Name of the leg's own channel, ``WebSocket/name/0x...``.
        channel_id: Its unique id.
        frame_ms: How long the frames are that Asterisk counts in.
    """

    channel: str
    channel_id: str
    connection_id: str
    fmt: AudioFormat
    frame_ms: int
    variables: dict[str, str]


@attrs.frozen
class Status:
    """Frames of ours that wait to be played."""

    queue_frames: int


@attrs.frozen
class FormatUnknown:
    """The leg's sound is of no use to us; in words.

    Attributes:
        channel_id, connection_id, variables: As of `MediaStarted`, where the leg began with this.
        at_start: Whether ``MEDIA_START`` said so.
    """

    message: str
    channel_id: str = ""
    connection_id: str = ""
    variables: dict[str, str] = attrs.field(factory=dict)
    at_start: bool = False


ChanEvent = MediaStarted | MarkPlayed | SoundHeld | DtmfDigit | Status | FormatUnknown | CallerFault


class _Event(msgspec.Struct):
    event: str
    connection_id: str = ""
    channel: str = ""
    channel_id: str = ""
    format: str = ""
    optimal_frame_size: int = 0
    ptime: int = 0
    channel_variables: dict[str, Any] | None = None
    correlation_id: str = ""
    digit: str = ""
    queue_length: int = 0
    error_text: str = ""


class _Command(msgspec.Struct, omit_defaults=True):
    command: str
    correlation_id: str = ""


_decoder = msgspec.json.Decoder(_Event)
_encoder = msgspec.json.Encoder()

_SILENTLY_IGNORED = frozenset({"MEDIA_BUFFERING_COMPLETED", "QUEUE_DRAINED"})
"""Answers to what is never asked here; another program may have asked on the same leg."""


def format_named(name: str) -> AudioFormat | None:
    """The format that Asterisk calls so; None for one that we cannot do."""
    return FORMATS.get(name)


class ChanProtocol:
    """One leg's: which way of writing Asterisk uses. Pure.

    Attributes:
        in_json: Whether commands are written as JSON; settled by the first event.
    """

    def __init__(self) -> None:
        self.in_json = False

    def receive(self, message: str) -> ChanEvent | None:
        """Read one text message; None for an event that says nothing to us."""
        if message.startswith("{"):
            self.in_json = True
            try:
                event = _decoder.decode(message)
            except (msgspec.DecodeError, RecursionError):
                return CallerFault("a control message that is no event")
        else:
            read = _plain(message)
            if read is None:
                return CallerFault("a control message that is no event")
            event = read
        return _meaning(event)

    def command(self, name: str, correlation_id: str = "") -> bytes:
        """One command's text, in the way of writing that Asterisk uses."""
        if self.in_json:
            return _encoder.encode(_Command(name, correlation_id))
        return f"{name} {correlation_id}".strip().encode()


def _plain(message: str) -> _Event | None:
    """``NAME key:value key:value``; the last value may have blanks, a mark's id has no key."""
    name, _, rest = message.strip().partition(" ")
    if not name.isascii() or not name.replace("_", "").isalpha():
        return None
    values: dict[str, Any] = {"event": name}
    text_at = rest.find("error_text:")
    if text_at >= 0:
        values["error_text"] = rest[text_at + len("error_text:") :]
        rest = rest[:text_at]
    for word in rest.split():
        key, colon, value = word.partition(":")
        if colon:
            values[key] = value
        else:
            values.setdefault("correlation_id", word)
    try:
        return msgspec.convert(values, _Event, strict=False)
    except msgspec.ValidationError:
        return None


def _meaning(event: _Event) -> ChanEvent | None:
    found: ChanEvent | None
    match event.event:
        case "MEDIA_START":
            found = _started(event)
        case "MEDIA_MARK_PROCESSED":
            found = MarkPlayed(event.correlation_id)
        case "STATUS":
            found = Status(max(event.queue_length, 0))
        case "MEDIA_XOFF":
            found = SoundHeld(on=True)
        case "MEDIA_XON":
            found = SoundHeld(on=False)
        case "DTMF_END":
            digit = event.digit.upper()
            found = DtmfDigit(digit) if digit in DTMF_DIGITS else CallerFault("DTMF_END: no key")
        case "ERROR" if "passthrough" in event.error_text:
            found = FormatUnknown("passthrough: the p option of the dial string leaves no marks")
        case "ERROR":
            found = CallerFault(f"Asterisk: {cleaned(event.error_text[:100])}")
        case name if name in _SILENTLY_IGNORED:
            found = None
        case name:
            found = CallerFault(f"unknown event: {cleaned(name[:40])}")
    return found


def _started(event: _Event) -> MediaStarted | FormatUnknown:
    given = event.channel_variables or {}
    variables = {key: value for key, value in given.items() if isinstance(value, str)}
    ids = (event.channel_id, event.connection_id)
    fmt = format_named(event.format)
    frame_ms = event.ptime or FRAME_MS
    if fmt is None:
        named = cleaned(event.format[:40]) or "(none)"
        words = f"format {named}: expected one of {', '.join(FORMATS)}"
        return FormatUnknown(words, *ids, variables, at_start=True)
    frame_bytes = event.optimal_frame_size or fmt.bytes_of_ms(frame_ms)
    frame_ms = round(fmt.ms(frame_bytes))
    if frame_ms <= 0 or frame_bytes != fmt.bytes_of_ms(frame_ms) or FRAME_MS % frame_ms:
        words = f"frames of {frame_bytes} bytes: expected {fmt.frame_bytes} (20 ms), or 10 ms, 5 ms"
        return FormatUnknown(words, *ids, variables, at_start=True)
    return MediaStarted(event.channel, *ids, fmt, frame_ms, variables)
