"""One call of the stand-in: what Asterisk sends goes to the container, answers are played in time.

Between Asterisk's AudioSocket and either of the two transports toward an STS container. As avr-core
does, it has a queue of its own: the container may send as fast as it likes, 20 ms at a time go out
on the clock, and an ``interruption`` empties it. G.711 is found out and decoded; Asterisk gets slin
back, which it takes on every leg.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs
import msgspec
import trio

from avr_bridge.audio.format import FRAME_MS, PCM16_8K
from avr_bridge.audio.framing import Framer
from avr_bridge.caller.audiosocket import AudioSocketTransport
from avr_bridge.caller.transport import (
    AudioOut,
    CallerAudio,
    CallerLeft,
    CallStarted,
    DtmfDigit,
)
from avr_bridge.errors import CallerGone
from avr_bridge.testing.caller.address import connect_line, read_address
from avr_bridge.testing.caller.events import CallNotPlaced
from avr_bridge.testing.caller.line import (
    Audio,
    Closed,
    ErrorMessage,
    Fault,
    Interruption,
    Transcript,
)
from avr_bridge.testing.serving import serve_clients
from avr_bridge.testing.small_http import Answer, serve_requests

if TYPE_CHECKING:
    from avr_bridge.testing.caller.line import CallerLine

__all__ = ["CoreEvent", "StandInCore"]

CONNECT_S = 10.0
UUID_S = 10.0
_FRAME_S = FRAME_MS / 1000


@attrs.frozen
class CoreEvent:
    """What avr-core would tell a webhook, and when on Trio's clock.

    Attributes:
        type: ``call_initiated``, ``call_started``, ``call_ended``, ``interruption``,
            ``transcription``, ``dtmf_digit``, ``error``; and ``fault``, which avr-core has not: the
            container broke the contract.
    """

    at_s: float
    uuid: str
    type: str
    payload: Mapping[str, Any] = attrs.field(factory=dict)


class _CallRequest(msgspec.Struct, forbid_unknown_fields=True):
    uuid: str
    payload: dict[str, Any] = msgspec.field(default_factory=dict)


class StandInCore:
    """Carries calls until its `serve` is cancelled.

    Args:
        sts_url: ``ws://host:port``, or ``http://host:port/speech-to-speech-stream``.
        on_event: Told of each event as it happens.

    Attributes:
        events: What webhooks would have been told, of all calls.
    """

    def __init__(
        self, sts_url: str, on_event: Callable[[CoreEvent], None] = lambda _event: None
    ) -> None:
        read_address(sts_url)
        self._on_event = on_event
        self._sts_url = sts_url
        self._payloads: dict[str, dict[str, str]] = {}
        self._news = trio.lowlevel.ParkingLot()
        self.events: list[CoreEvent] = []

    async def serve(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Take Asterisk's calls until cancelled; reports ``host:port``."""
        await serve_clients(self._connection, "{}", host, port, task_status)

    async def serve_http(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """avr-core's own service: ``POST /call`` with ``{uuid, payload}`` before the call comes;
        its payload becomes the address's query. Reports the address."""
        client = partial(serve_requests, answer=self._answer)
        await serve_clients(client, "http://{}", host, port, task_status)

    async def wait_events(self, kind: str, count: int = 1) -> CoreEvent:
        """Wait until so many events of a type have come, and return the latest."""
        while True:
            found = [event for event in self.events if event.type == kind]
            if len(found) >= count:
                return found[-1]
            await self._news.park()

    def tell(self, uuid: str, kind: str, **payload: Any) -> None:
        """Something happened in a call."""
        self.events.append(CoreEvent(trio.current_time(), uuid, kind, payload))
        self._on_event(self.events[-1])
        self._news.unpark_all()

    async def _answer(self, target: str, body: bytes) -> Answer:
        if target == "GET /health":
            return _json(200, {"status": "ok"})
        if target != "POST /call":
            return _json(404, {"message": f"Cannot {target}"})
        try:
            request = msgspec.json.decode(body, type=_CallRequest)
        except msgspec.DecodeError as error:
            return _json(400, {"message": str(error)})
        payload = {name: str(value) for name, value in request.payload.items()}
        self._payloads[request.uuid.lower()] = payload
        self.tell(request.uuid, "call_initiated", **payload)
        return _json(200, {"sts_url": self._sts_url, "override": False})

    async def _connection(self, stream: trio.SocketStream) -> None:
        async with stream:
            stream.setsockopt(trio.socket.IPPROTO_TCP, trio.socket.TCP_NODELAY, 1)
            asterisk = AudioSocketTransport(stream)
            first = await asterisk.wait_started(UUID_S)
            if not isinstance(first, CallStarted):
                return
            await asterisk.receive()
            self.tell(first.uuid, "call_started")
            try:
                await self._call(first.uuid, asterisk)
            finally:
                self.tell(first.uuid, "call_ended")

    async def _call(self, uuid: str, asterisk: AudioSocketTransport) -> None:
        address = read_address(self._sts_url, self._payloads.pop(uuid, None))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(asterisk.keep_flowing)
            try:
                container = await connect_line(address, uuid, CONNECT_S)
            except CallNotPlaced as failed:
                self.tell(uuid, "error", message=str(failed))
            else:
                try:
                    await _Call(self, uuid, asterisk, container).run()
                finally:
                    with trio.CancelScope(shield=True):  # dropping a line never waits
                        await container.aclose()
            await asterisk.close(1000, "")
            nursery.cancel_scope.cancel()


class _Call:
    def __init__(
        self, core: StandInCore, uuid: str, asterisk: AudioSocketTransport, container: CallerLine
    ) -> None:
        self._core = core
        self._uuid = uuid
        self._asterisk = asterisk
        self._container = container
        self._queue = bytearray()

    async def run(self) -> None:
        """Until either side leaves."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._play)
            nursery.start_soon(self._hear, nursery.cancel_scope)
            await self._listen()
            await self._container.send_goodbye()
            nursery.cancel_scope.cancel()

    async def _listen(self) -> None:
        """Asterisk -> container, in frames of 320 bytes."""
        framer = Framer(PCM16_8K)
        while True:
            match await self._asterisk.receive():
                case CallerAudio(pcm=pcm):
                    whole = framer.push(pcm)
                    for at in range(0, len(whole), PCM16_8K.frame_bytes):
                        await self._container.send_audio(whole[at : at + PCM16_8K.frame_bytes])
                case DtmfDigit(digit=digit):
                    self._core.tell(self._uuid, "dtmf_digit", digit=digit)
                    if self._container.carries_digits:
                        await self._container.send_digit(digit)
                case CallerLeft():
                    return

    async def _hear(self, call: trio.CancelScope) -> None:
        """Container -> queue. Its close ends the call."""
        tell = partial(self._core.tell, self._uuid)
        while True:
            for event in await self._container.receive():
                match event:
                    case Audio(pcm=pcm):
                        self._queue += pcm
                    case Interruption():
                        tell("interruption", dropped_ms=PCM16_8K.ms(len(self._queue)))
                        self._queue.clear()
                    case Transcript(role=role, text=text):
                        tell("transcription", role=role, text=text)
                    case ErrorMessage(text=text):
                        tell("error", message=text)
                    case Fault(text=text):
                        tell("fault", message=text)
                    case Closed():
                        call.cancel()
                        return

    async def _play(self) -> None:
        """Queue -> Asterisk: 20 ms every 20 ms. Silence between is the transport's."""
        start_s = trio.current_time()
        frame = 0
        while True:
            await trio.sleep_until(start_s + frame * _FRAME_S)
            frame += 1
            if not self._queue:
                continue
            piece = bytes(self._queue[: PCM16_8K.frame_bytes])
            del self._queue[: PCM16_8K.frame_bytes]
            try:
                await self._asterisk.send(AudioOut(piece.ljust(PCM16_8K.frame_bytes, b"\x00")))
            except CallerGone:
                return


def _json(status: int, body: dict[str, Any]) -> Answer:
    return Answer(status, msgspec.json.encode(body).decode())
