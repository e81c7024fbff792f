"""The bridge as a server inside one's own Trio program: settings, port, and an end of one's own.

OPENAI_API_KEY=... python examples/minimal_server.py
"""

from __future__ import annotations

import signal
from functools import partial

import trio

from avr_bridge import BridgeConfig, CallSummary, serve


def show(summary: CallSummary) -> None:
    print(f"{summary.uuid}: {summary.duration_s:.1f} s, {summary.end_reason.value}", flush=True)


async def main() -> None:
    config = BridgeConfig.from_env()
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            addresses = await nursery.start(partial(serve, config, on_call_ended=show))
            print(f"calls are taken at {', '.join(addresses)}", flush=True)
            async for _ in signals:
                break
            nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main)
