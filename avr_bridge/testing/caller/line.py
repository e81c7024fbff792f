"""The line between a simulated caller and the bridge: what it carries, and what is a breach.

`CallerLine` is the edge that both transports implement. `read_message` judges one message of the
bridge by avr-core's WebSocket contract. No socket and no clock here.

The contract has four messages from the bridge: ``audio`` (base64 of PCM16 LE mono, 8 kHz, whole
frames of 320 bytes), ``interruption``, ``transcript`` (role ``user`` or ``agent``) and ``error``.
"""

from __future__ import annotations

from typing import Literal, Protocol

import attrs
import msgspec

from avr_bridge.audio.format import PCM16_8K

__all__ = [
    "Audio",
    "CallerLine",
    "Closed",
    "ErrorMessage",
    "Fault",
    "Interruption",
    "LineEvent",
    "Transcript",
    "audio_message",
    "digit_message",
    "init_message",
    "read_message",
]


@attrs.frozen
class Audio:
    """Sound from the bridge: PCM16 LE mono, 8 kHz, whole samples."""

    pcm: bytes


@attrs.frozen
class Interruption:
    """The bridge wants everything not yet played to be dropped."""


@attrs.frozen
class Transcript:
    """What was said, in words; `role` is ``"user"`` or ``"agent"``."""

    role: str
    text: str


@attrs.frozen
class ErrorMessage:
    """The bridge reports a problem; the call goes on."""

    text: str


@attrs.frozen
class Fault:
    """The bridge broke the contract; `text` says how, without its audio or texts."""

    text: str


@attrs.frozen
class Closed:
    """The line is down: the last event of all.

    Attributes:
        code: WebSocket close code, 1006 if the line was lost; on HTTP the status of a refusal.
        reason: The reason given, or what was seen.
    """

    code: int | None
    reason: str = ""


type LineEvent = Audio | Interruption | Transcript | ErrorMessage | Fault | Closed


class CallerLine(Protocol):
    """One call's connection, seen from avr-core.

    One task may send while another receives. A send on a line that is down does nothing: `receive`
    is the place that tells of it.

    Attributes:
        carries_digits: Whether `send_digit` is possible.
    """

    carries_digits: bool

    async def send_audio(self, pcm: bytes) -> None:
        """Send one frame: PCM16 LE mono, 8 kHz, 320 bytes."""

    async def send_digit(self, digit: str) -> None:
        """Send one DTMF digit."""

    async def receive(self) -> list[LineEvent]:
        """Wait for what comes next; may be an empty list. Not to be called after `Closed`."""

    async def send_goodbye(self) -> None:
        """Hang up politely; `receive` then gives the last events and `Closed`."""

    async def aclose(self) -> None:
        """Drop the line at once. May be called twice."""


class _InitOut(msgspec.Struct, tag_field="type", tag="init"):
    uuid: str


class _AudioOut(msgspec.Struct, tag_field="type", tag="audio"):
    audio: bytes


class _DigitOut(msgspec.Struct, tag_field="type", tag="dtmf_digit"):
    digit: str


class _AudioIn(msgspec.Struct, tag_field="type", tag="audio"):
    audio: bytes


class _InterruptionIn(msgspec.Struct, tag_field="type", tag="interruption"):
    pass


class _TranscriptIn(msgspec.Struct, tag_field="type", tag="transcript"):
    role: Literal["user", "agent"]
    text: str


class _ErrorIn(msgspec.Struct, tag_field="type", tag="error"):
    message: str


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(_AudioIn | _InterruptionIn | _TranscriptIn | _ErrorIn)


def init_message(uuid: str) -> str:
    """The first message of a call."""
    return _encoder.encode(_InitOut(uuid)).decode()


def audio_message(pcm: bytes) -> str:
    """One frame of the caller's sound, written as JSON.stringify writes it: no spaces."""
    return _encoder.encode(_AudioOut(pcm)).decode()


def digit_message(digit: str) -> str:
    """One DTMF digit."""
    return _encoder.encode(_DigitOut(digit)).decode()


def read_message(text: str) -> list[LineEvent]:
    """Read one text message of the bridge; a breach gives a `Fault`, beside what was usable."""
    message: _AudioIn | _InterruptionIn | _TranscriptIn | _ErrorIn
    try:
        message = _decoder.decode(text)
    except msgspec.ValidationError as error:
        return [Fault(_broken_message(text, error))]
    except (msgspec.DecodeError, UnicodeError):
        return [Fault("a message that is not JSON")]
    match message:
        case _AudioIn(audio=pcm):
            return _read_audio(pcm)
        case _InterruptionIn():
            return [Interruption()]
        case _TranscriptIn(role=role, text=words):
            return [Transcript(role, words)]
        case _ErrorIn(message=words):
            return [ErrorMessage(words)]


def _read_audio(pcm: bytes) -> list[LineEvent]:
    events: list[LineEvent] = []
    if not pcm:
        events.append(Fault("an audio message without audio"))
    elif len(pcm) % PCM16_8K.sample_bytes:
        events.append(Fault(f"audio of {len(pcm)} bytes: half a sample"))
    elif len(pcm) % PCM16_8K.frame_bytes:
        events.append(Fault(f"audio of {len(pcm)} bytes: no multiple of 320"))
    events.append(Audio(pcm[: len(pcm) // 2 * 2]))
    return events


def _broken_message(text: str, error: msgspec.ValidationError) -> str:
    """Say what is wrong with JSON that is none of the four messages."""
    message = msgspec.json.decode(text)
    if not isinstance(message, dict):
        return "a message that is no JSON object"
    kind = message.get("type")
    if kind is None:
        return "a message without a type"
    if kind not in ("audio", "interruption", "transcript", "error"):
        return f"a message of unknown type {str(kind)[:40]!r}"
    if kind == "audio" and isinstance(message.get("audio"), str):
        return "audio that is not base64"
    return f"a bad {kind} message: {error}"
