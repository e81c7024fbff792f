"""Asterisk's media WebSocket on real sockets: handshake, token, admission, drain, ends, floods."""

from __future__ import annotations

from base64 import b64encode
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import structlog
import trio
from hypercorn.config import Config as HypercornConfig
from hypercorn.trio import serve as hypercorn_serve

from avr_bridge import (
    BridgeConfig,
    ModelConfig,
    Secret,
    ServerConfig,
    TalkConfig,
    create_app,
    serve,
)
from avr_bridge.audio.codec import decode, encode
from avr_bridge.audio.format import ULAW_8K, Encoding
from avr_bridge.audio.sounds import read_clip
from avr_bridge.testing import (
    CallTool,
    Parrot,
    Say,
    Script,
    Silence,
    SimulatedRealtime,
    likeness,
    open_simulated_call,
)
from avr_bridge.testing.chan import LegNotPlaced, MediaDriver, SocketWire, open_simulated_leg
from tests.asterisk.recordings import pieces
from tests.wire.conftest import open_bridge

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from avr_bridge.testing import Step

LIMIT_S = 30
TONE = b"\x00\x20\x00\xe0" * 40_000
"""10 s of PCM16 at 8 kHz."""


def ulaw(pcm: bytes) -> bytes:
    """As the leg has it, in whole frames."""
    sound = encode(pcm, Encoding.ULAW)
    return sound + ULAW_8K.silence(-len(sound) % ULAW_8K.frame_bytes)


@pytest.mark.parametrize("in_json", [False, True])
async def test_a_call_from_end_to_end(question: bytes, in_json: bool) -> None:
    """What the caller says comes back through the model; the hangup is the usual end, and the log
    says which transport it was."""
    with trio.fail_after(LIMIT_S):
        async with open_bridge(SimulatedRealtime(Parrot())) as bridge:
            driver = MediaDriver(in_json=in_json)
            async with open_simulated_leg(bridge.ws, driver, parameters={"from": "1"}) as leg:
                await trio.sleep(0.5)
                leg.say(ulaw(question))
                await leg.wait_heard(1000)
                await leg.wait_quiet(1500)
            (ended,) = await bridge.wait_ended()
    assert driver.answered
    assert pieces(question, decode(leg.spoken(), Encoding.ULAW)).correlation > 0.9
    assert ended["reason"] == "caller_hung_up"
    assert ended["faults"] == 0
    assert ended["transport"] == "chan_websocket"


async def test_the_subprotocol_is_the_one_that_was_offered() -> None:
    """`media` where it is offered, none where it is not: RFC 6455 allows no other."""
    with trio.fail_after(LIMIT_S):
        async with open_bridge() as bridge:
            address = f"{bridge.ws}/asterisk/media"
            for offered, chosen in ((("other", "media"), "media"), ((), None)):
                wire = await SocketWire.open(address, subprotocols=offered)
                assert wire.subprotocol == chosen
                await wire.aclose()


async def test_other_paths_are_still_avr_cores(question: bytes) -> None:
    """Beside it on the same port, also below the same folder."""
    with trio.fail_after(LIMIT_S):
        async with open_bridge(SimulatedRealtime(Parrot())) as bridge:
            async with open_simulated_call(f"{bridge.ws}/asterisk/other") as call:
                call.say(question)
                assert await call.wait_heard_speech()
            (ended,) = await bridge.wait_ended()
    assert ended["reason"] == "caller_hung_up"


@pytest.mark.parametrize("path", ["/media", "/asterisk/media/", ""])
async def test_asterisk_at_another_path_is_told(path: str) -> None:
    """Before the upgrade, so that `Dial()` has not answered; a mistyped address would leave the
    caller in silence for ten seconds. The next call is not touched."""
    with trio.fail_after(LIMIT_S):
        async with open_bridge() as bridge:
            with pytest.raises(LegNotPlaced) as refused:
                await SocketWire.open(f"{bridge.ws}{path}")
            assert refused.value.status == 404
            async with open_simulated_leg(bridge.ws):
                pass
            (ended,) = await bridge.wait_ended()
    assert ended["transport"] == "chan_websocket"


