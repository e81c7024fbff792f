"""Transfers and hangups through Asterisk's manager, on real sockets, with all that can go wrong."""

from __future__ import annotations

import ssl
from contextlib import asynccontextmanager, nullcontext
from typing import TYPE_CHECKING

import pytest
import trio
import trustme

from avr_bridge import ConfigError, Secret, ToolsConfig
from avr_bridge.call.leg_control import LegControl
from avr_bridge.config import BridgeConfig
from avr_bridge.errors import ToolError
from avr_bridge.soak.container import free_port
from avr_bridge.testing.manager import SimulatedManager, channel
from avr_bridge.tools import LegId, ManagerClient, manager_of
from avr_bridge.tools.manager_protocol import Packet, PacketReader, action, caller_channel
from tests.tls import serve_tls

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

LIMIT_S = 20
CALLER = channel(
    "PJSIP/2000-00000013",
    "179.6",
    bridge="b1",
    application="Dial",
    data="WebSocket/avr-bridge/c(ulaw)",
)
LEG = channel(
    "WebSocket/avr-bridge/0x51",
    "179.7",
    linkedid="179.6",
    bridge="b1",
    application="AppDial",
    data="(Outgoing Line)",
)
OTHER = channel("PJSIP/2001-00000014", "179.9", bridge="b2", application="Dial")


@asynccontextmanager
async def open_manager(manager: SimulatedManager) -> AsyncGenerator[str]:
    """A manager that serves; its address."""
    async with trio.open_nursery() as nursery:
        yield await nursery.start(manager.serve)
        nursery.cancel_scope.cancel()


def three_channels() -> SimulatedManager:
    """A call on a leg of chan_websocket, and somebody else."""
    return SimulatedManager(channels=[OTHER, LEG, CALLER], extensions={("600", "demo")})


async def test_the_callers_channel_is_redirected() -> None:
    """Not the leg's own, and nobody else's; the password never crosses the network."""
    manager = three_channels()
    with trio.fail_after(LIMIT_S):
        async with open_manager(manager) as endpoint:
            client = ManagerClient(endpoint, "avr", "secret")
            await client.transfer(LegId("179.7"), "600", "demo", 1)
    (redirect,) = manager.done("Redirect")
    assert redirect.get("Channel") == "PJSIP/2000-00000013"
    assert (redirect.get("Exten"), redirect.get("Context"), redirect.get("Priority")) == (
        "600",
        "demo",
        "1",
    )


async def test_a_hangup() -> None:
    """Of the caller's channel."""
    manager = three_channels()
    with trio.fail_after(LIMIT_S):
        async with open_manager(manager) as endpoint:
            await ManagerClient(endpoint, "avr", "secret").hang_up(LegId("179.7"))
    assert [one["Uniqueid"] for one in manager.channels] == ["179.9", "179.7"]


async def test_an_extension_that_is_not_there_is_told() -> None:
    """Redirect would accept it, and the caller would be hung up on."""
    manager = three_channels()
    with trio.fail_after(LIMIT_S):
        async with open_manager(manager) as endpoint:
            client = ManagerClient(endpoint, "avr", "secret")
            with pytest.raises(ToolError, match="no extension 700 in the context demo"):
                await client.transfer(LegId("179.7"), "700", "demo", 1)
    assert manager.done("Redirect") == []


async def test_without_func_dialplan_it_is_tried() -> None:
    """An Asterisk that cannot say whether the extension is there."""
    manager = SimulatedManager(channels=[LEG, CALLER])
    with trio.fail_after(LIMIT_S):
        async with open_manager(manager) as endpoint:
            await ManagerClient(endpoint, "avr", "secret").transfer(LegId("179.7"), "7", "c", 1)
    assert len(manager.done("Redirect")) == 1


@pytest.mark.parametrize(
    ("fault", "words"),
    [("hang", "no answer within 0.5 seconds"), ("drop", "broke off"), ("garbage", "too much")],
)
async def test_a_manager_that_fails_is_told_in_words(fault: str, words: str) -> None:
    """Within the limit, whatever it does."""
    manager = three_channels()
    manager.faults = [fault]  # type: ignore[list-item]
    with trio.fail_after(LIMIT_S):
        async with open_manager(manager) as endpoint:
            client = ManagerClient(endpoint, "avr", "secret", limit_s=0.5)
            with pytest.raises(ToolError, match=words):
                await client.transfer(LegId("179.7"), "600", "demo", 1)


