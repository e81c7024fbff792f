"""What the parts of one simulated session share: its settings, its conversation, its way out.

Holds values and hands out ids; every rule is in the parts: `caller_turns.py`, `items.py`,
`responses.py`, and `dialogue.py` above them.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, Protocol

import attrs

from avr_bridge.testing.realtime.conversation import Conversation, Item
from avr_bridge.testing.realtime.dialect_beta import Beta
from avr_bridge.testing.realtime.dialect_xai import Xai
from avr_bridge.testing.realtime.dialects import Ga
from avr_bridge.testing.realtime.settings import audio_format, default_session

if TYPE_CHECKING:
    from collections.abc import Callable

    from avr_bridge.audio.format import AudioFormat
    from avr_bridge.testing.realtime.behaviour import Behaviour, Turn
    from avr_bridge.testing.realtime.dialects import WireDialect
    from avr_bridge.testing.realtime.options import SimulatorOptions
    from avr_bridge.testing.realtime.outbox import Outbox
    from avr_bridge.testing.realtime.sabotage import Saboteur
    from avr_bridge.testing.realtime.speaking import ResponseRun

__all__ = ["Host", "Pending", "SessionState"]

_DIALECTS: dict[str, Callable[[], WireDialect]] = {"ga": Ga, "beta": Beta, "xai": Xai}


class Host(Protocol):
    """What a dialogue needs from the session around it."""

    options: SimulatorOptions
    outbox: Outbox
    saboteur: Saboteur

    def send(self, event: dict[str, Any]) -> None:
        """Send one event to the client, without waiting."""

    def play(self, run: ResponseRun) -> None:
        """Run a response in the background."""

    def later(self, delay_s: float, deed: Callable[[], None]) -> None:
        """Do something in `delay_s` seconds, if the session still lives."""

    def heard(self, pcm: bytes, rate_hz: int) -> None:
        """Caller audio came in: PCM16 LE mono."""

    def asked(self, turn: Turn) -> None:
        """A response begins."""


@attrs.define(eq=False)
class Pending:
    """What the client gave since the last response began."""

    audio: bytearray = attrs.field(factory=bytearray)
    rate_hz: int = 24_000
    texts: list[str] = attrs.field(factory=list)
    outputs: list[tuple[str, str]] = attrs.field(factory=list)

    def add_audio(self, pcm: bytes, rate_hz: int) -> None:
        """Add caller audio; of two rates the newer one wins."""
        if rate_hz != self.rate_hz:
            self.audio.clear()
            self.rate_hz = rate_hz
        self.audio += pcm


class SessionState:
    """The shared state.

    Args:
        host: The session around it.
        behaviour: Who answers.
        model: The model that the client asked for.
        number: Number of the session on its server, part of all ids.
        expires_at: When the session ends, in unix seconds.

    Attributes:
        dialect: What is spoken to the client.
        session: The session object, as a GA `session.updated` shows it.
        conversation: The items.
        pending: What no response has taken up yet.
        voice_locked: Whether assistant audio has gone out.
    """

    def __init__(
        self, host: Host, behaviour: Behaviour, model: str, number: int, expires_at: int
    ) -> None:
        self.host = host
        self.behaviour = behaviour
        self._number = number
        self._counter = itertools.count(1)
        self.dialect = _DIALECTS[host.options.dialect]()
        self.session = self.dialect.default_session(
            default_session(self.new_id("sess"), model, expires_at)
        )
        self.conversation_id = self.new_id("conv")
        self.conversation = Conversation()
        self.pending = Pending()
        self.voice_locked = False

    def emit(self, event: dict[str, Any]) -> None:
        """Send a GA event in the client's dialect, with an id of its own where it has none."""
        for shaped in self.dialect.to_wire(event):
            self.host.send({"event_id": self.new_id("event")} | shaped)
        self.host.saboteur.sent(str(event.get("type")))

    def new_id(self, kind: str) -> str:
        """An id such as `item_3_000017`: third session, seventeenth id."""
        return f"{kind}_{self._number}_{next(self._counter):06d}"

    @property
    def input_format(self) -> AudioFormat:
        """How the client encodes caller audio."""
        return audio_format(self.session["audio"]["input"]["format"])

    @property
    def turn_detection(self) -> dict[str, Any] | None:
        """The effective `turn_detection`; None: manual turns."""
        detection: dict[str, Any] | None = self.session["audio"]["input"]["turn_detection"]
        return detection

    def show_item(self, item: Item, previous: str | None) -> None:
        """Tell of a finished item: `conversation.item.added` and `.done`."""
        for stage in ("added", "done"):
            self.emit(
                {
                    "type": f"conversation.item.{stage}",
                    "previous_item_id": previous,
                    "item": item.shown(),
                }
            )
