"""TLS in front of a plain server, for tests: a certificate authority of our own, and a relay."""

from __future__ import annotations

import ssl
from functools import partial
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    import trustme

RELAY_BYTES = 65536


async def serve_tls(
    authority: trustme.CA,
    name: str,
    to_port: int,
    *,
    task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Take TLS on a free port as host `name`, and pass it on, plain, to a port of the loopback.

    Runs until cancelled. Clients that refuse the certificate, or leave without a word, do no harm.

    Args:
        authority: Signs the certificate.
        name: For which host.
        to_port: Where the plain server listens.
        task_status: Told the port.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(name).configure_cert(context)

    async def serve(plain: trio.SocketStream) -> None:
        stream = trio.SSLStream(plain, context, server_side=True, https_compatible=True)
        try:
            await stream.do_handshake()
            await relay(stream, to_port)
        except trio.BrokenResourceError:
            return
        finally:
            await trio.aclose_forcefully(stream)

    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    task_status.started(listeners[0].socket.getsockname()[1])
    await trio.serve_listeners(serve, listeners)


async def relay(stream: trio.abc.Stream, to_port: int) -> None:
    """Pass bytes both ways between a stream and a port until either side ends."""
    async with await trio.open_tcp_stream("127.0.0.1", to_port) as inner:
        ended = trio.Event()

        async def pump(source: trio.abc.Stream, sink: trio.abc.Stream) -> None:
            try:
                while data := await source.receive_some(RELAY_BYTES):
                    await sink.send_all(data)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass
            ended.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(pump, stream, inner))
            nursery.start_soon(partial(pump, inner, stream))
            await ended.wait()
            nursery.cancel_scope.cancel()
