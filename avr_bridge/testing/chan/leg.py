"""A leg that runs: Asterisk's clock, the caller's speech, and what the caller has heard.

Between `driver.py`, which decides, and a wire of `wires.py`. Speaks without pause, silence where
there is nothing to say, as a channel in Dial() does.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import attrs
import trio

from avr_bridge.audio.format import FRAME_MS
from avr_bridge.testing.chan.driver import MediaDriver
from avr_bridge.testing.chan.wires import LegWire, SocketWire, WireClosed

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence

__all__ = ["Control", "SimulatedLeg", "open_leg_on", "open_simulated_leg"]

_FRAME_S = FRAME_MS / 1000


@attrs.frozen
class Control:
    """One text message, and when (on Trio's clock)."""

    at_s: float
    text: str


class SimulatedLeg:
    """One leg from MEDIA_START to its close.

    Attributes:
        heard: All that was played to the caller, in the leg's codec, silence included, frame by
            frame from the start.
        began_s: When the first frame of `heard` was played.
        sent, received: Text messages, ours and the bridge's, with times.
        media: Binary messages of the bridge, with times.
        closed: The bridge's close, or ours; None while the leg is up.
    """

    def __init__(self, wire: LegWire, driver: MediaDriver, *, starts: bool = True) -> None:
        self.driver = driver
        self.heard = bytearray()
        self.began_s = trio.current_time()
        self.sent: list[Control] = []
        self.received: list[Control] = []
        self.media: list[tuple[float, bytes]] = []
        self.closed: WireClosed | None = None
        self.speaks = True
        self.clock_stands = False
        self._quiet_frames = 0
        self._silence = driver.fmt.silence(driver.fmt.frame_samples)
        self._wire = wire
        self._starts = starts
        self._to_say = bytearray()
        self._keys: list[str] = []
        self._over = trio.Event()
        self._hanging_up = False
        self._changed = trio.Event()

    async def run_clock(self) -> None:
        """Every 20 ms: a frame to the caller, and one of the caller's to the bridge."""
        if self._starts:
            await self._tell(self.driver.start())
        self.began_s = trio.current_time()
        ticks = 0
        while not self._over.is_set():
            await trio.sleep_until(self.began_s + ticks * _FRAME_S)
            ticks += 1
            if not self.clock_stands:
                frame, events = self.driver.tick()
                for event in events:
                    await self._tell(event)
                self.heard += frame
                self._quiet_frames = self._quiet_frames + 1 if frame == self._silence else 0
                self._news()
            while self._keys:
                await self._tell(self.driver.key(self._keys.pop(0)))
            if self.speaks:
                await self._wire.send(self._next_words())

    async def run_reader(self) -> None:
        """Take what the bridge sends, and obey."""
        try:
            while True:
                for message in await self._wire.receive():
                    await self._take(message)
        except WireClosed as closed:
            self._end(closed)

    async def _take(self, message: str | bytes) -> None:
        now_s = trio.current_time()
        if isinstance(message, bytes):
            self.media.append((now_s, message))
            events = self.driver.media(message)
        else:
            self.received.append(Control(now_s, message))
            events = self.driver.command(message)
        self._news()
        for event in events:
            await self._tell(event)
        if self.driver.hung_up and not self._hanging_up:
            await self.hang_up()

    def say(self, data: bytes) -> None:
        """Have the caller say this, in the leg's codec, behind what is being said."""
        self._to_say += data

    def press(self, digit: str) -> None:
        """Have the caller press a key."""
        self._keys.append(digit)

    async def tell(self, text: str) -> None:
        """Send any text message."""
        await self._tell(text)

    async def hang_up(self, code: int = 1000) -> None:
        """The channel is hung up: Asterisk closes."""
        self._hanging_up = True
        await self._wire.close(code)
        self._end(WireClosed(code))

    async def drop(self) -> None:
        """The connection is lost."""
        await self._wire.aclose()
        self._end(WireClosed(1006))

    async def wait_closed(self) -> WireClosed:
        """Wait for the end."""
        await self._over.wait()
        assert self.closed is not None
        return self.closed

    async def wait_received(self, name: str, number: int = 1) -> Control:
        """Wait for the `number`-th command of a name, counted from the start."""
        while True:
            found = [one for one in self.received if name in one.text]
            if len(found) >= number:
                return found[number - 1]
            await self._changed.wait()

    async def wait_heard(self, least_ms: float = FRAME_MS) -> None:
        """Wait until so much that is not silence was heard."""
        while self.loud_ms < least_ms:
            await self._changed.wait()

    async def wait_said(self) -> None:
        """Wait until all was said."""
        while self._to_say:
            await self._changed.wait()

    async def wait_quiet(self, quiet_ms: float = 1000) -> None:
        """Wait until nothing but silence was heard for so long."""
        while self._quiet_frames * FRAME_MS < quiet_ms:
            await self._changed.wait()

    @property
    def loud_ms(self) -> int:
        """How much was heard that was not silence, in ms: whole frames."""
        return sum(frame != self._silence for frame in self._frames()) * FRAME_MS

    def spoken(self) -> bytes:
        """What was heard, from the first frame that was not silence to the last."""
        loud = [at for at, frame in enumerate(self._frames()) if frame != self._silence]
        if not loud:
            return b""
        step = self.driver.fmt.frame_bytes
        return bytes(self.heard[loud[0] * step : (loud[-1] + 1) * step])

    def _frames(self) -> list[bytes]:
        step = self.driver.fmt.frame_bytes
        return [bytes(self.heard[at : at + step]) for at in range(0, len(self.heard), step)]

    def _next_words(self) -> bytes:
        step = self.driver.fmt.frame_bytes
        words = bytes(self._to_say[:step])
        del self._to_say[:step]
        missing = (step - len(words)) // self.driver.fmt.sample_bytes
        return words + self.driver.fmt.silence(missing)

    async def _tell(self, text: str) -> None:
        self.sent.append(Control(trio.current_time(), text))
        await self._wire.send(text)

    def _end(self, closed: WireClosed) -> None:
        self.closed = self.closed or closed
        self._over.set()
        self._news()

    def _news(self) -> None:
        self._changed.set()
        self._changed = trio.Event()


@asynccontextmanager
async def open_leg_on(
    wire: LegWire, driver: MediaDriver | None = None, *, starts: bool = True
) -> AsyncGenerator[SimulatedLeg]:
    """A leg on a wire that is up; hung up when the block is left.

    Args:
        driver: The channel's; µ-law in plain text by default.
        starts: Whether MEDIA_START is sent at once.
    """
    leg = SimulatedLeg(wire, driver or MediaDriver(), starts=starts)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(leg.run_reader)
            nursery.start_soon(leg.run_clock)
            yield leg
            if leg.closed is None:
                await leg.hang_up()
            nursery.cancel_scope.cancel()
    finally:
        with trio.CancelScope(shield=True):  # dropping a line never waits
            await wire.aclose()


@asynccontextmanager
async def open_simulated_leg(
    url: str,
    driver: MediaDriver | None = None,
    *,
    parameters: Mapping[str, str] | None = None,
    headers: Sequence[tuple[bytes, bytes]] = (),
    starts: bool = True,
) -> AsyncGenerator[SimulatedLeg]:
    """Dial a bridge as ``Dial(WebSocket/...)`` does.

    Args:
        url: ``ws://host:port``; the path is the bridge's unless it names one.
        driver: The channel's; µ-law in plain text by default.
        parameters: As ``v(...)`` adds them to the address.
        headers: Of the handshake.
        starts: Whether MEDIA_START is sent at once.

    Raises:
        LegNotPlaced: The bridge refused.
    """
    address = url if url.count("/") > 2 else f"{url}/asterisk/media"
    if parameters:
        address += ("&" if "?" in address else "?") + urlencode(parameters)
    wire = await SocketWire.open(address, headers=headers)
    async with open_leg_on(wire, driver, starts=starts) as leg:
        yield leg
