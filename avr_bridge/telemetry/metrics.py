"""Numbers of all calls of a process, for Prometheus: one more listener of their journals.

What only shows at the moment of asking (calls that are up, queues, lag) comes from a function that
whoever serves hands in. Names, labels and what each number means: docs/metrics.md, which a test
holds against this. A registry of its own for each object: two bridges in one process do not mix.

Labels have few values: no call's id, and of tools only those that exist.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import attrs
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from avr_bridge.telemetry.journal import (
    AnswerStarted,
    CallBegan,
    CallEnded,
    FirstSound,
    Interrupted,
    ResponseDone,
    SessionLost,
    SessionReady,
    SessionRenewed,
    ToolDone,
    Transcribed,
    WaitedTooLong,
)
from avr_bridge.telemetry.summary import EndReason
from avr_bridge.telemetry.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from prometheus_client import Metric

    from avr_bridge.telemetry.journal import Moment
    from avr_bridge.telemetry.usage import Usage

__all__ = ["OF_THE_WORST", "Live", "Metrics", "RecordOutcome", "Refusal"]

type Refusal = Literal["limit", "overload", "page", "stopping", "token"]
"""Why a caller was not let in."""

REFUSALS: tuple[Refusal, ...] = ("limit", "overload", "page", "stopping", "token")

type RecordOutcome = Literal["delivered", "dropped"]
"""What becomes of the record of a call."""

RECORD_OUTCOMES: tuple[RecordOutcome, ...] = ("delivered", "dropped")
UNPRICED = ("no_price", "no_bill")
"""Why a cost is not known. An answer that was lost has no bill, whatever the list of prices has."""

STATUSES = ("completed", "cancelled", "failed", "incomplete", "lost")
TRANSPORTS_SHOWN = 20
"""Kinds of transports with a name of their own; an embedding program could make up more."""

OF_THE_WORST = frozenset(
    (
        "avr_bridge_info",
        "avr_bridge_workers_wanted",
        "avr_bridge_worker_deaths_total",
        "avr_bridge_calls_limit",
        "avr_bridge_to_model_queue_seconds",
        "avr_bridge_to_caller_queue_orders",
    )
)
"""Of several processes the greatest counts; of all else the sum."""

UNKNOWN_TOOL = "(unknown)"
"""What the model called, and there is no such tool."""

FRAME_MS = 20

SETUP_S = (0.1, 0.25, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10)
FIRST_AUDIO_S = (0.25, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, 20)
TURN_S = (0.2, 0.4, 0.6, 0.8, 1, 1.25, 1.5, 2, 3, 5, 10)
STOP_S = (0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5)
POSITION_S = (0.01, 0.02, 0.04, 0.06, 0.1, 0.2, 0.5, 1, 2)
"""From half a frame, which nobody could know better, to a clock of Asterisk's that stood still."""

TOOL_S = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15, 30)
CALL_S = (5, 15, 30, 60, 120, 300, 600, 1800, 3600)


@attrs.frozen
class Live:
    """How things are now.

    Attributes:
        calls: That are up.
        calls_limit: Most calls at a time; 0: no limit.
        lag_s: How late the event loop is.
        to_model_s: Sound that waits to be sent to the model, of the call where it is most.
        to_caller_orders: Orders that wait to be sent to a caller, of the call where they are most.
        underruns: Of the calls that are up, so far. The next two likewise.
        dropped_ms: Sound of callers that the model did not get.
        faults: Messages of callers that the protocol does not allow.
        worker_deaths: Of all workers of the bridge, by the process above them.
    """

    calls: int = 0
    calls_limit: int = 0
    lag_s: float = 0.0
    to_model_s: float = 0.0
    to_caller_orders: int = 0
    underruns: int = 0
    dropped_ms: float = 0.0
    faults: int = 0
    worker_deaths: int = 0


