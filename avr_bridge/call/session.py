"""`run_call`: one call from its first byte to its summary. One nursery, three tasks.

Where the caller's side and the model's side meet. The only place that splits exception groups
and logs a call's failures: Quart-Trio would swallow what is raised during a hangup.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import attrs
import trio

from avr_bridge.audio.format import FRAME_MS
from avr_bridge.call.conversation import run_conversation
from avr_bridge.call.ending import (
    BLAMED_ON_CALLER,
    CLOSE_CODES,
    CallEnding,
    CallFailed,
    CallSummary,
    EndReason,
)
from avr_bridge.call.greeting import play_recorded_greeting, without_greeting_file
from avr_bridge.call.inbound import pump_inbound
from avr_bridge.call.instructions import settings_for_call
from avr_bridge.call.keypad import Keypad
from avr_bridge.call.line import CallLine
from avr_bridge.call.orders import ORDERS_WAITING, Order, Orders
from avr_bridge.call.outbound import pump_outbound
from avr_bridge.call.running import RunningCalls
from avr_bridge.call.stats import CallStats
from avr_bridge.call.tally import CallTally
from avr_bridge.call.toolwork import JOBS_WAITING, CallControl, Job, run_tools
from avr_bridge.call.turn_clock import TurnClock
from avr_bridge.call.uplink import Uplink
from avr_bridge.caller.transport import CallerTransport, CallStarted, ErrorOut, kind_of
from avr_bridge.errors import CallerGone
from avr_bridge.telemetry import bind_call, get_logger, log_all_of, log_no_more_of
from avr_bridge.telemetry.journal import CallEnded, Journal, Listener
from avr_bridge.telemetry.moments import MomentLog
from avr_bridge.telemetry.summary import summary_fields
from avr_bridge.tools import AmiClient, CallContext, Toolbox, load_tools

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from avr_bridge.config import BridgeConfig, ToolsConfig
    from avr_bridge.upstream.client import Dial

__all__ = ["run_call"]

GOODBYE_LIMIT_S = 1.0
"""For the last message and the close. The only shielded wait of a call."""

_TOLD_TO_CALLER = {
    **BLAMED_ON_CALLER,
    EndReason.MODEL_UNAVAILABLE: "the model cannot be reached",
    EndReason.MODEL_REJECTED: "the model refuses the call",
    EndReason.MODEL_CLOSED: "the model ended the session",
    EndReason.MODEL_FAILED: "the model does not answer",
    EndReason.INTERNAL_ERROR: "internal error of the bridge",
}


async def run_call(
    transport: CallerTransport,
    config: BridgeConfig,
    *,
    dial: Dial | None = None,
    toolbox: Toolbox | None = None,
    control: CallControl | None = None,
    on_ended: Callable[[CallSummary], None] | None = None,
    running: RunningCalls | None = None,
    listeners: Sequence[Listener] = (),
) -> CallSummary:
    """Carry one call between `transport` and the model until either side ends it.

    Needs nothing but Trio: no Quart, no server. When it returns, every task of the call has
    ended, the model's connection is closed and `transport` has been closed with a code that
    says why.

    Args:
        transport: The caller's side; it is closed at the end, whatever the end.
        config: All settings.
        dial: Replaces the network toward the model (tests, other transports).
        toolbox: The tools; default: those of ``config.tools``, loaded once for the process.
        control: Who hangs up and transfers; default: avr-ami at ``config.tools.ami_url``.
        on_ended: Told the summary whatever the end, also when the call is cancelled and nothing
            is returned. Must neither block nor raise.
        running: Where the call is found as long as it runs, by who stops the process.
        listeners: Told what happens in the call, moment by moment, last `CallEnded`: each is called
            with the call's uuid and the moment. Must neither block nor raise; one that raises is
            logged and told no more of this call.

    Returns:
        What the call was, with the one reason that ended it.

    Raises:
        CallFailed: A bug in one of the call's tasks; the causes are chained.
    """
    ending = CallEnding()
    stats = CallStats(started_s=trio.current_time())
    tally = CallTally()
    journal = Journal([tally.take, MomentLog(config.log), *listeners])
    uplink = Uplink(config.audio.resampler)
    give_orders, take_orders = trio.open_memory_channel[Order](ORDERS_WAITING)
    give_start, take_start = trio.open_memory_channel[CallStarted](1)
    give_job, take_jobs = trio.open_memory_channel[Job](JOBS_WAITING)
    line = CallLine(
        uplink,
        Keypad(),
        Orders(give_orders, ending),
        ending,
        stats,
        toolbox or _default_toolbox(config.tools),
        give_job,
        journal,
        TurnClock(journal),
    )
    failures: ExceptionGroup | None = None

    async def converse_to_the_end(nursery: trio.Nursery) -> None:
        start = await take_start.receive()
        bind_call(start.uuid)
        log = get_logger().bind(call=start.uuid)
        log.info("call started", metadata_keys=sorted(transport.metadata))
        effective = config
        if not play_recorded_greeting(config.talk, start.fmt, line, log):
            effective = attrs.evolve(config, talk=without_greeting_file(config.talk))
        settings = await settings_for_call(config.model, start.uuid, transport.metadata, log)
        if settings.log_all:
            log_all_of(start.uuid)
        context = CallContext(start.uuid, settings.metadata)
        who = control or AmiClient(config.tools.ami_url)
        nursery.start_soon(run_tools, take_jobs, line.toolbox, who, context, journal)
        await run_conversation(effective, start, settings, line, dial)
        if line.closing and ending.reason is None:
            await trio.sleep_forever()  # the bridge's last words need no model; then it ends
        nursery.cancel_scope.cancel()

    running = running or RunningCalls()
    running.add(line)
    try:
        with ending.scope(), give_orders, take_orders, give_start, take_start, give_job, take_jobs:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(
                    pump_inbound, transport, give_start, line, config.server.no_audio_s
                )
                nursery.start_soon(pump_outbound, transport, take_orders, ending, stats, line.turns)
                nursery.start_soon(converse_to_the_end, nursery)
    except* Exception as group:
        failures = group
        ending.end(EndReason.INTERNAL_ERROR)
        get_logger().error("bug in a call", call=stats.uuid, exc_info=group)
    finally:
        ending.end(EndReason.CANCELLED)  # stands only if nothing else ended the call
        stats.dropped_ms = uplink.dropped_ms
        summary = _summary(transport, ending, stats, tally)
        await _say_goodbye(transport, ending)
        running.remove(line)
        fields = summary_fields(summary, metadata_values=config.log.content)
        if summary.uuid:
            get_logger().info("call ended", **fields)
        else:
            kind = (summary.transport, summary.end_reason)
            running.nameless.info("call ended", kind, **fields)
        journal.tell(CallEnded(trio.current_time(), summary))
        log_no_more_of(stats.uuid)
        if on_ended is not None:
            on_ended(summary)
    if failures is not None:
        raise CallFailed(summary) from failures
    return summary


@functools.lru_cache(maxsize=8)
def _default_toolbox(config: ToolsConfig) -> Toolbox:
    return load_tools(config)


async def _say_goodbye(transport: CallerTransport, ending: CallEnding) -> None:
    """Tell the caller's side why, and close it. The call's one shielded wait."""
    reason = ending.reason or EndReason.CANCELLED
    with trio.move_on_after(GOODBYE_LIMIT_S, shield=True):
        if reason is EndReason.CALLER_HUNG_UP:
            await transport.close(CLOSE_CODES[reason], "")
            return
        try:
            if reason in _TOLD_TO_CALLER:
                await transport.send(ErrorOut(_TOLD_TO_CALLER[reason]))
            await transport.close(CLOSE_CODES[reason], reason.value)
        except CallerGone:
            return


def _summary(
    transport: CallerTransport, ending: CallEnding, stats: CallStats, tally: CallTally
) -> CallSummary:
    answered_after_s = None
    if stats.first_sound_s is not None:
        answered_after_s = stats.first_sound_s - stats.started_s
    return CallSummary(
        uuid=stats.uuid,
        end_reason=ending.reason or EndReason.CANCELLED,
        detail=ending.detail,
        metadata=dict(transport.metadata),
        duration_s=trio.current_time() - stats.started_s,
        answered_after_s=answered_after_s,
        caller_audio_ms=stats.caller_audio_ms,
        played_ms=float(stats.played_frames * FRAME_MS),
        dropped_ms=stats.dropped_ms,
        turns=stats.turns,
        interruptions=stats.interruptions,
        underruns=stats.underruns,
        tools=stats.tools,
        digits=stats.digits,
        faults=stats.faults,
        reconnects=stats.reconnects,
        renewals=stats.renewals,
        watchdogs=dict(stats.watchdogs),
        transport=kind_of(transport),
        model=tally.model,
        setup_ms=tally.setup_ms,
        turn_latencies_ms=tuple(tally.turn_latencies_ms),
        stop_times_ms=tuple(tally.stop_times_ms),
        tool_runs={name: dict(outcomes) for name, outcomes in tally.tool_runs.items()},
        usage=tally.usage,
        transcription=tally.transcription,
        cost_usd=tally.cost_usd,
        unpriced=tally.unpriced,
    )
