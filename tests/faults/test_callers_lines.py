"""Connections that stop in the middle: callers that do not read, vanish, stay silent or drip."""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Literal

import pytest
import trio

from avr_bridge.testing.faults.callers import (
    UPGRADE_REQUEST,
    FaultyCaller,
    connect,
    frame,
    open_faulty_caller,
)
from tests.faults.conftest import CHECKOUT, innocent_call, open_bridge, told
from tests.wire.conftest import open_bridge as open_bridge_here

if TYPE_CHECKING:
    from collections.abc import Callable

Transport = Literal["ws", "http"]
BOTH = pytest.mark.parametrize("transport", ["ws", "http"])
LIMIT_S = 60
CALLERS = 500


@BOTH
async def test_a_caller_that_stops_reading(transport: Transport) -> None:
    """Its buffers fill, then it is cut off with an RST; within 10 s; the call knows why, and
    neither descriptor nor model session stays."""
    with trio.fail_after(LIMIT_S):
        async with open_bridge() as bridge, innocent_call(bridge, transport):
            before = bridge.descriptors()
            started = time.monotonic()
            async with open_faulty_caller(
                bridge.url, transport=transport, receive_buffer_bytes=4096
            ) as caller:
                ended = await bridge.wait_ended()
                took_s = time.monotonic() - started
                assert await bridge.wait_descriptors(before) <= before
                seen = await caller.read_to_end()
    told("stops reading", transport, seen.how, ended, took_s)
    assert ended["reason"] == "caller_stalled"
    assert took_s < 10
    assert seen.how == "reset"


async def test_a_caller_that_never_sends_init() -> None:
    """After 10 s it is told, with an error and 1008. Over HTTP the head is the init."""
    with trio.fail_after(LIMIT_S):
        async with open_bridge() as bridge, innocent_call(bridge):
            started = time.monotonic()
            async with open_faulty_caller(bridge.url, transport="ws", init=False) as caller:
                seen = await caller.read_to_end()
                took_s = time.monotonic() - started
            ended = await bridge.wait_ended("")
    told("never sends init", "ws", seen, ended, took_s)
    assert (seen.code, seen.reason) == (1008, "caller_sent_no_init")
    assert seen.errors == ("no init was received",)
    assert ended["reason"] == "caller_sent_no_init"
    assert 9 < took_s < 13


@BOTH
@pytest.mark.parametrize(
    ("pcm", "reason"), [(b"", "caller_sent_no_audio"), (bytes(2), "caller_too_slow")]
)
async def test_a_caller_without_sound(transport: Transport, pcm: bytes, reason: str) -> None:
    """Nothing, or a sample a second, for AVR_NO_AUDIO_S: the call ends and says which."""
    with trio.fail_after(LIMIT_S):
        async with open_bridge(AVR_NO_AUDIO_S="3") as bridge, innocent_call(bridge, transport):
            started = time.monotonic()
            async with (
                open_faulty_caller(bridge.url, transport=transport) as caller,
                trio.open_nursery() as nursery,
            ):
                if pcm:
                    nursery.start_soon(_drip, caller, lambda: caller.encode_audio(pcm))
                seen = await caller.read_to_end()
                took_s = time.monotonic() - started
                nursery.cancel_scope.cancel()
            ended = await bridge.wait_ended()
    told("a sample a second" if pcm else "no audio", transport, seen, ended, took_s)
    assert ended["reason"] == reason
    assert 2.9 < took_s < 6
    assert seen.how == "closed"
    if transport == "ws":
        assert (seen.code, seen.reason) == (1008, reason)
        assert len(seen.errors) == 1


async def _drip(caller: FaultyCaller, drop: Callable[[], bytes]) -> None:
    try:
        while True:
            await caller.send_bytes(drop())
            await trio.sleep(1)
    except trio.BrokenResourceError:
        return


async def test_a_byte_a_second_within_a_frame() -> None:
    """A message that is never finished ends the call after 10 s."""
    message = iter(frame(b'{"type":"audio","audio":"' + b"A" * 428 + b'"}'))
    with trio.fail_after(LIMIT_S):
        async with open_bridge() as bridge, innocent_call(bridge):
            started = time.monotonic()
            async with (
                open_faulty_caller(bridge.url, transport="ws") as caller,
                trio.open_nursery() as nursery,
            ):
                nursery.start_soon(_drip, caller, lambda: bytes([next(message)]))
                seen = await caller.read_to_end()
                took_s = time.monotonic() - started
                nursery.cancel_scope.cancel()
            ended = await bridge.wait_ended()
    told("a byte a second within a frame", "ws", seen, ended, took_s)
    assert (seen.code, seen.reason) == (1008, "caller_too_slow")
    assert ended["reason"] == "caller_too_slow"
    assert took_s < 14


