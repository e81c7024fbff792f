"""The AudioSocket port over real sockets: calls, the door, the drain, and the settings' say."""

from __future__ import annotations

import json
import uuid
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs
import httpx2
import pytest
import structlog
import trio

from avr_bridge import (
    BridgeConfig,
    ModelConfig,
    Secret,
    ServerConfig,
    TalkConfig,
    ToolsConfig,
    serve,
)
from avr_bridge.audio.codec import decode, encode
from avr_bridge.audio.format import Encoding
from avr_bridge.testing import (
    CallTool,
    Say,
    Script,
    Silence,
    SimulatedAmi,
    SimulatedRealtime,
    clip,
    open_simulated_call,
    read_wav,
)
from avr_bridge.testing.caller.audiosocket_line import audiosocket_frame
from avr_bridge.testing.faults.callers import connect
from avr_bridge.testing.manager import SimulatedManager, channel
from avr_bridge.tools.ami import NO_SUCH_CALL
from tests.asterisk.recordings import pieces

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from avr_bridge.testing import SimulatedCall

LIMIT_S = 30
HELLO = audiosocket_frame(0x01, uuid.uuid4().bytes)
HANG_UP = audiosocket_frame(0x00)
SILENCE = audiosocket_frame(0x10, bytes(320))


@attrs.frozen
class Bridge:
    """A bridge with both ports, the simulator behind it, and its log."""

    http: str
    audiosocket: str
    simulator: SimulatedRealtime
    log: list[Any]
    shutdown: trio.Event

    def logged(self, event: str) -> list[Any]:
        return [line for line in self.log if line["event"] == event]

    async def wait_logged(self, event: str, count: int = 1) -> list[Any]:
        while len(self.logged(event)) < count:  # noqa: ASYNC110 - the log has no events
            await trio.sleep(0.01)
        return self.logged(event)

    async def health(self) -> dict[str, Any]:
        async with httpx2.AsyncClient() as client:
            answer: dict[str, Any] = (await client.get(f"{self.http}/healthz")).json()
            return answer


@asynccontextmanager
async def open_bridge(
    simulator: SimulatedRealtime | None = None, tools: ToolsConfig | None = None, **server: Any
) -> AsyncGenerator[Bridge]:
    """On free ports of the loopback."""
    simulator, shutdown = simulator or SimulatedRealtime(), trio.Event()
    with structlog.testing.capture_logs() as log:
        async with trio.open_nursery() as nursery:
            endpoint = await nursery.start(simulator.serve)
            config = BridgeConfig(
                model=ModelConfig(api_key=Secret("k"), endpoint=endpoint),
                server=ServerConfig(
                    **{"host": "127.0.0.1", "port": 0, "audiosocket_port": 0, **server}
                ),
                talk=TalkConfig(fallback_file="off"),
                tools=tools or ToolsConfig(),
            )
            start = partial(serve, config, shutdown=shutdown.wait)
            http, audiosocket = await nursery.start(start)
            yield Bridge(http, audiosocket, simulator, log, shutdown)
            nursery.cancel_scope.cancel()
    assert not [line for line in log if line["event"].startswith("bug")], log


async def talk(call: SimulatedCall, question: bytes) -> bytes:
    """Greeting, question, answer; what was heard behind the question."""
    await call.wait_heard_speech()
    await call.wait_quiet()
    call.say(question)
    await call.wait_said()
    await call.wait_heard_speech()
    await call.wait_quiet()
    return call.heard()


async def read_to_end(stream: trio.SocketStream) -> bytes:
    """All that comes until the bridge closes."""
    received = b""
    while data := await stream.receive_some():
        received += data
    return received


@pytest.mark.parametrize("codec", ["slin", "ulaw", "alaw"])
async def test_a_call(codec: str, question: bytes) -> None:
    """The parrot says back what was said, whatever the leg carries, with no hole in it. /healthz
    counts the call while it lasts, and it ends as hung up."""
    with trio.fail_after(LIMIT_S):
        async with open_bridge() as bridge:
            url = f"{bridge.audiosocket}?codec={codec}"
            uid = str(uuid.uuid4())
            async with open_simulated_call(url, uuid=uid) as call:
                heard = await talk(call, question)
                assert (await bridge.health())["calls"] == 1
            (ended,) = await bridge.wait_logged("call ended")
            report = call.report()
            while (await bridge.health())["calls"]:  # noqa: ASYNC110 - another task counts
                await trio.sleep(0.01)
    assert pieces(question, heard).correlation > 0.9
    assert report.faults == ()
    assert report.closed_by == "caller"
    assert (ended["call"], ended["reason"]) == (uid, "caller_hung_up")
    assert ended["dropped_ms"] == 0


