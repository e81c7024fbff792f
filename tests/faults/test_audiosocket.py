"""Asterisks that misbehave on the AudioSocket port, and what is no Asterisk at all. Beside each an
innocent call from Asterisk, or over a WebSocket, loses no frame."""

from __future__ import annotations

import socket
import struct
import time
import uuid
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

import attrs
import httpx2
import pytest
import trio

from avr_bridge.testing.caller.audiosocket_line import audiosocket_frame
from avr_bridge.testing.faults.callers import connect
from tests.faults.conftest import Bridge, innocent_call, open_bridge, told

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

LIMIT_S = 60
FAULTY = "00000000-0000-4000-8000-00000000dead"
HELLO = audiosocket_frame(0x01, uuid.UUID(FAULTY).bytes)
HANG_UP = audiosocket_frame(0x00)
SOUND = audiosocket_frame(0x10, bytes(320))
CALLERS = 400
MOST_MB = 20.0


@attrs.frozen
class Seen:
    """How the connection ended for a faulty Asterisk: ``hang-up``, ``eof`` or ``reset``."""

    how: str
    received_bytes: int


async def read_to_end(stream: trio.SocketStream) -> Seen:
    """Read until the bridge has ended the connection."""
    received = b""
    try:
        while data := await stream.receive_some():
            received += data
    except trio.BrokenResourceError:
        return Seen("reset", len(received))
    return Seen("hang-up" if received.endswith(HANG_UP) else "eof", len(received))


@asynccontextmanager
async def open_ports(**settings: Any) -> AsyncGenerator[Bridge]:
    """A bridge in a process of its own, with both ports."""
    async with open_bridge(AVR_AUDIOSOCKET_PORT="0", **settings) as bridge:
        yield bridge


async def pour(stream: trio.SocketStream, data: bytes) -> Seen:
    """Send as fast as the bridge takes it, while reading."""
    seen: list[Seen] = []
    async with trio.open_nursery() as nursery:

        async def send() -> None:
            try:
                await stream.send_all(data)
            except trio.BrokenResourceError:
                return

        nursery.start_soon(send)
        seen.append(await read_to_end(stream))
        nursery.cancel_scope.cancel()
    return seen[0]


async def fault(
    name: str, data: bytes, *, call: str = FAULTY, innocent: str = "audiosocket", **settings: str
) -> tuple[Seen, dict[str, Any], float]:
    """Send this, and see how it ends; beside an innocent call."""
    with trio.fail_after(LIMIT_S):
        async with open_ports(**settings) as bridge, innocent_call(bridge, innocent):
            before, before_mb = bridge.descriptors(), bridge.rss_mb()
            started = time.monotonic()
            async with await connect(bridge.audiosocket) as stream:
                seen = await pour(stream, data)
            ended = await bridge.wait_ended(call)
            took_s = time.monotonic() - started
            assert await bridge.wait_descriptors(before) <= before
            assert bridge.rss_mb() - before_mb < MOST_MB
    told(name, "AudioSocket", seen.how, ended, took_s)
    return seen, ended, took_s


GARBAGE = {
    "a frame of an unknown kind": (HELLO + b"\x42\x00\x01x", FAULTY, "unknown kind 0x42"),
    "slin at 16 kHz": (HELLO + audiosocket_frame(0x12, bytes(640)), FAULTY, "sound at 16 kHz"),
    "two UUIDs": (HELLO + HELLO, FAULTY, "a second UUID"),
    "a key of two bytes": (HELLO + audiosocket_frame(0x03, b"12"), FAULTY, "with 2 bytes"),
    "sound before the UUID": (SOUND, "", "before the UUID"),
    "HTTP": (b"GET / HTTP/1.1\r\nHost: b\r\n\r\n", "", "unknown kind 0x47"),
    "TLS": (bytes.fromhex("160301020001fc0303"), "", "kind 0x16 before the UUID"),
}


