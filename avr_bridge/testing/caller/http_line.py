"""avr-core's legacy transport: one POST a call, raw PCM16 8 kHz in both bodies at once.

Thin shell over h11, because ordinary HTTP clients read the answer only when the request is over.
The legacy contract has no digits, no interruption, no transcript and no query parameters.
"""

from __future__ import annotations

import h11
import trio

from avr_bridge.audio.format import PCM16_8K
from avr_bridge.testing.caller.line import Audio, Closed, ErrorMessage, Fault, LineEvent

__all__ = ["HttpLine"]

_RECEIVE_BYTES = 64 * 1024
_OK = 200
_MAX_REFUSAL_CHARS = 200


class HttpLine:
    """A `CallerLine` over a stream on which nothing was sent yet; owns the stream.

    A refusal arrives as late as any other answer, when audio is long on its way. It is therefore
    an event of the call: an error, and `Closed` with the HTTP status.
    """

    carries_digits = False

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self._http = h11.Connection(h11.CLIENT)
        self._send_lock = trio.Lock()
        self._half_sample = b""
        self._received_bytes = 0
        self._refusal: int | None = None
        self._refusal_body = b""

    async def open(self, host: str, target: str, uuid: str) -> None:
        """Send the head of the POST; the call is up with it, as for avr-core."""
        await self._send(
            h11.Request(
                method="POST",
                target=target,
                headers=[
                    ("Host", host),
                    ("X-UUID", uuid),
                    ("Content-Type", "audio/x-raw"),
                    ("Transfer-Encoding", "chunked"),
                ],
            )
        )

    async def send_audio(self, pcm: bytes) -> None:
        """Send one frame as a chunk of the request's body."""
        await self._send(h11.Data(data=pcm))

    async def send_digit(self, digit: str) -> None:
        """Not possible on this transport.

        Raises:
            RuntimeError: Always.
        """
        raise RuntimeError("the legacy HTTP transport carries no digits")

    async def receive(self) -> list[LineEvent]:
        """Wait for the next piece of the response's body, whatever its length."""
        try:
            data = await self._stream.receive_some(_RECEIVE_BYTES)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return [Closed(self._refusal, "the connection was lost")]
        try:
            self._http.receive_data(bytes(data))
            return self._read_events()
        except h11.RemoteProtocolError as error:
            if data:
                return [Fault(f"broken HTTP: {error}"), Closed(None, "protocol error")]
            return [Closed(self._refusal, "the connection ended within the response")]

    async def send_goodbye(self) -> None:
        """End the request's body; the bridge then ends the response."""
        await self._send(h11.EndOfMessage())

    async def aclose(self) -> None:
        """Close the TCP connection at once."""
        await trio.aclose_forcefully(self._stream)

    def _read_events(self) -> list[LineEvent]:
        out: list[LineEvent] = []
        while True:
            match self._http.next_event():
                case h11.Response(status_code=status) if status != _OK:
                    self._refusal = status
                case h11.Data(data=data) if self._refusal is not None:
                    self._refusal_body += data
                case h11.Data(data=data):
                    out.append(self._audio(bytes(data)))
                case h11.EndOfMessage():
                    return [*out, *self._ended()]
                case h11.ConnectionClosed():
                    return [*out, Closed(None, "the connection ended without a response")]
                case h11.NEED_DATA | h11.PAUSED:
                    return out

    def _audio(self, data: bytes) -> Audio:
        """A piece of the body. TCP cuts where it likes: half a sample waits for its other half."""
        self._received_bytes += len(data)
        data = self._half_sample + data
        whole = len(data) // 2 * 2
        self._half_sample = data[whole:]
        return Audio(data[:whole])

    def _ended(self) -> list[LineEvent]:
        if self._refusal is not None:
            words = self._refusal_body.decode(errors="replace")[:_MAX_REFUSAL_CHARS]
            return [
                ErrorMessage(f"HTTP {self._refusal} {words}".strip()),
                Closed(self._refusal, f"HTTP {self._refusal}"),
            ]
        out: list[LineEvent] = []
        if self._received_bytes % PCM16_8K.frame_bytes:
            out.append(Fault(f"a response of {self._received_bytes} bytes: no multiple of 320"))
        return [*out, Closed(None, "the response ended")]

    async def _send(self, event: h11.Request | h11.Data | h11.EndOfMessage) -> None:
        async with self._send_lock:
            try:
                data = self._http.send(event)
            except h11.LocalProtocolError:
                return  # the request's body is over already
            try:
                await self._stream.send_all(data or b"")
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return  # `receive` says so