async def test_the_setting_names_the_codec(question: bytes) -> None:
    """With AVR_AUDIOSOCKET_CODEC nothing is guessed: slin read as µ-law is twice as long."""
    with trio.fail_after(LIMIT_S):
        async with open_bridge(audiosocket_codec="ulaw") as bridge:
            async with open_simulated_call(bridge.audiosocket) as call:
                await trio.sleep(1)
            (ended,) = await bridge.wait_logged("call ended")
    assert ended["caller_audio_ms"] >= 1.9 * (call.report().sent_frames - 5) * 20


async def test_no_port_unless_it_is_set() -> None:
    """By default there is nothing to reach."""
    assert ServerConfig().audiosocket_port is None
    with trio.fail_after(LIMIT_S):
        async with trio.open_nursery() as nursery:
            config = BridgeConfig(
                model=ModelConfig(api_key=Secret("k")), server=ServerConfig("127.0.0.1", 0)
            )
            assert len(await nursery.start(partial(serve, config))) == 1
            nursery.cancel_scope.cancel()


async def test_a_port_that_is_taken_is_told() -> None:
    """`serve` raises, and says which of its ports it was."""
    with trio.fail_after(LIMIT_S):
        async with open_bridge() as bridge:
            port = int(bridge.audiosocket.rpartition(":")[2])
            config = BridgeConfig(
                model=ModelConfig(api_key=Secret("k")),
                server=ServerConfig("127.0.0.1", 0, audiosocket_port=port),
            )
            with pytest.raises(OSError, match=f"127.0.0.1:{port}"):
                await serve(config)


async def test_one_call_more_than_allowed() -> None:
    """AVR_MAX_CALLS counts both ports: Asterisk is told to go on in its dialplan."""
    with trio.fail_after(LIMIT_S):
        async with open_bridge(max_calls=1) as bridge:
            async with open_simulated_call(bridge.http.replace("http:", "ws:")) as call:
                await call.wait_heard_speech()
                async with await connect(bridge.audiosocket) as stream:
                    await stream.send_all(HELLO)
                    received = await read_to_end(stream)
            assert received.endswith(HANG_UP)
            assert received.replace(SILENCE, b"") == HANG_UP
            (refused,) = bridge.logged("call refused")
            assert refused["reason"] == "the limit of 1 calls is reached"


async def test_somebody_looks_whether_the_port_is_open() -> None:
    """A load balancer's check: connected and closed. No call, no line in the log, and nothing is
    said to it."""
    with trio.fail_after(LIMIT_S):
        async with open_bridge() as bridge:
            for _ in range(3):
                async with await connect(bridge.audiosocket) as stream:
                    await stream.send_eof()
                    assert await read_to_end(stream) == HANG_UP[:0]
            assert bridge.log == []


async def test_the_drain_ends_calls_of_this_port_too(question: bytes) -> None:
    """A call that outlives AVR_DRAIN_S hears the farewell and is hung up by a frame; a new one
    meanwhile is refused, and `serve` returns."""
    with trio.fail_after(LIMIT_S):
        async with open_bridge(drain_s=6.0) as bridge:
            async with open_simulated_call(bridge.audiosocket) as call:
                await call.wait_heard_speech()
                await call.wait_quiet()
                bridge.shutdown.set()
                await bridge.wait_logged("draining")
                async with await connect(bridge.audiosocket) as stream:
                    await stream.send_all(HELLO)
                    assert (await read_to_end(stream)).endswith(HANG_UP)
                await call.wait_closed()
            report = call.report()
            (ended,) = await bridge.wait_logged("call ended")
    assert ended["reason"] == "bridge_stopped"
    assert (report.closed_by, report.close_reason) == ("bridge", "hang-up")


def says_and_calls(tool: str, **arguments: str) -> SimulatedRealtime:
    """Says a sentence and calls a tool with it."""
    sentence = Say(read_wav(clip("transfer-answer")), 8_000, "I put you through. Goodbye!")
    call = CallTool(tool, json.dumps(arguments))
    return SimulatedRealtime(Script([[sentence, call]], then=Silence()))


