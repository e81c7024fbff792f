"""The simulated caller on real sockets, against small STS servers of the test's own."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import trio

from avr_bridge.testing.caller import (
    CallEventKind,
    CallNotPlaced,
    open_simulated_call,
)
from avr_bridge.testing.caller.address import read_address
from avr_bridge.testing.likeness import likeness
from avr_bridge.testing.wav import clip, read_wav
from tests.wire.sts_servers import HttpSts, WebSocketSts, echo, tcp_server, websocket_sts

if TYPE_CHECKING:
    from trio_websocket import WebSocketConnection

QUESTION = read_wav(clip("question"))[:32_000]
LOUD = b"\x00\x20" * 160
LIMIT_S = 15


async def test_websocket_call_speaks_the_contract() -> None:
    """First `init`, then 428 base64 characters every 20 ms, query in the address, no deflate.

    Ends with close code 1000 on both sides.
    """
    with trio.fail_after(LIMIT_S):
        async with websocket_sts(echo) as (url, seen):
            async with open_simulated_call(
                f"{url}/?a=1", uuid="u-1", query={"from": "2000", "channel": "PJSIP/2000-1"}
            ) as call:
                await trio.sleep(0.5)
                call.send_digit("#")
                await trio.sleep(0.1)
            await seen.ended.wait()
    assert seen.path == "/?a=1&from=2000&channel=PJSIP%2F2000-1"
    assert b"sec-websocket-extensions" not in seen.headers
    assert seen.raw[0] == '{"type":"init","uuid":"u-1"}'
    assert seen.raw[1].startswith('{"type":"audio","audio":"')
    assert '{"type":"dtmf_digit","digit":"#"}' in seen.raw
    audio = [message["audio"] for message in seen.messages if message["type"] == "audio"]
    assert {len(text) for text in audio} == {428}
    assert 15 <= len(audio) <= 60
    assert seen.closed is not None
    assert seen.closed[0] == 1000
    report = call.report()
    assert (report.closed_by, report.close_code) == ("caller", 1000)


async def test_websocket_echo_comes_back() -> None:
    """Speech through an echo is heard as it was said, with its latency and no fault."""
    with trio.fail_after(LIMIT_S):
        async with (
            websocket_sts(echo) as (url, _),
            open_simulated_call(url) as call,
        ):
            call.say(QUESTION)
            assert await call.wait_said()
            assert await call.wait_heard_speech()
            await trio.sleep(0.6)
            heard = call.heard()
            report = call.report()
    assert likeness(QUESTION, heard).correlation > 0.9
    assert report.faults == ()
    assert len(report.answer_latencies_ms) == 1
    assert report.answer_latencies_ms[0] < 1_500
    assert CallEventKind.AUDIO_FIRST in {event.kind for event in call.events}


async def test_faults_of_the_bridge_are_told() -> None:
    """Each breach of the contract is an event of its own; the call goes on to the close."""

    async def misbehave(ws: WebSocketConnection, seen: WebSocketSts) -> None:
        await ws.get_message()
        odd = base64.b64encode(bytes(321)).decode()
        await ws.send_message(json.dumps({"type": "audio", "audio": odd}))
        await ws.send_message(b"\x00\x01")
        await ws.send_message("{")
        await ws.send_message(json.dumps({"type": "mark"}))
        await ws.send_message(json.dumps({"type": "error", "message": "sorry"}))
        await ws.send_message(json.dumps({"type": "transcript", "role": "agent", "text": "Hé"}))
        await ws.aclose(4001, "enough")

    with trio.fail_after(LIMIT_S):
        async with (
            websocket_sts(misbehave) as (url, _),
            open_simulated_call(url) as call,
        ):
            await call.wait_closed()
    report = call.report()
    assert report.faults == (
        "audio of 321 bytes: half a sample",
        "a binary message",
        "a message that is not JSON",
        "a message of unknown type 'mark'",
    )
    assert report.errors == ("sorry",)
    assert report.transcripts == (("agent", "Hé"),)
    assert (report.closed_by, report.close_code, report.close_reason) == (
        "bridge",
        4001,
        "enough",
    )


async def test_message_that_comes_with_the_handshake_is_not_lost() -> None:
    """A greeting and a close in one go with the upgrade are all read."""

    async def greet(ws: WebSocketConnection, seen: WebSocketSts) -> None:
        text = base64.b64encode(LOUD).decode()
        await ws.send_message(json.dumps({"type": "audio", "audio": text}))
        await ws.aclose(1001, "bye")

    with trio.fail_after(LIMIT_S):
        async with websocket_sts(greet) as (url, _), open_simulated_call(url) as call:
            await call.wait_closed()
    report = call.report()
    assert (report.received_s, report.close_code) == (0.02, 1001)


async def test_pings_are_answered() -> None:
    """The server's ping gets its pong while audio flows, as from any WebSocket client."""
    answered = trio.Event()

    async def ping(ws: WebSocketConnection, seen: WebSocketSts) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(echo, ws, seen)
            await ws.ping(b"x")
            answered.set()
            nursery.cancel_scope.cancel()

    with trio.fail_after(LIMIT_S):
        async with websocket_sts(ping) as (url, _), open_simulated_call(url):
            await answered.wait()


