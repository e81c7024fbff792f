"""The tools of all calls: described to the model, and run under a deadline.

Whatever a tool does, the model is told something: dead air on a telephone is the worst answer.
No argument, result or text of a foreign exception is logged.
"""

from __future__ import annotations

import traceback
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs
import msgspec
import trio

from avr_bridge.errors import ToolError
from avr_bridge.telemetry import get_logger
from avr_bridge.tools.apart import run_apart
from avr_bridge.tools.tool import CallContext, LoadedTool, Tool, ToolResult

if TYPE_CHECKING:
    from collections.abc import Sequence

    from avr_bridge.tools.files import McpServer

__all__ = ["MAX_OUTPUT_BYTES", "Toolbox"]

MAX_OUTPUT_BYTES = 32 * 1024
"""About 8,000 tokens, a quarter of a Realtime session's context; and nobody wants to hear more."""

CUT_MARK = "\n[cut here: the result was too long]"
MAX_NAME_SHOWN_CHARS = 64
"""The longest name that the API lets a tool have; a longer one is the model's invention."""


class Toolbox:
    """Tools by name, for all calls at once; holds nothing of any call.

    Attributes:
        loaded: Every tool and MCP server, and where it came from.
        problems: What could not be loaded and why, a sentence each.
    """

    def __init__(
        self,
        tools: Sequence[Tool],
        limit_s: float,
        *,
        servers: Sequence[McpServer] = (),
        problems: Sequence[str] = (),
    ) -> None:
        self._tools = {tool.name: tool for tool in tools}
        self._limit_s = limit_s
        self._servers = tuple(servers)
        self.problems = tuple(problems)
        self.loaded = (
            *(LoadedTool(one.name, one.kind, one.source, one.description) for one in tools),
            *(server.loaded() for server in servers),
        )

    def descriptions(self) -> list[dict[str, Any]]:
        """The entries of ``session.tools``: functions, then MCP servers.

        An MCP entry may hold a credential: not for a log.
        """
        functions = [tool.described() for tool in self._tools.values()]
        return functions + [server.described() for server in self._servers]

    async def run(self, name: str, arguments: str, context: CallContext) -> ToolResult:
        """Run a tool as the model asked for it.

        Args:
            name: The tool, as the model wrote it.
            arguments: JSON text, as the model wrote it; blank counts as no arguments.
            context: The call.

        Returns:
            The result, or words for the model about what went wrong. Nothing is raised but
            what ends the call: `trio.Cancelled`, alone or in a group.
        """
        await trio.lowlevel.checkpoint()
        shown = name[:MAX_NAME_SHOWN_CHARS]
        log = get_logger().bind(call=context.uuid, tool=shown)
        tool = self._tools.get(name)
        if tool is None:
            log.warning("unknown tool")
            return _failed(shown, "there is no tool of that name.")
        try:
            parsed = tool.parse(arguments.encode("utf-8", "replace").strip() or b"{}")
        except (msgspec.DecodeError, RecursionError) as error:
            log.warning("tool arguments are not right", error=type(error).__name__)
            return _failed(shown, f"its arguments are not right: {error}.")
        limit_s = self._limit_s if tool.limit_s is None else tool.limit_s
        # A tool is foreign code and may run a nursery of its own. While a call is torn down, such
        # a tool can raise `Cancelled` and a fault of its own in one group: the first goes on up,
        # the second ends here, or a hangup would look like a failed call.
        failure: ToolResult | None = None
        outcome: object = None
        with trio.move_on_after(limit_s) as scope:
            try:
                outcome = await run_apart(partial(tool.act, parsed, context), log)
            except BaseException as error:
                own, not_its_own = _parted(error)
                if own is not None:
                    failure = _met(shown, _first(own), log)
                if not_its_own is not None:
                    raise not_its_own from None
        if scope.cancelled_caught:
            log.warning("tool took too long", limit_s=limit_s)
            failed = _failed(shown, f"it took longer than {limit_s:g} seconds.")
            return attrs.evolve(failed, timed_out=True)
        return failure or _told(shown, outcome, log)


def _parted(error: BaseException) -> tuple[BaseException | None, BaseException | None]:
    """What the tool itself raised, and what passed through it: `Cancelled`, a Ctrl-C, the end of
    the program. A tool can raise the likes of these too: `asyncio.CancelledError`, `SystemExit`."""
    if isinstance(error, BaseExceptionGroup):
        passed, own = error.split(_is_trios)
        return own, passed
    return (None, error) if _is_trios(error) else (error, None)


def _is_trios(error: BaseException) -> bool:
    """Trio raises its cancellations and a Ctrl-C from its own code, a tool from the tool's."""
    if isinstance(error, trio.Cancelled):
        return True
    if isinstance(error, Exception | BaseExceptionGroup):
        return False
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    module = frames[-1].f_globals.get("__name__", "") if frames else ""
    return str(module).partition(".")[0] == "trio"


def _met(name: str, error: BaseException, log: Any) -> ToolResult:
    if isinstance(error, ToolError):
        log.warning("tool failed", error=type(error.__cause__ or error).__name__)
        return _failed(name, f"{error}.")
    kind = type(error).__name__
    log.warning("tool failed", error=kind, at=_place(error))
    return _failed(name, f"it stopped with an error ({kind}).")


def _failed(name: str, why: str) -> ToolResult:
    return ToolResult(bounded(f"The tool {name} failed: {why}"), ok=False)


def _told(name: str, outcome: object, log: Any) -> ToolResult:
    try:
        if isinstance(outcome, ToolResult):
            return attrs.evolve(outcome, output=bounded(outcome.output))
        text = outcome if isinstance(outcome, str) else msgspec.json.encode(outcome).decode()
    except Exception as error:  # the value is foreign, and so is what its own methods raise
        log.warning("tool result is no JSON", error=type(error).__name__)
        return _failed(name, "its result cannot be written as JSON.")
    return ToolResult(bounded(text), ok=True)


def bounded(text: str) -> str:
    """`text` fit to be sent: valid UTF-8 of at most `MAX_OUTPUT_BYTES`, with a mark if cut."""
    data = text.encode("utf-8", "replace")
    if len(data) <= MAX_OUTPUT_BYTES:
        return data.decode()
    room = MAX_OUTPUT_BYTES - len(CUT_MARK.encode())
    return data[:room].decode("utf-8", "ignore") + CUT_MARK


def _first(error: BaseException) -> BaseException:
    """The exception itself, or the first one in a group, however deep."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _place(error: BaseException) -> str:
    """File and line where an exception was raised; where it was, never what it said."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else ""
