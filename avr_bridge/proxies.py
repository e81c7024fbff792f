"""Which HTTP proxy leads to an address: the usual variables, judged as curl and httpx do.

Pure: nothing is connected here, `upstream/proxy.py` does that.
"""

from __future__ import annotations

import base64
import ipaddress
import re
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import attrs

from avr_bridge.settings import Secret

if TYPE_CHECKING:
    from avr_bridge.sections import ModelConfig

__all__ = ["ProxyAddress", "is_loopback", "proxy_for"]

DEFAULT_PROXY_PORT = 1080
"""curl's, where the address names none."""

DEFAULT_PORTS = {"ws": 80, "http": 80, "wss": 443, "https": 443}


@attrs.frozen
class ProxyAddress:
    """An HTTP proxy. `str` gives host and port, and never the credentials.

    Attributes:
        basic: ``user:password`` in Base64, for ``Proxy-Authorization: Basic``.
    """

    host: str
    port: int
    basic: Secret | None = None

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def proxy_for(config: ModelConfig, url: str) -> ProxyAddress | None:
    """The proxy on the way to `url`, or None for the direct way.

    Raises:
        ValueError: The variable that counts holds something else than an HTTP proxy. The text
            names the variable and shows no password.
    """
    parts = urlsplit(url)
    host = (parts.hostname or "").rstrip(".")
    secure = parts.scheme in ("wss", "https")
    name, value = (
        ("HTTPS_PROXY", config.https_proxy) if secure else ("HTTP_PROXY", config.http_proxy)
    )
    if value is None:
        name, value = "ALL_PROXY", config.all_proxy
    port = parts.port or DEFAULT_PORTS[parts.scheme]
    if value is None or _goes_directly(host, port, config.no_proxy or ""):
        return None
    return _address(name, value)


def is_loopback(host: str) -> bool:
    """Whether a host, as an address names it, is this very machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _address(name: str, value: str) -> ProxyAddress:
    wrong = ValueError(f"{name}: expected an HTTP proxy such as http://user:password@host:3128")
    try:
        parts = urlsplit(value if "://" in value else f"http://{value}")
        host, port = parts.hostname, parts.port or DEFAULT_PROXY_PORT
    except ValueError:
        raise wrong from None
    if parts.scheme != "http":
        raise ValueError(f"{name}: {parts.scheme}:// proxies are not supported, only http://")
    if not host or not host.isascii() or not host.isprintable() or " " in host:
        raise wrong
    basic = None
    if "@" in parts.netloc:
        given = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
        basic = Secret(base64.b64encode(given.encode()).decode())
    return ProxyAddress(host, port, basic)


def _goes_directly(host: str, port: int, no_proxy: str) -> bool:
    entries = re.split(r"[,\s]+", no_proxy.lower())
    return any(entry and _names(entry, host.lower(), port) for entry in entries)


def _names(entry: str, host: str, port: int) -> bool:
    """Whether an entry of NO_PROXY is, or holds, this host."""
    if entry == "*":
        return True
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(entry.strip("[]"), strict=False)
    except ValueError:
        pass  # a name on one side or on both
    name, colon, wanted = entry.rpartition(":")
    if colon and wanted.isdecimal():
        return int(wanted) == port and _names(name, host, port)
    name = entry.removeprefix("*").strip(".")
    return bool(name) and (host == name or host.endswith(f".{name}"))
