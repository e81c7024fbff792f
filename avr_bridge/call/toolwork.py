"""`run_tools`: tools of one call, and what is done to the call itself, beside the conversation.

The conversation hands jobs over and goes on reading the model; each result comes back by a plain
function call. Whatever still runs when the call ends is cancelled with it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import attrs
import trio

from avr_bridge.errors import ToolError
from avr_bridge.telemetry import get_logger
from avr_bridge.telemetry.journal import Journal, ToolDone, ToolOutcome, ToolStarted
from avr_bridge.tools import CallContext, Toolbox, ToolResult
from avr_bridge.tools.toolbox import MAX_NAME_SHOWN_CHARS
from avr_bridge.upstream import wording
from avr_bridge.upstream.control import Control

__all__ = [
    "JOBS_WAITING",
    "CallControl",
    "ControlJob",
    "ForeseeingControl",
    "Job",
    "ToolJob",
    "run_tools",
]

JOBS_WAITING = 64
"""Jobs are taken at once and run together; this many waiting is a model gone wild."""


class CallControl(Protocol):
    """Who hangs up and transfers; `AmiClient` does. Both raise `ToolError` in words."""

    async def hang_up(self, uuid: str) -> None: ...

    async def transfer(self, uuid: str, extension: str, context: str, priority: int) -> None: ...


@runtime_checkable
class ForeseeingControl(CallControl, Protocol):
    """One that can tell before the goodbye whether a transfer would work; `LegControl` does.

    It is asked as soon as a tool wants the transfer: if it could not be done, the model hears so in
    place of the tool's promise, and so does the caller.
    """

    async def check_transfer(self, uuid: str, extension: str, context: str, priority: int) -> None:
        """Do all of a transfer but the last step.

        Raises:
            ToolError: It would not work; in words.
        """


@attrs.frozen
class ToolJob:
    """Run a tool."""

    name: str
    arguments: str
    done: Callable[[ToolResult], None]


@attrs.frozen
class ControlJob:
    """Hang up or transfer; `done` is told what went wrong, in words, or None."""

    control: Control
    done: Callable[[str | None], None]


Job = ToolJob | ControlJob


async def run_tools(
    jobs: trio.MemoryReceiveChannel[Job],
    toolbox: Toolbox,
    control: CallControl,
    context: CallContext,
    journal: Journal,
) -> None:
    """Run every job that comes, all at once. Runs until cancelled."""
    async with trio.open_nursery() as nursery:
        async for job in jobs:
            match job:
                case ToolJob():
                    nursery.start_soon(_run_tool, job, toolbox, control, context, journal)
                case ControlJob():
                    nursery.start_soon(_run_control, job, control, context)


async def _run_tool(
    job: ToolJob, toolbox: Toolbox, control: CallControl, context: CallContext, journal: Journal
) -> None:
    name, started_s = job.name[:MAX_NAME_SHOWN_CHARS], trio.current_time()
    journal.tell(ToolStarted(started_s, name))
    outcome: ToolOutcome = "cancelled"
    try:
        result = await toolbox.run(job.name, job.arguments, context)
        result = await _foreseen(result, control, context)
        outcome = "timeout" if result.timed_out else "ok" if result.ok else "error"
    finally:
        now_s = trio.current_time()
        journal.tell(ToolDone(now_s, name, outcome, (now_s - started_s) * 1000))
    job.done(result)


async def _foreseen(result: ToolResult, control: CallControl, context: CallContext) -> ToolResult:
    """The tool's result, or what stands in the way of the transfer that it wants."""
    asked = result.control
    if asked is None or asked.action != "transfer" or not isinstance(control, ForeseeingControl):
        return result
    try:
        await control.check_transfer(context.uuid, asked.extension, asked.context, asked.priority)
    except ToolError as error:
        log = get_logger().bind(call=context.uuid)
        log.warning("call control", action=asked.action, failure=str(error))
        return ToolResult(wording.control_failed(str(error)), ok=False)
    return result


async def _run_control(job: ControlJob, control: CallControl, context: CallContext) -> None:
    asked = job.control
    try:
        if asked.action == "hangup":
            await control.hang_up(context.uuid)
        else:
            await control.transfer(context.uuid, asked.extension, asked.context, asked.priority)
    except ToolError as error:
        job.done(str(error))
    else:
        job.done(None)
