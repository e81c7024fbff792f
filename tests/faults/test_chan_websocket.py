"""Asterisks that misbehave on chan_websocket. Beside each an innocent call loses no frame."""

from __future__ import annotations

import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio

from avr_bridge.audio.format import FRAME_MS, ULAW_8K
from avr_bridge.testing.chan import MediaDriver
from avr_bridge.testing.faults.callers import UPGRADE_REQUEST, connect, frame
from tests.faults.conftest import innocent_call, open_bridge, told

if TYPE_CHECKING:
    from collections.abc import Callable

LIMIT_S = 60
UPGRADE = UPGRADE_REQUEST.replace(b"GET / ", b"GET /asterisk/media ").replace(
    b"\r\n\r\n", b"\r\nSec-WebSocket-Protocol: media\r\n\r\n"
)
START = frame(MediaDriver(channel_id="faulty").start().encode())
SILENCE = frame(ULAW_8K.silence(ULAW_8K.frame_samples), opcode=2)
MOST_MB = 20.0


async def speak_on(stream: trio.SocketStream) -> None:
    """Silence, as Asterisk sends it, until the connection is gone."""
    try:
        while True:
            await stream.send_all(SILENCE)
            await trio.sleep(FRAME_MS / 1000)
    except trio.BrokenResourceError:
        return


async def watch(most: list[float], rss_mb: Callable[[], float]) -> None:
    """Note the most memory that the process ever has. Runs until cancelled."""
    while True:
        most[0] = max(most[0], rss_mb())
        await trio.sleep(0.1)


@pytest.mark.parametrize("speaks", [True, False], ids=["its caller speaks", "all of it hangs"])
async def test_an_asterisk_that_stops_reading(speaks: bool) -> None:
    """In the middle of an answer that has no end, of which five seconds are sent ahead. Its buffers
    fill, then it is cut off, and the call knows why. Meanwhile the bridge keeps what a
    call may keep; behind it neither descriptor nor model session stays."""
    with trio.fail_after(LIMIT_S):
        async with open_bridge() as bridge, innocent_call(bridge), trio.open_nursery() as nursery:
            before, most_mb = bridge.descriptors(), [bridge.rss_mb()]
            before_mb, started = most_mb[0], time.monotonic()
            nursery.start_soon(partial(watch, most_mb, bridge.rss_mb))
            async with await connect(bridge.url, receive_buffer_bytes=4096) as stream:
                await stream.send_all(UPGRADE)
                assert b" 101 " in await stream.receive_some()
                await stream.send_all(START)
                if speaks:
                    nursery.start_soon(speak_on, stream)
                ended = await bridge.wait_ended()
                took_s = time.monotonic() - started
                assert await bridge.wait_descriptors(before) <= before
                assert bridge.model.open_sessions == 1
                with suppress(trio.BrokenResourceError):  # an RST, unless speaking met it first
                    while await stream.receive_some():
                        pass
            nursery.cancel_scope.cancel()
    grown_mb = most_mb[0] - before_mb
    told("stops reading", "chan_websocket", f"cut off; {grown_mb:.1f} MB", ended, took_s)
    assert ended["reason"] == "caller_stalled"
    assert ended["transport"] == "chan_websocket"
    assert took_s < 30
    assert grown_mb < MOST_MB
