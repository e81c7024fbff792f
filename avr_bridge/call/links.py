"""`open_links`: connections to the model, each held in a task of its own until it is let go.

A call has one, and for moments two: while the next session is prepared, and while the last one is
closed politely. What goes over them is `conversation.py`'s.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import attrs
import trio

from avr_bridge.errors import UpstreamError
from avr_bridge.upstream.client import Dial, RealtimeConnection, open_realtime

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from avr_bridge.config import ModelConfig

__all__ = ["Link", "Links", "open_links"]


@attrs.define(eq=False)
class Link:
    """One connection. `let_go` closes it politely, in the background and within 1 s."""

    connection: RealtimeConnection
    _held: trio.CancelScope

    def let_go(self) -> None:
        """It is no longer needed. May be called twice."""
        self._held.cancel()


class Links:
    """Opens connections; made by `open_links`, whose block they do not outlive."""

    def __init__(self, nursery: trio.Nursery, model: ModelConfig, dial: Dial | None) -> None:
        self._nursery = nursery
        self._model = model
        self._dial = dial
        self._links: list[Link] = []
        self._beside: list[trio.CancelScope] = []

    async def open(self) -> Link:
        """Connect, within the limit of `open_realtime`.

        Raises:
            UpstreamUnavailable: It could not be reached; another try may help.
            UpstreamRejected: It refused us; another try cannot help.
        """
        link: Link = await self._nursery.start(self._hold)
        return link

    def beside(self, work: Callable[[], Awaitable[None]]) -> None:
        """Run something beside the call's conversation; cancelled when that is over."""
        scope = trio.CancelScope()
        self._beside.append(scope)

        async def run() -> None:
            with scope:
                await work()

        self._nursery.start_soon(run)

    async def _hold(self, task_status: trio.TaskStatus[Link]) -> None:
        link: Link | None = None
        try:
            async with open_realtime(self._model, dial=self._dial) as connection:
                with trio.CancelScope() as held:
                    link = Link(connection, held)
                    self._links.append(link)
                    task_status.started(link)
                    await trio.sleep_forever()
        except UpstreamError as error:
            if link is None:
                raise
            link.connection.lose(str(error))  # it broke while it was open
        finally:
            if link in self._links:
                self._links.remove(link)

    def let_all_go(self) -> None:
        """The call is over."""
        for scope in self._beside:
            scope.cancel()
        for link in self._links:
            link.let_go()


@asynccontextmanager
async def open_links(model: ModelConfig, dial: Dial | None) -> AsyncGenerator[Links]:
    """Connections for the block; those that are left are closed politely behind it.

    Args:
        model: Address and key.
        dial: Replaces the real network.
    """
    async with trio.open_nursery() as nursery:
        links = Links(nursery, model, dial)
        yield links
        links.let_all_go()
