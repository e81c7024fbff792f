"""The official client of the `openai` package holds a conversation with the simulated API."""

from __future__ import annotations

import base64
from functools import partial
from typing import Any

import pytest
import trio

from avr_bridge.testing.realtime import CallTool, Parrot, Say, Script, SimulatedRealtime
from avr_bridge.testing.realtime import SimulatorOptions as Options
from tests.sim_client import check_server_event, quiet, tone

pytest.importorskip("websockets")
pytestmark = pytest.mark.peer

KEY = "sk-test"


def converse(base_url: str) -> list[Any]:
    """A whole call with the official client, on asyncio; returns every event it parsed."""
    import asyncio

    from openai import AsyncOpenAI

    events: list[Any] = []

    async def call() -> None:
        client = AsyncOpenAI(
            api_key=KEY, base_url=base_url.replace("ws", "http"), websocket_base_url=base_url
        )
        async with client, client.realtime.connect(model="gpt-realtime-2.1") as connection:

            async def until(event_type: str) -> Any:
                while True:
                    event = await connection.recv()
                    events.append(event)
                    if event.type == event_type:
                        return event

            await until("session.created")
            await connection.session.update(
                session={
                    "type": "realtime",
                    "audio": {"input": {"transcription": {"model": "gpt-transcribe"}}},
                    "tools": [{"type": "function", "name": "lookup", "parameters": {}}],
                }
            )
            await until("session.updated")
            await connection.response.create(response={"instructions": "Greet."})
            greeted = await until("response.done")
            await connection.conversation.item.truncate(
                item_id=greeted.response.output[0].id, content_index=0, audio_end_ms=100
            )
            await until("conversation.item.truncated")
            speech = quiet(400) + tone(800) + quiet(400)
            for at in range(0, len(speech), 960):
                await connection.input_audio_buffer.append(
                    audio=base64.b64encode(speech[at : at + 960]).decode()
                )
            asked = await until("response.done")
            await connection.conversation.item.create(
                item={
                    "type": "function_call_output",
                    "call_id": asked.response.output[0].call_id,
                    "output": "{}",
                }
            )
            await connection.response.create()
            await until("response.done")
            await connection.response.cancel()
            await until("error")

    asyncio.run(asyncio.wait_for(call(), 15))
    return events


async def test_the_official_client_holds_a_conversation() -> None:
    """Greeting, truncation, a spoken turn, a tool and its output, a transcript, an error: each
    event is parsed into its own class and passes the strict check; the session ends with 1000."""
    greeting = Say(tone(500), 24_000, "Hello, this is the dentist.")
    script = Script([[greeting], [CallTool("lookup", '{"q":1}')]], then=Parrot())
    server = SimulatedRealtime(script, Options(api_key=KEY, transcription_ms=1))
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            url = await nursery.start(server.serve)
            events = await trio.to_thread.run_sync(partial(converse, url))
            await server.sessions[0].wait_closed()
            nursery.cancel_scope.cancel()
    script.assert_complete()
    for event in events:
        assert type(event).model_fields["type"].annotation is not None
        check_server_event(event.to_dict())
    assert "conversation.item.input_audio_transcription.completed" in [e.type for e in events]
    assert events[-1].error.code == "response_cancel_not_active"
    assert server.sessions[0].close_code == 1000
    assert server.faults == []
