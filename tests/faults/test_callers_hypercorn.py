"""What Hypercorn itself does. A failure here is good news: a part of the guard can go."""

from __future__ import annotations

from functools import partial
from typing import Any

import hypercorn.trio
import pytest
import trio
from hypercorn.config import Config

from avr_bridge.testing.faults.callers import UPGRADE_REQUEST, connect

LIMIT_S = 20


async def _accepts(scope: Any, receive: Any, send: Any) -> None:
    """The smallest application: accepts WebSockets, and has a lifespan."""
    if scope["type"] == "lifespan":
        for word in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{word}.complete"})
        return
    await receive()
    await send({"type": "websocket.accept"})
    while (await receive())["type"] != "websocket.disconnect":
        pass


async def test_one_byte_still_kills_hypercorn() -> None:
    """Issue 225: a byte behind an upgrade request raises out of `serve`, and ends every call."""
    config = Config()
    config.bind = ["127.0.0.1:0"]
    config.errorlog = None
    died = False
    with trio.move_on_after(LIMIT_S):
        try:
            async with trio.open_nursery() as nursery:
                serving = partial(hypercorn.trio.serve, _accepts, config)
                (address,) = await nursery.start(serving)
                async with await connect(address) as stream:
                    await stream.send_all(UPGRADE_REQUEST + b"\x81")
                    while await stream.receive_some():
                        pass
                await trio.sleep(1)
                nursery.cancel_scope.cancel()
        except* Exception:
            died = True
    if not died:
        pytest.fail(
            "Hypercorn has mended issue 225: look whether server/guard.py's own connection loop "
            "can give way to hypercorn.trio.serve"
        )
