"""What ``avr-bridge soak`` does from its checked options to its report: starts, waits, shows.

Everything that is measured or judged is `avr_bridge.soak`'s.
"""

from __future__ import annotations

import signal
import socket
import sys
import threading
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import attrs
import msgspec
import trio

from avr_bridge import __version__
from avr_bridge.cli.soak_live import Display, open_display
from avr_bridge.cli.soak_text import say_step
from avr_bridge.errors import AvrBridgeError
from avr_bridge.masking import masked_address
from avr_bridge.soak.container import Container, free_port, open_own_bridge, wait_port
from avr_bridge.soak.layout import Layout
from avr_bridge.soak.limit import LimitReport, Step, find_limit
from avr_bridge.soak.plan import SoakPlan, Thresholds
from avr_bridge.soak.run import run_soak
from avr_bridge.soak.search import LimitSearch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from rich.console import Console

    from avr_bridge.soak.collect import Progress
    from avr_bridge.soak.results import Report

__all__ = ["Choices", "ModelChoice", "Session", "StoppedBeforeCalls"]

CONTAINER_S = 300.0
"""For a person, or a CI job, to start the container once the stand-in's address is printed."""
STEP_RAMP_S = 10.0
"""In which the calls of one step of a search are placed, if --ramp does not say."""
ANYWHERE = ("0.0.0.0", "::", "[::]")


class StoppedBeforeCalls(AvrBridgeError):
    """Ctrl-C before there was anything to report."""


@attrs.frozen
class ModelChoice:
    """The stand-in of ``--with-model``, and whether to ask before calls are placed."""

    host: str
    ask: bool


@attrs.frozen
class Choices:
    """The options, checked."""

    plan: SoakPlan
    thresholds: Thresholds
    layout: Layout
    own: bool
    workers: int
    pid: int | None
    model: ModelChoice | None
    ramp_given: bool


class Session:
    """One invocation of the command."""

    def __init__(self, choices: Choices, console: Console) -> None:
        self._choices = choices
        self._console = console
        self._stop = trio.Event()
        self._terminated = trio.Event()
        self._begun = False

    async def run(self) -> Report:
        """One run.

        Raises:
            AvrBridgeError: It did not come about, in words.
        """
        with open_display(self._console) as display:
            return await self._until_stopped(partial(self._one, self._choices.plan, display))

    async def find_limit(self) -> LimitReport:
        """Run after run, until the limit is known.

        Raises:
            AvrBridgeError: A run did not come about, in words.
        """
        search = LimitSearch(self._choices.plan.calls)
        with open_display(self._console) as display:

            async def run_at(calls: int) -> Report:
                return await self._one(self._step_plan(calls), display)

            def told(step: Step) -> None:
                say_step(self._console, step)

            return await self._until_stopped(partial(find_limit, search, run_at, told))

    async def _one(self, plan: SoakPlan, display: Display) -> Report:
        def watch(progress: Progress) -> None:
            self._begun = True
            display.show(progress)

        return await run_soak(
            plan,
            self._choices.thresholds,
            version=__version__,
            layout=self._choices.layout,
            container=partial(self._open_container, plan, display),
            stop=self._stop,
            watch=watch,
            terminated=self._terminated,
        )

    def _step_plan(self, calls: int) -> SoakPlan:
        plan = self._choices.plan
        _, _, port = plan.url.rpartition(":")
        url = plan.url.removesuffix(port) + str(free_port())
        ramp = plan.ramp_per_s
        if not self._choices.ramp_given:
            ramp = max(ramp, calls / STEP_RAMP_S)
        return msgspec.structs.replace(plan, calls=calls, ramp_per_s=ramp, url=url)

    @asynccontextmanager
    async def _open_container(
        self, plan: SoakPlan, display: Display, model_url: str | None
    ) -> AsyncIterator[Container]:
        choices = self._choices
        title = f"{plan.calls} calls to {masked_address(plan.url)}, measured for "
        title += f"{plan.duration_s:g} s"
        if choices.own:
            assert model_url is not None
            port = urlsplit(plan.url).port
            assert port is not None
            async with open_own_bridge(
                model_url,
                port,
                cores=choices.layout.bridge_cores,
                workers=choices.workers,
                with_tool=plan.tools_per_min > 0,
                codec=plan.codec,
            ) as bridge:
                display.begin(title)
                yield bridge
            return
        if choices.model is not None and model_url is not None:
            await self._wait_for_user(choices.model, model_url, plan.url)
        display.begin(title)
        yield Container(choices.pid)

    async def _wait_for_user(self, model: ModelChoice, model_url: str, url: str) -> None:
        """Say where the stand-in is, and wait until the container is set to it and runs."""
        reachable = _reachable(model.host, model_url)
        base = reachable.removesuffix("/realtime")
        self._say("The model's stand-in listens. Start the container with this in its environment:")
        self._say(f"  OPENAI_ENDPOINT={base}")
        self._say(f"(for another container: its model's address is {reachable})")
        if model.ask and sys.stdin.isatty():
            self._say("Press Enter when it runs.")
            await trio.to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True)
        else:
            self._say(f"Calls begin when {masked_address(url)} answers.")
        await wait_port(url, CONTAINER_S)

    def _say(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    async def _until_stopped[T](self, work: Callable[[], Awaitable[T]]) -> T:
        """Do the work, with Ctrl-C (or SIGTERM) as its polite end; a second one is not polite."""
        done: list[T] = []
        failure: AvrBridgeError | None = None
        async with trio.open_nursery() as nursery:
            if threading.current_thread() is threading.main_thread():  # the only one with signals
                nursery.start_soon(self._wait_signals, nursery.cancel_scope)
            try:
                done.append(await work())
            except AvrBridgeError as error:
                failure = error
            nursery.cancel_scope.cancel()
        if failure is not None:
            raise failure
        if not done:
            raise StoppedBeforeCalls("stopped")
        return done[0]

    async def _wait_signals(self, everything: trio.CancelScope) -> None:
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async for number in signals:
                if self._stop.is_set() or not self._begun:
                    everything.cancel()
                    return
                if number == signal.SIGTERM:
                    self._terminated.set()
                self._stop.set()
                self._say("Ending the calls; once more: at once.")


def _reachable(host: str, model_url: str) -> str:
    """For a container: with this machine's name if we listen on every address."""
    if host not in ANYWHERE:
        return model_url
    parts = urlsplit(model_url)
    return f"ws://{socket.gethostname()}:{parts.port}{parts.path}"
