"""The console's paths: the page and its files, the feed, the settings. All else is elsewhere.

The files ship in the package and are read once. Nothing is fetched from another host, and the
page's policy forbids it.
"""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING, Any

import msgspec
from quart import Response, request

from avr_bridge.server.console.access import CONSOLE_PATH, Asked, why_not_served
from avr_bridge.server.token import TOKEN_PARAMETER, is_admitted
from avr_bridge.telemetry import SeldomLog

if TYPE_CHECKING:
    from quart_trio import QuartTrio

    from avr_bridge.config import Secret
    from avr_bridge.server.console.console import Console

__all__ = ["add_console"]

CONTENT_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""No script, style, picture or connection but from here; in no frame of anybody."""

HEADERS = {
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-cache",
}

PLAIN = "text/plain; charset=utf-8"


def add_console(app: QuartTrio, console: Console, token: Secret | None) -> None:
    """Add the console's routes.

    Args:
        app: The application.
        console: What the page is told.
        token: The secret of AVR_TOKEN, if there is one.
    """
    page, seldom = _page(), SeldomLog()

    def refusal(*, data: bool) -> Response | None:
        asked = Asked.of(request.scope)
        why_not = why_not_served(asked, token_set=token is not None, data=data)
        if why_not is not None:
            seldom.warning("console refused", reason=why_not)
            return _answer(f"{why_not}\n", 403, PLAIN)
        authorization = request.headers.get("Authorization", "")
        if data and not is_admitted(token, authorization, request.args.getlist(TOKEN_PARAMETER)):
            return _answer("A token is needed.\n", 401, PLAIN)
        return None

    @app.get(CONSOLE_PATH)
    async def console_page() -> Response:
        return refusal(data=False) or _answer(page["index.html"], 200, CONTENT_TYPES[".html"])

    @app.get(f"{CONSOLE_PATH}/")
    async def console_folder() -> Response:
        """Addresses in the page count from where it stands: it is served at one place."""
        response = refusal(data=False) or _answer("", 307, PLAIN)
        if response.status_code == 307:
            query = request.query_string.decode("latin-1")
            # Relative: a proxy may have put the bridge under a path of its own.
            response.headers["Location"] = f"..{CONSOLE_PATH}" + (f"?{query}" if query else "")
        return response

    @app.get(f"{CONSOLE_PATH}/<name>")
    async def console_file(name: str) -> Response:
        refused = refusal(data=False)
        if refused is not None or name not in page:
            return refused or _answer("Not found.\n", 404, PLAIN)
        return _answer(page[name], 200, CONTENT_TYPES[name[name.rindex(".") :]])

    @app.get(f"{CONSOLE_PATH}/settings")
    async def console_settings() -> Response:
        refused = refusal(data=True)
        if refused is not None:
            return refused
        response = _answer(msgspec.json.encode(console.settings()), 200, "application/json")
        response.headers["Cache-Control"] = "no-store"
        return response

    @app.get(f"{CONSOLE_PATH}/feed")
    async def console_feed() -> Response:
        refused = refusal(data=True)
        if refused is not None:
            return refused
        if not console.feed.has_room:
            return _answer("Too many pages watch already.\n", 503, PLAIN)
        response = _answer("", 200, "text/event-stream")
        response.headers["Cache-Control"] = "no-store"
        response.headers["Connection"] = "close"  # a process that ends would wait for it
        response.headers["X-Accel-Buffering"] = "no"  # nginx would keep it back
        del response.headers["Content-Length"]
        response.response = console.body()
        response.timeout = None
        return response


def _page() -> dict[str, bytes]:
    """The page's files by name."""
    folder = files("avr_bridge.server.console") / "page"
    return {
        file.name: file.read_bytes()
        for file in folder.iterdir()
        if file.name[file.name.rfind(".") :] in CONTENT_TYPES
    }


def _answer(body: Any, status: int, content_type: str) -> Response:
    return Response(body, status, HEADERS, content_type=content_type)
