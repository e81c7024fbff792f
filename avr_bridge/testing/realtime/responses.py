"""The responses of one session: at most one in the conversation, a few beside it.

Decides who may begin and who is cancelled; what a response sends is `responding.py`'s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from avr_bridge.testing.realtime.behaviour import Say, Turn
from avr_bridge.testing.realtime.clips import murmur
from avr_bridge.testing.realtime.refusal import Refusal
from avr_bridge.testing.realtime.responding import ResponseWriter
from avr_bridge.testing.realtime.settings import plan_response
from avr_bridge.testing.realtime.speaking import ResponseRun
from avr_bridge.testing.realtime.state import Pending

if TYPE_CHECKING:
    from collections.abc import Callable

    from avr_bridge.testing.realtime.conversation import Conversation
    from avr_bridge.testing.realtime.state import SessionState

__all__ = ["ResponseDesk"]

MAX_ASIDE = 16
"""Responses outside the conversation that may run at once."""


class ResponseDesk:
    """Takes `response.*`, and is the `Desk` at which responses are written.

    Attributes:
        on_begun: Called when a response begins in the conversation.
        on_ended: Called with every response in the conversation that has ended.
    """

    def __init__(self, state: SessionState) -> None:
        self._state = state
        self._active: ResponseRun | None = None
        self._aside: list[ResponseRun] = []
        self._turns = 0
        self.cached_input = (0, 0)
        self.on_begun: Callable[[], None] = lambda: None
        self.on_ended: Callable[[ResponseWriter], None] = lambda writer: None

    @property
    def conversation(self) -> Conversation:
        """The items."""
        return self._state.conversation

    def emit(self, event: dict[str, Any]) -> None:
        """Send an event."""
        self._state.emit(event)

    def new_id(self, kind: str) -> str:
        """A fresh id."""
        return self._state.new_id(kind)

    def audio_sent(self, ms: float) -> None:
        """From now on the voice is locked."""
        self._state.voice_locked = True
        self._state.host.saboteur.spoken(ms)

    def response_ended(self, writer: ResponseWriter) -> None:
        """Tell whoever waits for the end of an answer."""
        if not writer.plan.out_of_band:
            self.on_ended(writer)

    @property
    def active(self) -> ResponseRun | None:
        """The response that runs in the conversation."""
        return self._active if self._active and not self._active.writer.ended else None

    def create(self, event: dict[str, Any]) -> None:
        """`response.create`. Raises: Refusal."""
        self.respond(event.get("response") or {}, requested=True)

    def respond(self, wish: dict[str, Any], *, requested: bool) -> None:
        """Begin a response to everything that is pending.

        Args:
            wish: The `response` object of the request, or an empty one.
            requested: Whether a client asked for it, or the voice detection.

        Raises:
            Refusal: One is active already, or the wish cannot be.
        """
        if self._state.host.outbox.ended:
            return  # nobody would hear it: the behaviour's answer is for the next connection
        plan = plan_response(
            self._state.session,
            wish,
            voice_locked=self._state.voice_locked,
            g711=self._state.host.options.g711,
        )
        self._aside = [run for run in self._aside if not run.writer.ended]
        if not plan.out_of_band:
            self._need_silence()
        if len(self._aside) >= MAX_ASIDE:
            raise Refusal("rate_limit_exceeded", "Too many responses at once.")
        pending = Pending() if plan.out_of_band else self._state.pending
        turn = Turn(
            index=self._turns,
            caller_audio=bytes(pending.audio),
            caller_rate_hz=pending.rate_hz if pending.audio else self._state.input_format.rate_hz,
            function_outputs=tuple(pending.outputs),
            texts=tuple(pending.texts),
            instructions=plan.instructions,
            requested=requested,
            out_of_band=plan.out_of_band,
        )
        self._turns += 1
        writer = ResponseWriter(self, plan, self._state.new_id("resp"), self._state.conversation_id)
        run = ResponseRun(writer, self._state.behaviour.answer(turn), self, self._state.host)
        if plan.out_of_band:
            self._aside.append(run)
        else:
            self._state.pending = Pending()
            self._active = run
            self.on_begun()
        self._state.host.asked(turn)
        writer.created()
        self._state.host.play(run)

    def speak(self, text: str, *, interruptible: bool) -> None:
        """Say exactly this, without the behaviour and without taking up what is pending.

        Raises:
            Refusal: A response is active.
        """
        self._need_silence()
        options = self._state.host.options
        plan = plan_response(
            self._state.session, {}, voice_locked=self._state.voice_locked, g711=options.g711
        )
        writer = ResponseWriter(self, plan, self._state.new_id("resp"), self._state.conversation_id)
        sound = murmur(text)
        steps = [Say(sound.pcm, sound.rate_hz, text)]
        self._active = ResponseRun(
            writer, steps, self, self._state.host, interruptible=interruptible
        )
        self.on_begun()
        writer.created()
        self._state.host.play(self._active)

    def _need_silence(self) -> None:
        if self.active:
            raise Refusal(
                "conversation_already_has_active_response",
                "Conversation already has an active response in progress: "
                f"{self.active.writer.id}. Wait until the response is finished before creating a "
                "new one.",
            )

    def cancel(self, event: dict[str, Any]) -> None:
        """`response.cancel`. Raises: Refusal."""
        wanted = event.get("response_id")
        running = [run for run in (self.active, *self._aside) if run and not run.writer.ended]
        for run in running:
            if run.writer.id == wanted or (wanted is None and run is self.active):
                run.cancel("client_cancelled")
                return
        raise Refusal("response_cancel_not_active", "Cancellation failed: no active response found")
