"""``avr-bridge demo``: one call through a real bridge, shown as it happens, kept as a WAV.

Bridge, simulated model and simulated caller run in this one process, on real sockets. With
``OPENAI_API_KEY`` in the environment the model is the real one. What is said and done in the call,
and what proves it, is in `scene.py` and `scenarios.py`.
"""

from __future__ import annotations

import heapq
import math
import os
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click
import trio
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from avr_bridge import BridgeConfig, CallSummary, LogConfig
from avr_bridge.cli.output import silence_stdout
from avr_bridge.cli.recording import write_call
from avr_bridge.cli.scenarios import SCENARIOS, Repeat
from avr_bridge.cli.scene import Outcome, Scenario
from avr_bridge.cli.serve import config_or_exit
from avr_bridge.server.serve import serve
from avr_bridge.telemetry import configure_logging
from avr_bridge.testing.caller import CallEvent, CallEventKind, open_simulated_call
from avr_bridge.testing.likeness import speech_ms
from avr_bridge.testing.wav import read_wav

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["demo", "run_scenario"]

FRAME_S = 0.02
HELD_BACK_S = 0.8
"""A little more than `SPURT_GAP_MS` of the simulated caller, the longest that any event is told
after its time."""


@click.command()
@click.option(
    "--scenario",
    type=click.Choice(list(SCENARIOS)),
    default="parrot",
    show_default=True,
    help="What happens in the call. All but parrot need the simulated model.",
)
@click.option(
    "--wav",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="What the caller says; words in English by default.",
)
@click.option(
    "--out",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    help="Where to write the call: left the caller, right the agent. [default: heard-SCENARIO.wav]",
)
@click.option(
    "--transport",
    type=click.Choice(["ws", "http"]),
    default="ws",
    show_default=True,
    help="avr-core's WebSocket, or its legacy HTTP stream.",
)
@click.option("--verbose", "-v", is_flag=True, help="Show the bridge's own log too.")
def demo(
    scenario: str,
    wav: Path | None,
    out: Path | None,
    transport: Literal["ws", "http"],
    verbose: bool,
) -> None:
    """Place one call with real speech through the bridge and show the conversation live.

    The model is simulated, unless OPENAI_API_KEY is set. Ends with 0 only if what the scenario
    shows really happened:

    \b
    parrot    the model says back what it hears
    barge-in  the caller interrupts a long answer
    tools     the model asks a Python tool and says the answer
    dtmf      the caller presses 1 2 3 #
    transfer  the model says goodbye and transfers the caller to 600
    """
    screen = _Screen()
    out = out or Path(f"heard-{scenario}.wav")
    played = _chosen(scenario, wav, transport, screen)
    environ = {**played.settings(os.environ), "AVR_HOST": "127.0.0.1", "PORT": "0"}
    if played.simulated:
        environ["OPENAI_ENDPOINT"] = "ws://127.0.0.1/v1"  # its port is known once it runs
        environ["no_proxy"] = "127.0.0.1"
    config = config_or_exit(environ)
    level = config.log.level if verbose else "error"
    configure_logging(LogConfig(level, config.log.format, config.log.content), mask=config.mask())
    model = played.intro if played.simulated else config.model.model
    screen.line(f"One call over {transport.upper()} through the bridge to {model}.")
    screen.line("")
    interrupted = False
    try:
        outcome = trio.run(_run_on_screen, environ, played, transport, screen)
    except* KeyboardInterrupt:
        interrupted = True
    screen.flush()
    if interrupted:
        raise click.Abort
    try:
        write_call(out, outcome.said, outcome.heard, outcome.keys)
    except OSError as error:
        raise click.ClickException(f"{out} could not be written: {error.strerror}.") from None
    screen.console.print(_summary(played, outcome, out))
    failure = played.failure(outcome)
    if failure:
        screen.line(f"[red]Failed:[/red] {escape(failure)}.")
        sys.exit(1)
    screen.line(f"[green]{played.proved}[/green]")


def _chosen(name: str, wav: Path | None, transport: str, screen: _Screen) -> Scenario:
    """The scenario, or why it cannot be played."""
    simulated = not (os.environ.get("OPENAI_API_KEY") or os.environ.get("OPENAI_ENDPOINT"))
    kind = SCENARIOS[name]
    if kind is not Repeat and not simulated:
        raise click.UsageError(
            f"--scenario {name} scripts what the model says, so it cannot be played with a real "
            "model: unset OPENAI_API_KEY and OPENAI_ENDPOINT."
        )
    if kind.needs_websocket and transport != "ws":
        raise click.UsageError(
            f"--scenario {name} needs --transport ws: the HTTP stream carries sound and nothing "
            "else."
        )
    if wav and not kind.caller_speaks:
        raise click.UsageError(f"--scenario {name} has no use for --wav: its caller says nothing.")
    said = _speech(wav) if wav else None
    if kind is Repeat:
        return Repeat(said, screen.tell, simulated=simulated)
    return kind(said, screen.tell)


def _speech(wav: Path) -> bytes:
    try:
        said = read_wav(wav)
    except (ValueError, OSError) as error:
        raise click.BadParameter(str(error), param_hint="--wav") from None
    if not speech_ms(said):
        raise click.BadParameter("there is no speech in it", param_hint="--wav")
    return said


async def _run_on_screen(
    environ: Mapping[str, str],
    scenario: Scenario,
    transport: Literal["ws", "http"],
    screen: _Screen,
) -> Outcome:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(screen.run)
        outcome = await run_scenario(environ, scenario, transport, screen.show)
        nursery.cancel_scope.cancel()
    return outcome


