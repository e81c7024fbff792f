"""What is left of a call once it is over: why it ended, what it was, and that as plain fields.

`call/` fills it in; the log, metrics and programs around us read it. The fields are those of the
line "call ended", fit for JSON: numbers, and text that the settings allow to be shown.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from statistics import median, quantiles
from typing import Any

import attrs

from avr_bridge.telemetry.usage import Usage

__all__ = ["CallSummary", "EndReason", "summary_fields"]


class EndReason(enum.Enum):
    """Exactly one of these ends each call. The value is the name used in logs."""

    CALLER_HUNG_UP = "caller_hung_up"
    """The usual end: avr-core or Asterisk closed its connection."""

    CALLER_STALLED = "caller_stalled"
    """The caller's side no longer reads what it is sent."""

    CALLER_VANISHED = "caller_vanished"
    """The caller's machine or network is gone: nothing that was sent is acknowledged."""

    CALLER_SENT_NO_INIT = "caller_sent_no_init"
    """The caller connected and never said which call this is."""

    CALLER_SENT_NO_AUDIO = "caller_sent_no_audio"
    """No sound of the caller for ``AVR_NO_AUDIO_S``. Silence is sound; this is nothing at all."""

    CALLER_TOO_SLOW = "caller_too_slow"
    """The caller's sound came in drips, far below real time, or a message was never finished."""

    CALLER_FLOODED = "caller_flooded"
    """The caller sent messages or sound far faster than real time."""

    CALLER_MESSAGE_TOO_BIG = "caller_message_too_big"
    """The caller sent one message of over 1 MiB, or a frame of over a second of sound."""

    CALLER_BROKE_PROTOCOL = "caller_broke_protocol"
    """The caller sent what is no WebSocket frame, no UTF-8, or no AudioSocket."""

    CALLER_FORMAT_UNKNOWN = "caller_format_unknown"
    """The caller's leg has a codec, or a way of sending it, that the bridge cannot do."""

    MODEL_UNAVAILABLE = "model_unavailable"
    """The model could not be reached, or did not set the session up in time."""

    MODEL_REJECTED = "model_rejected"
    """The model refused the key, the model or the session: no retry helps."""

    MODEL_CLOSED = "model_closed"
    """The model's connection ended during the call."""

    MODEL_FAILED = "model_failed"
    """The model no longer answered, or only with failures, in a second session as well."""

    BRIDGE_HUNG_UP = "bridge_hung_up"
    """The bridge ended it: the longest time was reached, or nobody was there."""

    BUDGET_REACHED = "budget_reached"
    """The bridge ended it: it had cost or used as much as a call may."""

    BRIDGE_STOPPED = "bridge_stopped"
    """The bridge itself is being stopped, and the call outlived the time for that."""

    CANCELLED = "cancelled"
    """The program around the call cancelled it."""

    INTERNAL_ERROR = "internal_error"
    """A bug in one of the call's tasks."""


