"""`serve`: the app under Hypercorn, in the caller's own Trio program.

Hypercorn's settings and its signals stand here; the routes are `app.py`'s.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import trio
from hypercorn.config import Config as HypercornConfig

from avr_bridge.call.farewell import clip_of
from avr_bridge.call.running import RunningCalls
from avr_bridge.caller.websocket import MAX_MESSAGE_CHARS
from avr_bridge.net.rhythm import run_rhythm
from avr_bridge.server.admission import Admission
from avr_bridge.server.app import CARRY_LEG, create_app
from avr_bridge.server.audiosocket import AudioSocketServer
from avr_bridge.server.console.console import Console
from avr_bridge.server.drain import drain
from avr_bridge.server.guard import serve_guarded
from avr_bridge.server.metrics import MetricsPage
from avr_bridge.server.model_probe import ModelProbe
from avr_bridge.server.sockets import BACKLOG, listen_tcp
from avr_bridge.server.webhook import CallWebhook

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from avr_bridge.call.ending import CallSummary
    from avr_bridge.config import BridgeConfig, ServerConfig
    from avr_bridge.server.sockets import PatientListener
    from avr_bridge.server.workers import Worker
    from avr_bridge.telemetry.journal import Listener
    from avr_bridge.upstream.client import Dial

__all__ = ["serve"]

EVENTS_WAITING = 4
"""Messages or pieces of a body between Hypercorn's reader and Quart's; with the longest ones
4 MiB."""

GRACEFUL_S = 1.5
"""From the end of the drain until what still stands is cut: a call's own goodbye takes one second
at the most, and the peer has to take off the close. With the default of AVR_DRAIN_S all is over
within the 10 s that ``docker stop`` gives."""


async def serve(
    config: BridgeConfig,
    *,
    dial: Dial | None = None,
    shutdown: Callable[[], Awaitable[None]] | None = None,
    hurry: Callable[[], Awaitable[None]] | None = None,
    on_call_ended: Callable[[CallSummary], None] | None = None,
    listeners: Sequence[Listener] = (),
    task_status: trio.TaskStatus[list[str]] = trio.TASK_STATUS_IGNORED,
    worker: Worker | None = None,
) -> None:
    """Serve calls until cancelled, or until they have ended after `shutdown` returned.

    When `shutdown` returns, the drain begins: ``/readyz`` answers 503, new calls are refused, and
    running ones get ``config.server.drain_s`` seconds to end by themselves. What outlives them
    hears a farewell and is closed with 1001, `EndReason.BRIDGE_STOPPED`. A program that wants none
    of this sets ``drain_s`` to 0, and all calls are closed at once; one that cancels `serve`
    gets them closed within two seconds as `EndReason.CANCELLED`.

    Args:
        config: All settings; ``config.server`` says where to listen (port 0: any free one).
        dial: Replaces the network toward the model.
        shutdown: Returns when the drain is to begin.
        hurry: Called when the drain begins; when it returns, the calls that are left end at once.
        on_call_ended: Told the summary of each call; must not raise or block.
        listeners: Told what happens in each call, as `run_call`'s are.
        task_status: Gets the addresses, such as ``["http://0.0.0.0:6030"]``, once the ports
            accept calls; the one for AudioSocket comes last, as ``"audiosocket://0.0.0.0:6031"``.
        worker: This process' part among several that share the port, as `avr-bridge serve` starts
            them; they listen where their parent does.

    Raises:
        OSError: The port cannot be had.
    """
    seat = worker.seat if worker else None
    admission = Admission(config.server, seat)
    running = RunningCalls()
    metrics = MetricsPage(admission, running, config.server.max_calls, seat)
    farewell_pcm = clip_of(config.server.farewell_file, "farewell")
    clip_of(config.talk.fallback_file, "fallback")  # a bad one is logged now, not in an outage
    webhook = _webhook_of(config, metrics)
    probe = ModelProbe(config.model, dial=dial) if config.server.ready_checks_model else None
    console = None
    if config.server.console:
        console = Console(config, admission, seat)
    app = create_app(
        config,
        admission=admission,
        running=running,
        dial=dial,
        on_call_ended=on_call_ended,
        probe=probe,
        listeners=[*listeners, webhook.listen] if webhook else listeners,
        metrics=metrics,
        console=console,
    )
    drained = trio.Event()
    drained_s = math.inf

    async def wait_drained() -> None:
        nonlocal drained_s
        await (shutdown or trio.sleep_forever)()
        await drain(running, admission, config.server.drain_s, farewell_pcm, hurry)
        drained.set()
        drained_s = trio.current_time()
        if console is not None:
            console.close()  # its pages would wait until they are cut

    failures: list[BaseException] = []
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(admission.watch_lag)
            nursery.start_soon(metrics.write_regularly)
            nursery.start_soon(run_rhythm, config.server.batch_ms)
            if probe is not None:
                nursery.start_soon(probe.run)
            if webhook is not None:
                nursery.start_soon(webhook.run)
            async with trio.open_nursery() as serving:
                if config.server.audiosocket_port is not None:
                    audiosocket = AudioSocketServer(
                        app.extensions[CARRY_LEG],
                        admission,
                        config.server.audiosocket_codec,
                        refused=metrics.metrics.refuse,
                        worker=worker,
                    )
                    ports, addresses = await _listen_audiosocket(config.server, worker)
                    serving.start_soon(audiosocket.serve, ports, drained.wait, GRACEFUL_S)
                    task_status = _With(task_status, addresses)
                await serve_guarded(
                    app,
                    _hypercorn_config(config),
                    shutdown_trigger=wait_drained,
                    task_status=task_status,
                    worker=worker,
                )
            if webhook is not None:
                await webhook.finish(min(drained_s, trio.current_time()) + GRACEFUL_S)
            nursery.cancel_scope.cancel()
    except* OSError as group:
        failures = _leaves(group)
    finally:
        metrics.close()
    if failures:
        raise failures[0]


async def _listen_audiosocket(
    config: ServerConfig, worker: Worker | None
) -> tuple[list[PatientListener], list[str]]:
    assert config.audiosocket_port is not None
    if worker is not None:
        listeners, addresses = worker.listen_audiosocket()
    else:
        listeners, addresses = await listen_tcp(config.host, config.audiosocket_port)
    return listeners, [f"audiosocket://{address}" for address in addresses]


class _With(trio.TaskStatus[list[str]]):
    """Tells of more addresses than it is told."""

    def __init__(self, told: trio.TaskStatus[list[str]], more: list[str]) -> None:
        self._told = told
        self._more = more

    def started(self, value: list[str] | None = None) -> None:
        self._told.started([*(value or []), *self._more])


def _webhook_of(config: BridgeConfig, metrics: MetricsPage) -> CallWebhook | None:
    if config.log.webhook is None:
        return None
    secret, count = config.log.webhook_secret, metrics.metrics.count_record
    return CallWebhook(config.log.webhook, secret, count=count)


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    found: list[BaseException] = []
    for inner in group.exceptions:
        found += _leaves(inner) if isinstance(inner, BaseExceptionGroup) else [inner]
    return found


def _hypercorn_config(config: BridgeConfig) -> HypercornConfig:
    host = f"[{config.server.host}]" if ":" in config.server.host else config.server.host
    hypercorn_config = HypercornConfig()
    hypercorn_config.bind = [f"{host}:{config.server.port}"]
    hypercorn_config.backlog = BACKLOG
    hypercorn_config.graceful_timeout = GRACEFUL_S
    hypercorn_config.websocket_max_message_size = MAX_MESSAGE_CHARS
    hypercorn_config.max_app_queue_size = EVENTS_WAITING
    hypercorn_config.include_server_header = False
    hypercorn_config.accesslog = None
    hypercorn_config.errorlog = None
    return hypercorn_config
