"""How the simulated server differs from the ordinary: speeds, delays, keys and known faults.

Every part of the simulator reads this value; it changes nothing by itself. What is *said* is not
decided here but by a `Behaviour`.
"""

from __future__ import annotations

from typing import Literal

import attrs
from attrs import validators

__all__ = ["SimulatorOptions"]


@attrs.frozen(kw_only=True)
class SimulatorOptions:
    """Settings of one simulated server; the defaults behave like the real one on a good day."""

    dialect: Literal["ga", "beta", "xai"] = "ga"
    """What is spoken to clients. `beta` is also found at Azure's preview address, `ga` at Azure's
    GA address; inside, and for behaviours, every session is GA."""

    api_key: str | None = attrs.field(default=None, repr=False)
    """The only bearer key that is let in; None lets everybody in."""

    key_check: Literal["http", "close"] = "http"
    """Where a wrong key is refused: with HTTP 401, or, as often seen, after the upgrade with an
    `error` event and close code 3000."""

    g711: Literal["honoured", "refused", "ignored"] = "honoured"
    """`refused`: a wish for G.711 is answered with audio/pcm, 24 kHz, and that is spoken.
    `ignored`: the answer claims G.711, but audio deltas are PCM16 at 24 kHz."""

    speed: float = attrs.field(default=8.0, validator=validators.gt(0))
    """Audio deltas leave this many times faster than real time."""

    delta_ms: tuple[int, ...] = attrs.field(default=(67, 250, 31), validator=validators.min_len(1))
    """Lengths of the audio deltas in ms, used in turn; on purpose no multiples of 20 ms."""

    odd_bytes: bool = False
    """Cut PCM16 deltas in the middle of a sample, so that a client has to carry a byte over."""

    first_audio_ms: float = 150.0
    """From `response.created` to the first item of the answer, in ms."""

    transcription_ms: float = 400.0
    """From the end of the caller's turn to its transcript, in ms."""

    transcription: Literal["works", "fails"] = "works"
    """Whether a transcript that the session asked for arrives, or `...transcription.failed`."""

    session_s: float = attrs.field(default=3600.0, validator=validators.gt(0))
    """Length of a session in seconds; then `session_expired` and close code 1001."""

    connect_delay_s: float = 0.0
    """Seconds before a connection is accepted or refused."""

    created_delay_s: float = 0.0
    """Seconds from the accepted connection to `session.created`."""

    send_session_created: bool = True
    """False: `session.created` never comes."""

    updated_delay_s: float = 0.0
    """Seconds from `session.update` to its effect and its answer."""

    answer_session_update: bool = True
    """False: `session.update` has neither effect nor answer."""

    record_s: float = 60.0
    """How many of the newest seconds of caller audio a session keeps for inspection; 0: none at
    all, also not in its turns, for long runs."""
