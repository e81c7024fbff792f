"""What the simulated model does in a turn: the question (`Turn`) and the answer (`Step`s).

Knows nothing of events or sockets. Ready answers are in `behaviours.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import attrs

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "Behaviour",
    "CallTool",
    "Close",
    "Drop",
    "Emit",
    "Fail",
    "Hang",
    "Raw",
    "Say",
    "Step",
    "Transcriber",
    "Turn",
    "Wait",
]


@attrs.frozen(kw_only=True)
class Turn:
    """What a response is to answer: everything new since the last response began."""

    index: int
    """Number of the response in its session, from 0."""

    caller_audio: bytes = attrs.field(default=b"", repr=False)
    """PCM16 LE mono at `caller_rate_hz`: the caller's words as the server cut them, with the prefix
    padding and without the trailing silence. Empty if nothing was said."""

    caller_rate_hz: int = 24_000
    """8000 in a session with G.711 input (the audio as it came), else 24000."""

    function_outputs: tuple[tuple[str, str], ...] = ()
    """Results of tools, each as (call id, output); not those of calls that the client put into the
    conversation itself, which are history."""

    texts: tuple[str, ...] = ()
    """Text items of the user."""

    instructions: str = ""
    """The instructions in force, those of `response.create` before those of the session."""

    requested: bool = False
    """True: asked for by `response.create`; False: made by the server's voice detection."""

    out_of_band: bool = False
    """True: a response outside the conversation (`conversation: "none"`)."""

    @property
    def caller_ms(self) -> float:
        """Length of `caller_audio` in ms."""
        return len(self.caller_audio) // 2 * 1000 / self.caller_rate_hz


@attrs.frozen
class Say:
    """Speak: one assistant message. `pcm` is PCM16 LE mono at `rate_hz`."""

    pcm: bytes = attrs.field(repr=False)
    rate_hz: int
    transcript: str


@attrs.frozen
class CallTool:
    """Ask the client to run a tool; `arguments` is JSON text. No `call_id`: one is made up."""

    name: str
    arguments: str
    call_id: str | None = None


@attrs.frozen
class Fail:
    """End the response as failed."""

    code: str
    message: str
    type: str = "server_error"


@attrs.frozen
class Emit:
    """Send this event as it is; an `event_id` is added where none is given."""

    event: dict[str, Any]


@attrs.frozen
class Raw:
    """Send this text as one message, whatever it is."""

    text: str


@attrs.frozen
class Wait:
    """Do nothing for `ms` milliseconds."""

    ms: float


@attrs.frozen
class Hang:
    """Say nothing more, ever: the response stays active.

    `cancellable` decides whether `response.cancel` and an interruption still end it.
    """

    cancellable: bool = False


@attrs.frozen
class Close:
    """Close the connection after what was sent so far."""

    code: int = 1011
    reason: str = ""


@attrs.frozen
class Drop:
    """Lose the connection without a close frame; the client sees 1006."""


type Step = Say | CallTool | Fail | Emit | Raw | Wait | Hang | Close | Drop


class Behaviour(Protocol):
    """Decides what each response says. One behaviour may serve many sessions."""

    def answer(self, turn: Turn) -> Sequence[Step]:
        """The steps of the response to `turn`; an empty sequence completes it without output."""


@runtime_checkable
class Transcriber(Protocol):
    """A behaviour that also says what the caller's words are to be transcribed as."""

    def transcribe(self, pcm: bytes, rate_hz: int) -> str:
        """The transcript of one turn of the caller, PCM16 LE mono at `rate_hz`."""
