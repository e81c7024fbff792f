"""A tool that cannot be stopped, in a process of its own: its call ends, and so does the bridge."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from avr_bridge.testing import CallTool, Script, SimulatedRealtime, open_simulated_call
from tests.faults.conftest import Bridge, open_bridge

if TYPE_CHECKING:
    from pathlib import Path

LIMIT_S = 30
TOOL = '''
import trio


async def look_up() -> str:
    """Look something up, whoever wants something else meanwhile."""
    with trio.CancelScope(shield=True):
        await trio.sleep(600)
    return "nobody hears this"
'''


async def test_a_tool_that_shields_itself(tmp_path: Path) -> None:
    """The call ends when its caller hangs up, its place is free for the next one, and a signal ends
    the process with 0, though the tool works on."""
    (tmp_path / "look.py").write_text(TOOL)
    model = SimulatedRealtime(Script([[CallTool("look_up", "{}")]] * 2))
    with trio.fail_after(LIMIT_S):
        async with open_bridge(
            model=model, AVR_TOOLS_DIR=str(tmp_path), AVR_MAX_CALLS="1", AVR_LOG_CALLS="*"
        ) as bridge:
            for uuid in ("first", "second"):
                async with open_simulated_call(bridge.ws, uuid=uuid):
                    await _tool_works(bridge, uuid)
                hung_up_s = trio.current_time()
                ended = await bridge.wait_ended(uuid)
                assert trio.current_time() - hung_up_s < 3
                assert ended["reason"] == "caller_hung_up"
            left = bridge.logged("tool cannot be stopped, and is left to itself")
            assert [line["call"] for line in left] == ["first", "second"]


async def _tool_works(bridge: Bridge, uuid: str) -> None:
    while True:
        if bridge.logged("moment", call=uuid, moment="ToolStarted"):
            return
        await trio.sleep(0.01)
