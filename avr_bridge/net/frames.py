"""WebSocket frames of the usual kind, read and written without ceremony; all others left alone.

On both sockets of a call, beside wsproto. avr-core sends fifty short text frames a second, Asterisk
as many binary ones; a general parser takes 18 us for each, this one 4. Whatever is not a whole,
unfragmented frame under 64 KiB, of ASCII text, or of bytes if a client sent it, and masked then
(RFC 6455, section 5.2), comes out untouched, for the general parser. Pure.
"""

from __future__ import annotations

import os

import numpy

__all__ = ["Foreign", "FrameSplitter", "binary_frame", "masked_text_frame", "text_frame"]

LONGEST_KEPT_BYTES = 4096
"""Of a client's frame that is not whole yet. avr-core's have 450 bytes; a longer one is given to
the general parser piece by piece, so that nobody who sends in drips makes us copy it again and
again."""

LONGEST_KEPT_OF_SERVER_BYTES = 65_535
"""A model's delta of sound has some 16 kB, and comes in a few pieces. Whom we dial ourselves does
not drip."""

_FIN_TEXT = 0x81
_FIN_BINARY = 0x82
_FIN = 0x80
_RESERVED = 0x70
_OPCODE = 0x0F
_FIRST_CONTROL = 0x08
_CONTINUATION = 0x00
_PINGS = (0x09, 0x0A)
_MASKED = 0x80
_SHORT, _TWO_BYTES, _EIGHT_BYTES = 125, 126, 127
_MASK_BYTES = 4
_LONG_BYTES = 800
_ALL_THAT_COMES = 1 << 64


class Foreign(bytes):
    """Something that the general parser has to read, cut anywhere."""


class FrameSplitter:
    """One connection's frames from its peer, in order: messages, and what the general parser reads.

    Messages are handed out only between others, so the general parser sees whole messages and
    never misses a part of one.

    Args:
        of_client: Whether the peer is a client, whose frames are masked. Only a client's binary
            messages are handed out: a model sends none.
    """

    def __init__(self, *, of_client: bool = True) -> None:
        self._quick = (_FIN_TEXT, _FIN_BINARY) if of_client else (_FIN_TEXT,)
        self._mask_bit, self._mask_bytes = (_MASKED, _MASK_BYTES) if of_client else (0, 0)
        self._longest_kept = LONGEST_KEPT_BYTES if of_client else LONGEST_KEPT_OF_SERVER_BYTES
        self._waiting = b""
        self._foreign_left = 0
        self._in_message = False

    @property
    def has_part(self) -> bool:
        """Whether a frame has begun that is not handed out yet."""
        return bool(self._waiting)

    def push(self, data: bytes) -> list[str | bytes | None]:
        """Take what came over the socket, cut anywhere.

        Returns:
            In order: `str`, one whole text message; `Foreign`, something that the general parser
            has to read; any other `bytes`, one whole binary message; None before what is foreign
            where it is the beginning of another message, or of the end.
        """
        if self._waiting:
            data = self._waiting + data
            self._waiting = b""
        found: list[str | bytes | None] = []
        at = 0
        while at < len(data):
            if self._foreign_left:
                end = min(at + self._foreign_left, len(data))
                self._foreign_left -= end - at
                found.append(Foreign(data[at:end]))
            elif data[at] in self._quick and not self._in_message:
                end = self._read_whole(data, at, found)
            else:
                end = self._skip_foreign(data, at, found)
            if end == at and not self._foreign_left:
                self._waiting = data[at:]
                break
            at = end
        return found

    def _read_whole(self, data: bytes, at: int, found: list[str | bytes | None]) -> int:
        """Returns: the frame's end; `at` if it is not whole yet, or is for the other parser."""
        have = len(data)
        if have < at + 2:
            return at
        length = data[at + 1] ^ self._mask_bit
        start = at + 2
        if length == _TWO_BYTES:
            start += 2
            if have < start:
                return at
            length = data[at + 2] << 8 | data[at + 3]
            if length <= _SHORT:  # must have been written shorter
                return self._skip_foreign(data, at, found)
        elif length > _SHORT:  # very long, or not masked as it should be
            return self._skip_foreign(data, at, found)
        end = start + self._mask_bytes + length
        if have < end:
            return at if length <= self._longest_kept else self._skip_foreign(data, at, found)
        payload = data[start + self._mask_bytes : end]
        if self._mask_bytes:
            payload = _masked(payload, data[start : start + self._mask_bytes])
        if data[at] == _FIN_BINARY:
            found.append(payload)
        elif payload.isascii():
            found.append(payload.decode("ascii"))
        else:
            return self._skip_foreign(data, at, found)
        return end

    def _skip_foreign(self, data: bytes, at: int, found: list[str | bytes | None]) -> int:
        """Measure a frame of another kind. Always returns `at`: its bytes are handed on next."""
        if len(data) < at + 2:
            return at
        first, length = data[at], data[at + 1]
        if first & _RESERVED or length & _MASKED != self._mask_bit:
            self._foreign_left = _ALL_THAT_COMES  # no frame that may be sent: let the other say so
            found.append(None)
            return at
        length &= 0x7F
        start = at + 2
        extra = {_TWO_BYTES: 2, _EIGHT_BYTES: 8}.get(length, 0)
        if len(data) < start + extra:
            return at
        if extra:
            length = int.from_bytes(data[start : start + extra], "big")
        self._foreign_left = start - at + extra + self._mask_bytes + length
        opcode, is_last = first & _OPCODE, bool(first & _FIN)
        goes_on = opcode == _CONTINUATION and self._in_message
        if not goes_on and not (opcode in _PINGS and is_last and not extra):
            found.append(None)
        if opcode < _FIRST_CONTROL:
            self._in_message = not is_last
        return at


def text_frame(payload: bytes) -> bytes:
    """A server's frame, not masked, with `payload` as one whole text message (UTF-8)."""
    return _head(_FIN_TEXT, len(payload), 0) + payload


def binary_frame(payload: bytes) -> bytes:
    """A server's frame, not masked, with `payload` as one whole binary message."""
    return _head(_FIN_BINARY, len(payload), 0) + payload


def masked_text_frame(payload: bytes) -> bytes:
    """A client's frame, masked with a key that nobody can guess."""
    key = os.urandom(_MASK_BYTES)
    return _head(_FIN_TEXT, len(payload), _MASKED) + key + _masked(payload, key)


def _head(first: int, length: int, masked: int) -> bytes:
    if length <= _SHORT:
        return bytes((first, masked | length))
    if length < 65_536:
        return bytes((first, masked | _TWO_BYTES, length >> 8, length & 0xFF))
    return bytes((first, masked | _EIGHT_BYTES)) + length.to_bytes(8, "big")


def _masked(payload: bytes, key: bytes) -> bytes:
    """Masked, or unmasked. As one large number, or as many of four bytes: whichever is faster."""
    length = len(payload)
    if length > _LONG_BYTES:
        words = numpy.frombuffer(payload + bytes(-length % _MASK_BYTES), numpy.uint32)
        return (words ^ numpy.frombuffer(key, numpy.uint32)).tobytes()[:length]
    repeated = key * ((length + 3) >> 2)
    mixed = int.from_bytes(payload, "little") ^ int.from_bytes(repeated[:length], "little")
    return mixed.to_bytes(length, "little")