async def run_scenario(
    environ: Mapping[str, str],
    scenario: Scenario,
    transport: Literal["ws", "http"],
    show: Callable[[CallEvent], None],
) -> Outcome:
    """Start the bridge and what else is needed, place the call, stop everything.

    Args:
        environ: The bridge's settings; the simulated model's address is put in.
        scenario: What happens in the call.
        transport: How the call is placed.
        show: Told each event of the call.
    """
    ended = trio.Event()
    summaries: list[CallSummary] = []
    keys: list[tuple[float, str]] = []

    def on_ended(summary: CallSummary) -> None:
        summaries.append(summary)
        ended.set()

    def on_event(event: CallEvent) -> None:
        if event.kind is CallEventKind.DIGIT:
            keys.append((event.at_ms, event.text))
        show(event)
        scenario.noted(event)

    async with trio.open_nursery() as nursery:
        if scenario.simulated:
            endpoint = await nursery.start(scenario.model.serve)
            environ = {**environ, "OPENAI_ENDPOINT": endpoint}
        async with scenario.surroundings() as more:
            config = BridgeConfig.from_env({**environ, **more})
            (address,) = await nursery.start(partial(serve, config, on_call_ended=on_ended))
            url = address if transport == "http" else address.replace("http:", "ws:")
            async with open_simulated_call(
                url, uuid=scenario.uuid, transport=transport, on_event=on_event
            ) as call:
                await scenario.play(call)
                heard, said = call.heard(), call.said()
                await call.hang_up()
                report = call.report()
                frames_received = len(call.received()) // 320
            await ended.wait()
        nursery.cancel_scope.cancel()
    return Outcome(heard, said, tuple(keys), report, summaries[0], frames_received)


class _Console(Console):
    """Falls silent where nobody reads any more (``demo | head``); the call goes on."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        silence_stdout()


_WORDS = {
    CallEventKind.CONNECTED: "call placed",
    CallEventKind.SAID_LAST: "caller is silent",
    CallEventKind.AUDIO_FIRST: "agent speaks",
    CallEventKind.AUDIO_LAST: "agent is silent",
    CallEventKind.INTERRUPTION: "the agent is interrupted",
    CallEventKind.HUNG_UP: "caller hangs up",
}


class _Screen:
    """One line for everything that happens, with the call's time before it, in order of time.

    A line waits for `HELD_BACK_S`: that somebody fell silent is known only when they stay so.
    """

    def __init__(self) -> None:
        self.console = _Console(highlight=False)
        self._started_s: float | None = None
        self._waiting: list[tuple[float, int, str]] = []
        self._lines = 0

    async def run(self) -> None:
        """Print the lines when they are due. Runs until cancelled.

        Due by the time of the round before: if this process stood still, the caller has still to
        tell what was meanwhile, and who goes first in this round is chance.
        """
        while True:
            due_s = self._now_s() - HELD_BACK_S
            await trio.sleep(FRAME_S)
            self._print_until(due_s)

    def flush(self) -> None:
        """Print what still waits."""
        self._print_until(math.inf)

    def _print_until(self, until_s: float) -> None:
        while self._waiting and self._waiting[0][0] <= until_s:
            at_s, _, text = heapq.heappop(self._waiting)
            self.line(f"{at_s:7.2f} s  {text}")

    def _now_s(self) -> float:
        now_s = trio.current_time()
        return now_s - (now_s if self._started_s is None else self._started_s)

    def line(self, text: str) -> None:
        """Print one line, with markup."""
        self.console.print(text, soft_wrap=True)

    def tell(self, text: str) -> None:
        """What the scenario has to say of this moment."""
        self._at(self._now_s(), escape(text))

    def show(self, event: CallEvent) -> None:
        """An event of the call."""
        if event.kind is CallEventKind.CONNECTED:
            self._started_s = trio.current_time()
        words = _WORDS.get(event.kind)
        if event.kind is CallEventKind.TRANSCRIPT:
            who, colour = ("caller", "cyan") if event.role == "user" else ("agent", "magenta")
            words = f"[{colour}]{who}: {escape(event.text)}[/{colour}]"
        elif event.kind is CallEventKind.DIGIT:
            words = f"caller presses {event.text}"
        elif event.kind in (CallEventKind.ERROR, CallEventKind.FAULT):
            words = f"[red]{event.kind.value}: {escape(event.text)}[/red]"
        if words:
            self._at(event.at_ms / 1000, words)

    def _at(self, at_s: float, text: str) -> None:
        self._lines += 1
        heapq.heappush(self._waiting, (at_s, self._lines, text))


def _summary(scenario: Scenario, outcome: Outcome, out: Path) -> Table:
    report = outcome.report

    def ms(value: float | None) -> str:
        return "never" if value is None else f"{value:.0f} ms"

    table = Table(show_header=False, box=None, title="\nSummary", title_justify="left")
    table.add_row("first heard after", ms(report.answered_after_ms))
    if scenario.caller_speaks:
        table.add_row("reply after", ", ".join(map(ms, report.answer_latencies_ms)) or "never")
    table.add_row("heard", f"{report.heard_s:.1f} s of speech, in {escape(str(out))}")
    table.add_row("underruns", str(report.underruns))
    table.add_row("lost frames", str(outcome.frames_lost))
    for name, value in scenario.rows(outcome):
        table.add_row(name, value)
    table.add_row("ended by", outcome.bridge.end_reason.value)
    return table