@pytest.mark.parametrize(
    ("password", "leg", "extension", "words"),
    [
        ("secret", "179.7", "600", ""),
        ("wrong-password", "179.7", "600", "does not let the bridge in"),
        ("secret", "180.1", "600", "not known to Asterisk"),
        ("secret", "179.7", "700", "no extension 700 in the context demo"),
    ],
)
async def test_a_transfer_is_tried_out_before_it_is_promised(
    password: str, leg: str, extension: str, words: str
) -> None:
    """Login, the caller's channel, the extension: all but the transfer itself."""
    manager = three_channels()
    fault = pytest.raises(ToolError, match=words) if words else nullcontext()
    with trio.fail_after(LIMIT_S):
        async with open_manager(manager) as endpoint:
            client = ManagerClient(endpoint, "avr", password)
            with fault:
                await client.check_transfer(LegId(leg), extension, "demo", 1)
    assert manager.done("Redirect") == []


@pytest.mark.parametrize(
    ("rights", "words"),
    [
        (set(), "CoreShowChannels, Getvar, Redirect"),
        ({"reporting"}, "Redirect"),
        ({"system"}, "Getvar, Redirect"),
        ({"call"}, "CoreShowChannels"),
        ({"call", "reporting"}, ""),
        ({"call", "system"}, ""),
        ({"all"}, ""),
    ],
)
async def test_missing_rights_are_known_before_the_promise(rights: set[str], words: str) -> None:
    """By what Asterisk lists for this user; the words name the actions and what gives them."""
    manager = three_channels()
    manager.rights = rights
    told = rf"may not use {words} of .* \(it needs write = call,reporting\)"
    fault = pytest.raises(ToolError, match=told) if words else nullcontext()
    with trio.fail_after(LIMIT_S):
        async with open_manager(manager) as endpoint:
            client = ManagerClient(endpoint, "avr", "secret")
            with fault:
                await client.check_transfer(LegId("179.7"), "600", "demo", 1)
    assert manager.done("Redirect") == []


@pytest.mark.parametrize(
    ("rights", "words"),
    [({"call"}, "CoreShowChannels"), ({"system"}, "Getvar"), ({"reporting"}, "Redirect")],
)
async def test_a_right_that_went_since_is_told_in_words(rights: set[str], words: str) -> None:
    """Of a transfer that was not tried out. Getvar denied does not mean that the extension is
    there."""
    manager = three_channels()
    manager.rights = rights
    with trio.fail_after(LIMIT_S):
        async with open_manager(manager) as endpoint:
            client = ManagerClient(endpoint, "avr", "secret")
            with pytest.raises(ToolError, match=f"may not use {words} of .*call,reporting"):
                await client.transfer(LegId("179.7"), "600", "demo", 1)
    assert len(manager.channels) == 3


async def test_what_a_user_may_not_do() -> None:
    """Of all that the bridge uses, the hangup included."""
    manager = three_channels()
    manager.rights = {"reporting"}
    with trio.fail_after(LIMIT_S):
        async with open_manager(manager) as endpoint:
            client = ManagerClient(endpoint, "avr", "secret")
            assert await client.denied() == ["Redirect", "Hangup"]
            manager.rights = {"call", "reporting"}
            assert await client.denied() == []


async def test_a_manager_that_is_not_there_is_known_before_the_promise() -> None:
    """Of a leg's control: a manager that cannot be reached, and one that was never set."""
    there = ManagerClient(f"tcp://127.0.0.1:{free_port()}", "avr", "secret")
    for manager, words in ((there, "cannot be reached"), (None, "AVR_MANAGER_ENDPOINT")):
        control = LegControl(_no_hangup, lambda: LegId("179.7"), manager)
        with trio.fail_after(LIMIT_S), pytest.raises(ToolError, match=words):
            await control.check_transfer("u-1", "600", "demo", 1)


async def _no_hangup() -> None:
    raise AssertionError("nobody hangs up")


async def test_a_wrong_password() -> None:
    """The words name neither user nor password."""
    with trio.fail_after(LIMIT_S):
        async with open_manager(three_channels()) as endpoint:
            client = ManagerClient(endpoint, "avr", "wrong-password")
            with pytest.raises(ToolError, match="does not let the bridge in") as told:
                await client.hang_up(LegId("179.7"))
    assert "wrong" not in str(told.value)


