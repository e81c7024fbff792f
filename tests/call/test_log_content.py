"""AVR_LOG_CONTENT: what was said, pressed and asked of tools is logged on wish only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import structlog
import trio

from avr_bridge import LogConfig
from avr_bridge.caller.transport import DtmfDigit
from avr_bridge.config import ToolsConfig
from avr_bridge.testing.memory import MemoryCaller
from avr_bridge.testing.realtime import CallTool, Say, Script, SimulatedRealtime
from avr_bridge.tools import load_tools
from tests.call.conftest import config, place_call

if TYPE_CHECKING:
    from pathlib import Path

WORDS = "my planted words"
ARGUMENTS = '{"name": "planted argument"}'
TOOL = '''
def remember(name: str) -> str:
    """Remember a name."""
    return "planted result"
'''
ENTRY = "9081#"
NUMBER = "+15550100"


async def lines_of_a_call(tmp_path: Path, *, content: bool) -> list[Any]:
    """The log of a call in which words are said, keys pressed and a tool is asked."""
    (tmp_path / "crm.py").write_text(TOOL)
    toolbox = load_tools(ToolsConfig(directory=str(tmp_path)))
    say = Say(bytes(16_000), 8000, WORDS)
    simulator = SimulatedRealtime(Script([[CallTool("remember", ARGUMENTS)], [say]]))
    settings = attrs.evolve(config(), log=LogConfig(content=content))
    with structlog.testing.capture_logs() as log:
        caller = MemoryCaller({"from": NUMBER})
        async with place_call(simulator, settings, caller, toolbox=toolbox) as call:
            call.caller.start()
            await trio.sleep(1)
            for key in ENTRY:
                call.caller.send(DtmfDigit(key))
            await trio.sleep(10)
    return log


async def test_nothing_of_it_by_default(tmp_path: Path, autojump_clock: object) -> None:
    """Neither words, nor keys, nor arguments, nor results, nor who calls, at any level."""
    log = await lines_of_a_call(tmp_path, content=False)
    assert "call ended" in [line["event"] for line in log]
    assert "planted" not in str(log)
    assert NUMBER not in str(log)
    assert {str(line["metadata_keys"]) for line in log if "metadata_keys" in line} == {"['from']"}
    assert not [line for line in log if "digit" in line or "text" in line or "arguments" in line]


async def test_all_of_it_on_wish(tmp_path: Path, autojump_clock: object) -> None:
    """As fields under static messages, at info, each line with its call."""
    log = await lines_of_a_call(tmp_path, content=True)
    (call,) = {line["call"] for line in log if line["event"] == "call ended"}
    shown = {"transcript", "key pressed", "tool called"}
    lines = [dict(line) for line in log if line["event"] in shown]
    assert {line.pop("call") for line in lines} == {call}
    assert {line.pop("log_level") for line in lines} == {"info"}
    keys = [line["digit"] for line in lines if line["event"] == "key pressed"]
    assert keys == list(ENTRY)
    assert {"event": "tool called", "tool": "remember", "arguments": ARGUMENTS} in lines
    assert {"event": "transcript", "role": "agent", "text": WORDS} in lines
    (ended,) = [line for line in log if line["event"] == "call ended"]
    assert ended["metadata"] == {"from": NUMBER}
    assert not any(said in str(ended) for said in (WORDS, ENTRY, ARGUMENTS))
