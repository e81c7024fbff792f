"""``avr-bridge call``: be avr-core for one call to any STS container, and say what happened.

The caller's end of the road as a command. The call itself is `avr_bridge.testing.caller`; here
are only the order of things, the words for them and the exit code.
"""

from __future__ import annotations

import functools
import signal
import sys
import threading
import uuid as uuids
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import click
import msgspec
import trio

from avr_bridge.cli.output import say
from avr_bridge.testing.caller import (
    CallEvent,
    CallEventKind,
    CallNotPlaced,
    CallReport,
    SimulatedCall,
    open_simulated_call,
)
from avr_bridge.testing.caller.address import read_address
from avr_bridge.testing.wav import clip, read_wav, write_wav

if TYPE_CHECKING:
    from collections.abc import Mapping

    from avr_bridge.testing.caller.address import Transport

__all__ = ["call"]

GREETING_QUIET_MS = 800
"""This long a pause ends the greeting: shorter than a caller would wait, longer than a breath."""
REPLY_QUIET_MS = 1_500
"""This long a pause ends the reply; longer than the pause in which a model calls a tool."""
DIGIT_GAP_S = 0.2
"""Between two keys: a fast typist."""
DIGITS = "0123456789*#ABCD"


@attrs.frozen
class _Script:
    """What the caller does."""

    speech: bytes
    digits: str
    greeting_within_s: float | None
    max_s: float


def _read_query(pairs: tuple[str, ...]) -> dict[str, str]:
    query: dict[str, str] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not key or not equals:
            raise click.BadParameter(f"{pair!r} is not of the form key=value", param_hint="--query")
        query[key] = value
    return query


@click.command("call")
@click.argument("url")
@click.option(
    "--wav",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="What to say; a question in English by default.",
)
@click.option(
    "--out",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    default=Path("heard.wav"),
    show_default=True,
    help="Where to write what was heard.",
)
@click.option(
    "--transport",
    type=click.Choice(["auto", "ws", "http"]),
    default="auto",
    show_default=True,
    help="WebSocket or legacy HTTP; auto goes by the URL.",
)
@click.option("--uuid", help="The call's id; random by default.")
@click.option(
    "--query", multiple=True, metavar="KEY=VALUE", help="Call data, e.g. from=2000; repeatable."
)
@click.option("--digits", default="", help="Keys to press after the greeting, e.g. 123#.")
@click.option(
    "--wait-greeting/--no-wait-greeting",
    default=True,
    show_default=True,
    help="Let a greeting finish before speaking.",
)
@click.option(
    "--greeting-within-s",
    type=click.FloatRange(min=0),
    default=3.0,
    show_default=True,
    help="How long to wait for a greeting to begin.",
)
@click.option(
    "--max-s",
    type=click.FloatRange(min=0, min_open=True),
    default=60.0,
    show_default=True,
    help="Hang up after so long.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def call(
    url: str,
    wav: Path | None,
    out: Path,
    transport: Transport,
    uuid: str | None,
    query: tuple[str, ...],
    digits: str,
    wait_greeting: bool,
    greeting_within_s: float,
    max_s: float,
    as_json: bool,
) -> None:
    """Place one call to the STS container at URL, as avr-core would.

    URL is what avr-core has as STS_URL: ws://host:port, or the legacy
    http://host:port/speech-to-speech-stream. With audiosocket://host:port the call comes as from
    Asterisk, in slin or, with ?codec=ulaw or ?codec=alaw behind it, in G.711; with
    ws://host:port/asterisk/media as from its chan_websocket, in u-law. Ends with 0 if a reply was
    heard, 1 if not, 2 if the command line is wrong.
    """
    call_data = _read_query(query)
    try:
        address = read_address(url, call_data, transport)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="URL") from None
    if bad := sorted(set(digits) - set(DIGITS)):
        raise click.BadParameter(f"{''.join(bad)!r}: keys are {DIGITS}", param_hint="--digits")
    if digits and address.transport == "http":
        raise click.BadParameter("legacy HTTP carries no digits", param_hint="--digits")
    if uuid and address.transport == "audiosocket" and not _is_uuid(uuid):
        raise click.BadParameter("AudioSocket wants a UUID", param_hint="--uuid")
    try:
        speech = read_wav(wav or clip("question"))
    except (ValueError, OSError) as error:
        raise click.BadParameter(str(error), param_hint="--wav") from None

    _check_writable(out)

    script = _Script(speech, digits, greeting_within_s if wait_greeting else None, max_s)
    show = functools.partial(_show, to_stderr=as_json)
    try:
        report, heard, why_not = trio.run(_place, url, uuid, call_data, transport, script, show)
    except CallNotPlaced as error:
        raise click.ClickException(f"The call was not placed: {error}.") from None

    try:
        write_wav(out, heard)
    except OSError as error:
        raise click.ClickException(f"What was heard could not be written: {error}.") from None
    if as_json:
        say(msgspec.json.encode(attrs.asdict(report)).decode())
    else:
        say(_summary(report, out))
    if why_not is not None:
        say(f"No reply was heard: {why_not}.", err=True)
        sys.exit(1)


