"""Call control through the simulated avr-ami, on real sockets, and the same in memory."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import httpx2
import pytest
import trio

from avr_bridge.call.leg_control import LegControl
from avr_bridge.errors import ToolError
from avr_bridge.testing.ami import AmiFault, AmiRequest, SimulatedAmi
from avr_bridge.tools import AmiClient, LegId
from avr_bridge.tools.ami import NO_SUCH_CALL

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

LIMIT_S = 10


@asynccontextmanager
async def open_ami(ami: SimulatedAmi) -> AsyncGenerator[str]:
    """The simulated avr-ami on a free port; gives its address."""
    with trio.fail_after(LIMIT_S):
        async with trio.open_nursery() as nursery:
            yield await nursery.start(ami.serve)
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize("in_memory", [False, True])
async def test_calls_are_controlled_in_avr_amis_words(in_memory: bool) -> None:
    """Its names for the fields; a call that was hung up is unknown from then on."""
    done: list[AmiRequest] = []
    ami = SimulatedAmi(["u-1", "u-2"], on_done=done.append)
    async with open_ami(ami) as url:
        client = ami if in_memory else AmiClient(f"{url}/")
        await client.transfer("u-1", "600", "demo", 1)
        await client.hang_up("u-2")
        with pytest.raises(ToolError, match="the call is not known to Asterisk"):
            await client.hang_up("u-2")
        await ami.wait_requests(3)
    assert done == ami.requests[:2]
    assert ami.requests == [
        AmiRequest("transfer", {"uuid": "u-1", "exten": "600", "context": "demo", "priority": 1}),
        AmiRequest("hangup", {"uuid": "u-2"}),
        AmiRequest("hangup", {"uuid": "u-2"}),
    ]
    assert ami.known == {"u-1"}


@pytest.mark.parametrize("in_memory", [False, True])
@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("unknown", "the call is not known to Asterisk"),
        ("error", "call control answered 500: Error communicating with Asterisk"),
        ("drop", "call control does not work: the service gave no proper answer"),
    ],
)
async def test_each_fault_has_its_words(fault: AmiFault, words: str, in_memory: bool) -> None:
    """One fault for one request: the next one is done."""
    ami = SimulatedAmi(faults=[fault])
    async with open_ami(ami) as url:
        client = ami if in_memory else AmiClient(url)
        with pytest.raises(ToolError) as raised:
            await client.hang_up("u-1")
        await client.hang_up("u-1")
    assert str(raised.value) == words
    assert len(ami.requests) == 2


async def test_an_ami_that_hangs_has_a_limit() -> None:
    """The caller waits in silence meanwhile."""
    async with open_ami(SimulatedAmi(faults=["hang"])) as url:
        with pytest.raises(ToolError, match=r"gave no answer within 0\.2 seconds"):
            await AmiClient(url, limit_s=0.2).transfer("u-1", "600", "demo", 1)


async def test_an_ami_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Said at once, and asked without the proxy that the environment names."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:2")
    with trio.fail_after(LIMIT_S):
        with pytest.raises(ToolError, match=r"call control does not work: .* not be reached"):
            await AmiClient("http://127.0.0.1:1").hang_up("u-1")
        async with open_ami(SimulatedAmi()) as url:
            await AmiClient(url).hang_up("u-1")


async def test_whether_avr_ami_is_there_is_known_before_the_promise() -> None:
    """A leg of AudioSocket without a manager: no avr-ami, one in trouble, one that answers. It is
    asked about a call that cannot exist, so nothing is done to any."""
    ami = SimulatedAmi({"u-1"}, faults=["error"])
    async with open_ami(ami) as url:
        for address, words in (("http://127.0.0.1:1", "not be reached"), (url, "answered 500")):
            with pytest.raises(ToolError, match=rf"{words}.*AVR_MANAGER_ENDPOINT"):
                await leg_control(address).check_transfer("u-1", "600", "demo", 1)
        await leg_control(url).check_transfer("u-1", "600", "demo", 1)
    assert [request.uuid for request in ami.requests] == [NO_SUCH_CALL] * 2
    assert ami.known == {"u-1"}


def leg_control(ami_url: str) -> LegControl:
    async def hang_up() -> None:
        raise AssertionError("nobody hangs up")

    return LegControl(hang_up, LegId, None, AmiClient(ami_url))


async def test_the_simulated_ami_refuses_what_avr_ami_does() -> None:
    """Other paths and methods, a body that is no object; the connection may be kept."""
    ami = SimulatedAmi()
    async with open_ami(ami) as url, httpx2.AsyncClient(base_url=url, verify=False) as client:
        assert (await client.post("/originate", json={})).status_code == 404
        assert (await client.get("/hangup")).status_code == 404
        assert (await client.post("/hangup", json=[])).status_code == 400
        answer = await client.post("/hangup", json={"uuid": "u-1"})
    assert answer.json() == {"message": "hangup done"}
    assert len(ami.requests) == 1