@pytest.mark.parametrize("name", GARBAGE)
async def test_what_is_no_audiosocket(name: str) -> None:
    """Its call ends at once, with a detail that says what was wrong; the peer is hung up on."""
    data, call, detail = GARBAGE[name]
    seen, ended, took_s = await fault(name, data, call=call)
    assert seen.how == "hang-up"
    expected = "caller_format_unknown" if "kHz" in detail else "caller_broke_protocol"
    assert ended["reason"] == expected
    assert detail in ended["detail"]
    assert took_s < 3


async def test_a_frame_that_is_too_long() -> None:
    """64 kB announced: nothing of it is waited for."""
    seen, ended, took_s = await fault("a frame of 65,535 bytes", HELLO + b"\x10\xff\xff")
    assert seen.how == "hang-up"
    assert (ended["reason"], ended["detail"]) == (
        "caller_message_too_big",
        "a frame of 65535 bytes",
    )
    assert took_s < 3


FLOODS = {
    "20,000 keys": (audiosocket_frame(0x03, b"5") * 20_000, "messages"),
    "20,000 empty frames": (audiosocket_frame(0x10) * 20_000, "messages"),
    "20,000 frames of sound": (SOUND * 20_000, "messages"),
    "minutes of sound in long frames": (audiosocket_frame(0x10, bytes(16_000)) * 300, "audio"),
}


@pytest.mark.parametrize("name", FLOODS)
async def test_a_flood(name: str) -> None:
    """Far faster than real time: the call ends within seconds, and the calls beside go on."""
    data, detail = FLOODS[name]
    seen, ended, took_s = await fault(name, HELLO + data, innocent="ws")
    assert seen.how in ("hang-up", "reset")
    assert (ended["reason"], ended["detail"]) == ("caller_flooded", detail)
    assert took_s < 10


@pytest.mark.parametrize("how", ["fin", "rst"])
async def test_a_torn_frame(how: str) -> None:
    """The connection ends within a frame, or is reset: so does the call, at once."""
    with trio.fail_after(LIMIT_S):
        async with open_ports() as bridge, innocent_call(bridge, "audiosocket"):
            before = bridge.descriptors()
            started = time.monotonic()
            async with await connect(bridge.audiosocket) as stream:
                await stream.send_all(HELLO + SOUND + SOUND[:100])
                await trio.sleep(0.5)
                if how == "fin":
                    await stream.send_eof()
                    assert (await read_to_end(stream)).how == "hang-up"
                else:
                    linger = struct.pack("ii", 1, 0)
                    stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            ended = await bridge.wait_ended(FAULTY)
            took_s = time.monotonic() - started
            assert await bridge.wait_descriptors(before) <= before
    told(f"ends within a frame, by {how}", "AudioSocket", "-", ended, took_s)
    assert ended["reason"] == ("caller_broke_protocol" if how == "fin" else "caller_hung_up")
    assert took_s < 3


async def test_a_byte_a_second_within_a_frame() -> None:
    """A frame that is never finished ends the call after 10 s."""
    with trio.fail_after(LIMIT_S):
        async with open_ports() as bridge, innocent_call(bridge, "audiosocket"):
            started = time.monotonic()
            async with (
                await connect(bridge.audiosocket) as stream,
                trio.open_nursery() as nursery,
            ):
                await stream.send_all(HELLO)
                nursery.start_soon(_drip, stream)
                seen = await read_to_end(stream)
                took_s = time.monotonic() - started
                nursery.cancel_scope.cancel()
            ended = await bridge.wait_ended(FAULTY)
    told("a byte a second within a frame", "AudioSocket", seen.how, ended, took_s)
    assert ended["reason"] == "caller_too_slow"
    assert 9 < took_s < 14


async def _drip(stream: trio.SocketStream) -> None:
    for number in range(len(SOUND)):
        try:
            await stream.send_all(SOUND[number : number + 1])
        except trio.BrokenResourceError:
            return
        await trio.sleep(1)


