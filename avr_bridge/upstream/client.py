"""The connection to the model: write without blocking, read, ping.

A thin shell over a `MessageSocket`; `dial.py` makes the real ones. What to say to the model is
decided in `conversation.py`; JSON is `translation.py`'s.
"""

from __future__ import annotations

import functools
import math
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING

import trio

from avr_bridge.errors import UpstreamClosed
from avr_bridge.settings import mask_of
from avr_bridge.upstream.commands import AppendAudio, Command
from avr_bridge.upstream.dial import dial_realtime
from avr_bridge.upstream.dialect import DialectName, dialect_of_url, headers_for
from avr_bridge.upstream.endpoint import realtime_url
from avr_bridge.upstream.masked import MaskedSocket
from avr_bridge.upstream.proxy import proxy_of
from avr_bridge.upstream.socket import MessageSocket
from avr_bridge.upstream.translation import Translator

if TYPE_CHECKING:
    from avr_bridge.audio.format import AudioFormat
    from avr_bridge.config import ModelConfig
    from avr_bridge.upstream.events import ServerEvent, Unknown

__all__ = ["PINGS_UNANSWERED", "Dial", "RealtimeConnection", "open_realtime"]

Dial = Callable[[str, Sequence[tuple[str, str]]], AbstractAsyncContextManager[MessageSocket]]
"""How to get a socket to an address with headers; `dial_realtime` is the real one."""

COMMANDS_WAITING = 256
"""Commands not yet written. They are small and rare; this many waiting means a dead peer."""

PING_EVERY_S = 10.0
PONG_LIMIT_S = 5.0
"""A network that swallows everything says nothing: without pings a lost connection would show
after minutes. Together 15 s at the most until the call goes on in another session."""

MOST_LAG_S = 0.5
"""A timer that fires later than this tells of our own overload, not of the network's."""

PINGS_UNANSWERED = "pings unanswered"

AUDIO_BACKLOG_MS = 500
"""Caller audio that waits for a model that is too slow. Older sound is worth less than newer: the
oldest is dropped."""

STUCK_S = 0.5
BUSY_S = 2.0
"""Too slow is who does not take a message for so long, or leaves something waiting all the time for
so long. To have taken what a caller sent at once, after a pause of the network, needs less."""

MOST_AUDIO_MS = 20_000
"""Caller audio not yet written, in any case: a network of the caller's that stalled sends all of it
at once, and no word of it is to be lost."""

APPEND_MS = 1_000
"""In one message. The API takes 15 MiB, and other servers less."""


