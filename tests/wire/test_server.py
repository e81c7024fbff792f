"""The bridge on real sockets: both transports, the plain pages, and how each call ends."""

from __future__ import annotations

import base64
import gc
import json
import os
import time

import httpx2
import pytest
import trio
import trio_websocket
import wsproto

from avr_bridge import BridgeConfig, EndReason, ModelConfig, TalkConfig, run_call
from avr_bridge.call.conversation import SESSION_LIMIT_S
from avr_bridge.testing.caller import open_simulated_call
from avr_bridge.testing.likeness import likeness
from avr_bridge.testing.memory import MemoryCaller
from avr_bridge.testing.realtime import (
    Close,
    Script,
    SimulatedRealtime,
    SimulatorOptions,
    SpeakFile,
)
from avr_bridge.testing.wav import clip, read_wav
from tests.wire.conftest import open_bridge

LIMIT_S = 30


@pytest.mark.parametrize("transport", ["ws", "http"])
async def test_speech_comes_back_over(transport: str) -> None:
    """A whole call with real speech: the reply is what was said, and no message
    breaks the contract."""
    question = read_wav(clip("question"))
    with trio.fail_after(LIMIT_S):
        async with open_bridge() as bridge:
            url = bridge.ws if transport == "ws" else bridge.stream
            async with open_simulated_call(url, query={"from": "1", "to": "2"}) as call:
                await call.wait_heard_speech()
                await call.wait_quiet()
                call.say(question)
                await call.wait_said()
                await call.wait_heard_speech()
                await call.wait_quiet()
                heard = call.received()
            report = call.report()
            (ended,) = await bridge.wait_ended()
    assert likeness(question, heard).correlation > 0.95, report
    assert report.faults == ()
    assert report.closed_by == "caller"
    assert ended["reason"] == "caller_hung_up"
    assert bridge.simulator.open_sessions == 0


@pytest.mark.parametrize("transport", ["ws", "http"])
async def test_the_model_closes_and_the_caller_is_told(transport: str) -> None:
    """In one session after another. WebSocket: an error and 1011. HTTP: the response ends."""
    with trio.fail_after(LIMIT_S):
        script = Script([[Close(1011, "gone")]] * 9)
        async with open_bridge(SimulatedRealtime(script)) as bridge:
            url = bridge.ws if transport == "ws" else bridge.stream
            start_s = trio.current_time()
            async with open_simulated_call(url) as call:
                await call.wait_closed()
            report = call.report()
    assert trio.current_time() - start_s < 4
    assert report.closed_by == "bridge"
    if transport == "ws":
        assert report.close_code == 1011
        assert report.errors == ("the model ended the session",)


async def test_barge_in_on_the_legacy_transport() -> None:
    """There is no interruption message: the bridge's own pacing keeps it short. What sounds
    after the caller's speech is noticed is less than half a second."""
    question = read_wav(clip("question"))
    with trio.fail_after(LIMIT_S):
        async with open_bridge(SimulatedRealtime(SpeakFile(clip("question")))) as bridge:
            async with open_simulated_call(bridge.stream) as call:
                await call.wait_heard_speech()
                call.say(question[:24_000])
                await call.wait_said()
                session = bridge.simulator.sessions[0]
                await session.wait_sent("input_audio_buffer.speech_started")
                await call.wait_quiet(200)
            report = call.report()
            (ended,) = await bridge.wait_ended()
    assert ended["interruptions"] == 1
    assert report.longest_lead_ms <= 140
    assert report.received_s < 2.5


async def test_any_path_and_bounded_metadata() -> None:
    """avr-core dials the root; other paths serve too. Query parameters become metadata."""
    with trio.fail_after(LIMIT_S):
        async with open_bridge() as bridge:
            query = {"from": "+1 555", "x" * 600: "y" * 600}
            async with open_simulated_call(f"{bridge.ws}/some/path", query=query) as call:
                await call.wait_heard_speech()
            await bridge.wait_ended()
            (started,) = [line for line in bridge.log if line["event"] == "call started"]
    assert started["metadata_keys"] == ["from", "x" * 512]


