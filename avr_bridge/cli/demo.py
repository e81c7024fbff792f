"""``avr-bridge demo``: one call through a real bridge, shown as it happens, kept as a WAV.

Bridge, simulated model and simulated caller run in this one process, on real sockets. With
``OPENAI_API_KEY`` in the environment the model is the real one.
"""

from __future__ import annotations

import os
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import attrs
import click
import trio
from rich.console import Console
from rich.table import Table

from avr_bridge import BridgeConfig, CallSummary, LogConfig
from avr_bridge.cli.output import silence_stdout
from avr_bridge.cli.serve import config_or_exit
from avr_bridge.server.serve import serve
from avr_bridge.telemetry import configure_logging
from avr_bridge.testing.caller import CallEvent, CallEventKind, CallReport, open_simulated_call
from avr_bridge.testing.likeness import likeness, speech_ms
from avr_bridge.testing.realtime import Parrot, Say, SimulatedRealtime, Step, Turn
from avr_bridge.testing.wav import clip, read_wav, write_wav

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from avr_bridge.testing.caller import SimulatedCall

__all__ = ["demo"]

GREETING = "Hello, I am the parrot. Say something."
QUESTION = "Hello, this is a test call. Can you hear what I am saying?"
LEAST_LIKENESS = 0.7
"""What G.711 leaves of speech is above 0.99, half of it 0.5, other speech below 0.3; a gap of a
few frames on a busy machine is still the reply."""

GREETING_WITHIN_S = 5.0
REPLY_WITHIN_S = 15.0
QUIET_MS = 900
"""A pause this long ends what the model says; speech itself pauses for less."""


class _DemoParrot(Parrot):
    """Greets with words, says back what it hears, and knows the words of the shipped clips."""

    def __init__(self, question: str | None) -> None:
        super().__init__(clip("greeting"))
        self._question = question

    def answer(self, turn: Turn) -> Sequence[Step]:
        words = self._question if turn.caller_audio else GREETING
        return [
            attrs.evolve(step, transcript=words) if words and isinstance(step, Say) else step
            for step in super().answer(turn)
        ]

    def transcribe(self, pcm: bytes, rate_hz: int) -> str:
        return self._question or f"({len(pcm) / 2 / rate_hz:.1f} s of speech)"


