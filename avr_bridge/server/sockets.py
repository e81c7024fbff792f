"""The server's sockets themselves: where they listen, and how one is cut off.

Beneath `guard.py`. It knows neither HTTP nor calls.
"""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING

import trio
from hypercorn.utils import repr_socket_addr

if TYPE_CHECKING:
    from hypercorn.config import Config

__all__ = ["listen", "reset", "reset_at"]


def listen(config: Config) -> tuple[list[trio.SocketListener], list[str]]:
    """Listen where the config says; addresses such as ``http://0.0.0.0:6030``.

    Raises:
        OSError: The port cannot be had.
    """
    listeners, addresses = [], []
    for sock in config.create_sockets().insecure_sockets:
        sock.listen(config.backlog)
        listeners.append(trio.SocketListener(trio.socket.from_stdlib_socket(sock)))
        addresses.append(f"http://{repr_socket_addr(sock.family, sock.getsockname())}")
    return listeners, addresses


def reset(sock: trio.socket.SocketType) -> None:
    """Close at once, with what was not sent yet; who waits on it gets `ClosedResourceError`."""
    if sock.fileno() >= 0:
        now = struct.pack("ii", 1, 0)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, now)
        sock.close()


async def reset_at(deadline_s: float, streams: set[trio.SocketStream]) -> None:
    """`reset` all that are there then. Sends are shielded, so a peer that does not read would hold
    the process up."""
    await trio.sleep_until(deadline_s)
    for stream in list(streams):
        reset(stream.socket)
