"""What a call needs of the caller's side: events in, messages out, and a way to end.

`websocket.py` and `http_stream.py` implement it for avr-core, `chan_websocket.py` and
`audiosocket.py` for Asterisk; an embedding program may bring its own. Values only: no wire format
is known here.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

import attrs

from avr_bridge.audio.format import PCM16_8K, AudioFormat
from avr_bridge.caller.direct import DirectLine

if TYPE_CHECKING:
    from collections.abc import Mapping


__all__ = [
    "AudioOut",
    "CallStarted",
    "CallerAudio",
    "CallerEvent",
    "CallerFault",
    "CallerLeft",
    "CallerMessage",
    "CallerTransport",
    "DtmfDigit",
    "ErrorOut",
    "Interruption",
    "Leaving",
    "MarkPlayed",
    "Peer",
    "SoundHeld",
    "TellingTransport",
    "TranscriptOut",
    "kind_of",
]


@attrs.frozen
class CallStarted:
    """The call has an identity: avr-core's ``init``, ``X-UUID`` of the legacy transport, or
    Asterisk's ``MEDIA_START``, or AudioSocket's first frame.

    Attributes:
        uuid: The call's id.
        fmt: The leg's format, of what comes and of what is sent from now on.
    """

    uuid: str
    fmt: AudioFormat = PCM16_8K


@attrs.frozen
class CallerAudio:
    """Sound of the caller: in the leg's format (PCM16 LE mono, 8 kHz, unless `CallStarted` said
    otherwise), whole samples, any length.

    `messages` is the number that it came in: those that came together make one event.
    """

    pcm: bytes
    messages: int = 1


@attrs.frozen
class DtmfDigit:
    """One key of the caller's keypad."""

    digit: str


@attrs.frozen
class MarkPlayed:
    """All that was sent before this mark has been played; see `TellingTransport`."""

    mark: str


@attrs.frozen
class SoundHeld:
    """The peer has as much sound waiting as it takes (`on`), or takes more again."""

    on: bool


@attrs.frozen
class CallerFault:
    """A message that the protocol does not allow; `message` names the fault, the call goes on."""

    message: str


class Leaving(enum.Enum):
    """How a caller's connection came to its end."""

    HUNG_UP = enum.auto()
    SENT_NO_INIT = enum.auto()
    STALLED = enum.auto()
    VANISHED = enum.auto()
    TOO_SLOW = enum.auto()
    FLOODED = enum.auto()
    MESSAGE_TOO_BIG = enum.auto()
    BROKE_PROTOCOL = enum.auto()
    FORMAT_UNKNOWN = enum.auto()


@attrs.frozen
class CallerLeft:
    """The caller hung up, or the connection is gone: `how`. Nothing follows.

    `detail` says more about it in the log, such as which rule was broken; nothing of what was sent.
    `uuid` is the call's id where it is known though no call could begin.
    """

    how: Leaving = Leaving.HUNG_UP
    detail: str = ""
    uuid: str = ""


@attrs.define(eq=False)
class Peer:
    """What our server has for a transport beside ASGI; it puts it into the scope's state.

    Attributes:
        how: How the connection ended, if it has.
        line: The short way of an accepted WebSocket.
        drop: Ends the connection at once; None under another server.
    """

    KEY: ClassVar[str] = "avr_bridge.peer"

    how: Leaving = Leaving.HUNG_UP
    line: DirectLine | None = None
    drop: Callable[[Leaving], None] | None = None

    def left(self) -> CallerLeft:
        """The event for the call."""
        return CallerLeft(self.how)

    def blame(self, how: Leaving) -> None:
        """Note how the connection ends; the first word stands."""
        if self.how is Leaving.HUNG_UP:
            self.how = how

    @classmethod
    def of(cls, scope: Mapping[str, Any]) -> Peer:
        """The one of this ASGI scope; a fresh one under another server."""
        found = (scope.get("state") or {}).get(cls.KEY)
        return found if isinstance(found, cls) else cls()


CallerEvent = (
    CallStarted | CallerAudio | DtmfDigit | MarkPlayed | SoundHeld | CallerFault | CallerLeft
)


@attrs.frozen
class AudioOut:
    """Sound for the caller, in the leg's format (as `CallerAudio`), whole frames of 20 ms."""

    pcm: bytes


@attrs.frozen
class Interruption:
    """What was sent ahead is void: stop playing it."""


@attrs.frozen
class TranscriptOut:
    """A finished piece of transcript; `role` is ``user`` or ``agent``."""

    role: str
    text: str


@attrs.frozen
class ErrorOut:
    """Something went wrong; the text is fit for avr-core's webhook."""

    message: str


CallerMessage = AudioOut | Interruption | TranscriptOut | ErrorOut


class CallerTransport(Protocol):
    """One caller's connection. One task receives, another sends.

    Attributes:
        metadata: What is known of the call from outside (query parameters). Only ever text.
        lead_ms: How much sound may be sent ahead of real time. Small, so that an interruption
            is instant; smaller still where the peer cannot be told to drop what it has. Such a
            transport says ``lead_is_heard = True`` besides: what was sent counts as heard, also if
            the caller speaks before it was played. It may be left out, and is False then.

    It may have a `kind` too, a word for what it is in metrics and summaries, such as
    ``websocket``; without one it is ``embedded``.
    """

    @property
    def metadata(self) -> Mapping[str, str]: ...

    @property
    def lead_ms(self) -> int: ...

    async def receive(self) -> CallerEvent:
        """Wait for the next event. After `CallerLeft` it is not called again."""

    async def send(self, message: CallerMessage) -> None:
        """Send one message; what the transport has no words for is left out.

        Raises:
            CallerGone: The connection ended.
        """

    async def close(self, code: int, reason: str) -> None:
        """End the connection with a WebSocket close code (1000 normal, 1011 failure)."""


EMBEDDED = "embedded"
"""What a transport that does not name itself is called."""


def kind_of(transport: CallerTransport) -> str:
    """The word for what it is."""
    return str(getattr(transport, "kind", EMBEDDED))


@runtime_checkable
class TellingTransport(CallerTransport, Protocol):
    """A transport whose peer keeps the clock and tells what it has played.

    For all others that is reckoned from when the sound was sent. Here `lead_ms` may be long: what
    was sent can be taken back, and how much of it was heard is known to a frame.
    """

    async def mark(self, mark: str) -> None:
        """Have `MarkPlayed` come when all that was sent so far was played; never if dropped.

        Raises:
            CallerGone: The connection ended.
        """

    async def interrupt(self) -> float | None:
        """Have the peer drop what it has not played yet.

        Returns:
            How much of what was sent that is, in ms; None if it did not say so in time.

        Raises:
            CallerGone: The connection ended.
        """

    async def hang_up(self) -> None:
        """Have the peer end the call.

        Raises:
            CallerGone: The connection ended.
        """
