"""Running a tool: whatever it does, there is an output for the model, in time, and bounded."""

from __future__ import annotations

import asyncio
import signal
import threading
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import structlog
import trio

from avr_bridge import ToolsConfig
from avr_bridge.errors import ToolError
from avr_bridge.tools import CallContext, ControlRequest, Toolbox, ToolResult, load_tools
from avr_bridge.tools.apart import LEAVE_S
from avr_bridge.tools.signature import tool_of_function
from avr_bridge.tools.toolbox import CUT_MARK, MAX_OUTPUT_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CALL = CallContext("u-1")
LIMIT_S = 15.0


def toolbox_of(function: Callable[..., Any], limit_s: float | None = None) -> Toolbox:
    tool = tool_of_function("it", function, "python", "here")
    return Toolbox([attrs.evolve(tool, limit_s=limit_s)], LIMIT_S)


@pytest.fixture(name="log", autouse=True)
def _log() -> Iterator[list[Any]]:
    with structlog.testing.capture_logs() as lines:
        yield lines


async def run(function: Callable[..., Any], arguments: str = "{}") -> ToolResult:
    return await toolbox_of(function).run("it", arguments, CALL)


@attrs.frozen
class Order:
    number: int


@pytest.mark.parametrize(
    ("value", "output"),
    [
        ("as it is", "as it is"),
        ("", ""),
        ("\ud800", "?"),
        (None, "null"),
        ({"a": [1, "ü"]}, '{"a":[1,"ü"]}'),
        (Order(1), '{"number":1}'),
        (ToolResult("mine", ok=False), "mine"),
    ],
)
async def test_results_become_text(value: object, output: str) -> None:
    """Words as they are, all else as JSON."""

    async def it() -> object:
        return value

    assert (await run(it)).output == output


async def test_a_long_result_is_cut_at_a_character() -> None:
    """Valid text of at most the limit, with a mark that tells the model so."""

    async def it() -> str:
        return "ü" * MAX_OUTPUT_BYTES

    output = (await run(it)).output
    assert len(output.encode()) in (MAX_OUTPUT_BYTES - 1, MAX_OUTPUT_BYTES)
    assert output.endswith("ü" + CUT_MARK)


class Unwritable:
    """No JSON."""


@pytest.mark.parametrize(
    ("raised", "output"),
    [
        (ValueError("secret"), "The tool it failed: it stopped with an error (ValueError)."),
        (SystemExit(3), "The tool it failed: it stopped with an error (SystemExit)."),
        (
            KeyboardInterrupt("secret"),
            "The tool it failed: it stopped with an error (KeyboardInterrupt).",
        ),
        (
            asyncio.CancelledError("secret"),
            "The tool it failed: it stopped with an error (CancelledError).",
        ),
        (GeneratorExit(), "The tool it failed: it stopped with an error (GeneratorExit)."),
        (
            BaseExceptionGroup("two", [asyncio.CancelledError()]),
            "The tool it failed: it stopped with an error (CancelledError).",
        ),
        (ToolError("ask again"), "The tool it failed: ask again."),
        (
            ExceptionGroup("two", [ExceptionGroup("one", [KeyError("secret")])]),
            "The tool it failed: it stopped with an error (KeyError).",
        ),
        (trio.TooSlowError(), "The tool it failed: it stopped with an error (TooSlowError)."),
    ],
)
@pytest.mark.parametrize("blocking", [False, True])
async def test_a_failure_becomes_words(
    raised: BaseException, output: str, blocking: bool, log: list[Any]
) -> None:
    """From a task or a thread; what the exception said is neither told nor logged."""

    async def in_task() -> None:
        raise raised

    def in_thread() -> None:
        raise raised

    result = await run(in_thread if blocking else in_task)
    assert result == ToolResult(output, ok=False)
    (line,) = log
    assert line["event"] == "tool failed"
    assert (line["call"], line["tool"]) == ("u-1", "it")
    assert "secret" not in repr(log) + result.output


async def test_a_result_that_is_no_json(log: list[Any]) -> None:
    """Told as a failure."""

    async def it() -> object:
        return Unwritable()

    result = await run(it)
    assert not result.ok
    assert "cannot be written as JSON" in result.output
    assert len(log) == 1


async def test_an_unknown_tool(log: list[Any]) -> None:
    """Its name is told back bounded."""
    result = await Toolbox([], 1.0).run("x" * 9999, "{}", CALL)
    assert not result.ok
    assert "there is no tool of that name" in result.output
    assert len(result.output) < 200
    assert len(log) == 1


@pytest.mark.parametrize("limit_s", [None, 2.0])
async def test_a_tool_that_hangs_has_a_limit(
    limit_s: float | None, autojump_clock: trio.testing.MockClock
) -> None:
    """The setting's, or the tool's own; the tool's task is gone."""
    ended = False

    async def it() -> None:
        nonlocal ended
        try:
            await trio.sleep_forever()
        finally:
            ended = True

    start = trio.current_time()
    result = await toolbox_of(it, limit_s).run("it", "", CALL)
    assert trio.current_time() - start == pytest.approx(limit_s or LIMIT_S)
    assert not result.ok
    assert f"longer than {limit_s or LIMIT_S:g} seconds" in result.output
    assert ended