async def test_faults_are_told_and_the_call_goes_on() -> None:
    """Every kind of bad message gets one error that names it; a second init changes nothing;
    the greeting comes all the same."""
    faults: list[tuple[str | bytes, str | None]] = [
        ("{", "not JSON"),
        ("", "empty message"),
        (b"", "empty message"),
        (b"\x00\x01", "binary message"),
        ('{"type":"init","uuid":"second"}', "init was already received"),
        ('{"type":"audio","audio":"%"}', "audio: "),
        ('{"type":"audio","audio":"AAA="}', None),
        ('{"type":"audio","audio":"AAAA"}', "3 bytes"),
        ('{"type":"audio","audio":""}', "audio: empty"),
        ('{"type":"new"}', "unsupported message type: new"),
    ]
    with trio.fail_after(LIMIT_S):
        async with (
            open_bridge() as bridge,
            trio_websocket.open_websocket_url(f"{bridge.ws}/") as ws,
        ):
            await ws.send_message('{"type":"init","uuid":"first"}')
            for message, _ in faults:
                await ws.send_message(message)
            expected = [words for _, words in faults if words]
            told: list[str] = []
            sound = 0
            while len(told) < len(expected) or not sound:
                message = json.loads(await ws.get_message())
                if message["type"] == "error":
                    told.append(message["message"])
                sound += message["type"] == "audio"
            await ws.aclose()
            (ended,) = await bridge.wait_ended()
    assert len(told) == len(expected)
    for words, message in zip(expected, told, strict=True):
        assert words in message
    assert ended["call"] == "first"
    assert ended["faults"] == len(expected)


async def test_plain_pages() -> None:
    """`GET /` says what this is; `GET /healthz` answers; other methods and paths do not."""
    with trio.fail_after(LIMIT_S):
        async with open_bridge() as bridge, httpx2.AsyncClient(base_url=bridge.http) as client:
            about = await client.get("/")
            health = await client.get("/healthz")
            missing = await client.get("/nothing")
            wrong = await client.get("/speech-to-speech-stream")
    assert about.headers["content-type"].startswith("text/plain")
    assert "avr-bridge" in about.text
    assert "/speech-to-speech-stream" in about.text
    told = health.json()
    assert (told["status"], told["calls"]) == ("ok", 0)
    assert told["tasks"] > 3
    assert missing.status_code == 404
    assert wrong.status_code == 405


async def test_response_headers_come_at_once() -> None:
    """The legacy transport answers before the first sound, and before the request's end."""
    silent = SimulatedRealtime(Script([[]]))
    with trio.fail_after(LIMIT_S):
        async with open_bridge(silent) as bridge:
            host, port = bridge.http.removeprefix("http://").split(":")
            stream = await trio.open_tcp_stream(host, int(port))
            async with stream:
                await stream.send_all(
                    b"POST /speech-to-speech-stream HTTP/1.1\r\nHost: b\r\nX-UUID: u-9\r\n"
                    b"Transfer-Encoding: chunked\r\n\r\n"
                )
                start_s = trio.current_time()
                head = b""
                while b"\r\n\r\n" not in head:
                    head += await stream.receive_some()
                assert trio.current_time() - start_s < 1
                assert head.startswith(b"HTTP/1.1 200")
                assert b"content-length" not in head.lower()
                await stream.send_all(b"0\r\n\r\n")
                rest = b""
                while piece := await stream.receive_some():
                    rest += piece
                    if rest.endswith(b"0\r\n\r\n"):
                        break
            (ended,) = await bridge.wait_ended()
    assert ended["call"] == "u-9"
    assert ended["reason"] == "caller_hung_up"


