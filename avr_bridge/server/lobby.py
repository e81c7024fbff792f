"""Callers that are connected over WebSocket and have not said yet which call they are.

Beside the routes, which enter them here; `admission.py` has let them in before. avr-core says it at
once, so the oldest one here is the least likely to be a call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from avr_bridge.caller.transport import Leaving

if TYPE_CHECKING:
    from avr_bridge.caller.transport import Peer

__all__ = ["Lobby"]

MOST_WITHOUT_INIT = 256
"""Of more the oldest is dropped. As many as may be without a request: each costs a descriptor
and 80 kB, for 10 s at the most."""


class Lobby:
    """A bound on those that wait, across the server."""

    def __init__(self) -> None:
        self._waiting: dict[Peer, None] = {}

    def enter(self, peer: Peer) -> None:
        """One more; the oldest is dropped if they are too many."""
        if len(self._waiting) >= MOST_WITHOUT_INIT:
            oldest = next(iter(self._waiting))
            del self._waiting[oldest]
            if oldest.drop is not None:
                oldest.drop(Leaving.SENT_NO_INIT)
        self._waiting[peer] = None

    def leave(self, peer: Peer) -> None:
        """It has begun its call, or left; also one that is not here."""
        self._waiting.pop(peer, None)
