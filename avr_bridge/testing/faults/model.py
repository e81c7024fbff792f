"""Faults of the model's side, each a value, and the pattern that says which connection has which.

Hand a `ModelFaults` to `SimulatedRealtime`. Nothing here acts: the simulated server obeys, in
`realtime/server.py` before a session, in `realtime/sabotage.py` within one. What goes wrong in
answers only is a `Step` of a behaviour: `Hang` (no first audio), `Fail`, `Close`, `Drop`, `Wait`.
"""

from __future__ import annotations

import attrs
from attrs import validators

__all__ = [
    "CutAfter",
    "CutAfterCommit",
    "CutInAnswer",
    "Freeze",
    "HangConnect",
    "ModelFault",
    "ModelFaults",
    "NoSession",
    "NoUpdate",
    "Refuse",
    "RefuseAfterUpgrade",
    "SessionLength",
    "StallAfterTool",
    "StopAnsweringPings",
    "StopReading",
    "Unreachable",
]

_CLOSE_CODE = validators.and_(validators.ge(1000), validators.lt(5000))
_FROM_0 = validators.ge(0.0)
_FROM_1 = validators.ge(1)

# --- before there is a session


@attrs.frozen
class Unreachable:
    """TCP is reset at once. In memory, dialling raises `UpstreamUnavailable` at once."""


@attrs.frozen
class HangConnect:
    """TCP is accepted and nothing answered. In memory, dialling fails after the real dial's limit
    of `avr_bridge.upstream.dial.CONNECT_LIMIT_S`."""


@attrs.frozen
class Refuse:
    """An HTTP status instead of the upgrade, perhaps with `Retry-After`; an empty body by default.

    In memory, dialling raises what the real dial does for this status.
    """

    status: int = attrs.field(validator=validators.and_(validators.ge(300), validators.lt(600)))
    retry_after_s: float | None = attrs.field(default=None, validator=validators.optional(_FROM_0))
    body: bytes = b""


@attrs.frozen
class RefuseAfterUpgrade:
    """The upgrade succeeds, then come an `error` event and a close with `<type>.<code>`.

    Seen with 3000 for a bad key and with 4000 for what the session layer refuses.
    """

    code: str = "invalid_api_key"
    type: str = "invalid_request_error"
    close_code: int = attrs.field(default=3000, validator=_CLOSE_CODE)
    message: str = "Incorrect API key provided."


@attrs.frozen
class NoSession:
    """`session.created` never comes; `session.update` is answered all the same."""


@attrs.frozen
class NoUpdate:
    """`session.update` has neither effect nor answer."""


# --- the end of a session


@attrs.frozen
class SessionLength:
    """The session lasts so many seconds, says so in `expires_at`, and ends as a real one does."""

    session_s: float = attrs.field(validator=validators.gt(0))


@attrs.frozen
class CutAfter:
    """The connection ends `after_s` seconds after the first `session.updated`.

    Without `close_code` it is lost without a close frame, and the client sees 1006. What was sent
    before still arrives, here and with the two other cuts.
    """

    after_s: float = attrs.field(validator=_FROM_0)
    close_code: int | None = attrs.field(default=None, validator=validators.optional(_CLOSE_CODE))
    reason: str = ""


@attrs.frozen
class CutInAnswer:
    """The connection is lost within the n-th response of the session, counted from 1.

    The audio delta that completes `after_ms_audio` is the last message; with 0 it is
    `response.created`. An answer with less sound than that is not cut.
    """

    n_response: int = attrs.field(default=1, validator=_FROM_1)
    after_ms_audio: float = attrs.field(default=0.0, validator=_FROM_0)


@attrs.frozen
class CutAfterCommit:
    """The connection is lost right after `input_audio_buffer.committed` of the caller's n-th turn
    in the session, counted from 1. The behaviour is not asked for an answer."""

    n_turn: int = attrs.field(default=1, validator=_FROM_1)


# --- a session that goes on and does not


@attrs.frozen
class StopAnsweringPings:
    """No pongs from `after_s` seconds after the first `session.updated`; all else works."""

    after_s: float = attrs.field(default=0.0, validator=_FROM_0)


@attrs.frozen
class StopReading:
    """The server reads no more from `after_s` seconds after the first `session.updated`.

    So it answers neither pings nor a close. What it was saying goes on. A client's sends wait once
    the buffers between are full: in memory 64 messages, over sockets the kernel's megabytes.
    """

    after_s: float = attrs.field(default=0.0, validator=_FROM_0)


@attrs.frozen
class Freeze:
    """From `after_s` seconds after the first `session.updated` nothing comes any more, not even a
    pong or the answer to a close, and what is sent gets lost. The connection stays up."""

    after_s: float = attrs.field(default=0.0, validator=_FROM_0)


@attrs.frozen
class StallAfterTool:
    """The first `requests` `response.create` that follow a tool's result are ignored: there is not
    even a `response.created`."""

    requests: int = attrs.field(default=1, validator=_FROM_1)


type ModelFault = (
    Unreachable
    | HangConnect
    | Refuse
    | RefuseAfterUpgrade
    | NoSession
    | NoUpdate
    | SessionLength
    | CutAfter
    | CutInAnswer
    | CutAfterCommit
    | StopAnsweringPings
    | StopReading
    | Freeze
    | StallAfterTool
)


@attrs.frozen
class ModelFaults:
    """Which connection has which fault: entry n of `pattern` is for the n-th connection.

    Every attempt to connect counts, also one that comes to nothing. After the pattern's end each
    connection has `rest`; None, there and in the pattern, is a healthy one.
    """

    pattern: tuple[ModelFault | None, ...] = ()
    rest: ModelFault | None = None

    def of(self, number: int) -> ModelFault | None:
        """The fault of connection `number`, counted from 1."""
        return self.pattern[number - 1] if number <= len(self.pattern) else self.rest