def _is_uuid(text: str) -> bool:
    try:
        uuids.UUID(text)
    except ValueError:
        return False
    return True


def _check_writable(out: Path) -> None:
    """Now, and not when the call is over and its sound lost."""
    there = out.exists()
    try:
        out.open("ab").close()
        if not there:
            out.unlink()
    except OSError as error:
        raise click.BadParameter(str(error), param_hint="--out") from None


async def _place(
    url: str,
    uuid: str | None,
    query: Mapping[str, str],
    transport: Transport,
    script: _Script,
    show: functools.partial[None],
) -> tuple[CallReport, bytes, str | None]:
    """The call: its report, what was heard, and why there was no reply (None: there was)."""
    async with open_simulated_call(
        url, uuid=uuid, query=query, transport=transport, on_event=show
    ) as ongoing:
        cut_short = None
        with trio.move_on_after(script.max_s) as limit:
            cut_short = await _converse_or_be_interrupted(ongoing, script)
        if limit.cancelled_caught:
            cut_short = f"nothing came within {script.max_s:g} s"
        await ongoing.hang_up()
        report = ongoing.report()
        return report, ongoing.heard(), _why_no_reply(report, cut_short)


async def _converse_or_be_interrupted(ongoing: SimulatedCall, script: _Script) -> str | None:
    """Converse to the end, or until Ctrl-C, which is a hangup: what was heard is not lost."""
    cut_short = None
    async with trio.open_nursery() as nursery:

        async def wait_interrupt() -> None:
            nonlocal cut_short
            with trio.open_signal_receiver(signal.SIGINT) as signals:
                await anext(signals)
            cut_short = "it was interrupted"
            nursery.cancel_scope.cancel()

        if threading.current_thread() is threading.main_thread():  # the only one with signals
            nursery.start_soon(wait_interrupt)
        await _converse(ongoing, script)
        nursery.cancel_scope.cancel()
    return cut_short


async def _converse(ongoing: SimulatedCall, script: _Script) -> None:
    if script.greeting_within_s is not None:
        with trio.move_on_after(script.greeting_within_s) as patience:
            await ongoing.wait_heard_speech()
        if not patience.cancelled_caught:
            await ongoing.wait_quiet(GREETING_QUIET_MS)
    for digit in script.digits:
        ongoing.send_digit(digit)
        await trio.sleep(DIGIT_GAP_S)
    ongoing.say(script.speech)
    await ongoing.wait_said()
    await ongoing.wait_heard_speech()
    await ongoing.wait_quiet(REPLY_QUIET_MS)


def _why_no_reply(report: CallReport, cut_short: str | None) -> str | None:
    if report.answer_latencies_ms:
        return None
    if report.closed_by == "bridge":
        code = "" if report.close_code is None else f" with {report.close_code}"
        reason = f" ({report.close_reason})" if report.close_reason else ""
        return f"the other side ended the call{code}{reason}"
    if report.errors:
        return f"the other side reported: {report.errors[-1]}"
    return cut_short or "nothing came after the caller had spoken"


def _show(event: CallEvent, *, to_stderr: bool) -> None:
    """One line for one event."""
    say(f"{event.at_ms / 1000:8.2f} s  {_words(event)}", err=to_stderr)


def _words(event: CallEvent) -> str:
    match event.kind:
        case CallEventKind.CONNECTED:
            return "connected"
        case CallEventKind.SAID_LAST:
            return "caller has finished speaking"
        case CallEventKind.AUDIO_FIRST:
            return "bridge is heard"
        case CallEventKind.AUDIO_LAST:
            return "bridge fell silent"
        case CallEventKind.INTERRUPTION:
            return "interruption: what was not yet played is dropped"
        case CallEventKind.TRANSCRIPT:
            return f"{event.role}: {event.text}"
        case CallEventKind.ERROR:
            return f"error: {event.text}"
        case CallEventKind.DIGIT:
            return f"caller presses {event.text}"
        case CallEventKind.FAULT:
            return f"PROTOCOL FAULT: {event.text}"
        case CallEventKind.HUNG_UP:
            return "caller hangs up"
        case CallEventKind.CLOSED:
            code = "" if event.code is None else f" {event.code}"
            return f"line closed{code}" + (f" ({event.text})" if event.text else "")


def _summary(report: CallReport, out: Path) -> str:
    def ms(value: float | None) -> str:
        return "never" if value is None else f"{value:.0f} ms"

    latencies = ", ".join(ms(value) for value in report.answer_latencies_ms) or "no answer"
    lines = [
        f"first sound after  {ms(report.answered_after_ms)}",
        f"answer latency     {latencies}",
        f"heard              {report.heard_s:.1f} s of speech, written to {out}",
        f"underruns          {report.underruns} ({report.underrun_ms:.0f} ms)",
        f"interruptions      {report.interruptions} ({report.flushed_ms:.0f} ms dropped)",
        f"protocol faults    {len(report.faults)}",
    ]
    return "\n" + "\n".join(lines)