@pytest.mark.parametrize("trusted", [True, False])
async def test_over_tls(trusted: bool) -> None:
    """The certificate is verified: of an authority that nobody knows, nothing is accepted."""
    authority, manager = trustme.CA(), three_channels()
    context = ssl.create_default_context()
    if trusted:
        authority.configure_trust(context)
    with trio.fail_after(LIMIT_S):
        async with open_manager(manager) as endpoint, trio.open_nursery() as nursery:
            port = int(endpoint.rpartition(":")[2])
            tls_port = await nursery.start(serve_tls, authority, "localhost", port)
            client = ManagerClient(f"tls://localhost:{tls_port}", "avr", "secret", tls=context)
            if trusted:
                await client.hang_up(LegId("179.7"))
            else:
                with pytest.raises(ToolError, match="broke off"):
                    await client.hang_up(LegId("179.7"))
            nursery.cancel_scope.cancel()
    assert len(manager.done("Hangup")) == int(trusted)


async def test_nobody_there() -> None:
    """Nothing listens at the address."""
    client = ManagerClient(f"tcp://127.0.0.1:{free_port()}", "avr", "secret")
    with trio.fail_after(LIMIT_S), pytest.raises(ToolError, match="cannot be reached"):
        await client.hang_up(LegId("179.7"))


async def test_a_call_that_asterisk_does_not_know() -> None:
    """Hung up a moment ago."""
    with trio.fail_after(LIMIT_S):
        async with open_manager(three_channels()) as endpoint:
            client = ManagerClient(endpoint, "avr", "secret")
            with pytest.raises(ToolError, match="not known to Asterisk"):
                await client.hang_up(LegId("180.1"))


async def test_a_line_break_is_no_second_action() -> None:
    """The tool refuses it before; here nothing is sent all the same."""
    manager = three_channels()
    with trio.fail_after(LIMIT_S):
        async with open_manager(manager) as endpoint:
            client = ManagerClient(endpoint, "avr", "secret")
            with pytest.raises(ToolError, match="line break"):
                await client.transfer(LegId("179.7"), "600\r\n\r\nAction: Hangup", "demo", 1)
    assert {packet.get("Action") for packet in manager.actions} == {"CoreShowChannels"}


@pytest.mark.parametrize(
    ("channels", "leg", "found"),
    [
        ([LEG, CALLER, OTHER], LegId("179.7"), "PJSIP/2000-00000013"),
        # Not bridged yet: the one that began it.
        ([{**LEG, "BridgeId": ""}, {**CALLER, "BridgeId": ""}], LegId("179.7"), CALLER["Channel"]),
        # A conference: the one that began the call.
        (
            [LEG, CALLER, {**OTHER, "BridgeId": "b1"}],
            LegId("179.7"),
            CALLER["Channel"],
        ),
        ([LEG], LegId("179.7"), None),
        ([], LegId("179.7"), None),
        ([CALLER], LegId(), None),
        (
            [OTHER, {**CALLER, "Application": "AudioSocket", "ApplicationData": "0190-AB,host:1"}],
            LegId(uuid="0190-ab"),
            CALLER["Channel"],
        ),
    ],
)
def test_who_is_the_caller(channels: list[dict[str, str]], leg: LegId, found: str | None) -> None:
    """Among all channels of a switch, by what is known of the leg."""
    assert caller_channel([Packet(one) for one in channels], leg) == found


def test_packets_cut_anywhere() -> None:
    """The greeting is left out; blanks and colons in values stay."""
    wire = b"Asterisk Call Manager/11.0.0\r\n" + action("Ping", ActionID="1", Data="a: b") * 2
    for step in (1, 3, 1000):
        reader, found = PacketReader(), []
        for at in range(0, len(wire), step):
            reader.push(wire[at : at + step])
            while (packet := reader.next()) is not None:
                found.append(packet.values)
        assert found == [{"Action": "Ping", "ActionID": "1", "Data": "a: b"}] * 2


def test_the_settings() -> None:
    """None without an address; user and password are needed with one; the secret is masked."""
    assert manager_of(ToolsConfig()) is None
    config = BridgeConfig.from_env(
        {
            "OPENAI_API_KEY": "k",
            "AVR_MANAGER_ENDPOINT": "tcp://asterisk",
            "AVR_MANAGER_USER": "avr",
            "AVR_MANAGER_PASSWORD": "planted-secret",
        }
    )
    assert manager_of(config.tools) is not None
    assert config.tools.manager_password == Secret("planted-secret")
    assert "planted-secret" not in repr(config)
    assert config.mask()("it is planted-secret") == "it is ***"
    with pytest.raises(ConfigError) as told:
        BridgeConfig.from_env(
            {"OPENAI_API_KEY": "k", "AVR_MANAGER_ENDPOINT": "http://asterisk:8088"}
        )
    assert [fault.split()[0] for fault in told.value.faults] == [
        "AVR_MANAGER_ENDPOINT=http://asterisk:8088:",
        "AVR_MANAGER_PASSWORD",
        "AVR_MANAGER_USER",
    ]
