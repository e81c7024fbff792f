"""The stand-in for avr-core between a simulated Asterisk and the bridge, over both transports."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import uuid
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

import attrs
import httpx2
import pytest
import trio

from avr_bridge.testing import (
    SimulatedRealtime,
    SimulatorOptions,
    open_simulated_call,
)
from avr_bridge.testing.core import StandInCore
from tests.asterisk.recordings import pieces
from tests.wire.conftest import Bridge, open_bridge
from tests.wire.test_audiosocket import talk

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

LIMIT_S = 40
STOP_S = 5


@attrs.frozen
class Chain:
    """Where Asterisk dials, avr-core's own HTTP service, and the bridge behind."""

    audiosocket: str
    http: str
    core: StandInCore
    bridge: Bridge


@asynccontextmanager
async def open_chain(
    transport: str, model: SimulatedRealtime | None = None
) -> AsyncGenerator[Chain]:
    """Stand-in, bridge and model on free ports."""
    async with open_bridge(model) as bridge, trio.open_nursery() as nursery:
        core = StandInCore(bridge.ws if transport == "ws" else bridge.stream)
        address = await nursery.start(core.serve)
        http = await nursery.start(core.serve_http)
        yield Chain(f"audiosocket://{address}", http, core, bridge)
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("transport", ["ws", "http"])
@pytest.mark.parametrize("codec", ["slin", "alaw"])
async def test_from_asterisk_to_the_model_and_back(
    transport: str, codec: str, question: bytes
) -> None:
    """What was said comes back whole, through core and bridge. Both report the call under its
    UUID, and no message broke the contract."""
    uid = str(uuid.uuid4())
    with trio.fail_after(LIMIT_S):
        async with open_chain(transport) as chain:
            url = f"{chain.audiosocket}?codec={codec}"
            async with open_simulated_call(url, uuid=uid) as call:
                heard = await talk(call, question)
            (ended,) = await chain.bridge.wait_ended()
            await chain.core.wait_events("call_ended")
    assert pieces(question, heard).correlation > 0.9
    assert ended["call"] == uid
    assert ended["reason"] == "caller_hung_up"
    events = chain.core.events
    assert {event.uuid for event in events} == {uid}
    assert [events[0].type, events[-1].type] == ["call_started", "call_ended"]
    assert not [event for event in events if event.type in ("fault", "error")]
    spoken = [event.payload["role"] for event in events if event.type == "transcription"]
    assert ("agent" in spoken) is (transport == "ws")


async def test_an_interruption_empties_the_queue_of_the_core(question: bytes) -> None:
    """The caller speaks into the greeting: what the core had queued is not played."""
    with trio.fail_after(LIMIT_S):
        async with open_chain("ws") as chain, open_simulated_call(chain.audiosocket) as call:
            await call.wait_heard_speech()
            call.say(question)
            interruption = await chain.core.wait_events("interruption")
            await call.wait_said()
        (ended,) = await chain.bridge.wait_ended()
    assert ended["interruptions"] >= 1
    assert 0 < interruption.payload["dropped_ms"] <= 200


async def test_keys_and_what_is_known_of_the_call() -> None:
    """``POST /call`` before the call: its payload is the call's metadata. DTMF goes on to the
    bridge. A second call without it has none."""
    uid = str(uuid.uuid4())
    with trio.fail_after(LIMIT_S):
        async with open_chain("ws") as chain:
            async with httpx2.AsyncClient() as client:
                body = {"uuid": uid, "payload": {"from": "2000", "to": 5001}}
                answer = await client.post(f"{chain.http}/call", json=body)
                assert answer.status_code == 200
                assert answer.json()["sts_url"] == chain.bridge.ws
                assert (await client.get(f"{chain.http}/health")).json() == {"status": "ok"}
                assert (await client.post(f"{chain.http}/call", content=b"[]")).status_code == 400
                assert (await client.get(f"{chain.http}/other")).status_code == 404
            async with open_simulated_call(chain.audiosocket, uuid=uid) as call:
                await call.wait_heard_speech()
                call.send_digit("7")
                assert (await chain.core.wait_events("dtmf_digit")).payload == {"digit": "7"}
            await chain.bridge.wait_ended()
            async with open_simulated_call(chain.audiosocket) as call:
                await call.wait_heard_speech()
            first, second = await chain.bridge.wait_ended(2)
            began = [line for line in chain.bridge.log if line["event"] == "call started"]
    assert first["digits"] == 1
    assert second["digits"] == 0
    assert [line["metadata_keys"] for line in began] == [["from", "to"], []]


async def test_a_container_that_cannot_be_reached() -> None:
    """The core says so, and hangs up."""
    with trio.fail_after(LIMIT_S):
        async with trio.open_nursery() as nursery:
            core = StandInCore("ws://127.0.0.1:1")
            address = await nursery.start(core.serve)
            async with open_simulated_call(f"audiosocket://{address}") as call:
                await call.wait_closed()
                await core.wait_events("call_ended")
            nursery.cancel_scope.cancel()
    assert [event.type for event in core.events] == ["call_started", "error", "call_ended"]
    assert call.report().close_reason == "hang-up"


async def test_the_bridge_ends_the_call() -> None:
    """Its close reaches Asterisk as a hang-up, and the core has the error's words."""
    model = SimulatedRealtime(options=SimulatorOptions(api_key="another"))
    with trio.fail_after(LIMIT_S):
        async with open_chain("ws", model) as chain:
            async with open_simulated_call(chain.audiosocket) as call:
                await call.wait_closed()
            await chain.core.wait_events("call_ended")
    errors = [event.payload for event in chain.core.events if event.type == "error"]
    assert errors == [{"message": "the model refuses the call"}]
    assert (call.report().closed_by, call.report().close_reason) == ("bridge", "hang-up")


async def test_it_is_a_command(question: bytes) -> None:
    """``python -m avr_bridge.testing.core`` carries a call, and ends on SIGTERM with 0."""
    with trio.fail_after(LIMIT_S):
        async with open_bridge() as bridge:
            words = [sys.executable, "-m", "avr_bridge.testing.core", bridge.ws, "--port", "0"]
            start = partial(
                trio.lowlevel.open_process,
                [*words, "--http-port", "0"],
                stdout=subprocess.PIPE,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )
            process = await start()
            assert process.stdout is not None
            try:
                said = b""
                while said.count(b"\n") < 2:
                    said += await process.stdout.receive_some()
                address = said.decode().partition(" on ")[2].partition(",")[0]
                async with open_simulated_call(f"audiosocket://{address}") as call:
                    assert pieces(question, await talk(call, question)).correlation > 0.9
                while b"call_ended" not in said:
                    said += await process.stdout.receive_some()
                assert b"call_started" in said
                process.send_signal(signal.SIGTERM)
                assert await process.wait() == 0
            finally:
                process.kill()
                with trio.CancelScope(shield=True, deadline=trio.current_time() + STOP_S):
                    await process.wait()
