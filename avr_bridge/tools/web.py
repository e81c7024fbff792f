"""One HTTP request of the bridge: bounded in size, its errors in words.

Of tools, of call control, of the webhook, for a call's instructions. Sets no deadline: the caller
does.
"""

from __future__ import annotations

import math
import os
import zlib
from functools import cache
from typing import TYPE_CHECKING, Any

import attrs
import httpx2
import trio

from avr_bridge.errors import ConfigError, ToolError
from avr_bridge.telemetry.version import USER_AGENT

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping

__all__ = ["Answer", "ask", "prepare_tls"]

HTTP_OK = range(200, 300)
USUAL = {"Accept-Encoding": "identity", "User-Agent": USER_AGENT}
"""Whoever reads a server's log shall know who asked. What a tool's file says goes before."""

PACKINGS = ("gzip", "x-gzip", "deflate")
"""What is unpacked where a server packs all the same, by us and up to the limit: the client would
unpack a chunk in one go, and a small packed answer can be a huge unpacked one."""

CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR")
"""OpenSSL's variables, which are no settings of ours."""

ANY_HEADER = 32 + zlib.MAX_WBITS
"""zlib's way to say: gzip or zlib, whichever it is."""


@attrs.frozen
class Answer:
    """Status and text; the text is cut at the limit that was given."""

    status: int
    text: str

    @property
    def ok(self) -> bool:
        """Whether the request was done; a redirect was not, and is not followed."""
        return self.status in HTTP_OK


@cache
def prepare_tls() -> ssl.SSLContext:
    """The process' TLS settings. Reading the certificates blocks for 30 ms: call it at start.

    A client made without it reads them anew for each request, in the middle of other calls.

    Raises:
        ConfigError: The environment names certificates that cannot be read.
    """
    try:
        return httpx2.create_ssl_context()
    except OSError as error:  # of OpenSSL's too
        named = [name for name in CERTIFICATES if os.environ.get(name)]
        where = " ".join(f"{name}={os.environ[name]}" for name in named) or "the system's own"
        words = f"{where}: expected certificates in PEM; {error.strerror or error}"
        raise ConfigError([words]) from error


async def ask(
    method: str,
    url: httpx2.URL,
    *,
    headers: Mapping[str, str],
    body: Any = None,
    content: bytes | None = None,
    most_bytes: int,
    through_proxy: bool,
) -> Answer:
    """Send one request, with `body` as JSON or `content` as it is, and read at most `most_bytes`.

    Args:
        method: GET, POST, ...
        url: Absolute address with its query.
        headers: Besides the usual ones, or in their place.
        body: A JSON value; None sends no body.
        content: A body as it is, in place of `body`.
        most_bytes: What is longer is left unread; 0: the status is all that is wanted, and a
            body that never ends is not waited for.
        through_proxy: Whether the environment's proxy settings count.

    Raises:
        ToolError: There was no answer; in words for the model, without address or headers.
    """
    try:
        async with (
            httpx2.AsyncClient(
                verify=prepare_tls(), timeout=None, trust_env=through_proxy, headers=USUAL
            ) as client,
            client.stream(method, url, headers=headers, json=body, content=content) as answer,
        ):
            data = b""
            # Cancelling unwinds the client's nested generators, which `break` would leave behind.
            with trio.CancelScope(deadline=math.inf if most_bytes else -math.inf) as enough:
                async for chunk in answer.aiter_raw():
                    data += chunk
                    if len(data) > most_bytes:
                        enough.cancel()
            packing = answer.headers.get("Content-Encoding", "identity").strip().lower()
            data = _unpacked(data, packing, most_bytes)
            text = data.decode(answer.encoding or "utf-8", "replace")
            return Answer(answer.status_code, text)
    except httpx2.ConnectError as error:
        raise ToolError("the service could not be reached") from error
    except (httpx2.HTTPError, httpx2.InvalidURL, UnicodeError, LookupError, zlib.error) as error:
        raise ToolError("the service gave no proper answer") from error


def _unpacked(data: bytes, packing: str, most_bytes: int) -> bytes:
    if packing == "identity":
        return data[:most_bytes]
    if packing not in PACKINGS:
        raise ToolError("the service packs its answers in a way that was not asked for")
    return zlib.decompressobj(ANY_HEADER).decompress(data[:most_bytes], most_bytes)
