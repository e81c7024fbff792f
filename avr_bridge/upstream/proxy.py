"""The way to the model through an HTTP proxy: a TCP stream, tunnelled by CONNECT (RFC 9110 §9.3.6).

trio-websocket knows no proxies; it is handed this stream. Which proxy is for which address is
decided in `avr_bridge/proxies.py`; TLS within the tunnel is `dial.py`'s. Sets no deadline: the
caller does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import h11
import trio

from avr_bridge.errors import UpstreamRejected, UpstreamUnavailable
from avr_bridge.proxies import ProxyAddress, proxy_for

if TYPE_CHECKING:
    from avr_bridge.config import ModelConfig

__all__ = ["open_tunnel", "proxy_of"]

MAX_HEAD_BYTES = 16 * 1024
"""Of the proxy's answer; h11's own default. The largest real ones have about 1 kB."""

RECEIVE_BYTES = 4096

PASSING = frozenset({408, 425, 429})
LASTING = frozenset({501, 505})
"""Other statuses below 500 are lasting (407: password, 403: not allowed), and those from 500 on
are passing: 502, 503 and 504 for a server that does not answer, and tinyproxy says 500 for it."""


def proxy_of(config: ModelConfig, url: str) -> ProxyAddress | None:
    """The proxy on the way to the model at `url`, if there is one.

    Raises:
        UpstreamRejected: The settings name something else than an HTTP proxy.
    """
    try:
        return proxy_for(config, url)
    except ValueError as error:
        raise UpstreamRejected(str(error)) from error


async def open_tunnel(proxy: ProxyAddress, host: str, port: int) -> trio.SocketStream:
    """A stream to `host` through the proxy, as if it were connected directly.

    The caller closes it. Nothing is left open where this raises or is cancelled.

    Raises:
        UpstreamUnavailable: The proxy is not there, speaks no HTTP, or could not connect now.
        UpstreamRejected: The proxy refuses us: a wrong password, a host or port not allowed.
    """
    try:
        stream = await trio.open_tcp_stream(proxy.host, proxy.port)
    except OSError as error:
        words = f"no connection to the proxy {proxy}: {error.__cause__ or error}"
        raise UpstreamUnavailable(words) from error
    try:
        await _connect(stream, proxy, f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
    except (h11.RemoteProtocolError, trio.BrokenResourceError) as error:
        await trio.aclose_forcefully(stream)
        raise UpstreamUnavailable(f"the proxy {proxy} gave no HTTP answer") from error
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise
    return stream


async def _connect(stream: trio.SocketStream, proxy: ProxyAddress, target: str) -> None:
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD_BYTES)
    headers = [("Host", target)]
    if proxy.basic is not None:
        headers.append(("Proxy-Authorization", f"Basic {proxy.basic.reveal()}"))
    request = connection.send(h11.Request(method="CONNECT", target=target, headers=headers))
    await stream.send_all((request or b"") + (connection.send(h11.EndOfMessage()) or b""))
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await stream.receive_some(RECEIVE_BYTES))
        elif isinstance(event, h11.Response):
            break
    refusal = _refusal(event.status_code, proxy)
    if refusal is not None:
        raise refusal
    if connection.trailing_data[0]:
        # The client speaks first in TLS and in HTTP: these bytes are not from the model.
        raise UpstreamUnavailable(f"the proxy {proxy} sent more than its answer")


def _refusal(status: int, proxy: ProxyAddress) -> UpstreamUnavailable | UpstreamRejected | None:
    if 200 <= status < 300:
        return None
    words = f"the proxy {proxy} answered HTTP {status}"
    if status == 407:
        return UpstreamRejected(f"{words}: it wants another user and password")
    passing = status in PASSING or (status >= 500 and status not in LASTING)
    return UpstreamUnavailable(words) if passing else UpstreamRejected(words)