async def test_nobody_says_which_call_it_is() -> None:
    """Connected and silent: hung up on after 10 s, and the log says why."""
    with trio.fail_after(LIMIT_S):
        async with open_ports() as bridge, innocent_call(bridge, "audiosocket"):
            started = time.monotonic()
            async with await connect(bridge.audiosocket) as stream:
                seen = await read_to_end(stream)
                took_s = time.monotonic() - started
            ended = await bridge.wait_ended("")
    told("never sends its UUID", "AudioSocket", seen.how, ended, took_s)
    assert seen == Seen("hang-up", len(HANG_UP))
    assert ended["reason"] == "caller_sent_no_init"
    assert 9 < took_s < 13


async def test_no_sound_at_all() -> None:
    """Not even silence, for AVR_NO_AUDIO_S. Meanwhile silence flows towards Asterisk."""
    with trio.fail_after(LIMIT_S):
        async with (
            open_ports(AVR_NO_AUDIO_S="3") as bridge,
            innocent_call(bridge, "audiosocket"),
            await connect(bridge.audiosocket) as stream,
        ):
            started = time.monotonic()
            await stream.send_all(HELLO)
            seen = await read_to_end(stream)
            took_s = time.monotonic() - started
            ended = await bridge.wait_ended(FAULTY)
    told("sends no audio", "AudioSocket", seen.how, ended, took_s)
    assert ended["reason"] == "caller_sent_no_audio"
    assert seen.received_bytes > 2.5 * 50 * len(SOUND)
    assert 2.9 < took_s < 6


@pytest.mark.parametrize("receive_buffer_bytes", [4096, 65_536])
async def test_an_asterisk_that_stops_reading(receive_buffer_bytes: int) -> None:
    """Its buffers fill with speech; then it is cut off with an RST, within half a minute also
    where its kernel has room for many seconds. Nothing of it stays. A buffer of no given size is
    not tried: its kernel lets it grow, on some machines to minutes of sound."""
    with trio.fail_after(LIMIT_S):
        async with open_ports() as bridge, innocent_call(bridge, "audiosocket"):
            before = bridge.descriptors()
            started = time.monotonic()
            async with await connect(
                bridge.audiosocket, receive_buffer_bytes=receive_buffer_bytes
            ) as stream:
                await stream.send_all(HELLO)
                ended = await bridge.wait_ended(FAULTY)
                took_s = time.monotonic() - started
                assert await bridge.wait_descriptors(before) <= before
                seen = await read_to_end(stream)
    told("stops reading", "AudioSocket", seen.how, ended, took_s)
    assert ended["reason"] == "caller_stalled"
    assert took_s < (15 if receive_buffer_bytes == 4096 else 35)
    assert seen.how == "reset"


async def test_hundreds_that_say_nothing() -> None:
    """Of over 256 the oldest are dropped; the others are hung up on after 10 s. None counts as a
    call, and a real one gets through meanwhile, past AVR_MAX_CALLS. All of them together make one
    line of the log a minute; the others are on the level debug."""
    with trio.fail_after(LIMIT_S):
        async with open_ports(AVR_MAX_CALLS="1", AVR_LOG_LEVEL="debug") as bridge:
            before, before_mb = bridge.descriptors(), bridge.rss_mb()
            async with AsyncExitStack() as stack:
                for _ in range(CALLERS):
                    await stack.enter_async_context(await connect(bridge.audiosocket))
                while len(bridge.logged("call ended", reason="caller_sent_no_init")) < 144:  # noqa: ASYNC110
                    await trio.sleep(0.05)
                most = bridge.descriptors() - before
                async with innocent_call(bridge, "audiosocket"):
                    await trio.sleep(2)
                grown_mb = bridge.rss_mb() - before_mb
                await bridge.wait_ended("", CALLERS)
            assert await bridge.wait_descriptors(before) <= before
    print(f"\n  {CALLERS} without a UUID: {most} kept at most, {grown_mb:.1f} MB")
    assert not bridge.logged("call refused")
    lines = bridge.logged("call ended", call="", level="info")
    assert [line["count"] for line in lines] == [1]
    assert most <= 256 + 10
    assert grown_mb < 60


