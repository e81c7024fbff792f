"""Which session of the model stand-in belongs to which call. Nothing on the wire says so.

A probe does, in time: the session of a call is among those that answered a probe between the
sending of the call's probe and the hearing of its answer. Probes come at uneven times, so the next
ones leave only one. Where generator processes share the stand-in's port, a call's session may live
in another process: then none is left. Such a call is given the worst share of those sessions that
answer probes and belong to no call here; so the worst session of a run is always told by some call.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from avr_bridge.soak.load.caller import PROBE_LIMIT_S

if TYPE_CHECKING:
    from collections.abc import Iterable

    from avr_bridge.soak.load.caller import Caller
    from avr_bridge.soak.load.model import ModelSession

__all__ = ["Matching"]

PROOFS = 3
"""A call's session is known when it alone is left and this many probes agree."""


class Matching:
    """All calls and sessions of one process."""

    def __init__(self) -> None:
        self._answers: deque[tuple[float, ModelSession]] = deque()
        self._gone: list[ModelSession] = []

    def answered(self, session: ModelSession, now_s: float) -> None:
        """A session has answered a probe."""
        self._answers.append((now_s, session))
        while self._answers[0][0] < now_s - PROBE_LIMIT_S:
            self._answers.popleft()

    def heard(self, caller: Caller, sent_s: float, heard_s: float) -> None:
        """A call has heard the answer to its probe."""
        if caller.proofs >= PROOFS and len(caller.candidates) == 1:
            (session,) = caller.candidates
            if sent_s <= session.answered_s:
                return
        might = {session for when_s, session in self._answers if sent_s <= when_s <= heard_s}
        both = caller.candidates & might
        caller.proofs = caller.proofs + 1 if both else min(len(might), 1)
        caller.candidates = both or might

    def session_of(self, caller: Caller) -> ModelSession | None:
        """The call's session, where it is known."""
        if caller.proofs < PROOFS or len(caller.candidates) != 1:
            return None
        (session,) = caller.candidates
        return session

    def gone(self, session: ModelSession) -> None:
        """A session has ended; what it counted is still to be told."""
        self._gone.append(session)

    def strangers(
        self, live: Iterable[ModelSession], callers: Iterable[Caller]
    ) -> list[ModelSession]:
        """Live sessions that answer probes, but of no call here."""
        claimed = {self.session_of(caller) for caller in callers}
        return [one for one in live if one.answered_s and one not in claimed]

    def tools_of(self, session: ModelSession | None) -> tuple[int, int]:
        """Function calls made and answered; those of strangers that have ended are told with the
        next call that is a stranger too, so that sums are right."""
        told = [session] if session else self._gone
        self._gone = [one for one in self._gone if one not in told]
        counted = [(one.tools, one.tools_answered) for one in told]
        for one in told:
            one.tools = one.tools_answered = 0
        return sum(made for made, _ in counted), sum(back for _, back in counted)
