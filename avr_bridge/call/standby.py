"""The next session, set up while the present one still serves.

A server ends its sessions after a time (OpenAI: 60 minutes) and resumes none. So another one is
opened ahead of that, and the call changes over in a moment at which nobody speaks.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import attrs
import trio

from avr_bridge.errors import UpstreamClosed, UpstreamError
from avr_bridge.upstream.events import ErrorEvent, SessionCreated, SessionUpdated
from avr_bridge.upstream.setup import Agreed, Phase, SessionSetup

if TYPE_CHECKING:
    from collections.abc import Callable

    from avr_bridge.call.links import Link, Links

__all__ = ["Lifetime", "Standby", "lifetime_of"]

AHEAD_S = 60.0
"""How long before the end of a session the next one is opened."""

AT_THE_LATEST_S = 2.0
"""How long before its end a session is left, even in the middle of a word."""

RETRY_S = 5.0
"""Between two attempts to open the next session; the present one serves meanwhile."""

LEAST_LIFE_S = 5.0
"""A session that claims to end sooner than this comes from a clock that is not ours: taken at its
word, every session would be replaced as soon as it is there."""

LONGEST_LIFE_S = 24 * 3600.0
"""A session that claims to last longer, or to be over already, is one whose clock is not ours:
its end is then met when it comes."""


@attrs.frozen
class Lifetime:
    """On Trio's clock: when to open the next session, and when to have left this one."""

    renew_at_s: float
    leave_by_s: float


def lifetime_of(expires_at_s: float | None, now_s: float) -> Lifetime | None:
    """What a session's `expires_at` (unix seconds) means; None if it says nothing of use."""
    if expires_at_s is None:
        return None
    left_s = expires_at_s - time.time()
    if not LEAST_LIFE_S <= left_s <= LONGEST_LIFE_S:
        return None
    ahead_s = min(AHEAD_S, left_s / 4)
    return Lifetime(now_s + left_s - ahead_s, now_s + left_s - min(AT_THE_LATEST_S, ahead_s / 2))


class Standby:
    """Opens the next session and keeps it ready. `run` it beside the conversation.

    Args:
        new_setup: What to ask of the session.
        on_ready: Called when it is ready.

    Attributes:
        agreed: What is in force there; None until it is ready, and again if it was lost.
        lifetime: When that session in its turn is to be left; None if it does not say.
        setup_ms: How long the attempt took that made it ready.
    """

    def __init__(
        self,
        links: Links,
        new_setup: Callable[[], SessionSetup],
        on_ready: Callable[[], None],
        log: Any,
    ) -> None:
        self._links = links
        self._new_setup = new_setup
        self._on_ready = on_ready
        self._log = log
        self._scope = trio.CancelScope()
        self._link: Link | None = None
        self._setup = new_setup()
        self.agreed: Agreed | None = None
        self.lifetime: Lifetime | None = None
        self.setup_ms = 0.0

    async def run(self) -> None:
        """Have a session ready until it is taken or not needed."""
        with self._scope:
            while True:
                try:
                    await self._prepare()
                except UpstreamError as error:
                    self._log.warning("next session failed", error=str(error))
                self.agreed = None
                if self._link is not None:
                    self._link.let_go()
                await trio.sleep(RETRY_S)

    def take(self) -> tuple[Link, SessionSetup, Agreed]:
        """The ready session; from now on it is the caller's of this method."""
        assert self._link is not None
        assert self.agreed is not None
        self._scope.cancel()
        return self._link, self._setup, self.agreed

    def drop(self) -> None:
        """It is not needed."""
        self._scope.cancel()
        if self._link is not None:
            self._link.let_go()

    async def _prepare(self) -> None:
        began_s = trio.current_time()
        self._link = await self._links.open()
        self._setup = self._new_setup()
        connection = self._link.connection
        while True:
            match await connection.receive():
                case SessionCreated() as event:
                    command = self._setup.created(event, "br-next")
                    if command is not None:
                        connection.send_nowait(command)
                case SessionUpdated() as event if self._setup.phase is not Phase.OPENING:
                    self.agreed = self._setup.updated(event)
                    if self.agreed is None:
                        raise UpstreamClosed(1011, "no common audio format")
                    self.lifetime = lifetime_of(self._setup.expires_at_s, trio.current_time())
                    self.setup_ms = (trio.current_time() - began_s) * 1000
                    self._on_ready()
                case ErrorEvent(error=error) if self._setup.is_refused_by(error):
                    raise UpstreamClosed(1011, error.message or error.code or "refused")
