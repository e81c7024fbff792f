"""The Quart-Trio endpoint: avr-core's transports, Asterisk's own and the health check, on one port.

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
from avr_bridge.call.leg_control import LegControl
from avr_bridge.call.running import RunningCalls
from avr_bridge.call.session import run_call
from avr_bridge.caller.chan_websocket import SUBPROTOCOL, ChanWebsocketTransport
from avr_bridge.caller.http_stream import BoundedRequest, HttpStreamTransport, SpeechStreamBody
from avr_bridge.caller.metadata import bounded
from avr_bridge.caller.protocol import call_id_of
from avr_bridge.caller.transport import ErrorOut, Peer
from avr_bridge.caller.websocket import BoundedWebsocket, WebsocketTransport
from avr_bridge.errors import CallerGone, ConfigError
from avr_bridge.server.admission import RETRY_AFTER_S, Admission, CallRefused
from avr_bridge.server.console.access import Asked, may_call
from avr_bridge.server.console.console import Console
from avr_bridge.server.console.routes import add_console
from avr_bridge.server.lobby import Lobby
from avr_bridge.server.metrics import MetricsPage
from avr_bridge.server.pages import PageBudget
from avr_bridge.server.token import TOKEN_PARAMETER, is_admitted, without_token
from avr_bridge.telemetry import SeldomLog, get_logger
from avr_bridge.telemetry.budget import price_faults
from avr_bridge.telemetry.metrics_text import CONTENT_TYPE
from avr_bridge.tools import AmiClient, LegId, load_tools, manager_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from quart.wrappers.base import BaseRequestWebsocket
    from quart_trio.wrappers import TrioWebsocket

    from avr_bridge.call.ending import CallSummary
    from avr_bridge.call.toolwork import CallControl
    from avr_bridge.caller.audiosocket import AudioSocketTransport
    from avr_bridge.caller.transport import CallerTransport
    from avr_bridge.config import BridgeConfig, Secret
    from avr_bridge.server.model_probe import ModelProbe
    from avr_bridge.telemetry.journal import Listener
    from avr_bridge.upstream.client import Dial

__all__ = ["CARRY_LEG", "create_app"]

CARRY_LEG = "avr_bridge.carry_leg"
"""Among the app's extensions: carries one call of AudioSocket, whose port is not HTTP's."""

STREAM_PATH = "/speech-to-speech-stream"
"""Of avr-core's older transport."""

ASTERISK_PATH = "/asterisk/media"
"""Of Asterisk's chan_websocket."""

HANGUP_LIMIT_S = 1.0
"""For a call to end by itself once its handler is cancelled."""

TRY_AGAIN_LATER = 1013
"""WebSocket close code for a call that is refused (IANA's registry)."""

UNTIL_END = "avr_bridge.until_end"
"""In the scope of an HTTP request: what is left when its response has ended, not its handler."""

