"""Asterisk's AudioSocket as a line: what its dialplan sends and takes, in one of three codecs.

The simulated caller's end of a call straight from Asterisk: one TCP connection, frames of a kind
and a length, the call's UUID first. As Asterisk does it, G.711 goes out as the kind that is
documented as slin, and what comes back is slin whatever the leg's codec is. Written apart from the
bridge's own reader, so that a misunderstanding does not cancel itself out.
"""

from __future__ import annotations

import struct
import uuid as uuids
from contextlib import suppress
from typing import Literal

import trio

from avr_bridge.audio.codec import encode
from avr_bridge.audio.format import PCM16_8K, Encoding
from avr_bridge.testing.caller.line import Audio, Closed, Fault, LineEvent

__all__ = ["AudioSocketLine", "Codec", "audiosocket_frame"]

type Codec = Literal["slin", "ulaw", "alaw"]

_ENCODINGS = {"slin": Encoding.PCM16, "ulaw": Encoding.ULAW, "alaw": Encoding.ALAW}
_HEADER = struct.Struct(">BH")
_HANG_UP, _UUID, _DIGIT, _SOUND = 0x00, 0x01, 0x03, 0x10
_RECEIVE_BYTES = 64 * 1024


def audiosocket_frame(kind: int, payload: bytes = b"") -> bytes:
    """One frame, of any kind and with any payload."""
    return _HEADER.pack(kind, len(payload)) + payload


class AudioSocketLine:
    """A `CallerLine` over a stream on which nothing was sent yet; owns the stream."""

    carries_digits = True

    def __init__(self, stream: trio.abc.Stream, codec: Codec = "slin") -> None:
        self._stream = stream
        self._encoding = _ENCODINGS[codec]
        self._rest = b""
        self._send_lock = trio.Lock()

    async def open(self, host: str, target: str, uuid: str) -> None:
        """Send the UUID; host and target are other transports' words.

        Raises:
            ValueError: `uuid` is none.
        """
        await self._send(audiosocket_frame(_UUID, uuids.UUID(uuid).bytes))

    async def send_audio(self, pcm: bytes) -> None:
        """Send one frame, in the leg's codec."""
        await self._send(audiosocket_frame(_SOUND, encode(pcm, self._encoding)))

    async def send_digit(self, digit: str) -> None:
        """Send one DTMF digit."""
        await self._send(audiosocket_frame(_DIGIT, digit.encode()))

    async def receive(self) -> list[LineEvent]:
        """Wait for frames. A hang-up is the end: Asterisk closes then."""
        try:
            data = await self._stream.receive_some(_RECEIVE_BYTES)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return [Closed(None, "the connection was lost")]
        if not data:
            torn = [Fault("the connection ended within a frame")] if self._rest else []
            return [*torn, Closed(None, "the connection ended without a hang-up")]
        data = self._rest + bytes(data)
        events: list[LineEvent] = []
        while len(data) >= _HEADER.size:
            kind, length = _HEADER.unpack_from(data)
            if kind == _HANG_UP:
                return [*events, Closed(None, "hang-up")]
            if len(data) < _HEADER.size + length:
                break
            payload, data = data[_HEADER.size :][:length], data[_HEADER.size + length :]
            events += _read_sound(kind, payload)
        self._rest = data
        return events

    async def send_goodbye(self) -> None:
        """Close, as Asterisk does when the caller hangs up: there is no other goodbye."""
        if isinstance(self._stream, trio.abc.HalfCloseableStream):
            async with self._send_lock:
                with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                    await self._stream.send_eof()

    async def aclose(self) -> None:
        """Close the connection at once."""
        await trio.aclose_forcefully(self._stream)

    async def _send(self, data: bytes) -> None:
        async with self._send_lock:
            try:
                await self._stream.send_all(data)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return  # `receive` says so


def _read_sound(kind: int, payload: bytes) -> list[LineEvent]:
    if kind != _SOUND:
        return [Fault(f"a frame of kind 0x{kind:02x}, which Asterisk does not take")]
    events: list[LineEvent] = []
    if len(payload) != PCM16_8K.frame_bytes:
        events.append(Fault(f"sound of {len(payload)} bytes: not 20 ms"))
    events.append(Audio(payload[: len(payload) & ~1]))
    return events
