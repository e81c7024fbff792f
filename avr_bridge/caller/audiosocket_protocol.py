"""AudioSocket without the socket: Asterisk's frames in and out, and their rules.

A frame is one byte of kind, two of length (big-endian), and as many of payload. Asterisk dials;
its first frame is the call's UUID. Source: docs.asterisk.org, "AudioSocket", and Asterisk's
``res_audiosocket.c`` where the two differ: it sends G.711 as the kind that is documented as slin.
What an event leads to is decided by the call, not here.
"""

from __future__ import annotations

import enum
import uuid

from avr_bridge.audio.format import PCM16_8K, Encoding
from avr_bridge.audio.leg import LegDecoder
from avr_bridge.caller.protocol import DTMF_DIGITS
from avr_bridge.caller.transport import (
    CallerAudio,
    CallerEvent,
    CallerFault,
    CallerLeft,
    CallStarted,
    DtmfDigit,
    Leaving,
)

__all__ = ["HANG_UP_FRAME", "LONGEST_SOUND_BYTES", "AudioSocketProtocol", "Kind", "sound_frames"]

HEADER_BYTES = 3

LONGEST_SOUND_BYTES = 16_000
"""A second of slin at 8 kHz. Asterisk sends 20 ms, and telephones 150 ms at the very most."""


class Kind(enum.IntEnum):
    """The first byte of a frame."""

    HANG_UP = 0x00
    UUID = 0x01
    DTMF = 0x03
    SOUND = 0x10
    ERROR = 0xFF


_SOUND = int(Kind.SOUND)  # compared fifty times a second and call
_KINDS = frozenset(map(int, Kind))

_LENGTHS = {Kind.UUID: 16, Kind.DTMF: 1}
"""Kinds whose payload has one length only."""

_RATES_HZ = {
    0x11: 12_000,
    0x12: 16_000,
    0x13: 24_000,
    0x14: 32_000,
    0x15: 44_100,
    0x16: 48_000,
    0x17: 96_000,
    0x18: 192_000,
}
"""Slin of other rates, which newer Asterisks send for legs of such a codec. Nothing but 8 kHz is
taken: the dialplan can ask for it."""

HANG_UP_FRAME = bytes(HEADER_BYTES)

_FRAME_HEAD = bytes((Kind.SOUND, *PCM16_8K.frame_bytes.to_bytes(2)))


def sound_frames(pcm: bytes) -> bytes:
    """Sound on the wire, one AudioSocket frame for each 20 ms.

    Always slin: Asterisk takes this kind for it, whatever the leg's own codec is, and translates.

    Args:
        pcm: PCM16 LE mono, 8 kHz, whole frames of 320 bytes.
    """
    step = PCM16_8K.frame_bytes
    if len(pcm) == step:
        return _FRAME_HEAD + pcm
    return b"".join(_FRAME_HEAD + pcm[at : at + step] for at in range(0, len(pcm), step))


class AudioSocketProtocol:
    """One connection's state: what of a frame is there, and whether the UUID was seen. Pure.

    Args:
        encoding: What the leg carries as sound; None: to be found out.
    """

    def __init__(self, encoding: Encoding | None = None) -> None:
        self.decoder = LegDecoder(encoding)
        self._rest = b""
        self._started = False
        self._over = False

    @property
    def has_part(self) -> bool:
        """Whether a frame has begun that is not whole yet."""
        return bool(self._rest)

    def receive(self, data: bytes) -> list[CallerEvent]:
        """Read what came, cut anywhere.

        Returns:
            Events in order. Sound that came together is one. A `CallerLeft` is the last of all:
            after it, and after what no AudioSocket sends, nothing is read.
        """
        if self._over:
            return []
        data = self._rest + data if self._rest else data
        events: list[CallerEvent] = []
        sound: list[bytes] = []
        at, have = 0, len(data)
        while have >= at + HEADER_BYTES and not self._over:
            kind, length = data[at], data[at + 1] << 8 | data[at + 2]
            end = at + HEADER_BYTES + length
            if kind == _SOUND and self._started and 0 < length <= LONGEST_SOUND_BYTES:
                if have < end:
                    break
                sound.append(data[at + HEADER_BYTES : end])
            else:
                self._finish(sound, events)
                fault = self._fault(kind, length)
                if fault is None and have < end:
                    break
                events.append(fault or self._event(kind, data[at + HEADER_BYTES : end]))
                self._over = isinstance(events[-1], CallerLeft)
            at = end
        self._finish(sound, events)
        self._rest = b"" if self._over else data[at:]
        return events

    def _finish(self, sound: list[bytes], events: list[CallerEvent]) -> None:
        """Frames of sound in a row become one event."""
        if not sound:
            return
        decode = self.decoder.decode
        if any(len(frame) & 1 for frame in sound):  # half a sample must not shift the next frame
            for frame in sound:
                pcm = decode(frame, len(frame))
                events.append(CallerAudio(pcm) if pcm else CallerFault("audio: half a sample"))
        else:
            events.append(CallerAudio(decode(b"".join(sound), len(sound[0])), len(sound)))
        sound.clear()

    def _fault(self, kind: int, length: int) -> CallerLeft | None:
        """Whether a frame of this head ends the call; its payload is not waited for."""
        if kind in _RATES_HZ and self._started:
            rate_khz = _RATES_HZ[kind] / 1000
            words = f"sound at {rate_khz:g} kHz (kind 0x{kind:02x}): only 8 kHz is taken"
            return CallerLeft(Leaving.FORMAT_UNKNOWN, words)
        if kind in _RATES_HZ or (not self._started and kind in (Kind.SOUND, Kind.DTMF)):
            words = f"a frame of kind 0x{kind:02x} before the UUID"
        elif kind not in _KINDS:
            words = f"a frame of unknown kind 0x{kind:02x}"
        elif self._started and kind == Kind.UUID:
            words = "a second UUID: one call per connection"
        elif length != _LENGTHS.get(Kind(kind), length):
            words = f"a frame of kind 0x{kind:02x} with {length} bytes"
        elif length > LONGEST_SOUND_BYTES:
            return CallerLeft(Leaving.MESSAGE_TOO_BIG, f"a frame of {length} bytes")
        else:
            return None
        return CallerLeft(Leaving.BROKE_PROTOCOL, words)

    def _event(self, kind: int, payload: bytes) -> CallerEvent:
        match kind:
            case Kind.UUID:
                self._started = True
                return CallStarted(str(uuid.UUID(bytes=payload)))
            case Kind.SOUND:
                return CallerFault("audio: empty")
            case Kind.DTMF:
                digit = payload.decode("latin-1").upper()
                if digit in DTMF_DIGITS:
                    return DtmfDigit(digit)
                return CallerFault("digit: expected one of 0-9, *, #, A-D")
        # An error is Asterisk's word that the other party is gone, or that it cannot go on.
        detail = f"Asterisk reports error 0x{payload[:4].hex()}" if kind == Kind.ERROR else ""
        return CallerLeft(Leaving.HUNG_UP, detail)