async def test_workers_share_the_port_too() -> None:
    """Six calls from Asterisk on two workers: three each, and all of them end with the drain."""
    from tests.faults.test_workers import calls_by_worker, wait_logged

    with trio.fail_after(LIMIT_S):
        async with (
            open_ports(AVR_WORKERS="2", AVR_DRAIN_S="1") as bridge,
            AsyncExitStack() as stack,
        ):
            (listening,) = bridge.logged("listening")
            assert [one.partition("://")[0] for one in listening["addresses"]] == [
                "http",
                "audiosocket",
            ]
            for number in range(6):
                stream = await stack.enter_async_context(await connect(bridge.audiosocket))
                await stream.send_all(audiosocket_frame(0x01, number.to_bytes(16)))
                await wait_logged(bridge, "call started", number + 1)
            assert calls_by_worker(bridge) == {1: 3, 2: 3}
            bridge.process.terminate()
            await wait_logged(bridge, "call ended", 6, reason="bridge_stopped")


async def test_a_stop_does_not_wait_for_a_peer_that_does_not_read() -> None:
    """Its buffers are full when the bridge is told to end: cut off, and the process has ended well
    before anybody would kill it."""
    with trio.fail_after(LIMIT_S):
        async with open_bridge(ends=True, AVR_AUDIOSOCKET_PORT="0", AVR_DRAIN_S="0") as bridge:
            async with await connect(bridge.audiosocket, receive_buffer_bytes=4096) as stream:
                await stream.send_all(HELLO)
                await trio.sleep(4)
                started = time.monotonic()
                bridge.process.terminate()
                await bridge.process.wait()
                took_s = time.monotonic() - started
                assert (await read_to_end(stream)).how in ("reset", "hang-up")
            (ended,) = bridge.logged("call ended")
    print(f"\n  ended after {took_s:.1f} s")
    assert ended["reason"] in ("bridge_stopped", "caller_stalled")
    assert took_s < 7


async def _one_of_many(address: str, number: int) -> None:
    """A call that ends in one of the ways that there are, early or late."""
    async with await connect(address) as stream:
        await stream.send_all(audiosocket_frame(0x01, number.to_bytes(16)) + SOUND * 3)
        await trio.sleep(0.05 * (number % 7))
        match number % 5:
            case 0:
                await stream.send_all(HANG_UP)
            case 1:
                await stream.send_eof()
            case 2:
                await stream.send_all(b"\x42\x00\x00")
            case 3:
                linger = struct.pack("ii", 1, 0)
                stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                return
            case 4:
                return
        await read_to_end(stream)


async def test_nothing_is_left_of_many_calls() -> None:
    """A hundred calls, twenty at a time, that end in every way and at every stage: afterwards the
    process has the tasks and descriptors of before, and the model no session."""
    with trio.fail_after(LIMIT_S):
        async with open_ports() as bridge, httpx2.AsyncClient() as client:
            await _one_of_many(bridge.audiosocket, 0)
            await bridge.wait_ended(str(uuid.UUID(int=0)))
            before = bridge.descriptors()
            tasks = (await client.get(f"{bridge.url}/healthz")).json()["tasks"]
            limit = trio.CapacityLimiter(20)

            async def place(number: int) -> None:
                async with limit:
                    await _one_of_many(bridge.audiosocket, number)

            async with trio.open_nursery() as nursery:
                for number in range(1, 101):
                    nursery.start_soon(place, number)
            for number in range(1, 101):
                await bridge.wait_ended(str(uuid.UUID(int=number)))
            assert await bridge.wait_descriptors(before + 1) <= before + 1  # the client's own
            now = tasks + 1
            while now > tasks:
                await trio.sleep(0.05)
                now = (await client.get(f"{bridge.url}/healthz")).json()["tasks"]
            assert bridge.model.open_sessions == 0
    reasons = {line["reason"] for line in bridge.logged("call ended")}
    assert reasons == {"caller_hung_up", "caller_broke_protocol"}
