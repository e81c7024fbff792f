"""``python -m avr_bridge.testing.core``: the stand-in for avr-core as a program."""

from __future__ import annotations

import argparse
import signal
import sys

import trio

from avr_bridge.testing.core import CoreEvent, StandInCore


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m avr_bridge.testing.core",
        description="Carry calls between Asterisk's AudioSocket and an STS container, as avr-core.",
    )
    parser.add_argument("sts_url", help="such as ws://127.0.0.1:6030")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=5001, help="for Asterisk (0: any free one)")
    parser.add_argument("--http-port", type=int, help="for POST /call; without it none is served")
    return parser.parse_args()


def _show(event: CoreEvent) -> None:
    """One line, without what was said."""
    said = {} if event.type == "transcription" else event.payload
    fields = "".join(f"  {name}={value}" for name, value in said.items())
    print(f"{event.uuid}  {event.type}{fields}", flush=True)


async def _main(arguments: argparse.Namespace) -> None:
    core = StandInCore(arguments.sts_url, _show)
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            host, port = arguments.host, arguments.port
            address = await nursery.start(core.serve, host, port)
            print(f"AudioSocket on {address}, calls go to {arguments.sts_url}", flush=True)
            if arguments.http_port is not None:
                url = await nursery.start(core.serve_http, host, arguments.http_port)
                print(f"POST /call on {url}", flush=True)
            await anext(aiter(signals))
            nursery.cancel_scope.cancel()


if __name__ == "__main__":
    try:
        trio.run(_main, _arguments())
    except ValueError as error:
        sys.exit(f"avr_bridge.testing.core: {error}")
