"""Whether the bridge on this machine is well: asks it over HTTP and says so in one line.

The container's HEALTHCHECK starts this every few seconds, so it imports nothing that takes time:
30 ms of processor time, 10 of them Python's own start. The command line's imports would double
that, the server's take 600. It asks what the bridge answers by itself, at ``/healthz`` or
``/readyz``; it judges nothing.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from typing import TYPE_CHECKING

from avr_bridge.environment import DEFAULT_HOST, DEFAULT_PORT, unquoted

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["address_of", "ask", "health_of", "run_in_short"]

LIMIT_S = 3.0
"""For the whole question. A bridge that is well answers in milliseconds; Docker and Kubernetes give
up after 1 to 30 s by themselves, and would then not know why."""

MAX_ANSWER_BYTES = 64 * 1024
"""Of a bridge's own answer about 200. What comes from whoever else may be there has no end."""

SHOWN_CHARS = 200

ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}
"""Addresses at which a server listens and no client can call it, to those at which it can."""


def health_of(
    environ: Mapping[str, str], *, ready: bool = False, url: str | None = None
) -> tuple[bool, str]:
    """Whether the bridge of these settings is well, and that in words.

    Args:
        environ: ``AVR_HOST`` and ``PORT`` of the bridge.
        ready: Ask whether it would take a call (``/readyz``), not whether it lives (``/healthz``).
        url: Ask there, in place of both: ``http://host:port``, with a path or without.
    """
    try:
        host, port, path = _split(url) if url else (*address_of(environ), "")
    except ValueError as error:
        return False, f"unhealthy: {error}"
    return ask(host, port, path or ("/readyz" if ready else "/healthz"))


def address_of(environ: Mapping[str, str]) -> tuple[str, int]:
    """Host and port at which the bridge of this environment is reached from its own machine.

    Raises:
        ValueError: The port is none, or not known; in words.
    """
    host = unquoted(environ.get("AVR_HOST", "")) or DEFAULT_HOST
    given = unquoted(environ.get("PORT", "")) or str(DEFAULT_PORT)
    if not given.isdecimal() or int(given) > 65535:
        raise ValueError("PORT is no port number")
    if int(given) == 0:
        raise ValueError("PORT=0 is any free port: say which by --url")
    return ANYWHERE.get(host, host), int(given)


def ask(host: str, port: int, path: str) -> tuple[bool, str]:
    """Ask one page; whether its status is 2xx, and in words what it said."""
    shown = f"http://{f'[{host}]' if ':' in host else host}:{port}{path}"
    try:
        status, body = _exchange(host, port, path)
    except TimeoutError:
        return False, f"unhealthy: no answer within {LIMIT_S:g} s at {shown}"
    except OSError as error:
        return False, f"unhealthy: {error.strerror or error} at {shown}"
    except ValueError as error:
        return False, f"unhealthy: {error} at {shown}"
    said = _said(body)
    if 200 <= status < 300:
        return True, f"healthy: {shown} answers{said}"
    return False, f"unhealthy: {shown} answers HTTP {status}{said}"


def run_in_short(arguments: list[str]) -> int | None:
    """Do what ``avr-bridge health`` does, for the arguments that probes use.

    Returns:
        The exit code; None for other arguments, which are left to the command line proper.
    """
    if arguments not in (["health"], ["health", "--ready"]):
        return None
    well, words = health_of(os.environ, ready=len(arguments) > 1)
    # Whoever does not read the line wants only the exit code.
    try:
        sys.stdout.write(f"{words}\n")
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0 if well else 1


def _split(url: str) -> tuple[str, int, str]:
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(url)
        port = parts.port or 80
    except ValueError:
        parts, port = urlsplit(""), 0
    if parts.scheme != "http" or not parts.hostname or "@" in parts.netloc:
        raise ValueError("--url: expected an address such as http://127.0.0.1:6030")
    path = parts.path.rstrip("/")
    if not path.isascii() or not path.isprintable() or " " in path:
        raise ValueError("--url: expected an address such as http://127.0.0.1:6030")
    return parts.hostname, port, path


def _exchange(host: str, port: int, path: str) -> tuple[int, bytes]:
    """Status and body of one GET.

    Raises:
        OSError: No connection, or it was lost; `TimeoutError` after `LIMIT_S`.
        ValueError: What answers speaks no HTTP.
    """
    end_s = time.monotonic() + LIMIT_S
    named = f"[{host}]" if ":" in host else host
    request = f"GET {path} HTTP/1.1\r\nHost: {named}:{port}\r\nConnection: close\r\n\r\n"
    answer = b""
    with socket.create_connection((host, port), timeout=LIMIT_S) as connection:
        connection.sendall(request.encode("ascii", "replace"))
        while len(answer) < MAX_ANSWER_BYTES:
            left_s = end_s - time.monotonic()
            if left_s <= 0:
                raise TimeoutError
            connection.settimeout(left_s)
            chunk = connection.recv(4096)
            if not chunk:
                break
            answer += chunk
    head, _, body = answer.partition(b"\r\n\r\n")
    words = head.split(b"\r\n", 1)[0].split()
    if len(words) < 2 or not words[0].startswith(b"HTTP/1.") or not words[1].isdigit():
        raise ValueError("what answers speaks no HTTP")
    return int(words[1]), body


def _said(body: bytes) -> str:
    """What the page says, for the line; nothing of a page that is not ours."""
    try:
        found = json.loads(body)
    except ValueError:
        return ""
    if not isinstance(found, dict) or not isinstance(found.get("status"), str):
        return ""
    words = " ".join(found["status"].split())[:SHOWN_CHARS]
    calls = found.get("calls")
    return f": {words}" + (f", calls running: {calls}" if isinstance(calls, int) else "")
