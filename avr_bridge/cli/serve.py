"""``avr-bridge serve``: read the environment, listen, carry calls, end on a signal.

Alone, as the parent of several worker processes, or as one of them.
"""

from __future__ import annotations

import contextlib
import gc
import os
import resource
import signal
import sys
import threading
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn, cast

import attrs
import click
import structlog
import trio

from avr_bridge import early_signals
from avr_bridge.config import BridgeConfig, Reading
from avr_bridge.errors import ConfigError
from avr_bridge.sections import MOST_WORKERS
from avr_bridge.server.console.announce import announce_console
from avr_bridge.server.workers_parent import WorkersParent, usable_cores
from avr_bridge.server.workers_place import worker_command
from avr_bridge.telemetry import configure_logging, get_logger
from avr_bridge.telemetry.budget import price_faults
from avr_bridge.telemetry.prices import prices_file_fault

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping

__all__ = ["config_of", "config_or_exit", "serve"]

EXIT_USAGE = 2

MOST_DESCRIPTORS = 65_536

LEAVE_S = 1.0
"""For the process to end by itself when its work is done: it takes milliseconds."""


@click.command()
@click.option("--host", help="Address to listen on, instead of AVR_HOST.")
@click.option("--port", type=click.IntRange(0, 65535), help="Port, instead of PORT.")
@click.option(
    "--workers",
    metavar="NUMBER",
    help="Processes that share the port, instead of AVR_WORKERS. auto: one for each core.",
)
@click.option("--worker", hidden=True, help="One of them; only their parent knows what to give.")
def serve(host: str | None, port: int | None, workers: str | None, worker: str | None) -> None:
    """Run the bridge. All other settings come from the environment.

    SIGTERM or SIGINT begins the drain: no new calls, and running ones get AVR_DRAIN_S seconds; a
    second one ends them at once. Before there can be calls a signal ends the process at once.
    Then the exit code is 0. It is 1 if the port cannot be had or by a bug, 2 if a setting cannot
    be.
    """
    config = config_or_exit(os.environ)
    server = config.server
    try:
        server = attrs.evolve(
            cast("Any", server),
            host=host or server.host,
            port=server.port if port is None else port,
            workers=server.workers if workers is None else workers,
        )
    except ConfigError as error:
        _exit_for(error)
    config = attrs.evolve(config, server=server)
    if worker is not None:
        structlog.contextvars.bind_contextvars(worker=int(worker.partition("/")[0]))
    configure_logging(config.log, mask=config.mask(), background=True)
    log = get_logger()
    if worker is None:
        for warning in config.warnings:
            log.warning(warning)
    try:
        _have_descriptors()
        early_signals.heed()  # as before, unless a program of its own calls this
        count = 1 if worker is not None else server.workers or min(usable_cores(), MOST_WORKERS)
        if count > 1:
            sys.exit(_serve_by_workers(config, count))
        serve_one = partial(_serve_as_worker, words=worker) if worker else _serve_until_signal
        with _last_resort() as leave_soon:
            trio.run(serve_one, config, leave_soon)
    except ConfigError as error:
        _exit_for(error)
    except OSError as error:
        address = error.filename or f"{server.host}:{server.port}"
        click.echo(f"avr-bridge: cannot listen on {address}: {error.strerror or error}", err=True)
        sys.exit(1)
    except Exception as error:
        # Python's own last words would go past the mask.
        log.critical("bug in the bridge", exc_info=error)
        sys.exit(1)


def config_or_exit(environ: Mapping[str, str]) -> BridgeConfig:
    """The settings, or all their faults on standard error and exit code 2."""
    try:
        return config_of(environ)
    except ConfigError as error:
        _exit_for(error)


def config_of(environ: Mapping[str, str]) -> BridgeConfig:
    """The settings as `avr-bridge serve` takes them.

    Raises:
        ConfigError: Some cannot be; all of them.
    """
    reading = Reading.of(environ)
    if reading.faults:
        prices_fault = prices_file_fault(reading.variables.get("AVR_PRICES_FILE"))
        raise ConfigError([*reading.faults, *([prices_fault] if prices_fault else [])])
    config = BridgeConfig.from_env(environ)
    if faults := price_faults(config):
        raise ConfigError(faults)
    return config


