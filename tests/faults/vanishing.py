"""Run in a network namespace of its own: callers whose address leads nowhere from one moment on.

Prints one JSON line a case; `test_callers_lines.py` reads them.
"""

from __future__ import annotations

import json
import subprocess
import time
import uuid

import trio

from avr_bridge.testing import Silence, SimulatedRealtime
from avr_bridge.testing.caller.audiosocket_line import audiosocket_frame
from avr_bridge.testing.faults.callers import Transport, connect, open_faulty_caller
from tests.faults.conftest import innocent_call, open_bridge

LIMIT_S = 90
ASTERISK = "00000000-0000-4000-8000-00000000dead"


def cut_off(host: str) -> None:
    """From now on nothing that is sent to `host` arrives."""
    subprocess.run(
        ["ip", "route", "add", "blackhole", f"{host}/32", "table", "local"],
        check=True,
        stdin=subprocess.DEVNULL,
        timeout=10,
    )


async def vanish(transport: Transport, host: str, *, in_call: bool = True) -> None:
    """One caller, beside an innocent one."""
    name = transport if in_call else f"{transport}, nothing sent"
    with trio.fail_after(LIMIT_S):
        async with (
            open_bridge(AVR_NO_AUDIO_S="0") as bridge,
            innocent_call(bridge, transport),
            open_faulty_caller(bridge.url, transport=transport, from_host=host, init=in_call),
        ):
            await trio.sleep(1)  # the handshake is acknowledged, and sound flows
            cut_off(host)
            started = time.monotonic()
            ended = await bridge.wait_ended("faulty" if in_call else "")
            took_s = time.monotonic() - started
    print(json.dumps({"transport": name, "reason": ended["reason"], "took_s": took_s}), flush=True)


async def vanish_from_asterisk(host: str) -> None:
    """An Asterisk, which has got nothing but silence so far."""
    with trio.fail_after(LIMIT_S):
        async with (
            open_bridge(
                model=SimulatedRealtime(Silence()), AVR_AUDIOSOCKET_PORT="0", AVR_NO_AUDIO_S="0"
            ) as bridge,
            await connect(bridge.audiosocket, from_host=host) as stream,
        ):
            await stream.send_all(audiosocket_frame(0x01, uuid.UUID(ASTERISK).bytes))
            await trio.sleep(1)
            cut_off(host)
            started = time.monotonic()
            ended = await bridge.wait_ended(ASTERISK)
            took_s = time.monotonic() - started
    row = {"transport": "audiosocket", "reason": ended["reason"], "took_s": took_s}
    print(json.dumps(row), flush=True)


async def main() -> None:
    """All cases."""
    await vanish("ws", "127.0.0.2")
    await vanish("http", "127.0.0.3")
    await vanish("ws", "127.0.0.4", in_call=False)
    await vanish_from_asterisk("127.0.0.5")


if __name__ == "__main__":
    trio.run(main)
