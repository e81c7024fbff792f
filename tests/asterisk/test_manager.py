"""What a user of Asterisk's manager may do, on a real Asterisk, and what the bridge makes of it."""

from __future__ import annotations

import json

import trio

from avr_bridge.soak.container import free_port
from avr_bridge.testing import CallTool, Say, Script, Silence, SimulatedRealtime
from avr_bridge.testing.manager import SimulatedManager
from avr_bridge.tools import ManagerClient
from avr_bridge.tools.manager import RIGHTS
from tests.asterisk.switch import MANAGER_PORT, open_asterisk
from tests.asterisk.ways import SHIPPED_SECRET, open_line

LIMIT_S = 60
SETS_OF_RIGHTS = ("", "reporting", "system", "call", "call,system", "call,reporting", "all")


async def test_a_simulated_manager_denies_what_a_real_one_denies() -> None:
    """With each set of rights the same actions; with those of the example none."""
    port, found, simulated = free_port(), {}, {}
    real = ManagerClient(f"tcp://127.0.0.1:{port}", "avr", SHIPPED_SECRET)
    with trio.fail_after(LIMIT_S):
        async with (
            open_asterisk([], {MANAGER_PORT: f"port = {port}"}, {}) as switch,
            trio.open_nursery() as nursery,
        ):
            shipped = await real.denied()
            file = switch.folder / "etc" / "manager_avr.conf"
            text = file.read_text()
            manager = SimulatedManager(password=SHIPPED_SECRET)
            double = ManagerClient(await nursery.start(manager.serve), "avr", SHIPPED_SECRET)
            for rights in SETS_OF_RIGHTS:
                file.write_text(text.replace(RIGHTS, f"write = {rights}"))
                await switch.cli("manager reload")
                manager.rights = set(rights.split(","))
                found[rights] = await real.denied()
                simulated[rights] = await double.denied()
            nursery.cancel_scope.cancel()
    assert shipped == []
    assert simulated == found
    assert found["reporting"] == ["Redirect", "Hangup"]


async def test_a_transfer_without_the_right_is_not_promised(question: bytes) -> None:
    """The extension is there, and Asterisk would refuse: the tool's own answer says so."""
    where = json.dumps({"transfer_extension": "200", "transfer_context": "elsewhere"})
    script = Script(
        [[Say(question, 8000, "one moment"), CallTool("avr_transfer", where)]], Silence()
    )
    model, instead = SimulatedRealtime(script), {RIGHTS: "write = reporting"}
    async with open_line("chan_websocket", model, ["Wait(8)"], {}, instead=instead) as line:
        await line.place()
        await line.switch.wait_over()
        await line.wait_ended()
    told = json.dumps(line.model.sessions[0].received_of("conversation.item.create"))
    assert "may not use Redirect of Asterisk's manager" in told
    assert "will be transferred" not in told