@attrs.frozen
class CallSummary:
    """What a call was, once it is over. Times in seconds, sound in milliseconds.

    Attributes:
        answered_after_s: From the call's start until the first sound left for the caller;
            None if none did.
        turns: Times the caller spoke, as the model hears it.
        interruptions: Times that what the caller was hearing was stopped.
        tools: Tools that came to an end, well or not.
        digits: Keys that were pressed.
        faults: Messages of the caller's side that the protocol does not allow.
        caller_audio_ms: Sound received from the caller.
        played_ms: Sound sent to the caller.
        underruns: Times the caller's playback ran dry in the middle of an answer.
        dropped_ms: Sound of the caller that the model did not get because it was too slow.
        reconnects: Sessions that were lost and replaced.
        renewals: Sessions that were replaced before the server ended them.
        watchdogs: How often each wait took too long, by `Watchdog` value.
        transport: How the caller came, such as ``websocket``.
        model: That served last, as the server calls it; empty if there was no session.
        setup_ms: From the call's start until its first session was in force; None if none was.
        turn_latencies_ms: From the end of the caller's speech until the answer's first sound left,
            of each turn that was answered.
        stop_times_ms: From the model's word that the caller speaks until playback was stopped, of
            each interruption.
        tool_runs: How often each tool ended in each way, by name and `ToolOutcome`.
        usage: Tokens of all responses.
        transcription: Tokens or seconds of the caller's transcripts, which are billed apart.
        cost_usd: What is known of the cost of both, by the list of prices; None if there were
            responses and the price of none of them is known.
        unpriced: Responses and transcripts whose cost is not in `cost_usd`: no price is known for
            the model, or the server does not say how many tokens they took.
    """

    uuid: str
    end_reason: EndReason
    detail: str
    metadata: Mapping[str, str]
    duration_s: float
    answered_after_s: float | None
    caller_audio_ms: float
    played_ms: float
    dropped_ms: float
    turns: int
    interruptions: int
    underruns: int
    tools: int
    digits: int
    faults: int
    reconnects: int = 0
    renewals: int = 0
    watchdogs: Mapping[str, int] = attrs.field(factory=dict)
    transport: str = "embedded"
    model: str = ""
    setup_ms: float | None = None
    turn_latencies_ms: tuple[float, ...] = ()
    stop_times_ms: tuple[float, ...] = ()
    tool_runs: Mapping[str, Mapping[str, int]] = attrs.field(factory=dict)
    usage: Usage = attrs.field(factory=Usage)
    transcription: Usage = attrs.field(factory=Usage)
    cost_usd: float | None = None
    unpriced: int = 0


def summary_fields(summary: CallSummary, *, metadata_values: bool) -> dict[str, Any]:
    """The summary as plain values, for a line of JSON. No transcript, key or tool argument is in
    it.

    Args:
        metadata_values: Whether the values of the call's own data are in it: who called whom, most
            of all. Otherwise only their names are.
    """
    metadata = summary.metadata
    return {
        "call": summary.uuid,
        "reason": summary.end_reason.value,
        "detail": summary.detail,
        "transport": summary.transport,
        "model": summary.model,
        "metadata_keys": sorted(metadata),
        **({"metadata": dict(metadata)} if metadata_values else {}),
        "duration_s": round(summary.duration_s, 3),
        "setup_ms": _whole(summary.setup_ms),
        "answered_ms": _whole(summary.answered_after_s, 1000),
        "turns": summary.turns,
        "turn_latency_ms": _spread(summary.turn_latencies_ms),
        "interruptions": summary.interruptions,
        "stop_ms": _spread(summary.stop_times_ms, digits=1),
        "caller_audio_ms": round(summary.caller_audio_ms),
        "played_ms": round(summary.played_ms),
        "dropped_ms": round(summary.dropped_ms),
        "underruns": summary.underruns,
        "tools": {name: dict(outcomes) for name, outcomes in summary.tool_runs.items()},
        "digits": summary.digits,
        "faults": summary.faults,
        "reconnects": summary.reconnects,
        "renewals": summary.renewals,
        "watchdogs": dict(summary.watchdogs),
        "tokens": _used(summary.usage),
        "transcription": _used(summary.transcription),
        "cost_usd": None if summary.cost_usd is None else round(summary.cost_usd, 6),
        "unpriced": summary.unpriced,
    }


def _whole(value: float | None, factor: float = 1.0) -> int | None:
    return None if value is None else round(value * factor)


def _spread(times_ms: Sequence[float], digits: int | None = None) -> dict[str, float] | None:
    """Median, 95th percentile and greatest; None if there are none."""
    if not times_ms:
        return None
    p95 = quantiles(times_ms, n=20, method="inclusive")[-1] if len(times_ms) > 1 else times_ms[0]
    spread = {"median": median(times_ms), "p95": p95, "max": max(times_ms)}
    return {name: round(value, digits) for name, value in spread.items()}


def _used(usage: Usage) -> dict[str, float]:
    """What there is of it: a field that is 0 is left out."""
    return {name: round(value, 3) for name, value in attrs.asdict(usage).items() if value}
