"""A conversation that a client rebuilds in a fresh session: taken in order, kept, shown."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import trio

from avr_bridge.testing.realtime import (
    CallTool,
    Say,
    Script,
    Silence,
    SimulatedRealtime,
    SimulatorOptions,
)
from tests.sim_client import URL, Client, check_client_event, connected, quiet, tone

if TYPE_CHECKING:
    from trio.testing import MockClock

    from avr_bridge.upstream.socket import MessageSocket

HISTORY = [
    ("system", "Caller number: +15550100"),
    ("user", "When do you open?"),
    ("function_call", 'hours({"day":"monday"})'),
    ("function_call_output", '{"open":9}'),
    ("assistant", "We open at nine."),
    ("user", "And on Sunday?"),
    ("system", "Continue the call; do not greet again."),
]
DIALECTS = ["ga", "beta", "xai"]


def message(role: str, text: str, kind: str, **more: Any) -> dict[str, Any]:
    return {"type": "message", "role": role, "content": [{"type": kind, "text": text}], **more}


def items_of(dialect: str) -> list[dict[str, Any]]:
    """`HISTORY` as a client of this dialect sends it."""
    answer = "text" if dialect == "beta" else "output_text"
    call = {"call_id": "call_1", "type": "function_call"}
    result = {"call_id": "call_1", "type": "function_call_output"}
    return [
        message("system", HISTORY[0][1], "input_text"),
        message("user", HISTORY[1][1], "input_text"),
        call | {"name": "hours", "arguments": '{"day":"monday"}'},
        result | {"output": '{"open":9}'},
        message("assistant", HISTORY[4][1], answer),
        message("user", HISTORY[5][1], "input_text"),
        message("system", HISTORY[6][1], "input_text"),
    ]


async def send(socket: MessageSocket, dialect: str, item: dict[str, Any], **place: Any) -> None:
    event = {"type": "conversation.item.create", "item": item, **place}
    if dialect == "ga":
        check_client_event(event)
    await socket.send_message(json.dumps(event))


async def read(socket: MessageSocket, event_type: str) -> dict[str, Any]:
    """The next event of this type; an error is none that is passed over."""
    with trio.fail_after(30):
        while True:
            event: dict[str, Any] = json.loads(await socket.get_message())
            if event["type"] == event_type:
                return event
            assert event["type"] != "error", event


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("backwards", [False, True])
async def test_a_history_is_kept_in_its_order(
    autojump_clock: MockClock, dialect: Any, backwards: bool
) -> None:
    """One after the other without a place; or from last to first, each at the root, where only an
    output has to wait for its call, with ids of the client's own."""
    server = SimulatedRealtime(Silence(), SimulatorOptions(dialect=dialect))
    told = "conversation.item.created" if dialect == "beta" else "conversation.item.added"
    async with server.dial(URL) as socket:
        await read(socket, "session.created")
        items = items_of(dialect)
        if backwards:
            for number, item in enumerate(items):
                item["id"] = f"old_{number}"
            items[2], items[3] = items[3], items[2]  # reversed below: the call comes first
            for item in reversed(items):
                place = "old_2" if item["id"] == "old_3" else "root"
                await send(socket, dialect, item, previous_item_id=place)
                assert (await read(socket, told))["item"]["id"] == item["id"]
        else:
            for item in items:
                await send(socket, dialect, item)
                await read(socket, told)
        assert server.sessions[0].history == HISTORY


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_an_answer_after_a_replay(autojump_clock: MockClock, dialect: Any) -> None:
    """The results in the history are no new results; the answer is added at its end."""
    script = Script([[Say(tone(300), 24_000, "Closed on Sunday.")]])
    server = SimulatedRealtime(script, SimulatorOptions(dialect=dialect))
    async with server.dial(URL) as socket:
        for item in items_of(dialect):
            await send(socket, dialect, item)
        await socket.send_message(json.dumps({"type": "response.create"}))
        await read(socket, "response.done")
        assert server.sessions[0].history == [*HISTORY, ("assistant", "Closed on Sunday.")]
    (turn,) = script.turns
    assert turn.function_outputs == ()
    assert turn.texts == ("When do you open?", "And on Sunday?")


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_replay_that_cannot_be(autojump_clock: MockClock, dialect: Any) -> None:
    """An output without its call, the other dialect's kind of text, assistant audio: refused,
    each with its code, and nothing of it is kept."""
    other = "output_text" if dialect == "beta" else "text"
    orphan = {"type": "function_call_output", "call_id": "call_1", "output": ""}
    server = SimulatedRealtime(Silence(), SimulatorOptions(dialect=dialect))
    async with server.dial(URL) as socket:
        for item, code in (
            (orphan, "invalid_tool_call_id"),
            (message("assistant", "x", other), "invalid_value"),
            (message("assistant", "x", "input_text"), "invalid_value"),
            (message("user", "x", "output_text"), "invalid_value"),
            (message("system", "x", "output_text"), "invalid_value"),
        ):
            event = {"type": "conversation.item.create", "item": item}
            await socket.send_message(json.dumps(event))
            while (answer := json.loads(await socket.get_message()))["type"] != "error":
                pass
            assert answer["error"]["code"] == code
        assert server.sessions[0].history == []


async def test_a_spoken_history(autojump_clock: MockClock) -> None:
    """What was spoken is its transcript, a tool's call its arguments; a truncated answer has no
    words left, and a turn that nobody transcribed has none."""
    script = Script(
        [
            [Say(tone(300), 24_000, "Hello."), CallTool("hours", "{}", "call_7")],
            [Say(tone(2_000), 24_000, "We open at nine.")],
        ],
        then=Silence(),
        transcripts=["Good morning."],
    )
    server = SimulatedRealtime(script)
    async with connected(server) as client:
        await client.update(audio={"input": {"transcription": {"model": "whisper-1"}}})
        await client.append(quiet(300) + tone(500) + quiet(300))
        await client.until("response.done")
        result = {"type": "function_call_output", "call_id": "call_7", "output": "nine"}
        await client.send("conversation.item.create", item=result)
        await client.settle()
        await client.update(audio={"input": {"transcription": None}})
        await ask_and_truncate(client)
        await client.append(quiet(300) + tone(500) + quiet(300))
        await client.until("response.done")
        assert server.sessions[0].history == [
            ("user", "Good morning."),
            ("assistant", "Hello."),
            ("function_call", "hours({})"),
            ("function_call_output", "nine"),
            ("assistant", ""),
            ("user", ""),
        ]


async def ask_and_truncate(client: Client) -> None:
    await client.send("response.create")
    done = await client.until("response.done")
    place = {"item_id": done["response"]["output"][0]["id"], "content_index": 0}
    await client.send("conversation.item.truncate", **place, audio_end_ms=500)
    await client.until("conversation.item.truncated")
