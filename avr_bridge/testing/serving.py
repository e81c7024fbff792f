"""Serving TCP on a free port until cancelled: the outermost part of every simulated service.

What is said on a connection is the service's.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["serve_clients"]


async def serve_clients(
    client: Callable[[trio.SocketStream], Awaitable[object]],
    address: str,
    host: str,
    port: int,
    task_status: trio.TaskStatus[str],
) -> None:
    """Serve until cancelled.

    Args:
        client: Serves one connection, and closes it.
        address: What is reported, such as ``http://{}``, with host and port in it.
        host: Listened on.
        port: The same; 0 takes a free one.
        task_status: Told the address once connections are taken.
    """
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, client, port, host=host))
        task_status.started(address.format(f"{host}:{listeners[0].socket.getsockname()[1]}"))
