"""The Quart-Trio endpoint: both of avr-core's transports and the health check, on one port.

Each request to a transport becomes one call; the call itself is `call/session.py`'s.
"""

from __future__ import annotations

import uuid
from contextlib import ExitStack, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import trio
from quart import Response, request, websocket
from quart_trio import QuartTrio
from quart_trio.asgi import TrioASGIHTTPConnection
from werkzeug.routing.exceptions import WebsocketMismatch

from avr_bridge.call.ending import CallFailed
from avr_bridge.call.greeting import check_recorded_greeting
from avr_bridge.call.session import run_call
from avr_bridge.caller.http_stream import BoundedRequest, HttpStreamTransport, SpeechStreamBody
from avr_bridge.caller.protocol import LONGEST_UUID_CHARS
from avr_bridge.caller.transport import ErrorOut, Peer
from avr_bridge.caller.websocket import BoundedWebsocket, WebsocketTransport
from avr_bridge.errors import CallerGone
from avr_bridge.server.admission import RETRY_AFTER_S, Admission, CallRefused
from avr_bridge.server.lobby import Lobby
from avr_bridge.server.pages import PageBudget
from avr_bridge.server.token import TOKEN_PARAMETER, is_admitted, without_token
from avr_bridge.telemetry import SeldomLog, get_logger
from avr_bridge.tools import load_tools

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from quart.wrappers.base import BaseRequestWebsocket
    from quart_trio.wrappers import TrioWebsocket

    from avr_bridge.call.ending import CallSummary
    from avr_bridge.call.running import RunningCalls
    from avr_bridge.caller.transport import CallerTransport
    from avr_bridge.config import BridgeConfig
    from avr_bridge.upstream.client import Dial

__all__ = ["create_app"]

STREAM_PATH = "/speech-to-speech-stream"
"""Of avr-core's older transport."""

HANGUP_LIMIT_S = 1.0
"""For a call to end by itself once its handler is cancelled."""

TRY_AGAIN_LATER = 1013
"""WebSocket close code for a call that is refused (IANA's registry)."""

UNTIL_END = "avr_bridge.until_end"
"""In the scope of an HTTP request: what is left when its response has ended, not its handler."""

MOST_METADATA = 32
LONGEST_METADATA_CHARS = 512
"""Query parameters kept for a call. Free-form keys from outside: bounded, and only ever text."""

ABOUT = """avr-bridge: speech-to-speech bridge for Agent Voice Response.

WebSocket  ws://{host}/
HTTP       POST http://{host}/speech-to-speech-stream
Health     GET /healthz
Readiness  GET /readyz
"""


def _is_page(scope: Any) -> bool:
    return bool(scope["type"] == "http" and scope["path"] != STREAM_PATH)


class _HttpConnection(TrioASGIHTTPConnection):
    async def __call__(self, receive: Any, send: Any) -> None:
        with ExitStack() as until_end:
            cast("Any", self.scope)[UNTIL_END] = until_end
            await super().__call__(receive, send)