async def test_a_legacy_call_outlives_quarts_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Quart cuts a response after 60 s and a body over its limit, silently; with limits of 1 s
    and 1 kB in force elsewhere, a call of 4 s and 64 kB is whole."""
    from quart_trio import QuartTrio

    limits = {**QuartTrio.default_config, "RESPONSE_TIMEOUT": 1, "BODY_TIMEOUT": 1}
    monkeypatch.setattr(
        "quart_trio.QuartTrio.default_config", {**limits, "MAX_CONTENT_LENGTH": 1000}
    )
    question = read_wav(clip("question"))
    with trio.fail_after(LIMIT_S):
        async with open_bridge() as bridge, open_simulated_call(bridge.stream) as call:
            await call.wait_heard_speech()
            await call.wait_quiet()
            call.say(question)
            await call.wait_said()
            await call.wait_heard_speech()
            await call.wait_quiet()
            heard = call.received()
            assert call.report().sent_frames > 200
    assert likeness(question, heard).correlation > 0.95


async def test_an_unreachable_model() -> None:
    """No connection, for as long as a caller can be asked to wait: told in words."""
    caller = MemoryCaller()
    caller.start()
    model = ModelConfig(endpoint="ws://127.0.0.1:1/v1")
    nobody = BridgeConfig(model=model, talk=TalkConfig(fallback_file="off"))
    with trio.fail_after(SESSION_LIMIT_S + 2):
        summary = await run_call(caller.transport, nobody)
    assert summary.end_reason is EndReason.MODEL_UNAVAILABLE
    assert caller.closed == (1011, "model_unavailable")


@pytest.mark.parametrize("how", ["hang up", "cut", "model closes"])
async def test_no_descriptor_is_left(how: str) -> None:
    """After ten calls of each ending, sockets and tasks are back where they were."""
    script = SimulatedRealtime(Script([[Close(1011, "")]] * 99) if how == "model closes" else None)
    with trio.fail_after(LIMIT_S):
        async with open_bridge(script) as bridge:
            await _place(bridge.ws, how)
            await bridge.wait_ended(1)
            await _settle()
            before = _descriptors(), trio.lowlevel.current_statistics().tasks_living
            for _ in range(10):
                await _place(bridge.ws, how)
            await bridge.wait_ended(11)
            for _ in range(100):
                await _settle()
                after = _descriptors(), trio.lowlevel.current_statistics().tasks_living
                if after == before:
                    break
    assert after == before


async def test_no_descriptor_is_left_where_messages_wait() -> None:
    """The bridge ends the call while many messages of the caller wait to be read: Hypercorn's
    reader must still see the peer leave."""
    refusing = SimulatedRealtime(options=SimulatorOptions(api_key="another"))
    with trio.fail_after(8):  # each reader that is stuck costs seconds
        async with open_bridge(refusing) as bridge:
            await _say_all_at_once(bridge.http)
            await bridge.wait_ended(1)
            await _settle()
            before = _descriptors()
            for _ in range(5):
                await _say_all_at_once(bridge.http)
            await bridge.wait_ended(6)
            for _ in range(200):
                await _settle()
                if _descriptors() <= before:
                    break
    assert _descriptors() <= before


@pytest.mark.parametrize("transport", ["ws", "http"])
async def test_a_hangup_closes_the_model_politely(transport: str) -> None:
    """The model sees 1000 and not a lost connection, on both transports."""
    with trio.fail_after(LIMIT_S):
        async with open_bridge() as bridge:
            url = bridge.ws if transport == "ws" else bridge.stream
            async with open_simulated_call(url) as call:
                await call.wait_heard_speech()
            session = bridge.simulator.sessions[0]
            await session.wait_closed()
    assert session.close_code == 1000


async def _say_all_at_once(http: str) -> None:
    """`init` and fifty frames in one segment; leave when the bridge has closed."""
    audio = json.dumps({"type": "audio", "audio": base64.b64encode(bytes(320)).decode()})
    host, port = http.removeprefix("http://").split(":")
    client = wsproto.WSConnection(wsproto.ConnectionType.CLIENT)
    async with await trio.open_tcp_stream(host, int(port)) as stream:
        await stream.send_all(client.send(wsproto.events.Request(host="b", target="/")))
        client.receive_data(await stream.receive_some())
        assert any(isinstance(e, wsproto.events.AcceptConnection) for e in client.events())
        texts = ['{"type":"init","uuid":"u"}', *[audio] * 50]
        frames = [client.send(wsproto.events.TextMessage(data=text)) for text in texts]
        await stream.send_all(b"".join(frames))
        while not any(isinstance(e, wsproto.events.CloseConnection) for e in client.events()):
            client.receive_data(await stream.receive_some())


async def _place(url: str, how: str) -> None:
    if how == "cut":
        with trio.move_on_after(0.3):
            async with open_simulated_call(url) as call:
                await call.wait_closed()
        return
    async with open_simulated_call(url) as call:
        await (call.wait_closed() if how == "model closes" else call.wait_heard_speech())


async def _settle() -> None:
    gc.collect()
    await trio.sleep(0.02)


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


async def test_hangup_ends_the_call_fast() -> None:
    """From avr-core's close to the model's closed session: far below two seconds."""
    with trio.fail_after(LIMIT_S):
        async with open_bridge() as bridge:
            async with open_simulated_call(bridge.ws) as call:
                await call.wait_heard_speech()
            hung_up = time.monotonic()
            await bridge.wait_ended()
            await bridge.simulator.sessions[0].wait_closed()
            assert time.monotonic() - hung_up < 1
