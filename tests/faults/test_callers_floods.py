"""Callers that send too much: big messages, ten thousand a second, and early or torn handshakes."""

from __future__ import annotations

import base64
import socket
import struct
import time
from typing import TYPE_CHECKING, Literal

import pytest
import trio

from avr_bridge.testing.faults.callers import (
    UPGRADE_REQUEST,
    FaultyCaller,
    Seen,
    connect,
    frame,
    open_faulty_caller,
)
from tests.faults.conftest import innocent_call, open_bridge, told

if TYPE_CHECKING:
    from collections.abc import Iterator

Transport = Literal["ws", "http"]
LIMIT_S = 60
MIB = 1024 * 1024
MOST_MB = 40.0
"""What one connection may add to the process: the longest messages in both queues, and copies."""

FLOODERS = 20
MOST_MB_OF_TEXT = 4.0
"""Of each one of twenty: what a WebSocket may send at once, and a copy of a part of it."""


async def _pour(caller: FaultyCaller, pieces: Iterator[bytes]) -> Seen:
    """Send all pieces as fast as the bridge takes them, while reading."""
    seen: list[Seen] = []
    async with trio.open_nursery() as nursery:

        async def send() -> None:
            try:
                for piece in pieces:
                    await caller.send_bytes(piece)
            except trio.BrokenResourceError:
                return

        nursery.start_soon(send)
        seen.append(await caller.read_to_end())
        nursery.cancel_scope.cancel()
    return seen[0]


@pytest.mark.parametrize("in_pieces", [False, True])
async def test_a_message_of_over_1_mib(in_pieces: bool) -> None:
    """In one frame, or in fragments that never end: an error, 1009, and the call hears of it."""
    piece = frame(b"x" * 65_536, opcode=0, fin=False)
    pieces = [frame(b"x", fin=False)] + [piece] * 400 if in_pieces else [frame(b"x" * (8 * MIB))]
    with trio.fail_after(LIMIT_S):
        async with open_bridge() as bridge, innocent_call(bridge):
            before_mb, started = bridge.rss_mb(), time.monotonic()
            async with open_faulty_caller(bridge.url, transport="ws") as caller:
                seen = await _pour(caller, iter(pieces))
                ended = await bridge.wait_ended()
                took_s = time.monotonic() - started
            grown_mb = bridge.rss_mb() - before_mb
    told("a message of over 1 MiB", "ws", seen, ended, took_s)
    assert (seen.code, seen.reason) == (1009, "caller_message_too_big")
    assert seen.errors == ("a message of over 1 MiB was received",)
    assert ended["reason"] == "caller_message_too_big"
    assert grown_mb < MOST_MB


FLOODS = {
    "audio far faster than real time": frame(
        b'{"type":"audio","audio":"' + base64.b64encode(bytes(320)) + b'"}'
    ),
    "messages that are none": frame(b'{"type":1}'),
    "keys": frame(b'{"type":"dtmf_digit","digit":"1"}'),
    "pings": frame(b"ping", opcode=9),
    "fragments": frame(b"", opcode=0, fin=False),
}


@pytest.mark.parametrize("fault", FLOODS)
async def test_ten_thousand_messages_a_second(fault: str) -> None:
    """Two seconds' worth at once: an error, 1008, bounded memory; the call beside is whole."""
    first = [frame(b"x", fin=False)] if fault == "fragments" else []
    blob = FLOODS[fault] * 100
    with trio.fail_after(LIMIT_S):
        async with open_bridge() as bridge, innocent_call(bridge):
            before_mb, started = bridge.rss_mb(), time.monotonic()
            async with open_faulty_caller(bridge.url, transport="ws") as caller:
                seen = await _pour(caller, iter([*first, *[blob] * 200]))
                ended = await bridge.wait_ended()
                took_s = time.monotonic() - started
            grown_mb = bridge.rss_mb() - before_mb
    told(f"flood: {fault}", "ws", seen, ended, took_s)
    print(f"  {grown_mb:.1f} MB")
    assert (seen.code, seen.reason) == (1008, "caller_flooded")
    assert seen.errors[-1:] == ("messages or audio came far faster than real time",)
    assert ended["reason"] == "caller_flooded"
    assert grown_mb < MOST_MB


TEXT = frame(b"x" * 900_000)


