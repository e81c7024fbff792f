"""avr-core's WebSocket messages without the socket: JSON text in and out, and its rules.

Source of the rules: the wiki page on STS integration of Agent Voice Response and the
connectors' sources (avr-core since September 2025). What a message leads to is decided by the
call, not here.
"""

from __future__ import annotations

import msgspec

from avr_bridge.caller.metadata import cleaned
from avr_bridge.caller.transport import (
    AudioOut,
    CallerAudio,
    CallerEvent,
    CallerFault,
    CallerMessage,
    CallStarted,
    DtmfDigit,
    ErrorOut,
    Interruption,
    TranscriptOut,
)
from avr_bridge.errors import CallerProtocolError

__all__ = ["CallerProtocol", "call_id_of"]

LONGEST_UUID_CHARS = 128
"""An AudioSocket UUID has 36; room for other people's ids, none for a flood in our logs."""

DTMF_DIGITS = frozenset("0123456789*#ABCD")


def call_id_of(text: str) -> str:
    """The id of a call that somebody named so: bounded and `cleaned`; may be nothing."""
    return cleaned(text[:LONGEST_UUID_CHARS]).strip()


class _Init(msgspec.Struct, tag="init"):
    uuid: str


class _Audio(msgspec.Struct, tag="audio"):
    audio: bytes


class _Dtmf(msgspec.Struct, tag="dtmf_digit"):
    digit: str


class _Interruption(msgspec.Struct, tag="interruption"):
    pass


class _Transcript(msgspec.Struct, tag="transcript"):
    role: str
    text: str


class _Error(msgspec.Struct, tag="error"):
    message: str


class _Head(msgspec.Struct):
    type: str


_decoder: msgspec.json.Decoder[_Init | _Audio | _Dtmf] = msgspec.json.Decoder(
    _Init | _Audio | _Dtmf
)
_head_decoder = msgspec.json.Decoder(_Head)
_encoder = msgspec.json.Encoder()
_KNOWN = ("init", "audio", "dtmf_digit")


class CallerProtocol:
    """One connection's state: whether its ``init`` was seen. Pure."""

    def __init__(self) -> None:
        self._started = False

    def receive(self, message: str | bytes | None) -> list[CallerEvent]:
        """Read one WebSocket message.

        Returns:
            One event, or a fault beside the usable part of the message. Never empty.

        Raises:
            CallerProtocolError: Nothing of the message can be used. The text names the fault.
        """
        if not message:
            raise CallerProtocolError("empty message")
        if isinstance(message, bytes):
            raise CallerProtocolError("binary message: expected JSON text")
        decoded = _decode(message)
        if isinstance(decoded, _Audio):
            return _audio(decoded.audio)
        if isinstance(decoded, _Dtmf):
            return [_digit(decoded.digit)]
        return [self._init(decoded.uuid)]

    def _init(self, uuid: str) -> CallStarted:
        if self._started:
            raise CallerProtocolError("init was already received: one call per connection")
        if not 0 < len(uuid) <= LONGEST_UUID_CHARS:
            raise CallerProtocolError(f"init: uuid must have 1 to {LONGEST_UUID_CHARS} characters")
        if cleaned(uuid) != uuid:
            raise CallerProtocolError("init: uuid must have no control characters")
        self._started = True
        return CallStarted(uuid)

    @staticmethod
    def encode(message: CallerMessage) -> bytes:
        """The JSON text (UTF-8) of one message to avr-core. Audio is base64, PCM16 LE, 8 kHz."""
        match message:
            case AudioOut():
                encoded = _encoder.encode(_Audio(message.pcm))
            case Interruption():
                encoded = _encoder.encode(_Interruption())
            case TranscriptOut():
                encoded = _encoder.encode(_Transcript(message.role, message.text))
            case ErrorOut():
                encoded = _encoder.encode(_Error(message.message))
        return encoded


def _decode(message: str) -> _Init | _Audio | _Dtmf:
    try:
        return _decoder.decode(message)
    except msgspec.ValidationError as misfit:
        fault = str(misfit)
    except (msgspec.DecodeError, UnicodeError):
        raise CallerProtocolError("not JSON") from None
    except RecursionError:
        raise CallerProtocolError("nested too deeply") from None
    try:
        kind = _head_decoder.decode(message).type
    except msgspec.ValidationError:
        raise CallerProtocolError("expected an object with a type") from None
    except (msgspec.DecodeError, UnicodeError):  # behind the place of the misfit
        raise CallerProtocolError("not JSON") from None
    except RecursionError:
        raise CallerProtocolError("nested too deeply") from None
    if kind not in _KNOWN:
        raise CallerProtocolError(f"unsupported message type: {kind[:40]}")
    raise CallerProtocolError(f"{kind}: {fault}")


def _audio(pcm: bytes) -> list[CallerEvent]:
    if not pcm:
        raise CallerProtocolError("audio: empty")
    if len(pcm) % 2 == 0:
        return [CallerAudio(pcm)]
    fault = CallerFault(f"audio: {len(pcm)} bytes is no whole number of 16 bit samples")
    whole = pcm[:-1]
    return [CallerAudio(whole), fault] if whole else [fault]


def _digit(digit: str) -> DtmfDigit:
    if digit.upper() not in DTMF_DIGITS:
        raise CallerProtocolError("dtmf_digit: expected one of 0-9, *, #, A-D")
    return DtmfDigit(digit.upper())