@pytest.mark.parametrize(
    ("transport", "head"),
    [("ws", UPGRADE_REQUEST), ("http", b"POST /speech-to-speech-stream HTTP/1.1\r\nHost: b\r\n")],
)
async def test_a_byte_a_second_within_the_head(transport: Transport, head: bytes) -> None:
    """No call comes about: 408 after 5 s."""
    drops = iter(head)
    with trio.fail_after(LIMIT_S):
        async with open_bridge() as bridge, innocent_call(bridge):
            before = bridge.descriptors()
            started = time.monotonic()
            async with await connect(bridge.url) as stream, trio.open_nursery() as nursery:
                caller = FaultyCaller(stream, "http")
                nursery.start_soon(_drip, caller, lambda: bytes([next(drops)]))
                answer = bytes(await stream.receive_some())
                took_s = time.monotonic() - started
                nursery.cancel_scope.cancel()
            await bridge.wait_descriptors(before)
    told("a byte a second within the head", transport, answer[:20], {}, took_s)
    assert answer.startswith(b"HTTP/1.1 408")
    assert 4.9 < took_s < 8


async def test_a_thousand_half_open_connections() -> None:
    """Of those that send nothing, or half a head, 256 are kept and none for over 5 s; a new
    call comes through all the same; afterwards nothing is left."""
    streams: list[trio.SocketStream] = []
    with trio.fail_after(LIMIT_S):
        async with open_bridge() as bridge, innocent_call(bridge):
            before, before_mb = bridge.descriptors(), bridge.rss_mb()
            started = time.monotonic()
            try:
                for number in range(1000):
                    stream = await connect(bridge.url)
                    streams.append(stream)
                    if number % 2:
                        await stream.send_all(UPGRADE_REQUEST[:60])
                # Those that were accepted and are being dropped are still seen for a moment.
                most = await bridge.wait_descriptors(before + 256 + 2)
                async with innocent_call(bridge, "http"):
                    grown_mb = bridge.rss_mb() - before_mb
                await bridge.wait_descriptors(before)
                took_s = time.monotonic() - started
            finally:
                for stream in streams:
                    stream.socket.close()
    print(f"\n  1,000 half open: {most - before} kept at most, {grown_mb:.1f} MB, {took_s:.1f} s")
    assert most - before <= 256 + 2
    assert grown_mb < 25


async def test_callers_in_great_number_that_never_send_init() -> None:
    """Of those that shake hands and say nothing more 256 are kept; of the others the oldest is
    dropped and its call knows why; a call that begins at once comes through beside them."""
    callers: list[FaultyCaller] = []
    with trio.fail_after(LIMIT_S):
        async with open_bridge(AVR_LOG_LEVEL="debug") as bridge, AsyncExitStack() as stack:
            before, before_mb = bridge.descriptors(), bridge.rss_mb()
            most, started = 0, time.monotonic()
            for _ in range(CALLERS):
                caller = open_faulty_caller(bridge.url, transport="ws", init=False)
                callers.append(await stack.enter_async_context(caller))
                most = max(most, bridge.descriptors() - before)
            took_s = time.monotonic() - started
            assert (await callers[0].read_to_end()).how == "reset"
            async with innocent_call(bridge):
                grown_mb = bridge.rss_mb() - before_mb
            ended = await bridge.wait_ended("", calls=CALLERS - 256)
    print(f"\n  {CALLERS} without init: {most} kept at most, {grown_mb:.1f} MB, {took_s:.1f} s")
    assert ended["reason"] == "caller_sent_no_init"
    assert most <= 256 + 10
    assert grown_mb < 60


async def test_a_caller_that_vanishes() -> None:
    """Without FIN or RST, in a network namespace where its address leads nowhere from one moment
    on: 8 s later the kernel gives up, and the call knows why. The call beside it goes on."""
    inside = ["sh", "-c", f"ip link set lo up && exec {sys.executable} -m tests.faults.vanishing"]
    may = await trio.run_process(
        ["unshare", "-rn", "ip", "link", "set", "lo", "up"], check=False, capture_stderr=True
    )
    if may.returncode != 0:
        pytest.skip("no network namespaces here")
    with trio.fail_after(2 * LIMIT_S):
        done = await trio.run_process(
            ["unshare", "-rn", *inside], capture_stdout=True, cwd=CHECKOUT
        )
    rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith(b"{")]
    assert [row["transport"] for row in rows] == ["ws", "http", "ws, nothing sent", "audiosocket"]
    for row in rows:
        told("vanishes without FIN", row["transport"], "-", row, row["took_s"])
        assert row["reason"] == "caller_vanished"
        assert row["took_s"] < 12


async def test_the_kernel_is_told_to_watch() -> None:
    """The options stand on the accepted socket itself."""
    with trio.fail_after(LIMIT_S):
        async with open_bridge_here() as bridge, await connect(bridge.http) as stream:
            ours = stream.socket.getsockname()
            await stream.send_all(b"GET /healthz HTTP/1.1\r\nHost: b\r\n\r\n")
            await stream.receive_some()
            accepted = _socket_to(ours)
            assert accepted is not None
            with accepted:
                assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
                timeout_ms = accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
                idle_s = accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE)
    assert timeout_ms == 8000
    assert idle_s == 5


def _socket_to(peer: object) -> socket.socket | None:
    for name in os.listdir("/proc/self/fd"):
        try:
            found = socket.socket(fileno=os.dup(int(name)))
        except OSError:
            continue
        try:
            if found.getpeername() == peer:
                return found
        except OSError:
            pass
        found.close()
    return None