@pytest.mark.parametrize(
    ("parameters", "authorization", "let_in"),
    [
        ({}, "", False),
        ({"token": "wrong"}, "", False),
        ({"token": "the-shared-secret"}, "", True),
        ({}, "Bearer the-shared-secret", True),
        ({}, "Basic " + b64encode(b"asterisk:the-shared-secret").decode(), True),
        ({}, "Basic " + b64encode(b"asterisk:wrong").decode(), False),
    ],
)
async def test_the_token(parameters: dict[str, str], authorization: str, let_in: bool) -> None:
    """Refused before the upgrade, so that Dial() has not answered; it is no metadata."""
    headers = [(b"Authorization", authorization.encode())] if authorization else []
    with trio.fail_after(LIMIT_S):
        async with open_bridge(token="the-shared-secret") as bridge:
            if not let_in:
                with pytest.raises(LegNotPlaced) as refused:
                    async with open_simulated_leg(
                        bridge.ws, parameters=parameters, headers=headers
                    ):
                        pass
                assert refused.value.status == 401
                return
            async with open_simulated_leg(bridge.ws, parameters=parameters, headers=headers) as leg:
                await leg.wait_received("ANSWER")
            await bridge.wait_ended()
    assert "the-shared-secret" not in str(bridge.log)


@asynccontextmanager
async def open_server(
    server: ServerConfig, simulator: SimulatedRealtime, **more: Any
) -> AsyncGenerator[tuple[str, list[Any]]]:
    """A bridge with these settings: its address, and its log."""
    with structlog.testing.capture_logs() as log:
        async with trio.open_nursery() as nursery:
            endpoint = await nursery.start(simulator.serve)
            config = BridgeConfig(
                model=ModelConfig(api_key=Secret("k"), endpoint=endpoint),
                server=server,
                talk=TalkConfig(fallback_file="off"),
            )
            addresses = await nursery.start(partial(serve, config, **more))
            yield addresses[0].replace("http:", "ws:"), log
            nursery.cancel_scope.cancel()


async def test_a_full_bridge_refuses_before_the_upgrade() -> None:
    """503: the dialplan can dial somewhere else. There is room again after the first call, whose
    place is free when its leg has gone."""
    with trio.fail_after(LIMIT_S):
        server = ServerConfig("127.0.0.1", 0, max_calls=1)
        async with open_server(server, SimulatedRealtime()) as (url, log):
            async with open_simulated_leg(url) as leg:
                await leg.wait_received("ANSWER")
                with pytest.raises(LegNotPlaced) as refused:
                    async with open_simulated_leg(url):
                        pass
                assert refused.value.status == 503
            await trio.sleep(1)
            assert [line for line in log if line["event"] == "call ended"]
            async with open_simulated_leg(url) as leg:
                await leg.wait_received("ANSWER")


async def test_a_drain_ends_a_leg_with_words() -> None:
    """SIGTERM's way: the answer that is sent ahead is dropped, the farewell heard, then 1001."""
    stop = trio.Event()
    script = Script([[Say(TONE, 8000, "long")]], then=Silence())
    with trio.fail_after(LIMIT_S):
        server = ServerConfig("127.0.0.1", 0, drain_s=5)
        simulator = SimulatedRealtime(script)
        async with (
            open_server(server, simulator, shutdown=stop.wait) as (url, log),
            open_simulated_leg(url) as leg,
        ):
            await leg.wait_heard()
            await trio.sleep(1)
            stop.set()
            closed = await leg.wait_closed()
    assert closed.code == 1001
    assert leg.driver.flushes == 1
    assert encode(read_clip("farewell"), Encoding.ULAW) in bytes(leg.heard)
    (ended,) = [line for line in log if line["event"] == "call ended"]
    assert ended["reason"] == "bridge_stopped"