def create_app(
    config: BridgeConfig,
    *,
    admission: Admission | None = None,
    running: RunningCalls | None = None,
    dial: Dial | None = None,
    on_call_ended: Callable[[CallSummary], None] | None = None,
) -> QuartTrio:
    """The bridge as an ASGI application; `serve` runs it, and any Trio ASGI server may.

    Args:
        config: All settings.
        admission: Who lets calls in; default: one of its own, without a measure of lag.
        running: Where the calls are found that run; default: nowhere.
        dial: Replaces the network toward the model.
        on_call_ended: Told the summary of each call; must not raise or block.

    Raises:
        ConfigError: The environment names certificates that cannot be read.
    """
    door = admission or Admission(config.server)
    lobby, seldom = Lobby(), SeldomLog()
    app = QuartTrio("avr_bridge")
    app.asgi_http_class = _HttpConnection
    app.asgi_app = PageBudget(app.asgi_app, _is_page)  # type: ignore[method-assign]
    app.request_class = BoundedRequest
    app.websocket_class = BoundedWebsocket
    check_recorded_greeting(config.talk, get_logger())
    toolbox = load_tools(config.tools)
    for problem in toolbox.problems:
        get_logger().warning("a tool could not be loaded", problem=problem)
    # A call lasts for hours and megabytes: Quart's limits would cut it silently.
    app.config["MAX_CONTENT_LENGTH"] = None
    app.config["BODY_TIMEOUT"] = None

    async def carry(transport: CallerTransport) -> None:
        try:
            await run_call(
                transport,
                config,
                dial=dial,
                toolbox=toolbox,
                on_ended=on_call_ended,
                running=running,
            )
        except CallFailed:
            return  # logged where it happened, with its causes

    def admitted(asked: BaseRequestWebsocket) -> bool:
        authorization = asked.headers.get("Authorization", "")
        queried = asked.args.getlist(TOKEN_PARAMETER)
        return is_admitted(config.server.token, authorization, queried)

    @app.websocket("/")
    @app.websocket("/<path:_path>")
    async def websocket_call(_path: str = "") -> Response | None:
        connection = cast("TrioWebsocket", websocket._get_current_object())
        if not admitted(connection):
            return _no_entry("websocket", seldom)
        await connection.accept()
        peer = Peer.of(connection.scope)
        leave = partial(lobby.leave, peer)
        transport = WebsocketTransport(connection, _bounded(connection.args), peer, leave)
        try:
            with door.call(), ExitStack() as until_end:
                lobby.enter(peer)
                until_end.callback(leave)
                await _through_hangup(partial(carry, transport))
        except CallRefused as refused:
            seldom.warning("call refused", reason=str(refused))
            with suppress(CallerGone):
                await transport.send(ErrorOut(str(refused)))
                await transport.close(TRY_AGAIN_LATER, str(refused))
        return None

    @app.post(STREAM_PATH)
    async def http_call() -> Response:
        if not admitted(request):
            return _no_entry("http", seldom)
        try:
            cast("Any", request.scope)[UNTIL_END].enter_context(door.call())
        except CallRefused as refused:
            seldom.warning("call refused", reason=str(refused))
            return Response(f"{refused}\n", 503, {"Retry-After": str(RETRY_AFTER_S)})
        call_id = request.headers.get("X-UUID", "")[:LONGEST_UUID_CHARS] or str(uuid.uuid4())
        peer = Peer.of(request.scope)
        transport = HttpStreamTransport(request.body, call_id, _bounded(request.args), peer)
        response = Response("", content_type="application/octet-stream")
        response.headers["Cache-Control"] = "no-cache"
        del response.headers["Content-Length"]
        response.response = SpeechStreamBody(
            transport, lambda caller: _through_hangup(partial(carry, caller))
        )
        response.timeout = None
        return response

    @app.get("/")
    async def about() -> tuple[str, dict[str, str]]:
        return ABOUT.format(host=request.host), {"Content-Type": "text/plain; charset=utf-8"}

    @app.errorhandler(WebsocketMismatch)
    async def not_here(_error: WebsocketMismatch) -> tuple[str, int, dict[str, str]]:
        """Every path serves WebSockets, so an unknown page would look like a bad request."""
        return "Not found. See /.\n", 404, {"Content-Type": "text/plain; charset=utf-8"}

    @app.get("/healthz")
    async def health() -> dict[str, Any]:
        """That the process lives, with what tells of leaks when it is watched for a long time."""
        tasks = trio.lowlevel.current_statistics().tasks_living
        return {"status": "ok", "calls": door.calls, "tasks": tasks}

    @app.get("/readyz")
    async def ready() -> tuple[dict[str, Any], int]:
        """Whether a new call would be let in: for load balancers."""
        why_not = door.refusal_of_all()
        return ({"status": "ready"}, 200) if why_not is None else ({"status": why_not}, 503)

    return app


async def _through_hangup(call: Callable[[], Awaitable[None]]) -> None:
    """Let a call end by itself where Quart-Trio cancels its handler.

    On a hangup all of the handler is cancelled at once, the model's connection included, which
    could then not be closed politely. The call hears of the hangup by itself and needs
    milliseconds; a cancellation that it hears nothing of (a server that stops) comes through
    after `HANGUP_LIMIT_S`.
    """
    async with trio.open_nursery() as nursery:
        kept = trio.CancelScope(shield=True)
        nursery.start_soon(_limit_when_cancelled, kept)
        with kept:
            await call()
        nursery.cancel_scope.cancel()


async def _limit_when_cancelled(kept: trio.CancelScope) -> None:
    try:
        await trio.sleep_forever()
    finally:
        kept.deadline = trio.current_time() + HANGUP_LIMIT_S


def _no_entry(transport: str, seldom: SeldomLog) -> Response:
    """No AVR_TOKEN, no call. A WebSocket is refused before it is one: Node's `ws` then says
    "Unexpected server response: 401"."""
    seldom.warning("caller refused: no token, or a wrong one", transport=transport)
    headers = {"WWW-Authenticate": "Bearer", "Connection": "close"}
    return Response("A token is needed.\n", 401, headers, content_type="text/plain; charset=utf-8")


def _bounded(values: Mapping[str, str]) -> dict[str, str]:
    kept = list(without_token(values).items())[:MOST_METADATA]
    return {key[:LONGEST_METADATA_CHARS]: value[:LONGEST_METADATA_CHARS] for key, value in kept}