ABOUT = """avr-bridge: speech-to-speech bridge for Agent Voice Response.

WebSocket  ws://{host}/
HTTP       POST http://{host}/speech-to-speech-stream
Asterisk   ws://{host}/asterisk/media
Health     GET /healthz
Readiness  GET /readyz
Metrics    GET /metrics
"""
ABOUT_CONSOLE = "Console    GET /console\n"


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
    probe: ModelProbe | None = None,
    listeners: Sequence[Listener] = (),
    metrics: MetricsPage | None = None,
    console: Console | None = None,
) -> QuartTrio:
    """The bridge as an ASGI application; `serve` runs it, and any Trio ASGI server may.

    Args:
        config: All settings.
        admission: Who lets calls in; default: one of its own, without a measure of lag.
        running: Where the calls are found that run; default: a list of its own.
        dial: Replaces the network toward the model.
        on_call_ended: Told the summary of each call; must not raise or block.
        probe: Says whether the model answers, for ``/readyz``; whoever made it runs it.
        listeners: Told what happens in each call, as `run_call`'s are.
        metrics: What ``/metrics`` tells; default: of this application's calls.
        console: What the console shows, if the settings want one; default: one of its own.

    Raises:
        ConfigError: There is a limit of cost and no price, or the list of prices, or certificates
            that the environment names, cannot be read.
    """
    if faults := price_faults(config):
        raise ConfigError(faults)
    door, running = admission or Admission(config.server), running or RunningCalls()
    metrics = metrics or MetricsPage(door, running, config.server.max_calls)
    lobby, seldom = Lobby(), SeldomLog()
    if config.server.console:
        console = console or Console(config, door)
        listeners = (*listeners, console.hear)
    app = QuartTrio("avr_bridge")
    app.asgi_http_class = _HttpConnection
    app.asgi_app = PageBudget(app.asgi_app, _is_page)  # type: ignore[method-assign]
    app.request_class = BoundedRequest
    app.websocket_class = BoundedWebsocket
    check_recorded_greeting(config.talk, get_logger())
    toolbox = load_tools(config.tools)
    metrics.metrics.know_tools(tool.name for tool in toolbox.loaded)
    for problem in toolbox.problems:
        get_logger().warning("a tool could not be loaded", problem=problem)
    # A call lasts for hours and megabytes: Quart's limits would cut it silently.
    app.config["MAX_CONTENT_LENGTH"] = None
    app.config["BODY_TIMEOUT"] = None

    manager = manager_of(config.tools)

    async def carry(transport: CallerTransport, control: CallControl | None = None) -> None:
        try:
            await run_call(
                transport,
                config,
                dial=dial,
                toolbox=toolbox,
                control=control,
                on_ended=on_call_ended,
                running=running,
                listeners=[metrics.metrics.take, *listeners],
            )
        except CallFailed:
            return  # logged where it happened, with its causes

    async def carry_leg(transport: AudioSocketTransport) -> None:
        leg = partial(LegId, uuid=transport.uuid)
        ami = AmiClient(config.tools.ami_url)
        await carry(transport, LegControl(transport.hang_up, leg, manager, ami))

    app.extensions[CARRY_LEG] = carry_leg

    def admitted(asked: BaseRequestWebsocket, secret: Secret | None) -> bool:
        authorization = asked.headers.get("Authorization", "")
        return is_admitted(secret, authorization, asked.args.getlist(TOKEN_PARAMETER))

    def page_refusal(asked: BaseRequestWebsocket, transport: str) -> Response | None:
        token_set, console_on = config.server.token is not None, config.server.console
        if may_call(Asked.of(asked.scope), token_set=token_set, console_on=console_on):
            return None
        metrics.metrics.refuse("page")
        return _not_from_a_page(transport, seldom)

    @app.before_websocket
    async def no_strange_page_calls() -> Response | None:
        return page_refusal(websocket, "websocket")

    @app.before_request
    async def no_strange_page_streams() -> Response | None:
        return page_refusal(request, "http") if request.path == STREAM_PATH else None

    @app.websocket("/")
    @app.websocket("/<path:_path>")
    async def websocket_call(_path: str = "") -> Response | None:
        connection = cast("TrioWebsocket", websocket._get_current_object())
        if not admitted(connection, config.server.token):
            metrics.metrics.refuse("token")
            return _no_entry("websocket", seldom)
        if SUBPROTOCOL in connection.requested_subprotocols:
            return _not_there(seldom)
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
            metrics.metrics.refuse(refused.why)
            seldom.warning("call refused", reason=str(refused))
            with suppress(CallerGone):
                await transport.send(ErrorOut(str(refused)))
                await transport.close(TRY_AGAIN_LATER, str(refused))
        return None

    @app.websocket(ASTERISK_PATH)
    async def asterisk_call() -> Response | None:
        """A refusal comes before the upgrade, so that Dial() has not answered and the dialplan can
        go on elsewhere."""
        connection = cast("TrioWebsocket", websocket._get_current_object())
        if not admitted(connection, config.server.token):
            metrics.metrics.refuse("token")
            return _no_entry("chan_websocket", seldom)
        offered = connection.requested_subprotocols
        try:
            with door.call(), ExitStack() as until_end:
                await connection.accept(subprotocol=SUBPROTOCOL if SUBPROTOCOL in offered else None)
                peer = Peer.of(connection.scope)
                leave = partial(lobby.leave, peer)
                transport = ChanWebsocketTransport(
                    connection, _bounded(connection.args), peer, leave
                )
                lobby.enter(peer)
                until_end.callback(leave)
                control = LegControl(
                    transport.hang_up, lambda: LegId(transport.channel_id), manager
                )
                await _through_hangup(partial(carry, transport, control))
        except CallRefused as refused:
            metrics.metrics.refuse(refused.why)
            return _refused(refused, seldom)
        return None

    @app.post(STREAM_PATH)
    async def http_call() -> Response:
        if not admitted(request, config.server.token):
            metrics.metrics.refuse("token")
            return _no_entry("http", seldom)
        try:
            cast("Any", request.scope)[UNTIL_END].enter_context(door.call())
        except CallRefused as refused:
            metrics.metrics.refuse(refused.why)
            return _refused(refused, seldom)
        call_id = call_id_of(request.headers.get("X-UUID", "")) or str(uuid.uuid4())
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
        text = ABOUT.format(host=request.host) + (ABOUT_CONSOLE if config.server.console else "")
        return text, {"Content-Type": "text/plain; charset=utf-8"}

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
        """Whether a new call would be let in, and answered: for load balancers."""
        why_not = door.refusal_of_all() or (probe.why_not if probe else None)
        return ({"status": "ready"}, 200) if why_not is None else ({"status": why_not}, 503)

    @app.get("/metrics")
    async def numbers() -> Response:
        """What Prometheus collects, of all workers."""
        secret = config.server.metrics_token or config.server.token
        if not admitted(request, secret):
            return _no_entry("metrics", seldom)
        return Response(metrics.text(), content_type=CONTENT_TYPE)

    if console is not None:
        add_console(app, console, config.server.token)
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