class _Console(Console):
    """Falls silent where nobody reads any more (``demo | head``); the call goes on."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        silence_stdout()


@attrs.define(eq=False)
class _Outcome:
    """What the call left for the summary."""

    simulated: bool
    said: bytes
    heard: bytes = b""
    report: CallReport | None = None
    bridge: CallSummary | None = None
    frames_received: int = 0

    @property
    def alike(self) -> float:
        return likeness(self.said, self.heard).correlation if self.heard else 0.0

    @property
    def frames_lost(self) -> int:
        """Frames sent and not arrived, both directions, as both ends counted them."""
        assert self.report is not None
        assert self.bridge is not None
        to_bridge = self.report.sent_frames - round(self.bridge.caller_audio_ms / 20)
        to_caller = round(self.bridge.played_ms / 20) - self.frames_received
        return max(to_bridge, 0) + max(to_caller, 0)

    @property
    def failure(self) -> str | None:
        """Why the caller did not hear the reply; None if it was heard."""
        assert self.report is not None
        if self.report.errors:
            return f"the bridge reported: {self.report.errors[-1]}"
        if not self.report.answer_latencies_ms:
            return "no reply was heard"
        if self.simulated and self.alike < LEAST_LIKENESS:
            return f"the reply is not what was said: {self.alike:.2f} alike"
        return None


@click.command()
@click.option(
    "--wav",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="What the caller says; a question in English by default.",
)
@click.option(
    "--out",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    default=Path("heard.wav"),
    show_default=True,
    help="Where to write what the caller heard.",
)
@click.option(
    "--transport",
    type=click.Choice(["ws", "http"]),
    default="ws",
    show_default=True,
    help="avr-core's WebSocket, or its legacy HTTP stream.",
)
@click.option("--verbose", "-v", is_flag=True, help="Show the bridge's own log too.")
def demo(wav: Path | None, out: Path, transport: Literal["ws", "http"], verbose: bool) -> None:
    """Place one call with real speech through the bridge and show the conversation live.

    The model is simulated and says back what it hears, unless OPENAI_API_KEY is set. Ends with 0
    only if the caller really heard the reply.
    """
    try:
        said = read_wav(wav or clip("question"))
    except (ValueError, OSError) as error:
        raise click.BadParameter(str(error), param_hint="--wav") from None
    if not speech_ms(said):
        raise click.BadParameter("there is no speech in it", param_hint="--wav")
    simulated = not (os.environ.get("OPENAI_API_KEY") or os.environ.get("OPENAI_ENDPOINT"))
    environ = {**os.environ, "AVR_HOST": "127.0.0.1", "PORT": "0"}
    if simulated:
        environ["OPENAI_ENDPOINT"] = "ws://127.0.0.1/v1"  # its port is known once it runs
    config = config_or_exit(environ)
    configure_logging(LogConfig(config.log.level if verbose else "error", config.log.format))
    console = _Console(highlight=False)
    outcome = _Outcome(simulated, said)
    model = "a simulated model that says back what it hears" if simulated else config.model.model
    console.print(f"One call over {transport.upper()} through the bridge to {model}.\n")
    trio.run(_run, environ, outcome, transport, console, QUESTION if wav is None else None)
    try:
        write_wav(out, outcome.heard)
    except OSError as error:
        raise click.ClickException(f"{out} could not be written: {error.strerror}.") from None
    console.print(_summary(outcome, out))
    if outcome.failure:
        console.print(f"[red]Not heard:[/red] {outcome.failure}.")
        sys.exit(1)
    console.print("The caller heard the reply.", style="green")


async def _run(
    environ: Mapping[str, str],
    outcome: _Outcome,
    transport: Literal["ws", "http"],
    console: Console,
    question: str | None,
) -> None:
    """Start what is needed, place the call, stop everything."""
    async with trio.open_nursery() as nursery:
        if outcome.simulated:
            simulator = SimulatedRealtime(_DemoParrot(question))
            endpoint = await nursery.start(simulator.serve)
            environ = {**environ, "OPENAI_ENDPOINT": endpoint}
        config = BridgeConfig.from_env(environ)
        ended = trio.Event()

        def on_ended(summary: CallSummary) -> None:
            outcome.bridge = summary
            ended.set()

        (address,) = await nursery.start(partial(serve, config, on_call_ended=on_ended))
        url = address if transport == "http" else address.replace("http:", "ws:")
        show = partial(_show, console)
        async with open_simulated_call(url, transport=transport, on_event=show) as call:
            await _converse(call, outcome.said, console)
            outcome.heard = call.heard()
            await call.hang_up()
            outcome.report = call.report()
            outcome.frames_received = len(call.received()) // 320
        await ended.wait()
        nursery.cancel_scope.cancel()


async def _converse(call: SimulatedCall, said: bytes, console: Console) -> None:
    """Let the model greet, ask, hear the reply to its end."""
    with trio.move_on_after(GREETING_WITHIN_S) as patience:
        await call.wait_heard_speech()
    if not patience.cancelled_caught:
        await call.wait_quiet(QUIET_MS)
    console.print(
        f"{call.now_ms() / 1000:7.2f} s  caller speaks for {speech_ms(said) / 1000:.1f} s"
    )
    call.say(said)
    await call.wait_said()
    with trio.move_on_after(REPLY_WITHIN_S):
        await call.wait_heard_speech()
        await call.wait_quiet(QUIET_MS)


_WORDS = {
    CallEventKind.CONNECTED: "call placed",
    CallEventKind.SAID_LAST: "caller is silent",
    CallEventKind.AUDIO_FIRST: "agent speaks",
    CallEventKind.AUDIO_LAST: "agent is silent",
    CallEventKind.INTERRUPTION: "the agent is interrupted",
    CallEventKind.HUNG_UP: "caller hangs up",
}


def _show(console: Console, event: CallEvent) -> None:
    """One line for one event."""
    words = _WORDS.get(event.kind)
    if event.kind is CallEventKind.TRANSCRIPT:
        who, colour = ("caller", "cyan") if event.role == "user" else ("agent", "magenta")
        words = f"[{colour}]{who}: {event.text}[/{colour}]"
    elif event.kind in (CallEventKind.ERROR, CallEventKind.FAULT):
        words = f"[red]{event.kind.value}: {event.text}[/red]"
    if words:
        console.print(f"{event.at_ms / 1000:7.2f} s  {words}")


def _summary(outcome: _Outcome, out: Path) -> Table:
    report, bridge = outcome.report, outcome.bridge
    assert report is not None
    assert bridge is not None

    def ms(value: float | None) -> str:
        return "never" if value is None else f"{value:.0f} ms"

    table = Table(show_header=False, box=None, title="\nSummary", title_justify="left")
    table.add_row("answered after", ms(report.answered_after_ms))
    table.add_row("reply after", ", ".join(map(ms, report.answer_latencies_ms)) or "never")
    table.add_row("heard", f"{report.heard_s:.1f} s of speech, in {out}")
    table.add_row("underruns", str(report.underruns))
    table.add_row("lost frames", str(outcome.frames_lost))
    if outcome.simulated:
        table.add_row("alike", f"{outcome.alike:.3f} (1 = the reply is what was said)")
    table.add_row("ended by", bridge.end_reason.value)
    return table
