"""A small client of the simulated Realtime API, for its tests.

Checks every event that it reads against the `openai` package's own types. It is no bridge.
"""

from __future__ import annotations

import base64
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, get_args

import audioop
import numpy as np
import trio
from openai.types.realtime import realtime_client_event, realtime_server_event

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from avr_bridge.testing.realtime import SimulatedRealtime
    from avr_bridge.upstream.socket import MessageSocket

URL = "ws://model.test/v1/realtime?model=gpt-realtime-2.1"
ULAW = {"type": "audio/pcmu"}
ALAW = {"type": "audio/pcma"}
PCM = {"type": "audio/pcm", "rate": 24_000}
MANUAL = {"input": {"turn_detection": None}}

_MODELS: dict[str, Any] = {
    get_args(model.model_fields["type"].annotation)[0]: model
    for model in get_args(get_args(realtime_server_event.RealtimeServerEvent)[0])
}


_CLIENT_MODELS: dict[str, Any] = {
    get_args(model.model_fields["type"].annotation)[0]: model
    for model in get_args(get_args(realtime_client_event.RealtimeClientEvent)[0])
}


def check_client_event(event: dict[str, Any]) -> None:
    """Fail unless the `openai` package's model of this event type accepts it, strictly."""
    _CLIENT_MODELS[event["type"]].model_validate_json(json.dumps(event), strict=True)


def check_server_event(event: dict[str, Any]) -> None:
    """Fail unless the `openai` package's model of this event type accepts it, strictly."""
    assert event["type"] in _MODELS, f"unknown to openai: {event['type']}"
    _MODELS[event["type"]].model_validate_json(json.dumps(event), strict=True)


def tone(ms: float, rate_hz: int = 24_000, level: int = 8_000) -> bytes:
    """A sine of 300 Hz, PCM16 LE mono."""
    at = np.arange(int(rate_hz * ms / 1000)) / rate_hz
    return bytes((np.sin(2 * np.pi * 300 * at) * level).astype("<i2").tobytes())


def quiet(ms: float, rate_hz: int = 24_000) -> bytes:
    """Digital silence, PCM16 LE mono."""
    return bytes(int(rate_hz * ms / 1000) * 2)


class Client:
    """One connection; `events` holds everything read so far."""

    def __init__(self, socket: MessageSocket) -> None:
        self.socket = socket
        self.events: list[dict[str, Any]] = []
        self.encoding = "audio/pcm"

    @property
    def types(self) -> list[str]:
        return [event["type"] for event in self.events]

    async def read(self, within_s: float = 30) -> dict[str, Any]:
        with trio.fail_after(within_s):
            event: dict[str, Any] = json.loads(await self.socket.get_message())
        check_server_event(event)
        self.events.append(event)
        return event

    async def until(self, event_type: str) -> dict[str, Any]:
        """Read up to the next event of this type."""
        while (event := await self.read())["type"] != event_type:
            pass
        return event

    async def settle(self, seconds: float = 5) -> None:
        """Read whatever comes within some seconds."""
        with trio.move_on_after(seconds):
            while True:
                await self.read(within_s=seconds + 1)

    async def send(self, event_type: str, **fields: Any) -> None:
        await self.socket.send_message(json.dumps({"type": event_type, **fields}))

    async def refused(self, event_type: str, **fields: Any) -> dict[str, Any]:
        """Send something that must be answered with an error; return that."""
        await self.send(event_type, event_id="mine", **fields)
        error: dict[str, Any] = (await self.until("error"))["error"]
        assert error["event_id"] == "mine"
        return error

    async def update(self, **session: Any) -> dict[str, Any]:
        await self.send("session.update", session={"type": "realtime", **session})
        updated: dict[str, Any] = (await self.until("session.updated"))["session"]
        self.encoding = updated["audio"]["input"]["format"]["type"]
        return updated

    async def append(self, pcm: bytes, piece_ms: int = 20) -> None:
        """Send caller audio in pieces, as fast as it goes."""
        rate_hz = 24_000 if self.encoding == "audio/pcm" else 8_000
        step = rate_hz * piece_ms // 1000 * 2
        for at in range(0, len(pcm), step):
            piece = pcm[at : at + step]
            if self.encoding == "audio/pcmu":
                piece = audioop.lin2ulaw(piece, 2)
            elif self.encoding == "audio/pcma":
                piece = audioop.lin2alaw(piece, 2)
            await self.send("input_audio_buffer.append", audio=base64.b64encode(piece).decode())

    def audio(self, item_id: str | None = None) -> bytes:
        """All audio deltas read so far, still encoded, of one item or of all."""
        return b"".join(
            base64.b64decode(event["delta"])
            for event in self.events
            if event["type"] == "response.output_audio.delta"
            and item_id in (None, event["item_id"])
        )


@asynccontextmanager
async def connected(server: SimulatedRealtime, url: str = URL) -> AsyncIterator[Client]:
    """A client in memory that has read `session.created`."""
    async with server.dial(url, []) as socket:
        client = Client(socket)
        await client.until("session.created")
        yield client