def _not_from_a_page(transport: str, seldom: SeldomLog) -> Response:
    """A stranger's page in a browser that reaches us: it may not talk at our cost."""
    seldom.warning("caller refused: a web page that is not the console", transport=transport)
    words = "Web pages may place calls only from the console (AVR_CONSOLE), or with AVR_TOKEN.\n"
    headers = {"Connection": "close"}
    return Response(words, 403, headers, content_type="text/plain; charset=utf-8")


def _no_entry(transport: str, seldom: SeldomLog) -> Response:
    """No AVR_TOKEN, no call. A WebSocket is refused before it is one: Node's `ws` then says
    "Unexpected server response: 401"."""
    seldom.warning("caller refused: no token, or a wrong one", transport=transport)
    headers = {"WWW-Authenticate": "Bearer", "Connection": "close"}
    return Response("A token is needed.\n", 401, headers, content_type="text/plain; charset=utf-8")


def _not_there(seldom: SeldomLog) -> Response:
    """chan_websocket at avr-core's paths: it would wait for a call that never begins, and so would
    the caller. Refused before the upgrade, `Dial()` has not answered."""
    words = f"chan_websocket is served at {ASTERISK_PATH}"
    seldom.warning("caller refused: Asterisk at another path", expected=ASTERISK_PATH)
    headers = {"Connection": "close"}
    return Response(f"{words}\n", 404, headers, content_type="text/plain; charset=utf-8")


def _refused(why: CallRefused, seldom: SeldomLog) -> Response:
    seldom.warning("call refused", reason=str(why))
    return Response(f"{why}\n", 503, {"Retry-After": str(RETRY_AFTER_S)})


def _bounded(values: Mapping[str, str]) -> dict[str, str]:
    return bounded(without_token(values))
