"""What can be told of a simulated call: its events, its report, and why it never came about.

Values only; `call.py` makes them.
"""

from __future__ import annotations

import enum

import attrs

from avr_bridge.errors import AvrBridgeError

__all__ = ["CallEvent", "CallEventKind", "CallNotPlaced", "CallReport"]


class CallNotPlaced(AvrBridgeError):
    """The call could not be set up.

    Attributes:
        http_status: The status with which the server refused the WebSocket handshake, or None.
    """

    def __init__(self, reason: str, http_status: int | None = None) -> None:
        self.http_status = http_status
        super().__init__(reason)


class CallEventKind(enum.Enum):
    """What happened. "Audio" is what the caller hears: played out, not merely received."""

    CONNECTED = "connected"
    SAID_LAST = "said_last"
    AUDIO_FIRST = "audio_first"
    AUDIO_LAST = "audio_last"
    INTERRUPTION = "interruption"
    TRANSCRIPT = "transcript"
    ERROR = "error"
    DIGIT = "digit"
    FAULT = "fault"
    HUNG_UP = "hung_up"
    CLOSED = "closed"


@attrs.frozen
class CallEvent:
    """One thing that happened in a call.

    Attributes:
        at_ms: When, since the call was connected. An `AUDIO_LAST` is known only after a pause and
            therefore comes later in the list than its time says.
        kind: What.
        text: Transcript, error, fault, digit or close reason.
        role: Whose transcript: ``"user"`` or ``"agent"``.
        code: The close code, where there is one.
    """

    at_ms: float
    kind: CallEventKind
    text: str = ""
    role: str = ""
    code: int | None = None


@attrs.frozen
class CallReport:
    """One call in figures; times in ms.

    Attributes:
        answered_after_ms: From the connection to the first audible sound from the bridge.
        answer_latencies_ms: For each piece of own speech that was answered: from its last audible
            frame to the next audible sound from the bridge.
        heard_s: Length of what was audible.
        received_s: Length of all audio received, silence and flushed audio included.
        flushed_ms: Audio that interruptions threw away unheard.
        underruns: Holes within the bridge's speech.
        underrun_ms: Their lengths together.
        longest_lead_ms: The most audio that ever waited at the caller's side to be played.
        interruptions: How many the bridge sent.
        transcripts: Role and text of each.
        errors: The bridge's error messages.
        faults: Each breach of the protocol by the bridge, in words.
        closed_by: ``"bridge"``, ``"caller"``, or None while the call lasts.
        close_code: WebSocket close code (1006: lost), or the HTTP status of a refused stream.
        close_reason: The reason given.
        sent_frames: Frames of 20 ms sent, silence included.
        latest_frame_ms: The most that a frame left too late. More than a frame or two means that
            the caller's machine was too busy and the other figures cannot be trusted.
    """

    answered_after_ms: float | None
    answer_latencies_ms: tuple[float, ...]
    heard_s: float
    received_s: float
    flushed_ms: float
    underruns: int
    underrun_ms: float
    longest_lead_ms: float
    interruptions: int
    transcripts: tuple[tuple[str, str], ...]
    errors: tuple[str, ...]
    faults: tuple[str, ...]
    closed_by: str | None
    close_code: int | None
    close_reason: str
    sent_frames: int
    latest_frame_ms: float
