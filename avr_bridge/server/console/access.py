"""Where the console is, who may have it, and which web pages may place a call. Pure.

Two dangers. Without a secret, whoever reaches the port would see the settings and talk at our
cost: so without one only this very machine is served. And a browser on this machine runs pages of
strangers, which may send requests to it as well (cross-site requests; DNS rebinding, by which a
stranger's name becomes our address): so the name by which we are asked has to be this machine's,
and the page that asks has to be our own. A browser tells both, and no page can make it lie.

Whoever has AVR_TOKEN is trusted from anywhere: it comes in a header that a foreign page may not
send, or in an address that it does not know.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import attrs

from avr_bridge.proxies import is_loopback

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["CONSOLE_PATH", "Asked", "may_call", "why_not_served"]

CONSOLE_PATH = "/console"

FORWARDED_BY = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via")
"""Headers of proxies. One on this machine would make the whole world look local. One that adds none
cannot be told from a browser, but for those that speak HTTP/1.0, as nginx long did."""

ELSEWHERE = (
    "The console is served to this very machine only, unless AVR_TOKEN is set. "
    "Set it, and the console may be opened from elsewhere."
)
PROXIED = "The console is served through a proxy only if AVR_TOKEN is set."
OTHER_NAME = (
    "Without AVR_TOKEN the console answers only to this machine's own names, such as localhost."
)
OTHER_PAGE = "The console answers only to its own page."


@attrs.frozen
class Asked:
    """What a request says of who asks.

    Attributes:
        address: Of the peer.
        host: The header ``Host``: the name by which we were found.
        origin: The header ``Origin``: the page that asks. A browser sends it with every WebSocket
            and with what changes something; None where there is none.
        fetch_site: The header ``Sec-Fetch-Site``, how that page is related to us.
        forwarded: Whether a proxy passed the request on.
    """

    address: str
    host: str
    origin: str | None = None
    fetch_site: str | None = None
    forwarded: bool = False

    @classmethod
    def of(cls, scope: Mapping[str, Any]) -> Asked:
        """From a request's ASGI scope."""
        address, *_ = scope.get("client") or ("",)
        headers = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]
        }
        return cls(
            str(address),
            headers.get("host", ""),
            headers.get("origin"),
            headers.get("sec-fetch-site"),
            scope.get("http_version") == "1.0" or not headers.keys().isdisjoint(FORWARDED_BY),
        )

    @property
    def by_own_page(self) -> bool:
        """Whether it comes from no page, or from one that we served."""
        if self.fetch_site not in (None, "same-origin", "none"):
            return False
        if self.origin is None:
            return True
        try:
            parts = urlsplit(self.origin)
        except ValueError:
            return False
        return parts.scheme in ("http", "https") and parts.netloc.lower() == self.host.lower()


def why_not_served(asked: Asked, *, token_set: bool, data: bool = False) -> str | None:
    """Why the console is not for this one; None if it is. With AVR_TOKEN that has to be given as
    well, which is not looked at here.

    Args:
        token_set: Whether AVR_TOKEN is set.
        data: Whether more is asked for than the page itself, which holds nothing of ours and to
            which any page may link.
    """
    if token_set:
        return None
    if not _is_this_machine(asked.address):
        return ELSEWHERE
    if asked.forwarded:
        return PROXIED
    if not _names_this_machine(asked.host):
        return OTHER_NAME
    if data and not asked.by_own_page:
        return OTHER_PAGE
    return None


def may_call(asked: Asked, *, token_set: bool, console_on: bool) -> bool:
    """Whether a call may come from where it comes from. avr-core is no page and names none; a
    stranger's page would talk at our cost, and through our tools, in a browser on this machine.

    Args:
        token_set: Whether AVR_TOKEN is set; then it was given.
        console_on: Whether the console is served, whose page places calls.
    """
    if token_set or (asked.origin is None and asked.by_own_page):
        return True
    return console_on and why_not_served(asked, token_set=False, data=True) is None


def _is_this_machine(address: str) -> bool:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return (mapped or parsed).is_loopback


def _names_this_machine(host: str) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname
    except ValueError:
        return False
    return name is not None and is_loopback(name)