async def test_large_messages_as_fast_as_they_go() -> None:
    """Twenty callers of 900 kB a message, which no limit on messages stops: each is told and
    closed with 1008, what they leave in memory has a bound, and the call beside is whole."""
    seen: list[Seen] = []
    with trio.fail_after(LIMIT_S):
        async with open_bridge() as bridge, innocent_call(bridge):
            before_mb, before_cpu_s = bridge.rss_mb(), bridge.cpu_s()
            started = time.monotonic()
            async with trio.open_nursery() as nursery:

                async def flood(uuid: str) -> None:
                    caller = open_faulty_caller(bridge.url, transport="ws", uuid=uuid)
                    async with caller as flooding:
                        seen.append(await _pour(flooding, iter([TEXT] * 200)))

                for number in range(FLOODERS):
                    nursery.start_soon(flood, f"flooder-{number}")
            took_s, cpu_s = time.monotonic() - started, bridge.cpu_s() - before_cpu_s
            ended = [await bridge.wait_ended(f"flooder-{one}") for one in range(FLOODERS)]
            grown_mb = bridge.rss_mb() - before_mb
    told("flood: 900 kB a message", "ws", seen[0], ended[0], took_s)
    print(f"  {FLOODERS} callers: {grown_mb:.1f} MB, {cpu_s:.2f} s of CPU time")
    assert {(one.code, one.reason) for one in seen} == {(1008, "caller_flooded")}
    assert {one["reason"] for one in ended} == {"caller_flooded"}
    assert grown_mb < FLOODERS * MOST_MB_OF_TEXT


async def test_two_of_the_longest_messages_at_once() -> None:
    """Twice 49 seconds of sound, each in one message of almost 1 MiB: the call goes on."""
    with trio.fail_after(LIMIT_S):
        async with open_bridge() as bridge:
            async with open_faulty_caller(bridge.url, transport="ws") as caller:
                clip = caller.encode_audio(bytes(49 * 16_000))
                assert len(clip) > 0.99 * MIB
                await caller.send_bytes(clip * 2)
                async with innocent_call(bridge):
                    await trio.sleep(1)
                assert not bridge.logged("call ended", call="faulty")
            ended = await bridge.wait_ended()
    assert ended["reason"] == "caller_hung_up"
    assert ended["caller_audio_ms"] == 98_000


@pytest.mark.parametrize(
    ("fault", "chunk"),
    [("big chunks", b"10000\r\n%b\r\n" % bytes(65_536)), ("tiny chunks", b"1\r\n\0\r\n" * 2000)],
)
async def test_sound_far_faster_than_real_time_over_http(fault: str, chunk: bytes) -> None:
    """Minutes of sound at once, or thousands of chunks of a byte: the response ends."""
    with trio.fail_after(LIMIT_S):
        async with open_bridge() as bridge, innocent_call(bridge, "http"):
            before_mb, started = bridge.rss_mb(), time.monotonic()
            async with open_faulty_caller(bridge.url, transport="http") as caller:
                seen = await _pour(caller, iter([chunk] * 200))
                ended = await bridge.wait_ended()
                took_s = time.monotonic() - started
            grown_mb = bridge.rss_mb() - before_mb
    told(f"flood: {fault}", "http", seen, ended, took_s)
    print(f"  {grown_mb:.1f} MB")
    assert ended["reason"] == "caller_flooded"
    assert seen.how == "closed"
    assert grown_mb < MOST_MB


async def test_a_burst_after_a_stall_is_no_flood() -> None:
    """Twenty seconds of frames at once, as after a network that stalled: the call goes on."""
    with trio.fail_after(LIMIT_S):
        async with open_bridge() as bridge:
            async with open_faulty_caller(bridge.url, transport="ws") as caller:
                await caller.send_bytes(caller.encode_audio(bytes(320)) * 1000)
                async with innocent_call(bridge):
                    await trio.sleep(1)
                assert not bridge.logged("call ended", call="faulty")
            ended = await bridge.wait_ended()
    assert ended["reason"] == "caller_hung_up"
    assert ended["caller_audio_ms"] == 20_000


