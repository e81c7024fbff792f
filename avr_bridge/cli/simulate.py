"""`avr-bridge simulate`: the simulated Realtime API as a program, for bridges in other processes.

Reads options, prints lines; the server is `avr_bridge.testing.realtime`.
"""

from __future__ import annotations

import signal
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

import attrs
import click
import trio

from avr_bridge.cli.output import say
from avr_bridge.testing.realtime import (
    ClipError,
    Parrot,
    Silence,
    SimulatedRealtime,
    SimulatorOptions,
    SpeakFile,
)

if TYPE_CHECKING:
    from avr_bridge.testing.realtime import Behaviour, SimulatedSession, Turn

__all__ = ["simulate"]

_ANYWHERE = ("0.0.0.0", "[::]")  # what listening on every address looks like


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8080,
    show_default=True,
    help="Port to listen on; 0: a free one.",
)
@click.option(
    "--behaviour",
    "--answer",
    type=click.Choice(["parrot", "silence", "speak"]),
    default="parrot",
    show_default=True,
    help="parrot: says back what the caller said; speak: plays --wav; silence: says nothing.",
)
@click.option(
    "--wav",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Mono, 16 bit, 8 to 48 kHz. What speak says; what parrot greets with.",
)
@click.option(
    "--dialect",
    type=click.Choice(["ga", "beta", "xai"]),
    default="ga",
    show_default=True,
    help="ga: OpenAI, Azure GA; beta: Azure preview and look-alikes; xai: Grok voice.",
)
@click.option(
    "--g711",
    type=click.Choice(["honoured", "refused", "ignored"]),
    default="honoured",
    show_default=True,
    help="What becomes of a wish for µ-law or A-law.",
)
@click.option(
    "--speed",
    type=click.FloatRange(min=0, min_open=True),
    default=8.0,
    show_default=True,
    help="How many times faster than real time answers are sent.",
)
@click.option(
    "--session-s",
    type=click.FloatRange(min=0, min_open=True),
    default=3600.0,
    show_default=True,
    help="Seconds until a session expires.",
)
@click.option("--api-key", help="The only key that is let in; without it every key is.")
@click.option(
    "--key-check",
    type=click.Choice(["http", "close"]),
    default="http",
    show_default=True,
    help="Refuse a wrong key with HTTP 401, or after the upgrade with close code 3000.",
)
def simulate(
    host: str,
    port: int,
    behaviour: str,
    wav: Path | None,
    dialect: Literal["ga", "beta", "xai"],
    g711: Literal["honoured", "refused", "ignored"],
    speed: float,
    session_s: float,
    api_key: str | None,
    key_check: Literal["http", "close"],
) -> None:
    """Run a simulated OpenAI Realtime API, to try the bridge without a key or costs."""
    options = SimulatorOptions(
        dialect=dialect,
        api_key=api_key,
        key_check=key_check,
        g711=g711,
        speed=speed,
        session_s=session_s,
        record_s=0,
    )
    server = SimulatedRealtime(_behaviour(behaviour, wav), options)
    failures: list[str] = []
    try:
        trio.run(_serve, server, host, port)
    except* OSError as group:
        failures = [str(error) for error in group.exceptions]
    if failures:
        raise click.ClickException(f"cannot listen on {host}:{port}: {failures[0]}")


def _behaviour(name: str, wav: Path | None) -> Behaviour:
    try:
        if name == "speak":
            if wav is None:
                raise click.UsageError("--behaviour speak needs --wav")
            return SpeakFile(wav)
        return Silence() if name == "silence" else Parrot(wav)
    except ClipError as error:
        raise click.BadParameter(str(error), param_hint="--wav") from error


async def _serve(server: SimulatedRealtime, host: str, port: int) -> None:
    """Serve until SIGINT or SIGTERM."""
    lines = _Lines()
    server.on_opened, server.on_turn, server.on_closed = lines.opened, lines.turn, lines.closed
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            url = await nursery.start(server.serve, host, port)
            say(f"Simulated Realtime API on {url}   OPENAI_ENDPOINT={_reachable(url)}")
            await anext(aiter(signals))
            nursery.cancel_scope.cancel()
    say("stopped")


def _reachable(url: str) -> str:
    """The address for a container: with this machine's name if we listen on every address."""
    parts = urlsplit(url)
    if parts.netloc.rpartition(":")[0] not in _ANYWHERE:
        return url
    return f"ws://{socket.gethostname()}:{parts.port}{parts.path}"


@attrs.frozen
class _Lines:
    """One line for each session and each turn; what is said is not shown."""

    def opened(self, session: SimulatedSession) -> None:
        say(f"session {session.number} opened  model={session.model}")

    def turn(self, session: SimulatedSession, turn: Turn) -> None:
        by = "asked for" if turn.requested else "heard"
        say(f"session {session.number} turn {turn.index}  {by}  caller_ms={turn.caller_ms:.0f}")

    def closed(self, session: SimulatedSession) -> None:
        say(
            f"session {session.number} closed  code={session.close_code} "
            f"appends={session.audio_appends}"
        )