@pytest.mark.parametrize(
    ("data", "code", "reason"),
    [
        (b"\xff" * 160 * 50 * 121, 1008, "caller_flooded"),  # two minutes at once, and one more s
        (b"\xff" * (1024 * 1024 + 1), 1009, "caller_message_too_big"),
    ],
)
async def test_a_flood_ends_the_call(data: bytes, code: int, reason: str) -> None:
    """The limits of the other transports, in the leg's own codec: µ-law has half the bytes."""
    with trio.fail_after(LIMIT_S):
        async with open_bridge() as bridge:
            async with open_simulated_leg(bridge.ws) as leg:
                await leg.wait_received("ANSWER")
                step = 1024 * 1024 if len(data) == 1024 * 1024 + 1 else 160_000
                for at in range(0, len(data), step + 1):
                    await leg._wire.send(data[at : at + step + 1])
                closed = await leg.wait_closed()
            (ended,) = await bridge.wait_ended()
    assert closed.code == code
    assert ended["reason"] == reason


async def test_the_interruption_is_exact_on_a_real_socket(question: bytes) -> None:
    """The flush goes out at once, and what the model is told is what was played, to the frame."""
    script = Script([[Say(TONE, 8000, "long")]], then=Silence())
    simulator = SimulatedRealtime(script)
    with trio.fail_after(LIMIT_S):
        async with open_bridge(simulator) as bridge:
            async with open_simulated_leg(bridge.ws) as leg:
                await leg.wait_heard()
                await trio.sleep(1)
                leg.say(ulaw(question))
                await leg.wait_received("FLUSH_MEDIA")
                await trio.sleep(0.5)
                heard_ms = len(leg.spoken()) / 8
            await bridge.wait_ended()
    (session,) = simulator.sessions
    (truncation,) = session.received_of("conversation.item.truncate")
    assert truncation["audio_end_ms"] == pytest.approx(heard_ms, abs=20)


async def test_a_leg_under_another_server(question: bytes) -> None:
    """Hypercorn without our guard, so without the direct line: the same call, through ASGI."""
    simulator = SimulatedRealtime(Parrot())
    with trio.fail_after(LIMIT_S), structlog.testing.capture_logs() as log:
        async with trio.open_nursery() as nursery:
            endpoint = await nursery.start(simulator.serve)
            config = BridgeConfig(model=ModelConfig(api_key=Secret("k"), endpoint=endpoint))
            hypercorn = HypercornConfig()
            hypercorn.bind = ["127.0.0.1:0"]
            run = partial(hypercorn_serve, create_app(config), hypercorn)
            (address,) = await nursery.start(run)
            async with open_simulated_leg(address.replace("http:", "ws:")) as leg:
                await trio.sleep(0.5)
                leg.say(ulaw(question))
                await leg.wait_heard(1000)
                await leg.wait_quiet(1500)
            nursery.cancel_scope.cancel()
    assert pieces(question, decode(leg.spoken(), Encoding.ULAW)).correlation > 0.9
    assert [line["reason"] for line in log if line["event"] == "call ended"] == ["caller_hung_up"]


async def test_a_simulated_call_over_the_media_subprotocol(question: bytes) -> None:
    """The same caller as over the other transports: it interrupts, and hears the goodbye to its end
    before the bridge hangs up."""
    goodbye: list[Step] = [Say(question, 8000, "bye"), CallTool("avr_hangup", "{}")]
    script = Script([[Say(TONE, 8000, "long")], goodbye], then=Silence())
    with trio.fail_after(LIMIT_S):
        async with open_bridge(SimulatedRealtime(script)) as bridge:
            async with open_simulated_call(f"{bridge.ws}/asterisk/media") as call:
                await call.wait_heard_speech()
                await trio.sleep(0.5)
                call.say(question)
                await call.wait_closed()
                report, heard = call.report(), call.heard()
            (ended,) = await bridge.wait_ended()
    assert report.faults == ()
    assert (report.interruptions, report.closed_by) == (1, "bridge")
    assert likeness(question, heard).correlation > 0.9
    assert (ended["interruptions"], ended["reason"]) == (1, "caller_hung_up")