async def test_a_thread_that_hangs_is_left_behind() -> None:
    """A blocking tool cannot be ended; the call goes on without it."""
    release = threading.Event()

    def it() -> None:
        release.wait()

    with trio.fail_after(5):
        result = await toolbox_of(it, 0.05).run("it", "", CALL)
    release.set()
    assert "longer than 0.05 seconds" in result.output


async def test_a_hangup_ends_a_tool_and_its_fault(autojump_clock: trio.testing.MockClock) -> None:
    """Cancelled from outside: no result, and a fault of the tool's own tasks stays in here."""
    returned = False

    async def fails_when_cancelled() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise ValueError("secret")

    async def it() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fails_when_cancelled)
            nursery.start_soon(trio.sleep_forever)

    with trio.move_on_after(1) as scope:
        await toolbox_of(it).run("it", "", CALL)
        returned = True
    assert scope.cancelled_caught
    assert not returned


async def test_a_hangup_is_no_fault_of_a_tool(
    autojump_clock: trio.testing.MockClock, log: list[Any]
) -> None:
    """Cancelled in a nursery of the tool's own, beside a fault that asyncio knows: nothing is
    told, the fault is logged."""

    async def fails_when_cancelled() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise asyncio.CancelledError

    async def it() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fails_when_cancelled)
            nursery.start_soon(trio.sleep_forever)

    with trio.move_on_after(1) as scope:
        await toolbox_of(it).run("it", "", CALL)
    assert scope.cancelled_caught
    assert [line["error"] for line in log] == ["CancelledError"]


async def test_a_tool_that_cannot_be_cancelled_holds_up_nothing(
    autojump_clock: trio.testing.MockClock, log: list[Any]
) -> None:
    """Shielded for ten minutes: the limit holds, and so does a hangup, half a second later."""

    async def it() -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep(600)

    result = await toolbox_of(it, 3.0).run("it", "", CALL)
    assert result.timed_out
    assert trio.current_time() == pytest.approx(3.0 + LEAVE_S)
    began_s = trio.current_time()
    with trio.move_on_after(1) as scope:
        await toolbox_of(it).run("it", "", CALL)
    assert scope.cancelled_caught
    assert trio.current_time() - began_s == pytest.approx(1 + LEAVE_S)
    left = [
        line for line in log if line["event"] == "tool cannot be stopped, and is left to itself"
    ]
    assert len(left) == 2


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """Python's own handler, as in a program on a terminal: where the tests themselves run in the
    background of a shell, the signal is ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c")
def test_a_real_ctrl_c_is_no_fault_of_a_tool() -> None:
    """Pressed while a tool computes: it ends the program."""

    async def it() -> None:
        signal.raise_signal(signal.SIGINT)

    async def main() -> None:
        await toolbox_of(it).run("it", "", CALL)

    with pytest.raises(KeyboardInterrupt):
        trio.run(main)


@pytest.fixture(name="builtins")
def _builtins() -> Toolbox:
    return load_tools(ToolsConfig(directory="/nowhere/at/all"), {})


async def test_a_hangup_is_asked_for_and_not_done(builtins: Toolbox) -> None:
    """No avr-ami is there; the call does it when the goodbye was heard."""
    for arguments in ("", "{}"):
        result = await builtins.run("avr_hangup", arguments, CALL)
        assert result.ok
        assert result.control == ControlRequest("hangup")
    assert "goodbye" in result.output


async def test_a_transfer_is_asked_for_with_the_defaults_of_avr(builtins: Toolbox) -> None:
    """Context `demo`, priority 1."""
    result = await builtins.run("avr_transfer", '{"transfer_extension": "600"}', CALL)
    assert result.control == ControlRequest("transfer", "600", "demo", 1)
    arguments = (
        '{"transfer_extension":"*7","transfer_context":"from-internal","transfer_priority":2}'
    )
    result = await builtins.run("avr_transfer", arguments, CALL)
    assert result.control == ControlRequest("transfer", "*7", "from-internal", 2)


@pytest.mark.parametrize(
    "arguments",
    [
        "{}",
        '{"transfer_extension": 600}',
        '{"transfer_extension": ""}',
        '{"transfer_extension": "600\\r\\nAction: Originate"}',
        '{"transfer_extension": "600\\n"}',
        '{"transfer_extension": "600", "transfer_context": "a b"}',
        '{"transfer_extension": "600", "transfer_priority": 0}',
        '{"transfer_extension": "600", "transfer_priority": "1"}',
    ],
)
async def test_a_transfer_to_nowhere_is_refused(builtins: Toolbox, arguments: str) -> None:
    """Nor may a caller talk the model into a second command to Asterisk."""
    result = await builtins.run("avr_transfer", arguments, CALL)
    assert not result.ok
    assert result.control is None
    assert result.output.startswith("The tool avr_transfer failed: ")