def _exit_for(error: ConfigError) -> NoReturn:
    click.echo("avr-bridge: these settings cannot be:", err=True)
    for fault in error.faults:
        click.echo(f"  {fault}", err=True)
    sys.exit(EXIT_USAGE)


def _have_descriptors() -> None:
    """Two for each call; the usual soft limit of 1024 is for programs that use `select`."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_DESCRIPTORS if most == resource.RLIM_INFINITY else min(most, MOST_DESCRIPTORS)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


async def _serve_until_signal(config: BridgeConfig, leave_soon: Callable[[], None]) -> None:
    from avr_bridge.server.serve import serve as serve_calls

    log = get_logger()
    with contextlib.ExitStack() as until_end:
        announcement = _Announcement(config, until_end)

        async def wait_signal() -> None:
            async for number in announcement.signals:
                log.info("ending", signal=signal.Signals(number).name)
                return

        await serve_calls(config, shutdown=wait_signal, hurry=wait_signal, task_status=announcement)
    log.info("ended")
    leave_soon()


@contextlib.contextmanager
def _last_resort() -> Iterator[Callable[[], None]]:
    """When all calls are over and their goodbyes were heard: leave, if need be without `trio.run`,
    which waits for what a tool left behind that cannot be cancelled."""
    leaving = threading.Timer(LEAVE_S, os._exit, (0,))
    leaving.daemon = True
    try:
        yield leaving.start
    finally:
        leaving.cancel()


class _TakesSignals(trio.TaskStatus[list[str]]):
    """Takes the signals over as soon as calls are taken.

    Attributes:
        signals: Those that came since then.
    """

    signals: AsyncIterator[int]

    def __init__(self, until_end: contextlib.ExitStack) -> None:
        self._until_end = until_end

    def started(self, value: list[str] | None = None) -> None:
        # At its end the receiver puts back what it found, and raises anew what nobody has taken.
        self._until_end.callback(early_signals.ignore)
        receiver = trio.open_signal_receiver(*early_signals.SIGNALS)
        self.signals = self._until_end.enter_context(receiver)
        early_signals.hand_over()
        # What is loaded by now stays. Looked through again by each full collection, it would keep
        # every call waiting for 0.1 s.
        gc.collect()
        gc.freeze()


class _Announcement(_TakesSignals):
    """And says in the log where calls are taken."""

    def __init__(self, config: BridgeConfig, until_end: contextlib.ExitStack) -> None:
        super().__init__(until_end)
        self._model = config.model.model
        self._server = config.server

    def started(self, value: list[str] | None = None) -> None:
        super().started(value)
        get_logger().info("listening", addresses=value, model=self._model)
        announce_console(self._server, value or [])


# Several processes.


def _serve_by_workers(config: BridgeConfig, workers: int) -> int:
    """As their parent. Its exit code."""
    server = config.server
    arguments = ["serve", "--host", server.host, "--port", str(server.port), "--worker"]
    code = WorkersParent(config, workers, worker_command(arguments)).run()
    early_signals.ignore()
    get_logger().info("ended")
    return code


async def _serve_as_worker(
    config: BridgeConfig, leave_soon: Callable[[], None], words: str
) -> None:
    """As one of them: the parent says what is in the log about the whole."""
    from avr_bridge.server.serve import serve as serve_calls
    from avr_bridge.server.workers import Worker

    worker = Worker.from_words(words)
    with contextlib.ExitStack() as until_end:
        async with trio.open_nursery() as nursery:

            async def heed_signals(signals: AsyncIterator[int]) -> None:
                await worker.report_ready()
                async for _ in signals:
                    worker.take_signal()

            class Started(_TakesSignals):
                def started(self, value: list[str] | None = None) -> None:
                    super().started(value)
                    nursery.start_soon(heed_signals, self.signals)

            nursery.start_soon(worker.obey)
            await serve_calls(
                config,
                shutdown=worker.wait_draining,
                hurry=worker.wait_hurried,
                task_status=Started(until_end),
                worker=worker,
            )
            nursery.cancel_scope.cancel()
    leave_soon()
