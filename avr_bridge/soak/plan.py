"""What a soak run does, and what it must reach to pass. Values only; the command line fills them.

Both go to the generator's processes as JSON.
"""

from __future__ import annotations

import msgspec

__all__ = ["SoakPlan", "Thresholds"]


class SoakPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What is done.

    Attributes:
        url: The container's address, ``ws://…`` or ``http://…`` (then ``/speech-to-speech-stream``
            is called unless the address names a path).
        calls: Steady calls, up from their start to the end of the run.
        duration_s: Of the measurement, which begins `settle_s` after the last steady call is up.
        ramp_per_s: Steady calls started in a second.
        settle_s: Left out of every figure but the errors.
        transport: ``ws`` or ``http``.
        codec: What the model stand-in agrees to: ``pcm`` (24 kHz PCM16 only; asks for µ-law are
            answered with PCM) or ``any`` (whatever the session asks for).
        delta_ms: Length of the model's audio deltas.
        model_port: Where the model stand-in listens; None: no stand-in.
        model_host: Its address.
        arrivals_per_s: Short calls beside the steady ones; they come at random (Poisson).
        arrival_s: How long each of them talks.
        barge_ins_per_min: Of each steady call, at random.
        tools_per_min: Function calls by the model in each steady call, at random.
        hangups_per_min: Of each steady call, at random; the call is placed again at once.
        seed: Of all that is random.
        headers: Sent with each call, such as ``Authorization``.
        workers: Processes of our own bridge, if we start it.
    """

    url: str
    calls: int = 10
    duration_s: float = 60.0
    ramp_per_s: float = 5.0
    settle_s: float = 5.0
    transport: str = "ws"
    codec: str = "any"
    delta_ms: int = 100
    model_port: int | None = None
    model_host: str = "127.0.0.1"
    arrivals_per_s: float = 0.0
    arrival_s: float = 3.0
    barge_ins_per_min: float = 0.0
    tools_per_min: float = 0.0
    hangups_per_min: float = 0.0
    seed: int = 1
    headers: dict[str, str] = {}
    workers: int = 1


class Thresholds(msgspec.Struct, frozen=True, kw_only=True):
    """What must be reached; None: not asked.

    Attributes:
        max_p99_ms: Of the probes' round trips, steady calls only.
        min_heard: Least share of real time that each end of each steady call heard: 0.99.
        max_errors: Errors of any kind, failed and lost calls among them.
        max_lost_probes: Probes that did not come back, in steady calls.
        max_cpu_ms: The bridge's processor time for a second of a call.
        max_rss_mb_per_call: What its memory grew by, divided by the calls.
    """

    max_p99_ms: float | None = None
    min_heard: float | None = None
    max_errors: int | None = None
    max_lost_probes: int | None = None
    max_cpu_ms: float | None = None
    max_rss_mb_per_call: float | None = None
