"""The server's sockets themselves: where they listen, and how one is cut off.

Beneath `guard.py`. It knows neither HTTP nor calls.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from typing import TYPE_CHECKING

import trio
from hypercorn.utils import repr_socket_addr

from avr_bridge.telemetry import SeldomLog

if TYPE_CHECKING:
    from hypercorn.config import Config

__all__ = ["BACKLOG", "PatientListener", "listen", "listen_tcp", "reset", "reset_at"]

BACKLOG = 1024
"""Connections that the kernel keeps until they are accepted: a storm of them is not refused."""

RETRY_S = 0.1
"""Until the next try to accept where the process or the machine has no room; as Trio's."""

_NO_ROOM = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS}


class PatientListener(trio.abc.Listener[trio.SocketStream]):
    """Waits where there are no descriptors left. `trio.serve_listeners` does so as well, but logs a
    traceback ten times a second."""

    def __init__(self, listener: trio.abc.Listener[trio.SocketStream]) -> None:
        self._listener = listener
        self._log = SeldomLog()

    async def accept(self) -> trio.SocketStream:
        """The next connection, as soon as there is room for it."""
        while True:
            try:
                return await self._listener.accept()
            except OSError as error:
                if error.errno not in _NO_ROOM:
                    raise
                words = os.strerror(error.errno)
                self._log.warning("no connection can be accepted", error=words)
                await trio.sleep(RETRY_S)

    async def aclose(self) -> None:
        """Close the socket."""
        await self._listener.aclose()


def listen(config: Config) -> tuple[list[PatientListener], list[str]]:
    """Listen where the config says; addresses such as ``http://0.0.0.0:6030``.

    Raises:
        OSError: The port cannot be had.
    """
    listeners, addresses = [], []
    for sock in config.create_sockets().insecure_sockets:
        sock.listen(config.backlog)
        listener = trio.SocketListener(trio.socket.from_stdlib_socket(sock))
        listeners.append(PatientListener(listener))
        addresses.append(f"http://{repr_socket_addr(sock.family, sock.getsockname())}")
    return listeners, addresses


async def listen_tcp(host: str, port: int) -> tuple[list[PatientListener], list[str]]:
    """Listen at an address and port; addresses such as ``0.0.0.0:6031``.

    Raises:
        OSError: The port cannot be had; its ``filename`` says where.
    """
    try:
        listeners = await trio.open_tcp_listeners(port, host=host, backlog=BACKLOG)
    except OSError as error:
        raise OSError(error.errno, error.strerror, f"{host}:{port}") from error
    socks = [listener.socket for listener in listeners]
    addresses = [repr_socket_addr(sock.family, sock.getsockname()) for sock in socks]
    return [PatientListener(listener) for listener in listeners], addresses


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
