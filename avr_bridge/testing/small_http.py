"""A server's side of HTTP for simulated services: one request after the other on a connection.

Beneath `SimulatedAmi` and the stand-in for avr-core. What is answered is theirs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import h11
import trio

from avr_bridge.tools.web import Answer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["Answer", "serve_requests"]

_RECEIVE_BYTES = 64 * 1024


async def serve_requests(
    stream: trio.SocketStream, answer: Callable[[str, bytes], Awaitable[Answer | None]]
) -> None:
    """Answer the requests of one connection until it ends; closes it.

    Args:
        stream: Fresh from the accept.
        answer: Told method and target (``POST /call``) and the body; what it returns is sent as
            JSON, and None closes the connection instead.
    """
    http = h11.Connection(h11.SERVER)
    try:
        async with stream:
            while await _exchange(stream, http, answer):
                http.start_next_cycle()
    except (trio.BrokenResourceError, h11.RemoteProtocolError, h11.LocalProtocolError):
        return  # the client went away, or does not speak HTTP


async def _exchange(
    stream: trio.SocketStream,
    http: h11.Connection,
    answer: Callable[[str, bytes], Awaitable[Answer | None]],
) -> bool:
    target, data = "", b""
    while True:
        event = http.next_event()
        if event is h11.NEED_DATA:
            http.receive_data(bytes(await stream.receive_some(_RECEIVE_BYTES)))
        elif isinstance(event, h11.Request):
            target = f"{event.method.decode()} {event.target.decode()}"
        elif isinstance(event, h11.Data):
            data += event.data
        elif isinstance(event, h11.EndOfMessage):
            break
        else:
            return False
    answered = await answer(target, data)
    if answered is None:
        return False
    body = answered.text.encode()
    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
    sent = [
        http.send(h11.Response(status_code=answered.status, headers=headers)),
        http.send(h11.Data(data=body)),
        http.send(h11.EndOfMessage()),
    ]
    await stream.send_all(b"".join(part or b"" for part in sent))
    return http.our_state is h11.DONE
