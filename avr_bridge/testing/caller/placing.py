"""Placing a simulated call: from an address, or a line, to a call that runs.

The one nursery of a call is here: one task speaks, one listens, the block's body gets the
`SimulatedCall`. What the call does is in `call.py`.
"""

from __future__ import annotations

import uuid as uuids
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import trio

from avr_bridge.testing.caller.address import Transport, connect_line, read_address
from avr_bridge.testing.caller.call import SimulatedCall

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping

    from avr_bridge.testing.caller.events import CallEvent
    from avr_bridge.testing.caller.line import CallerLine

__all__ = ["open_call_on", "open_simulated_call"]


@asynccontextmanager
async def open_simulated_call(
    url: str,
    *,
    uuid: str | None = None,
    query: Mapping[str, str] | None = None,
    transport: Transport = "auto",
    on_event: Callable[[CallEvent], None] | None = None,
    keep_heard: bool = True,
    connect_s: float = 10.0,
) -> AsyncGenerator[SimulatedCall]:
    """Call an STS container as avr-core would, and hang up on leaving the block.

    An exception of the body comes out as itself, never in a group. If the bridge closes first,
    that is an event of the call and no exception. Where the block is cancelled, the connection is
    dropped without a goodbye.

    Args:
        url: ``ws://host:port`` for the present transport;
            ``http://host:port/speech-to-speech-stream`` (the path may be left out) for the legacy
            one; ``audiosocket://host:port`` and ``ws://host:port/asterisk/media`` as from Asterisk.
        uuid: The call's id; a random one by default.
        query: Appended to the address, as avr-core does with a call's payload.
        transport: Overrules the address's scheme.
        on_event: Told each event at once, synchronously; what it raises ends the block.
        keep_heard: False keeps no sound (`SimulatedCall.heard` is then empty), for long calls.
        connect_s: Limit of connecting and handshake together.

    Raises:
        CallNotPlaced: No connection came about.
        ValueError: The address cannot be.
    """
    address = read_address(url, query, transport)
    line = await connect_line(address, uuid or str(uuids.uuid4()), connect_s)
    async with open_call_on(line, on_event=on_event, keep_heard=keep_heard) as call:
        yield call


@asynccontextmanager
async def open_call_on(
    line: CallerLine,
    *,
    on_event: Callable[[CallEvent], None] | None = None,
    keep_heard: bool = True,
) -> AsyncGenerator[SimulatedCall]:
    """A call on a line that is already up; as `open_simulated_call`. Closes the line."""
    call = SimulatedCall(line, on_event=on_event, keep_heard=keep_heard)
    body_error: BaseException | None = None
    own_errors: list[Exception] = []
    try:
        async with trio.open_nursery() as nursery:

            async def run(task: Callable[[], Awaitable[None]]) -> None:
                try:
                    await task()
                except Exception as error:
                    own_errors.append(error)
                    nursery.cancel_scope.cancel()

            nursery.start_soon(run, call.pump_out)
            nursery.start_soon(run, call.pump_in)
            try:
                yield call
            except (trio.Cancelled, GeneratorExit):
                raise
            except BaseException as error:
                # Kept out of the nursery, which would put it into a group.
                body_error = error
            await call.hang_up()
            nursery.cancel_scope.cancel()
    finally:
        with trio.CancelScope(shield=True):  # dropping a line never waits
            await line.aclose()
        if body_error is not None:
            raise body_error
        if own_errors:
            raise own_errors[0]
