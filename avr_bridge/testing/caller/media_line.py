"""Asterisk's chan_websocket as a line: the media subprotocol, in µ-law, with the driver's clock.

The simulated caller's end of a call straight from Asterisk over a WebSocket. What the channel
driver does is `chan/driver.py`'s: each frame of the caller's is a tick of its clock, by which marks
come back and its queue is played. The caller hears what was sent at the same pace.
"""

from __future__ import annotations

import trio
import wsproto

from avr_bridge.audio.codec import decode, encode
from avr_bridge.audio.format import ULAW_8K, Encoding
from avr_bridge.testing.caller.events import CallNotPlaced
from avr_bridge.testing.caller.line import Audio, Closed, Fault, Interruption, LineEvent
from avr_bridge.testing.chan.driver import MediaDriver
from avr_bridge.testing.chan.wires import LegNotPlaced, SocketWire, WireClosed

__all__ = ["MediaLine"]


class MediaLine:
    """A `CallerLine` over a stream on which nothing was sent yet; owns the stream."""

    carries_digits = True

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._wire = SocketWire(stream)
        self._driver = MediaDriver("ulaw")

    async def open(self, host: str, target: str, uuid: str) -> None:
        """Shake hands and send ``MEDIA_START``, with `uuid` as the channel's id.

        Raises:
            CallNotPlaced: The server refused, or is no WebSocket server.
        """
        try:
            await self._wire.shake_hands(host, target)
        except LegNotPlaced as refused:
            raise CallNotPlaced(str(refused), refused.status) from refused
        except wsproto.utilities.RemoteProtocolError as error:
            raise CallNotPlaced(f"the server does not speak WebSocket: {error}") from error
        except trio.BrokenResourceError as error:
            raise CallNotPlaced("the server broke off during the WebSocket handshake") from error
        self._driver = MediaDriver("ulaw", channel_id=uuid)
        await self._wire.send(self._driver.start())

    async def send_audio(self, pcm: bytes) -> None:
        """Send one frame; 20 ms are over for the driver too."""
        _played, events = self._driver.tick()
        for event in events:
            await self._wire.send(event)
        await self._wire.send(encode(pcm, Encoding.ULAW))

    async def send_digit(self, digit: str) -> None:
        """Send one DTMF digit."""
        await self._wire.send(self._driver.key(digit))

    async def receive(self) -> list[LineEvent]:
        """Wait for sound and commands; obeys them on the way."""
        try:
            messages = await self._wire.receive()
        except WireClosed as closed:
            return [Closed(closed.code, closed.reason)]
        except wsproto.utilities.ProtocolError as error:
            return [Fault(f"broken WebSocket framing: {error}"), Closed(1002, "protocol error")]
        events: list[LineEvent] = []
        for message in messages:
            if isinstance(message, bytes):
                events += await self._take_sound(message)
            else:
                events += await self._obey(message)
        return events

    async def send_goodbye(self) -> None:
        """Close, as Asterisk does when the caller hangs up."""
        await self._wire.close()

    async def aclose(self) -> None:
        """Drop the connection at once."""
        await self._wire.aclose()

    async def _take_sound(self, data: bytes) -> list[LineEvent]:
        for answer in self._driver.media(data):
            await self._wire.send(answer)
        whole = len(data) - len(data) % ULAW_8K.frame_bytes
        sound: list[LineEvent] = [Audio(decode(data[:whole], Encoding.ULAW))]
        if whole == len(data):
            return sound
        return [*sound, Fault(f"sound of {len(data)} bytes: Asterisk drops what fills no frame")]

    async def _obey(self, command: str) -> list[LineEvent]:
        waited, unknown = self._driver.queue_frames > 0, len(self._driver.unknown)
        flushes = self._driver.flushes
        for answer in self._driver.command(command):
            await self._wire.send(answer)
        if self._driver.flushes > flushes:
            return [Interruption()] if waited else []
        if len(self._driver.unknown) > unknown:
            return [Fault("a command that Asterisk does not know, or does not read")]
        if self._driver.hung_up:
            await self._wire.close()
            return [Closed(1000, "HANGUP")]
        return []
