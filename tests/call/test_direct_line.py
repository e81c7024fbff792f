"""The direct line between the server's WebSocket and its call, in virtual time."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import TYPE_CHECKING, Any, cast

import pytest
import trio
import trio.testing

from avr_bridge.caller.direct import MOST_WAITING_CHARS, DirectLine
from avr_bridge.caller.transport import (
    CallerAudio,
    CallerFault,
    CallerLeft,
    CallStarted,
    DtmfDigit,
    Peer,
)
from avr_bridge.caller.websocket import WebsocketTransport
from avr_bridge.errors import CallerGone

if TYPE_CHECKING:
    from trio.testing import MockClock


async def nothing(_text: bytes) -> None:
    """Send to nobody."""
    await trio.lowlevel.checkpoint()


async def test_what_came_is_taken_together_and_in_order(autojump_clock: MockClock) -> None:
    """Text and binary, as many as there are; then the taker waits for the next."""
    line = DirectLine(nothing, nothing)
    for message in ("one", b"two", "three"):
        await line.put(message)
    assert await line.receive() == ["one", b"two", "three"]
    with trio.move_on_after(60) as waiting:
        await line.receive()
    assert waiting.cancelled_caught
    await line.put("four")
    assert await line.receive() == ["four"]


async def test_the_socket_waits_for_a_call_that_does_not_keep_up(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    """One message over the bound stops the reader; nothing more than that is kept."""
    line = DirectLine(nothing, nothing)
    put = 0

    async def read_socket() -> None:
        nonlocal put
        for _ in range(10):
            await line.put("x" * (MOST_WAITING_CHARS // 4))
            put += 1

    nursery.start_soon(read_socket)
    await trio.testing.wait_all_tasks_blocked()
    assert put == 4
    assert len(await line.receive()) == 5
    await trio.testing.wait_all_tasks_blocked()
    assert len(await line.receive()) == 5
    await trio.testing.wait_all_tasks_blocked()
    assert put == 10


@pytest.mark.parametrize("waiting", ["call", "server"])
async def test_the_end_lets_everybody_go(waiting: str, autojump_clock: MockClock) -> None:
    """Who takes gets nothing, who puts is rid of it, who sends hears that the caller is gone."""
    line = DirectLine(nothing, nothing)
    async with trio.open_nursery() as nursery:
        if waiting == "call":
            nursery.start_soon(line.receive)
        else:
            nursery.start_soon(line.put, "x" * (MOST_WAITING_CHARS + 1))
        await trio.testing.wait_all_tasks_blocked()
        line.close()
        line.close()
    await line.put("late")
    if waiting == "server":
        assert len(await line.receive()) == 1
    assert await line.receive() == []
    with pytest.raises(CallerGone):
        await line.send(b"too late")
    with pytest.raises(CallerGone):
        await line.send_binary(b"too late")


async def test_sound_that_came_together_is_one_event(autojump_clock: MockClock) -> None:
    """Merged up to the next message of another kind; the budget still counts each message."""
    line = DirectLine(nothing, nothing)
    transport = WebsocketTransport(cast("Any", None), {}, Peer(line=line))
    for message in (
        '{"type":"init","uuid":"u"}',
        audio(b"\1\0" * 160),
        audio(b"\2\0" * 160),
        '{"type":"dtmf_digit","digit":"5"}',
        audio(b"\3\0" * 160),
        audio(b"\4\0\5"),
        b"binary",
        audio(b"\6\0"),
    ):
        await line.put(message)
    events = [await transport.receive() for _ in range(7)]
    line.close()
    events.append(await transport.receive())
    assert events == [
        CallStarted("u"),
        CallerAudio(b"\1\0" * 160 + b"\2\0" * 160, 2),
        DtmfDigit("5"),
        CallerAudio(b"\3\0" * 160 + b"\4\0", 2),
        CallerFault("audio: 3 bytes is no whole number of 16 bit samples"),
        CallerFault("binary message: expected JSON text"),
        CallerAudio(b"\6\0", 1),
        CallerLeft(),
    ]


def audio(pcm: bytes) -> str:
    """avr-core's message."""
    return json.dumps({"type": "audio", "audio": b64encode(pcm).decode()})
