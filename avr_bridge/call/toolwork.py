"""`run_tools`: tools of one call, and what is done to the call itself, beside the conversation.

The conversation hands jobs over and goes on reading the model; each result comes back by a plain
function call. Whatever still runs when the call ends is cancelled with it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import attrs
import trio

from avr_bridge.errors import ToolError
from avr_bridge.telemetry.journal import Journal, ToolDone, ToolOutcome, ToolStarted
from avr_bridge.tools import CallContext, Toolbox, ToolResult
from avr_bridge.tools.toolbox import MAX_NAME_SHOWN_CHARS
from avr_bridge.upstream.control import Control

__all__ = ["JOBS_WAITING", "CallControl", "ControlJob", "Job", "ToolJob", "run_tools"]

JOBS_WAITING = 64
"""Jobs are taken at once and run together; this many waiting is a model gone wild."""


class CallControl(Protocol):
    """Who hangs up and transfers; `AmiClient` does. Both raise `ToolError` in words."""

    async def hang_up(self, uuid: str) -> None: ...

    async def transfer(self, uuid: str, extension: str, context: str, priority: int) -> None: ...


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
                    nursery.start_soon(_run_tool, job, toolbox, context, journal)
                case ControlJob():
                    nursery.start_soon(_run_control, job, control, context)


async def _run_tool(job: ToolJob, toolbox: Toolbox, context: CallContext, journal: Journal) -> None:
    name, started_s = job.name[:MAX_NAME_SHOWN_CHARS], trio.current_time()
    journal.tell(ToolStarted(started_s, name))
    outcome: ToolOutcome = "cancelled"
    try:
        result = await toolbox.run(job.name, job.arguments, context)
        outcome = "timeout" if result.timed_out else "ok" if result.ok else "error"
    finally:
        now_s = trio.current_time()
        journal.tell(ToolDone(now_s, name, outcome, (now_s - started_s) * 1000))
    job.done(result)


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