class Metrics:
    """The numbers of one bridge, or of one worker of several.

    Args:
        watchdogs: Their names.
        live: Says how things are now; called at each collection.
        worker: The worker's number; 1 if there is only one.
        workers: How many there should be.

    Attributes:
        registry: What there is to collect.
    """

    def __init__(
        self,
        *,
        watchdogs: Iterable[str] = (),
        live: Callable[[], Live] = Live,
        worker: int = 1,
        workers: int = 1,
    ) -> None:
        self.registry = CollectorRegistry()
        self._tools: frozenset[str] = frozenset()
        self._transports: set[str] = set()
        self._underruns = self._faults = 0
        self._dropped_ms = 0.0
        self._live = live
        self._worker = str(worker)
        self._gauge("info", "The bridge's version.", "version").labels(VERSION).set(1)
        self._gauge("workers", "Processes that carry calls.").set(1)
        self._gauge("workers_wanted", "Processes that should carry calls.").set(workers)
        self._began = self._counter("calls_started", "Calls that began, by transport.", "transport")
        self._ended = self._counter("calls_ended", "Calls that ended, by end reason.", "reason")
        self._refused = self._counter("calls_refused", "Callers that were not let in.", "why")
        self._lasted = self._histogram("call_duration", "Length of calls.", CALL_S)
        self._setup = self._histogram(
            "session_setup", "From the wish for a session until it is in force.", SETUP_S, "session"
        )
        self._first_audio = self._histogram(
            "first_audio", "From a call's beginning to its first sound.", FIRST_AUDIO_S
        )
        self._turn = self._histogram(
            "turn_latency", "From the end of the caller's speech to the answer's sound.", TURN_S
        )
        self._stop = self._histogram(
            "barge_in_stop", "From the model's word that the caller speaks to silence.", STOP_S
        )
        self._position_error = self._histogram(
            "heard_position_error", "How wrong the time alone is about what was played.", POSITION_S
        )
        self._lost = self._counter("sessions_lost", "Sessions with the model that broke.")
        self._renewed = self._counter(
            "sessions_renewed", "Sessions that were replaced before their time was over."
        )
        self._watchdogs = self._counter("watchdogs", "Waits that took too long.", "watchdog")
        self._tool = self._histogram("tool", "Time of tools.", TOOL_S, "tool", "outcome")
        self._responses = self._counter("responses", "The model's answers.", "status")
        self._tokens = self._counter("tokens", "Tokens.", "of", "flow", "kind")
        self._heard = self._counter("transcribed_seconds", "Transcripts billed by time.")
        self._cost = self._counter("cost_dollars", "Estimated cost, where it is known.", "of")
        self._unpriced = self._counter("unpriced", "Of unknown cost.", "of", "why")
        self._records = self._counter(
            "call_records", "Records of calls, by what became of them.", "outcome"
        )
        self._begin_at_0(watchdogs)
        self.registry.register(self)

    def know_tools(self, names: Iterable[str]) -> None:
        """The tools that there are; a name that is not among them is no label."""
        self._tools = frozenset(names)

    def refuse(self, why: Refusal) -> None:
        """A caller was not let in."""
        self._refused.labels(why).inc()

    def count_record(self, outcome: RecordOutcome) -> None:
        """A call's record was delivered to AVR_CALL_WEBHOOK, or will not be."""
        self._records.labels(outcome).inc()

    def take(self, _uuid: str, moment: Moment) -> None:
        """A moment of a call: this is a listener."""
        match moment:
            case CallBegan(transport=transport):
                self._began.labels(self._shown_transport(transport)).inc()
            case SessionReady(setup_ms=setup_ms, again=again):
                self._setup.labels("again" if again else "first").observe(setup_ms / 1000)
            case FirstSound(after_ms=after_ms):
                self._first_audio.observe(after_ms / 1000)
            case AnswerStarted(latency_ms=float(latency_ms)):
                self._turn.observe(latency_ms / 1000)
            case Interrupted(stop_ms=stop_ms, position_error_ms=error_ms):
                self._stop.observe(stop_ms / 1000)
                if error_ms is not None:
                    self._position_error.observe(error_ms / 1000)
            case ToolDone(name=name, outcome=outcome, took_ms=took_ms):
                shown = name if name in self._tools else UNKNOWN_TOOL
                self._tool.labels(shown, outcome).observe(took_ms / 1000)
            case ResponseDone(status=status):
                self._responses.labels(status if status in STATUSES else "other").inc()
                failed = moment.usage is None and status == "failed"
                self._add("response", moment.usage, 0.0 if failed else moment.cost_usd)
            case Transcribed():
                self._add("transcription", moment.usage, moment.cost_usd)
            case SessionLost():
                self._lost.inc()
            case SessionRenewed():
                self._renewed.inc()
            case WaitedTooLong(watchdog=watchdog):
                self._watchdogs.labels(watchdog).inc()
            case CallEnded():
                self._end(moment)

    def collect(self) -> Iterator[Metric]:
        """What is asked for at this moment. The registry calls this."""
        live = self._live()
        yield _gauge_now("calls", "Calls that are up.", live.calls)
        yield _gauge_now("calls_limit", "Most calls at a time; 0: no limit.", live.calls_limit)
        lag = GaugeMetricFamily(
            "avr_bridge_event_loop_lag_seconds",
            "How late a worker's event loop is.",
            labels=["worker"],
        )
        lag.add_metric([self._worker], live.lag_s)
        yield lag
        yield _gauge_now(
            "to_model_queue_seconds",
            "Sound that waits to be sent to the model, in the call with the most of it.",
            live.to_model_s,
        )
        yield _gauge_now(
            "to_caller_queue_orders",
            "What waits to be sent to the caller, in the call with the most of it.",
            live.to_caller_orders,
        )
        yield _counter_now(
            "underruns",
            "Times a caller's playback ran dry within an answer.",
            self._underruns + live.underruns,
        )
        yield _counter_now(
            "dropped_frames",
            "20 ms of a caller's sound that the model did not get.",
            (self._dropped_ms + live.dropped_ms) // FRAME_MS,
        )
        yield _counter_now(
            "caller_faults",
            "Messages of callers that the protocol does not allow.",
            self._faults + live.faults,
        )
        yield _counter_now(
            "worker_deaths", "Workers that died and were to be replaced.", live.worker_deaths
        )

    def _begin_at_0(self, watchdogs: Iterable[str]) -> None:
        """Series that are there from the beginning, so that their first rise is seen."""
        for reason in EndReason:
            self._ended.labels(reason.value)
        for why in REFUSALS:
            self._refused.labels(why)
        for outcome in RECORD_OUTCOMES:
            self._records.labels(outcome)
        for status in STATUSES:
            self._responses.labels(status)
        for watchdog in watchdogs:
            self._watchdogs.labels(watchdog)
        for session in ("first", "again"):
            self._setup.labels(session)
        for of in ("response", "transcription"):
            self._cost.labels(of)
            for missing in UNPRICED:
                self._unpriced.labels(of, missing)
        for flow in ("in", "cached", "out"):
            for kind in ("text", "audio"):
                self._tokens.labels("response", flow, kind)

    def _end(self, moment: CallEnded) -> None:
        summary = moment.summary
        self._ended.labels(summary.end_reason.value).inc()
        self._lasted.observe(summary.duration_s)
        # Until now they were counted among those of the calls that are up.
        self._underruns += summary.underruns
        self._faults += summary.faults
        self._dropped_ms += summary.dropped_ms

    def _add(self, of: str, usage: Usage | None, cost_usd: float | None) -> None:
        if cost_usd is None:
            self._unpriced.labels(of, "no_bill" if usage is None else "no_price").inc()
        else:
            self._cost.labels(of).inc(cost_usd)
        if usage is None:
            return
        for flow, kind, tokens in (
            ("in", "text", usage.text_in),
            ("in", "audio", usage.audio_in),
            ("in", "other", usage.other_in),
            ("cached", "text", usage.cached_text_in),
            ("cached", "audio", usage.cached_audio_in),
            ("out", "text", usage.text_out),
            ("out", "audio", usage.audio_out),
            ("out", "other", usage.other_out),
        ):
            if tokens:
                self._tokens.labels(of, flow, kind).inc(tokens)
        self._heard.inc(usage.heard_s)

    def _shown_transport(self, transport: str) -> str:
        if len(self._transports) < TRANSPORTS_SHOWN:
            self._transports.add(transport)
        return transport if transport in self._transports else "other"

    def _counter(self, name: str, meaning: str, *labels: str) -> Counter:
        return Counter(f"avr_bridge_{name}", meaning, labels, registry=self.registry)

    def _gauge(self, name: str, meaning: str, *labels: str) -> Gauge:
        return Gauge(f"avr_bridge_{name}", meaning, labels, registry=self.registry)

    def _histogram(
        self, name: str, meaning: str, buckets: tuple[float, ...], *labels: str
    ) -> Histogram:
        return Histogram(
            f"avr_bridge_{name}_seconds", meaning, labels, buckets=buckets, registry=self.registry
        )


def _gauge_now(name: str, meaning: str, value: float) -> Metric:
    return GaugeMetricFamily(f"avr_bridge_{name}", meaning, value=value)


def _counter_now(name: str, meaning: str, value: float) -> Metric:
    return CounterMetricFamily(f"avr_bridge_{name}", meaning, value=value)
