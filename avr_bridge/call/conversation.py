"""`run_conversation`: the second task of a call, between the caller's sound and the model.

It carries out what the state machine in `upstream/conversation.py` decides, and sees to it that
there is a session: connects, connects again when the session is lost, and changes over to the next
one before the server ends it. It never waits for the caller, a tool or the pacer.
"""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING, Any, cast

import attrs
import trio

from avr_bridge.call.ending import EndReason
from avr_bridge.call.fallback import fall_back
from avr_bridge.call.links import Link, Links, open_links
from avr_bridge.call.standby import Lifetime, Standby, lifetime_of
from avr_bridge.call.talk import Failure, Talk
from avr_bridge.errors import UpstreamClosed, UpstreamRejected, UpstreamUnavailable
from avr_bridge.telemetry import get_logger
from avr_bridge.telemetry.journal import (
    ResponseDone,
    SessionLost,
    SessionReady,
    SessionRenewed,
)
from avr_bridge.upstream.actions import Watchdog
from avr_bridge.upstream.client import PINGS_UNANSWERED
from avr_bridge.upstream.conversation import Conversation, Phase

if TYPE_CHECKING:
    from avr_bridge.audio.format import AudioFormat
    from avr_bridge.call.instructions import CallSettings
    from avr_bridge.call.line import CallLine
    from avr_bridge.caller.transport import CallStarted
    from avr_bridge.config import BridgeConfig
    from avr_bridge.upstream.client import Dial

__all__ = ["run_conversation"]

SESSION_LIMIT_S = 10.0
"""From the beginning of the call, or the loss of a session, to a session in force, all attempts
together. Medians are about 1 s; a caller holds the line in silence for no longer."""

ATTEMPT_LIMIT_S = 6.0
"""One attempt, from TCP to `session.updated`: leaves time for another."""

FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 2.0
"""Between attempts: doubled each time, less a random half, so that the calls of a server that
comes back do not all come at once."""

MOST_LOSSES = 4
LOSSES_WITHIN_S = 60.0
"""A session that is lost more often than this is no session."""


async def run_conversation(
    config: BridgeConfig,
    start: CallStarted,
    settings: CallSettings,
    line: CallLine,
    dial: Dial | None,
) -> None:
    """Hold the conversation until the model or the call ends; record which in the ending."""
    log = get_logger().bind(call=start.uuid)
    model, spare_voice = config.model, None
    if settings.voice:
        model, spare_voice = _evolved(model, voice=settings.voice), model.voice
    talk = config.talk
    if settings.welcome and not talk.greeting_file:
        talk = _evolved(talk, welcome_message=settings.welcome)
    machine = Conversation(
        model,
        talk,
        settings.instructions,
        tools=_offered(line, settings, log),
        spare_voice=spare_voice,
    )
    async with open_links(model, dial) as links:
        sessions = _Sessions(config, machine, links, start.fmt, line, log)
        try:
            with line.ending.scope():
                await sessions.run()
        finally:
            sessions.note_unfinished()


def _evolved[Section](section: Section, **changes: Any) -> Section:
    evolved: Section = attrs.evolve(cast("Any", section), **changes)
    return evolved


def _offered(line: CallLine, settings: CallSettings, log: Any) -> list[dict[str, Any]]:
    """The tools of this call: all, or those that its settings name."""
    described = line.toolbox.descriptions()
    if settings.tools is None:
        return described
    names = {str(tool.get("name") or tool.get("server_label")) for tool in described}
    unknown = sorted(set(settings.tools) - names)
    if unknown:
        log.warning("tools named for the call do not exist", tools=unknown)
    return [
        tool
        for tool in described
        if str(tool.get("name") or tool.get("server_label")) in settings.tools
    ]


