"""One session of the simulated server: its tasks, its clock, its record for tests.

The rules of the API are in `dialogue.py`; the connection is a `Link`, so that the same session runs
over a socket (`wire.py`) and in memory (`memory.py`).
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Protocol

import attrs
import msgspec
import trio

from avr_bridge.testing.realtime.dialogue import Dialogue
from avr_bridge.testing.realtime.outbox import Closing, Doing, Dropping, Outbox
from avr_bridge.testing.realtime.sabotage import Breakable, Saboteur, options_with
from avr_bridge.testing.realtime.state import SessionState

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from avr_bridge.testing.faults.model import ModelFault
    from avr_bridge.testing.realtime.behaviour import Behaviour, Turn
    from avr_bridge.testing.realtime.options import SimulatorOptions
    from avr_bridge.testing.realtime.speaking import ResponseRun

__all__ = ["Link", "LinkClosed", "SimulatedSession"]

MAX_RECORDED = 20_000
"""Client events, and server event types, that a session remembers: a call of an hour."""

MAX_TURNS_RECORDED = 200
"""Turns that a session remembers, with the caller's audio: some 10 MB of ordinary turns."""


EXPIRED = "Your session hit the maximum duration of 60 minutes."
"""What the API says at the end of a session; a session made shorter for a test says the same."""


class LinkClosed(Exception):
    """The client is gone: the close code it gave, or 1006."""

    def __init__(self, code: int, reason: str = "") -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason


class Link(Breakable, Protocol):
    """The server's end of one connection."""

    async def send(self, text: str) -> None:
        """Send one text message. Raises: LinkClosed."""

    async def receive(self) -> bytes | str:
        """Wait for a message of the client; bytes for a binary one. Raises: LinkClosed."""

    async def close(self, code: int, reason: str) -> None:
        """Close politely; waits for the client a little."""

    async def drop(self) -> None:
        """Lose the connection without a close frame."""