class RealtimeConnection:
    """An open session's wire. `receive` waits; everything sent is queued and never waits.

    A writer task, hidden in `open_realtime`, sends what is queued: commands first, then audio,
    as much of it as has gathered in one message.
    """

    def __init__(self, socket: MessageSocket, translator: Translator) -> None:
        self._socket = socket
        self._translator = translator
        self._events: deque[ServerEvent | Unknown] = deque()
        self._commands: deque[Command] = deque()
        self._audio = bytearray()
        self._audio_format: AudioFormat | None = None
        self._sending_since_s = self._busy_since_s = math.inf
        # Capacity 1: it says that there is something to write, not how much.
        self._bell, self._rung = trio.open_memory_channel[None](1)
        self.dropped_audio_bytes = 0
        self._lost: UpstreamClosed | None = None
        self._receiving = trio.CancelScope()

    def send_nowait(self, command: Command) -> None:
        """Queue a command.

        Raises:
            UpstreamClosed: Too many wait already: the model no longer reads.
        """
        if len(self._commands) >= COMMANDS_WAITING:
            raise UpstreamClosed(1006, "the model does not read what is sent to it")
        self._commands.append(command)
        self._ring()

    def set_audio_format(self, fmt: AudioFormat) -> None:
        """Audio is in this format from now on; what waits in an older one is dropped."""
        self._audio_format = fmt
        self._audio.clear()

    def append_audio_nowait(self, data: bytes) -> None:
        """Queue caller audio in the session's format. Where the model is too slow the newest wins,
        and the loss is counted."""
        assert self._audio_format is not None
        self._audio += data
        most_ms = AUDIO_BACKLOG_MS if self._is_slow() else MOST_AUDIO_MS
        excess = len(self._audio) - self._audio_format.bytes_of_ms(most_ms)
        if excess > 0:
            del self._audio[:excess]
            self.dropped_audio_bytes += excess
        self._ring()

    @property
    def waiting_audio_bytes(self) -> int:
        """Caller audio that was not written yet."""
        return len(self._audio)

    async def receive(self) -> ServerEvent | Unknown:
        """Wait for the next server event.

        Raises:
            UpstreamClosed: The model closed, or the connection was lost.
        """
        while not self._events:
            with trio.CancelScope() as self._receiving:
                if self._lost is not None:
                    raise self._lost
                self._events.extend(self._translator.read(await self._socket.get_message()))
        return self._events.popleft()

    def lose(self, why: str) -> None:
        """This connection is of no use any more: `receive` raises `UpstreamClosed` from now on."""
        if self._lost is None:
            self._lost = UpstreamClosed(1006, why)
            self._events.clear()
            self._receiving.cancel()

    async def _keep_alive(self) -> None:
        """Ping until cancelled, or until nobody answers."""
        try:
            while True:
                await trio.sleep(PING_EVERY_S)
                pinged_s = trio.current_time()
                with trio.move_on_after(PONG_LIMIT_S) as limit:
                    await self._socket.ping()
                if not limit.cancelled_caught:
                    continue
                if trio.current_time() - pinged_s > PONG_LIMIT_S + MOST_LAG_S:
                    continue  # it is we who are late, and the pong may lie there unread
                self.lose(PINGS_UNANSWERED)
                return
        except UpstreamClosed:
            return  # the reader sees the same and tells why

    async def _write(self) -> None:
        """Send what is queued, until cancelled or until the connection is gone."""
        try:
            async for _ in self._rung:
                self._busy_since_s = trio.current_time()
                while self._commands or self._audio:
                    if self._commands:
                        await self._send(self._commands.popleft())
                    else:
                        await self._send(AppendAudio(self._next_audio()))
                self._busy_since_s = math.inf
        except UpstreamClosed:
            return  # the reader sees the same and tells why

    def _is_slow(self) -> bool:
        now_s = trio.current_time()
        return now_s - self._sending_since_s > STUCK_S or now_s - self._busy_since_s > BUSY_S

    def _next_audio(self) -> bytes:
        assert self._audio_format is not None
        at_once = self._audio_format.bytes_of_ms(APPEND_MS)
        audio = bytes(self._audio[:at_once])
        del self._audio[:at_once]
        return audio

    async def _send(self, command: Command) -> None:
        self._sending_since_s = trio.current_time()
        for message in self._translator.write(command):
            await self._socket.send_message(message)
        self._sending_since_s = math.inf

    def _ring(self) -> None:
        try:
            self._bell.send_nowait(None)
        except trio.WouldBlock:
            return


@asynccontextmanager
async def open_realtime(
    config: ModelConfig, *, dial: Dial | None = None
) -> AsyncGenerator[RealtimeConnection]:
    """Connect to the model; close politely on the way out, within 1 s.

    Args:
        config: Address and key.
        dial: Replaces the real network, for tests and other transports.

    Raises:
        UpstreamUnavailable: It could not be reached; another try may help.
        UpstreamRejected: It refused us; another try cannot help.
    """
    url = realtime_url(config)
    dial = dial or functools.partial(dial_realtime, proxy=proxy_of(config, url))
    auto = config.dialect == "auto"
    name = dialect_of_url(url) if auto else DialectName(config.dialect)
    key = config.api_key.reveal() if config.api_key else None
    async with dial(url, headers_for(url, key, name)) as socket:
        masked = MaskedSocket(socket, mask_of(config))
        connection = RealtimeConnection(masked, Translator(name, verify=auto))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(connection._write)
            nursery.start_soon(connection._keep_alive)
            yield connection
            nursery.cancel_scope.cancel()