class _Sessions:
    """The sessions of one call, one after another."""

    def __init__(
        self,
        config: BridgeConfig,
        machine: Conversation,
        links: Links,
        leg: AudioFormat,
        line: CallLine,
        log: Any,
    ) -> None:
        self._config = config
        self._machine = machine
        self._links = links
        self._line = line
        self._stats = line.stats
        self._log = log
        self._talk = Talk(config, machine, leg, line, log, self._due_s)
        self._link: Link | None = None
        self._lifetime: Lifetime | None = None
        self._standby: Standby | None = None
        self._losses: list[float] = []
        self._had_session = False

    async def run(self) -> None:
        """Talk until the call ends. Leaves through the ending's scope."""
        if self._config.talk.max_call_s:
            self._machine.longest_call(self._stats.started_s + self._config.talk.max_call_s)
        self._talk.connect()
        failure = await self._get_session(EndReason.MODEL_UNAVAILABLE, self._stats.started_s)
        while failure is None:
            failure = await self._converse()
            lost_s = trio.current_time()
            failure = failure or await self._get_session(EndReason.MODEL_CLOSED, lost_s)
        self._leave_session()
        fall_back(self._config.talk, self._line, *failure, self._log)
        await trio.sleep_forever()

    async def _get_session(self, otherwise: EndReason, wanted_s: float) -> Failure | None:
        """Connect and set a session up, with further attempts while there is time.

        Args:
            otherwise: Why the call ends if there is none.
            wanted_s: Since when the call waits for it.

        Returns:
            Why there is none: `otherwise`, or a refusal, which no attempt can help.
        """
        give_up_s = trio.current_time() + SESSION_LIMIT_S
        pause_s = FIRST_PAUSE_S
        while True:
            asked_to_wait_s = 0.0
            try:
                with trio.move_on_at(min(trio.current_time() + ATTEMPT_LIMIT_S, give_up_s)):
                    self._enter(await self._links.open())
                    while self._machine.phase is not Phase.READY:
                        await self._talk.step()
                    self._tell_ready((trio.current_time() - wanted_s) * 1000)
                    return None
                detail = "no session in time"
                self._talk.alarm(Watchdog.SESSION_SETUP)
            except UpstreamRejected as error:
                return EndReason.MODEL_REJECTED, str(error)
            except UpstreamUnavailable as error:
                detail = str(error)
                asked_to_wait_s = error.retry_after_s or 0.0
            except UpstreamClosed as closed:
                if hopeless := self._hopeless(closed):
                    return hopeless
                detail = str(closed)
            self._leave_session()
            jittered_s = pause_s * random.uniform(0.5, 1.0)
            wait_s = max(jittered_s, asked_to_wait_s)
            if trio.current_time() + wait_s >= give_up_s:
                return otherwise, detail
            self._log.warning("no session yet", error=detail, wait_ms=round(wait_s * 1000))
            await trio.sleep(wait_s)
            pause_s = min(pause_s * 2, LONGEST_PAUSE_S)

    async def _converse(self) -> Failure | None:
        """Converse until the session is lost.

        Returns:
            None if another one may be tried, else why not.
        """
        self._lifetime = lifetime_of(self._machine.expires_at_s, trio.current_time())
        try:
            while True:
                await self._talk.step()
                self._renew()
        except UpstreamClosed as closed:
            self._leave_session()
            self._line.journal.tell(SessionLost(trio.current_time(), str(closed)))
            if hopeless := self._hopeless(closed):
                return hopeless
            if closed.reason == PINGS_UNANSWERED:
                self._talk.alarm(Watchdog.PINGS_UNANSWERED)
            now_s = trio.current_time()
            self._losses = [at_s for at_s in self._losses if at_s > now_s - LOSSES_WITHIN_S]
            self._losses.append(now_s)
            self._log.warning("session lost", error=str(closed), losses=len(self._losses))
            if len(self._losses) > MOST_LOSSES:
                return EndReason.MODEL_CLOSED, str(closed)
            self._stats.reconnects += 1
            return None

    def _leave_session(self, *, between_turns: bool = False) -> None:
        """Whatever there is of a session is over; the caller's sound is kept for the next."""
        if self._link is not None:
            self._link.let_go()
        self._link = self._talk.connection = None
        if self._standby is not None:
            self._standby.drop()
            self._standby = None
        self._lifetime = None
        self.note_unfinished()
        self._talk.do(self._machine.session_lost(trio.current_time()))
        self._line.uplink.hold(between_turns=between_turns)

    def note_unfinished(self) -> None:
        """An answer that is being generated comes to no end in this session, and to no bill."""
        if self._machine.answers:
            lost = ResponseDone(trio.current_time(), "lost", None, None)
            self._line.journal.tell(lost)

    def _renew(self) -> None:
        """Open the next session ahead of time; change over when nobody speaks."""
        now_s = trio.current_time()
        if self._lifetime is None:
            return
        if self._standby is None and now_s >= self._lifetime.renew_at_s:
            new_setup = self._machine.new_setup
            self._standby = Standby(self._links, new_setup, self._talk.wake, self._log)
            self._links.beside(self._standby.run)
        if self._may_change():
            self._change()

    def _may_change(self) -> bool:
        if self._standby is None or self._standby.agreed is None or self._lifetime is None:
            return False
        return self._machine.rests or trio.current_time() >= self._lifetime.leave_by_s

    def _change(self) -> None:
        assert self._standby is not None
        link, setup, agreed = self._standby.take()
        lifetime, setup_ms = self._standby.lifetime, self._standby.setup_ms
        self._standby = None
        self._leave_session(between_turns=True)
        self._enter(link)
        self._talk.do(self._machine.go_on_in(setup, agreed, trio.current_time()))
        self._lifetime = lifetime
        self._stats.renewals += 1
        self._tell_ready(setup_ms)
        self._line.journal.tell(SessionRenewed(trio.current_time()))
        self._log.info("session renewed")

    def _tell_ready(self, setup_ms: float) -> None:
        again, self._had_session = self._had_session, True
        moment = SessionReady(trio.current_time(), setup_ms, self._machine.model, again)
        self._line.journal.tell(moment)

    def _enter(self, link: Link) -> None:
        self._link = link
        self._talk.connection = link.connection

    def _hopeless(self, closed: UpstreamClosed) -> Failure | None:
        """Why no other session can help; None if one may. OpenAI checks the key after the
        upgrade: 3000 ``invalid_request_error.<code>``."""
        if closed.reason.startswith("invalid_request_error"):
            return EndReason.MODEL_REJECTED, str(closed)
        return self._talk.failure

    def _due_s(self) -> float:
        """When there is something to do about the next session."""
        if self._lifetime is None:
            return math.inf
        if self._standby is None:
            return self._lifetime.renew_at_s
        if self._standby.agreed is None:
            return math.inf
        return -math.inf if self._machine.rests else self._lifetime.leave_by_s