@pytest.mark.parametrize("length", [1, 2, 6, 500])
async def test_bytes_behind_the_upgrade_request(length: int) -> None:
    """Hypercorn 0.18 dies of it, with all calls. Here they are read after the handshake."""
    with trio.fail_after(LIMIT_S):
        async with open_bridge() as bridge, innocent_call(bridge), innocent_call(bridge, "http"):
            before = bridge.descriptors()
            for _ in range(5):
                async with await connect(bridge.url) as stream:
                    await stream.send_all(UPGRADE_REQUEST + b"\x81" * length)
                    answer = bytes(await stream.receive_some())
                    assert answer.startswith(b"HTTP/1.1 101")
            await bridge.wait_descriptors(before)
            assert not bridge.logged("a connection failed")
    told("bytes behind the upgrade request", "ws", answer[:12], {}, 0)


async def test_a_call_that_begins_in_the_handshake() -> None:
    """`init` in the same segment as the upgrade request: an impatient caller gets its call."""
    with trio.fail_after(LIMIT_S):
        async with open_bridge() as bridge:
            async with await connect(bridge.url) as stream:
                await stream.send_all(UPGRADE_REQUEST + frame(b'{"type":"init","uuid":"early"}'))
                got = b""
                while b'"audio"' not in got:
                    got += await stream.receive_some()
            ended = await bridge.wait_ended("early")
    assert ended["reason"] == "caller_hung_up"


async def test_an_upgrade_that_cannot_be() -> None:
    """No key: a 400, and the connection is closed, which Hypercorn leaves open."""
    with trio.fail_after(LIMIT_S):
        async with open_bridge() as bridge, await connect(bridge.url) as stream:
            await stream.send_all(UPGRADE_REQUEST.replace(b"-Key", b"-Lock"))
            got = b""
            while piece := await stream.receive_some():
                got += piece
    assert got.startswith(b"HTTP/1.1 400")


@pytest.mark.parametrize("cut", [1, 20, len(UPGRADE_REQUEST) - 1, len(UPGRADE_REQUEST)])
@pytest.mark.parametrize("how", ["fin", "rst"])
async def test_a_torn_handshake(cut: int, how: str) -> None:
    """Cut anywhere, by FIN or RST: nothing is left, and nobody else notices."""
    with trio.fail_after(LIMIT_S):
        async with open_bridge() as bridge, innocent_call(bridge):
            before = bridge.descriptors()
            for _ in range(5):
                stream = await connect(bridge.url)
                await stream.send_all(UPGRADE_REQUEST[:cut])
                if how == "rst":
                    at_once = struct.pack("ii", 1, 0)
                    stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, at_once)
                await stream.aclose()
            await bridge.wait_descriptors(before)
            assert not bridge.logged("a connection failed")


async def test_deflate_is_not_negotiated() -> None:
    """Offered as Node's client does; not taken, and the call works."""
    with trio.fail_after(LIMIT_S):
        async with (
            open_bridge() as bridge,
            open_faulty_caller(bridge.url, transport="ws", offer_deflate=True) as caller,
        ):
            assert caller.extensions == []
            assert (await caller.stream.receive_some())[0] == 0x81  # whole text, not compressed


ANSWERS: dict[str, tuple[bytes, str]] = {
    "flooded": (b"200", ""),
    "no token": (b"401", "planted-token"),
    "no such page": (b"405", ""),
}


@pytest.mark.parametrize("why", ANSWERS)
async def test_a_body_that_is_still_being_sent_when_the_answer_is_over(why: str) -> None:
    """More than all buffers take, and nobody takes it any more: the connection is dropped within
    seconds, though its peer neither reads nor leaves."""
    status, token = ANSWERS[why]
    path = b"/nowhere" if why == "no such page" else b"/speech-to-speech-stream"
    head = b"POST %b HTTP/1.1\r\nHost: b\r\nTransfer-Encoding: chunked\r\n\r\n" % path
    with trio.fail_after(LIMIT_S):
        async with open_bridge(AVR_TOKEN=token) as bridge:
            before = bridge.descriptors()
            async with await connect(bridge.url) as stream:
                with pytest.raises(trio.BrokenResourceError):
                    await stream.send_all(head + b"10000\r\n%b\r\n" % bytes(65_536) * 1000)
                assert await bridge.wait_descriptors(before) <= before
                try:
                    answer = bytes(await stream.receive_some())
                except trio.BrokenResourceError:
                    answer = b"an RST overtook it"
    assert answer.startswith((b"HTTP/1.1 " + status, b"an RST"))