class SimulatedSession:
    """One client's session, running or over.

    Attributes:
        number: 1 for the first session of a server.
        model: What the client asked for in the address.
        options: The server's, with what the connection's fault changes in them.
        received: The client's events in order, decoded; audio appends are only counted.
        audio_appends: How many `input_audio_buffer.append` came.
        caller_pcm: The newest caller audio (`SimulatorOptions.record_s`), PCM16 LE mono.
        caller_rate_hz: Rate of `caller_pcm`.
        sent_types: The types of the events that were sent, in order.
        turns: What each response was to answer.
        closed: Whether the session is over.
        close_code: The WebSocket close code, whoever closed; 1006 for a lost connection.
        close_reason: The reason given with it.
    """

    def __init__(
        self,
        number: int,
        model: str,
        behaviour: Behaviour,
        options: SimulatorOptions,
        on_turn: Callable[[SimulatedSession, Turn], None] | None = None,
        fault: ModelFault | None = None,
    ) -> None:
        self.number = number
        self.model = model
        self.options = options = options_with(fault, options)
        self.outbox = Outbox()
        self.saboteur = Saboteur(fault, self.outbox, self.later)
        self.received: list[dict[str, Any]] = []
        self.audio_appends = 0
        self.caller_pcm = bytearray()
        self.caller_rate_hz = 24_000
        self.sent_types: list[str] = []
        self.turns: list[Turn] = []
        self.closed = False
        self.close_code: int | None = None
        self.close_reason = ""
        self._on_turn = on_turn
        self._changed = trio.Event()
        # unbounded, because a deed is started as soon as it is put in; it never queues up
        self._start, self._starting = trio.open_memory_channel[_Deed](float("inf"))
        expires_at = round(time.time() + options.session_s)
        self._state = SessionState(self, behaviour, model, number, expires_at)
        self._dialogue = Dialogue(self._state)

    # --- for tests

    @property
    def history(self) -> list[tuple[str, str]]:
        """The conversation as the server has it now, in its order: (who, text).

        Who is `user`, `assistant`, `system`, `function_call` (text: `name(arguments)`) or
        `function_call_output`. What was spoken is its transcript; a truncated item has none left.
        """
        return [item.summary for item in self._state.conversation.items]

    async def wait_sent(self, event_type: str, count: int = 1) -> None:
        """Wait until `count` events of this type have been sent in all."""
        await self._wait_until(lambda: self.sent_types.count(event_type) >= count)

    async def wait_received(self, event_type: str, count: int = 1) -> dict[str, Any]:
        """Wait for the client's `count`-th event of this type and return it."""
        await self._wait_until(lambda: len(self.received_of(event_type)) >= count)
        return self.received_of(event_type)[count - 1]

    async def wait_closed(self) -> None:
        """Wait until the session is over."""
        await self._wait_until(lambda: self.closed)

    def received_of(self, event_type: str) -> list[dict[str, Any]]:
        """The client's events of one type, in order."""
        return [event for event in self.received if event.get("type") == event_type]

    async def _wait_until(self, true: Callable[[], bool]) -> None:
        await trio.lowlevel.checkpoint()
        while not true():
            await self._changed.wait()

    def _tell(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    # --- for the dialogue (Host)

    def send(self, event: dict[str, Any]) -> None:
        """Queue one event for the client."""
        if len(self.sent_types) < MAX_RECORDED:
            self.sent_types.append(str(event.get("type")))
        self.outbox.put(msgspec.json.encode(event).decode())
        self._tell()

    def play(self, run: ResponseRun) -> None:
        """Start a response."""
        self._start.send_nowait(run.run)

    def later(self, delay_s: float, deed: Callable[[], None]) -> None:
        """Do something after a while."""
        due = trio.current_time() + delay_s

        async def wait_and_do() -> None:
            await trio.sleep_until(due)
            deed()

        self._start.send_nowait(wait_and_do)

    def heard(self, pcm: bytes, rate_hz: int) -> None:
        """Keep the newest caller audio."""
        self.audio_appends += 1
        if rate_hz != self.caller_rate_hz:
            self.caller_pcm.clear()
            self.caller_rate_hz = rate_hz
        self.caller_pcm += pcm
        excess_bytes = len(self.caller_pcm) - int(self.options.record_s * rate_hz) * 2
        if excess_bytes > 0:
            del self.caller_pcm[:excess_bytes]
        self._tell()

    def asked(self, turn: Turn) -> None:
        """Remember the turn."""
        if len(self.turns) < MAX_TURNS_RECORDED:
            kept = turn if self.options.record_s else attrs.evolve(turn, caller_audio=b"")
            self.turns.append(kept)
        if self._on_turn:
            self._on_turn(self, turn)

    # --- the life of the session

    async def run(self, link: Link) -> None:
        """Serve one client; returns when the connection is over, with no task left.

        The connection itself belongs to the caller. An exception here is a bug, or a behaviour's.
        """
        self.saboteur.attach(link)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._pump_out, link, nursery.cancel_scope)
                nursery.start_soon(self._begin)
                nursery.start_soon(self._expire)
                nursery.start_soon(self._run_deeds)
                await self._pump_in(link)
                nursery.cancel_scope.cancel()
        finally:
            self._note_end(1006)
            self.closed = True
            self._tell()
            self._start.close()
            self._starting.close()

    def _note_end(self, code: int, reason: str = "") -> None:
        """Note how it ended; the first to say so is right."""
        if self.close_code is None:
            self.close_code, self.close_reason = code, reason

    async def _begin(self) -> None:
        await trio.sleep(self.options.created_delay_s)
        if self.options.send_session_created:
            self._dialogue.begin()

    async def _pump_in(self, link: Link) -> None:
        try:
            while True:
                event = self._dialogue.handle(await link.receive())
                if event is not None and event.get("type") != "input_audio_buffer.append":
                    if len(self.received) < MAX_RECORDED:
                        self.received.append(event)
                    self._tell()
        except LinkClosed as closed:
            self._note_end(closed.code, closed.reason)

    async def _pump_out(self, link: Link, session_scope: trio.CancelScope) -> None:
        while True:
            order = await self.outbox.take()
            match order:
                case str():
                    try:
                        await link.send(order)
                    except LinkClosed:
                        return  # the other direction sees it too, and knows the code
                case Doing(deed):
                    deed()
                case Closing(code, reason):
                    self._note_end(code, reason)
                    await link.close(code, reason)
                    session_scope.cancel()
                    return
                case Dropping():
                    self._note_end(1006)
                    await link.drop()
                    session_scope.cancel()
                    return

    async def _run_deeds(self) -> None:
        async with trio.open_nursery() as nursery:
            async for deed in self._starting:
                nursery.start_soon(deed)

    async def _expire(self) -> None:
        await trio.sleep(self.options.session_s)
        error = {
            "type": "invalid_request_error",
            "code": "session_expired",
            "message": EXPIRED,
            "param": None,
            "event_id": None,
        }
        self._state.emit({"type": "error", "error": error})
        self.outbox.put(Closing(1001, EXPIRED))


type _Deed = Callable[[], Awaitable[None]]
