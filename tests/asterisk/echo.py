"""The smallest AudioSocket peer there is: says back every frame. Only to try the harness with.

The protocol is in docs.asterisk.org, "AudioSocket": one byte kind, two bytes length, big-endian.
"""

from __future__ import annotations

import struct
from contextlib import suppress

import attrs
import trio

HEADER = struct.Struct(">BH")
HANG_UP, UUID, DTMF, SLIN = 0x00, 0x01, 0x03, 0x10


@attrs.define
class Echo:
    """Says back at once what it hears, until the other side leaves.

    Attributes:
        frames: Kind and payload of every frame that came.
    """

    frames: list[tuple[int, bytes]] = attrs.field(factory=list)

    async def serve(self, *, task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled; reports the port."""
        async with trio.open_nursery() as nursery:
            serve = trio.serve_tcp
            listeners = await nursery.start(
                lambda task_status: serve(self._talk, 0, host="127.0.0.1", task_status=task_status)
            )
            task_status.started(listeners[0].socket.getsockname()[1])

    async def _talk(self, stream: trio.SocketStream) -> None:
        with suppress(trio.BrokenResourceError):  # Asterisk has hung up
            await self._echo(stream)

    async def _echo(self, stream: trio.SocketStream) -> None:
        rest = b""
        async with stream:
            async for chunk in stream:
                rest += chunk
                while len(rest) >= HEADER.size:
                    kind, length = HEADER.unpack_from(rest)
                    if len(rest) < HEADER.size + length:
                        break
                    payload = rest[HEADER.size : HEADER.size + length]
                    self.frames.append((kind, payload))
                    if kind == SLIN:
                        await stream.send_all(rest[: HEADER.size + length])
                    rest = rest[HEADER.size + length :]