async def test_lost_connection_is_an_event() -> None:
    """A bridge that vanishes gives code 1006 and no exception."""

    async def vanish(ws: WebSocketConnection, seen: WebSocketSts) -> None:
        await ws.get_message()
        await ws._stream.aclose()

    with trio.fail_after(LIMIT_S):
        async with websocket_sts(vanish) as (url, _), open_simulated_call(url) as call:
            await call.wait_closed()
    report = call.report()
    assert (report.closed_by, report.close_code) == ("bridge", 1006)


async def test_legacy_call_is_full_duplex() -> None:
    """POST with X-UUID and a chunked body; the response is heard while the request goes on.

    Ends with both bodies complete.
    """
    sts = HttpSts()
    with trio.fail_after(LIMIT_S):
        async with (
            tcp_server(sts.handle) as port,
            open_simulated_call(
                f"http://127.0.0.1:{port}/speech-to-speech-stream", uuid="u-2"
            ) as call,
        ):
            call.say(QUESTION)
            assert await call.wait_said()
            assert await call.wait_heard_speech()
            await trio.sleep(0.6)
            with pytest.raises(ValueError, match="no digits"):
                call.send_digit("1")
            heard = call.heard()
            await call.hang_up()
    assert sts.request is not None
    assert (sts.request.method, sts.request.target) == (b"POST", b"/speech-to-speech-stream")
    headers = dict(sts.request.headers)
    assert headers[b"x-uuid"] == b"u-2"
    assert headers[b"content-type"] == b"audio/x-raw"
    assert headers[b"transfer-encoding"] == b"chunked"
    assert sts.ended
    assert len(sts.received) % 320 == 0
    assert QUESTION in sts.received
    assert likeness(QUESTION, heard).correlation > 0.9
    report = call.report()
    assert (report.closed_by, report.close_reason, report.faults) == (
        "caller",
        "the response ended",
        (),
    )


async def test_legacy_fault_at_the_end() -> None:
    """A response that is no whole number of frames is a fault once it ends."""
    sts = HttpSts(last_bytes=b"abc")
    with trio.fail_after(LIMIT_S):
        async with (
            tcp_server(sts.handle) as port,
            open_simulated_call(f"http://127.0.0.1:{port}") as call,
        ):
            await trio.sleep(0.1)
    assert len(call.report().faults) == 1
    assert "no multiple of 320" in call.report().faults[0]


async def test_legacy_refusal_is_told() -> None:
    """HTTP 500 becomes an error with the body's words, and the close code."""
    sts = HttpSts(500)
    with trio.fail_after(LIMIT_S):
        async with (
            tcp_server(sts.handle) as port,
            open_simulated_call(f"http://127.0.0.1:{port}") as call,
        ):
            await call.wait_closed()
    report = call.report()
    assert report.errors == ('HTTP 500 {"message":"no"}',)
    assert (report.closed_by, report.close_code) == ("bridge", 500)


@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab"]
)
async def test_legacy_connection_lost(answer: bytes) -> None:
    """A server that leaves before or within its answer is an event, not an exception."""

    async def leave(stream: trio.SocketStream) -> None:
        await stream.receive_some(1_000)
        await stream.send_all(answer)

    with trio.fail_after(LIMIT_S):
        async with (
            tcp_server(leave) as port,
            open_simulated_call(f"http://127.0.0.1:{port}") as call,
        ):
            await call.wait_closed()
    report = call.report()
    assert report.closed_by == "bridge"
    assert "connection" in report.close_reason


async def test_refused_connection_is_told_in_words() -> None:
    """A port that nobody listens on: CallNotPlaced, with the address and the cause."""
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    await listeners[0].aclose()
    for scheme in ("ws", "http"):
        with trio.fail_after(LIMIT_S), pytest.raises(CallNotPlaced, match="refused") as caught:
            async with open_simulated_call(f"{scheme}://127.0.0.1:{port}"):
                pytest.fail("the call was placed")
        assert f"127.0.0.1:{port}" in str(caught.value)