def frames_with_sound(pcm: bytes) -> list[bytes]:
    """Without those of silence, of which a busy bridge may send more, also between words."""
    frames = (pcm[at : at + 320].ljust(320, b"\0") for at in range(0, len(pcm), 320))
    return [frame for frame in frames if frame.strip(b"\0")]


async def test_the_bridge_hangs_up_without_avr_ami() -> None:
    """By a frame of its own, behind the whole goodbye; nobody listens where avr-ami would be."""
    tools = ToolsConfig(ami_url="http://127.0.0.1:1")
    with trio.fail_after(LIMIT_S):
        async with open_bridge(says_and_calls("avr_hangup"), tools) as bridge:
            async with open_simulated_call(bridge.audiosocket) as call:
                await call.wait_closed()
                received = call.received()
            (ended,) = await bridge.wait_logged("call ended")
    assert call.report().closed_by == "bridge"
    goodbye = read_wav(clip("transfer-answer"))
    assert frames_with_sound(received) == frames_with_sound(
        decode(encode(goodbye, Encoding.ULAW), Encoding.ULAW)
    )
    assert ended["faults"] == 0


async def test_a_call_is_transferred_through_the_manager() -> None:
    """The channel that runs AudioSocket() with the call's UUID is sent elsewhere."""
    uid = str(uuid.uuid4())
    redirected = trio.Event()
    manager = SimulatedManager(
        channels=[channel("PJSIP/2000-1", "179.1", application="AudioSocket", data=f"{uid},h:1")],
        on_done=lambda _action: redirected.set(),
    )
    model = says_and_calls("avr_transfer", transfer_extension="200", transfer_context="sales")
    with trio.fail_after(LIMIT_S):
        async with trio.open_nursery() as nursery:
            endpoint = await nursery.start(manager.serve)
            tools = ToolsConfig(
                manager_endpoint=endpoint, manager_user="avr", manager_password=Secret("secret")
            )
            async with (
                open_bridge(model, tools) as bridge,
                open_simulated_call(bridge.audiosocket, uuid=uid),
            ):
                await redirected.wait()
            nursery.cancel_scope.cancel()
    (redirect,) = [action for action in manager.actions if action.get("Action") == "Redirect"]
    where = [redirect.get(name) for name in ("Channel", "Exten", "Context", "Priority")]
    assert where == ["PJSIP/2000-1", "200", "sales", "1"]


async def test_without_a_manager_avr_ami_transfers() -> None:
    """It knows calls of AudioSocket() by their UUID. Before the promise it was asked about a call
    that does not exist."""
    uid, moved = str(uuid.uuid4()), trio.Event()
    ami = SimulatedAmi({uid}, on_done=lambda _request: moved.set())
    model = says_and_calls("avr_transfer", transfer_extension="200", transfer_context="sales")
    with trio.fail_after(LIMIT_S):
        async with trio.open_nursery() as nursery:
            tools = ToolsConfig(ami_url=await nursery.start(ami.serve))
            async with (
                open_bridge(model, tools) as bridge,
                open_simulated_call(bridge.audiosocket, uuid=uid),
            ):
                await moved.wait()
            nursery.cancel_scope.cancel()
    asked, request = ami.requests
    assert asked.uuid == NO_SUCH_CALL
    assert (request.action, request.uuid) == ("transfer", uid)
    assert (request.body["exten"], request.body["context"]) == ("200", "sales")


async def test_refused_calls_are_counted() -> None:
    """By their reason, as those of the other port."""
    with trio.fail_after(LIMIT_S):
        async with (
            open_bridge(max_calls=1) as bridge,
            open_simulated_call(bridge.audiosocket) as call,
        ):
            await call.wait_heard_speech()
            async with await connect(bridge.audiosocket) as stream:
                await stream.send_all(HELLO)
                await read_to_end(stream)
            async with httpx2.AsyncClient() as client:
                page = (await client.get(f"{bridge.http}/metrics")).text
    refused = [line for line in page.splitlines() if "refused" in line and line.endswith(" 1.0")]
    began = [line for line in page.splitlines() if 'transport="audiosocket"' in line]
    assert len(refused) == 1, refused
    assert any(line.endswith(" 1.0") for line in began)