@pytest.mark.parametrize(
    ("answer", "words", "status"),
    [
        (b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", "HTTP 503", 503),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "HTTP 200", 200),
        (b"SSH-2.0-OpenSSH_9\r\n\r\n", "does not speak WebSocket", None),
        (b"", "hung up during", None),
    ],
)
async def test_rejected_handshake_is_told_in_words(
    answer: bytes, words: str, status: int | None
) -> None:
    """Whatever answers instead of a WebSocket server: CallNotPlaced, with the HTTP status."""

    async def respond(stream: trio.SocketStream) -> None:
        await stream.receive_some(10_000)
        if answer:
            await stream.send_all(answer)

    with trio.fail_after(LIMIT_S):
        async with tcp_server(respond) as port:
            with pytest.raises(CallNotPlaced, match=words) as caught:
                async with open_simulated_call(f"ws://127.0.0.1:{port}"):
                    pytest.fail("the call was placed")
    assert caught.value.http_status == status


async def test_silent_server_is_given_up() -> None:
    """A server that accepts and never answers costs the connect limit and no more."""

    async def wait(stream: trio.SocketStream) -> None:
        await trio.sleep_forever()

    with trio.fail_after(LIMIT_S):
        async with tcp_server(wait) as port:
            with pytest.raises(CallNotPlaced, match=r"within 0\.2 s"):
                async with open_simulated_call(f"ws://127.0.0.1:{port}", connect_s=0.2):
                    pytest.fail("the call was placed")


async def test_many_calls_keep_their_own_sound() -> None:
    """Twenty calls at once through one echo: each hears its own speech only."""

    async def one(url: str, n: int) -> None:
        tone = bytes([n, 0x10 + n]) * 160 * 10
        async with open_simulated_call(url) as call:
            call.say(tone)
            await call.wait_said()
            await trio.sleep(1)
            # On a busy machine there may be holes between frames, but never another's frame.
            heard = call.heard()
            frames = [heard[at : at + 320] for at in range(0, len(heard), 320)]
            assert b"".join(frame for frame in frames if any(frame)) == tone
            assert call.report().faults == ()

    with trio.fail_after(LIMIT_S):
        async with websocket_sts(echo) as (url, _), trio.open_nursery() as nursery:
            for n in range(20):
                nursery.start_soon(one, url, n)


@pytest.mark.parametrize(
    ("url", "transport", "target", "chosen"),
    [
        ("ws://h:6030", "auto", "/", "ws"),
        ("ws://h:6030?a=b", "auto", "/?a=b", "ws"),
        ("http://h:6030/speech-to-speech-stream", "auto", "/speech-to-speech-stream", "http"),
        ("http://h:6030", "auto", "/speech-to-speech-stream", "http"),
        ("http://h:6030", "http", "/speech-to-speech-stream", "http"),
        ("ws://h:6030", "http", "/speech-to-speech-stream", "http"),
        ("http://h/x", "ws", "/x", "ws"),
    ],
)
def test_addresses(url: str, transport: Any, target: str, chosen: str) -> None:
    """Scheme, path and the explicit choice decide as documented."""
    address = read_address(url, None, transport)
    assert (address.host, address.target, address.transport) == ("h", target, chosen)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("h:6030", "must begin with"),
        ("wss://h", "must begin with"),
        ("ws://", "names no host"),
        ("http://h/other", "must end with"),
        ("ws://h:99999", "out of range"),
        ("audiosocket://h", "must name a host and a port"),
        ("audiosocket://h:1?codec=opus", "must be slin, ulaw or alaw"),
    ],
)
def test_bad_addresses(url: str, words: str) -> None:
    """An address that cannot be is refused with a sentence."""
    with pytest.raises(ValueError, match=words):
        read_address(url)


def test_addresses_of_audiosocket() -> None:
    """A host, a port, and the leg's codec; nothing else of the call goes along."""
    address = read_address("audiosocket://h:6031?codec=alaw")
    assert (address.host, address.port, address.transport) == ("h", 6031, "audiosocket")
    assert address.codec == "alaw"
    assert read_address("audiosocket://h:6031").codec == "slin"
    with pytest.raises(ValueError, match="no data of the call but its UUID"):
        read_address("audiosocket://h:6031", {"from": "2000"})


def test_the_address_of_chan_websocket() -> None:
    """By its path, whatever the query; another path is avr-core's."""
    address = read_address("ws://h:6030/asterisk/media?uuid=u", {"from": "2000"})
    assert (address.transport, address.target) == ("media", "/asterisk/media?uuid=u&from=2000")
    assert read_address("ws://h:6030/asterisk/media/else").transport == "ws"
    assert read_address("ws://h:6030/").transport == "ws"


NODE_ECHO = r"""
const http = require('http');
const server = http.createServer((req, res) => {
  res.writeHead(200, {'Content-Type': 'application/octet-stream'});
  let held = Buffer.alloc(0), started = false;  // 300 ms of lead against a busy machine
  req.on('data', chunk => {
    if (started) return res.write(chunk);
    held = Buffer.concat([held, chunk]);
    if (held.length >= 4800) { started = true; res.write(held); }
  });
  req.on('end', () => res.end());
});
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
"""


@pytest.mark.peer
@pytest.mark.skipif(shutil.which("node") is None, reason="needs Node.js")
async def test_legacy_call_against_node() -> None:
    """Node's own HTTP server, which the shipped connectors use, echoes the call to its end."""
    with trio.fail_after(LIMIT_S):
        async with trio.open_nursery() as nursery:
            process: trio.Process = await nursery.start(
                partial(
                    trio.run_process, ["node", "-e", NODE_ECHO], stdout=subprocess.PIPE, check=False
                )
            )
            assert process.stdout is not None
            port = int(await process.stdout.receive_some(100))
            async with open_simulated_call(f"http://127.0.0.1:{port}") as call:
                call.say(QUESTION)
                await call.wait_said()
                await trio.sleep(0.6)
                assert likeness(QUESTION, call.heard()).correlation > 0.9
            process.terminate()
    report = call.report()
    assert (report.closed_by, report.close_reason, report.faults) == (
        "caller",
        "the response ended",
        (),
    )
