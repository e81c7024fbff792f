"""``avr-bridge soak``: calls by the hundred to any STS container, and a verdict.

Options, their check, and the exit code. The run itself is `avr_bridge.soak`; its order of things
from here is in `soak_session.py`.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click
import trio
from rich.console import Console

from avr_bridge.cli.soak_session import Choices, ModelChoice, Session, StoppedBeforeCalls
from avr_bridge.cli.soak_text import ReportFiles, say_limit, say_report
from avr_bridge.cli.soak_types import Duration, FiniteRange, Header, ListenAddress, Rate
from avr_bridge.errors import AvrBridgeError
from avr_bridge.sections import MOST_WORKERS
from avr_bridge.soak.container import free_port
from avr_bridge.soak.layout import Layout
from avr_bridge.soak.plan import SoakPlan, Thresholds
from avr_bridge.soak.verdict import EXIT_MISSED, EXIT_PASSED, EXIT_VOID, HOLDS, exit_code

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["soak"]

NEEDED = ("picows", "uvloop", "psutil")
SHORTEST_S = 6.0
"""Of the measurement: `verdict.LEAST_SECONDS` whole seconds, wherever it begins."""
STEP_S = 20.0
"""Of one step of a search: with 20 calls 400 round trips, of which a percentile can be told."""
FIRST_STEP = 20
DEFAULT_CALLS, DEFAULT_S, DEFAULT_RAMP = 10, 60.0, 5.0
PATH = click.Path(dir_okay=False, path_type=Path)


def _plan_options(command: Callable[..., Any]) -> Callable[..., Any]:
    return _apply(
        command,
        click.option(
            "--calls", type=click.IntRange(1, 100_000), help="Steady calls. [default: 10]"
        ),
        click.option(
            "--duration", type=Duration(), help="Of the measurement: 90s, 10m, 1h. [default: 60s]"
        ),
        click.option(
            "--ramp", type=Rate(positive=True), help="Calls placed in a second. [default: 5/s]"
        ),
        click.option(
            "--settle",
            type=Duration(),
            default="5s",
            show_default=True,
            help="Between the last call's start and the measurement.",
        ),
        click.option(
            "--transport",
            type=click.Choice(["ws", "http"]),
            help="avr-core's WebSocket, or its legacy HTTP. [default: as URL says]",
        ),
        click.option(
            "--codec",
            type=click.Choice(["pcm", "any"]),
            default="any",
            show_default=True,
            help="What the stand-in agrees to: 24 kHz PCM only, or what it is asked for.",
        ),
        click.option("--arrivals", type=Rate(), default="0/s", help="Short calls beside: 1/s."),
        click.option(
            "--arrival-length",
            type=Duration(),
            default="3s",
            show_default=True,
            help="Of each short call.",
        ),
        click.option(
            "--barge-ins",
            type=Rate("min"),
            default="0/min",
            help="The caller interrupts, in each call: 2/min.",
        ),
        click.option(
            "--tools",
            type=Rate("min"),
            default="0/min",
            help="The model calls a function, in each call: 1/min.",
        ),
        click.option(
            "--hangups",
            type=Rate("min"),
            default="0/min",
            help="The caller hangs up and calls again, in each call: 1/min.",
        ),
        click.option(
            "--header",
            "headers",
            type=Header(),
            multiple=True,
            metavar="'NAME: VALUE'",
            help="Sent with each call; repeatable.",
        ),
        click.option("--seed", type=int, default=1, show_default=True, help="Of all chance."),
    )


def _run_options(command: Callable[..., Any]) -> Callable[..., Any]:
    return _apply(
        command,
        click.option("--self", "own", is_flag=True, help="Start and measure our own bridge."),
        click.option(
            "--workers",
            type=click.IntRange(1, MOST_WORKERS),
            help="With --self: the bridge's processes. [default: 1]",
        ),
        click.option(
            "--with-model",
            type=ListenAddress(),
            metavar="[HOST:]PORT",
            help="Start a stand-in for the model there; 0: on a free port.",
        ),
        click.option(
            "--yes",
            "-y",
            is_flag=True,
            help="With --with-model: begin when the container answers, ask nothing.",
        ),
        click.option("--pid", type=click.IntRange(1), help="The container's process, to watch it."),
        click.option(
            "--generators",
            type=click.IntRange(1, 64),
            default=1,
            show_default=True,
            help="Processes that place the calls.",
        ),
        click.option(
            "--pin/--no-pin",
            default=None,
            help="With --self: the bridge on cores of its own. [default: if possible]",
        ),
        click.option(
            "--find-limit",
            is_flag=True,
            help="Search the most calls that hold; --calls is where it begins.",
        ),
        click.option("--json", "json_file", type=PATH, help="Write the report as JSON."),
        click.option("--html", "html_file", type=PATH, help="Write the report as a page."),
        click.option("--junit", "junit_file", type=PATH, help="Write the verdict for a CI server."),
    )


def _threshold_options(command: Callable[..., Any]) -> Callable[..., Any]:
    positive = FiniteRange(0, min_open=True)
    return _apply(
        command,
        click.option("--max-p99-ms", type=positive, help="Of the round trips."),
        click.option(
            "--min-heard",
            type=FiniteRange(0, 1),
            help="Share of real time that each end of each call heard: 0.99.",
        ),
        click.option("--max-errors", type=click.IntRange(0), help="Of any kind."),
        click.option(
            "--max-lost-probes", type=click.IntRange(0), help="Tones that never came back."
        ),
        click.option(
            "--max-cpu-ms",
            type=positive,
            help="Processor time of the container for a second of a call.",
        ),
        click.option(
            "--max-rss-mb-per-call",
            type=positive,
            help="Memory that the container grew by, for each call.",
        ),
    )


def _apply(command: Callable[..., Any], *options: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(options):
        command = option(command)
    return command


@click.command()
@click.argument("url", required=False)
@_plan_options
@_run_options
@_threshold_options
def soak(
    url: str | None,
    json_file: Path | None,
    html_file: Path | None,
    junit_file: Path | None,
    **given: Any,
) -> None:
    """Place calls to the STS container at URL, all talking at once, and judge what came back.

    \b
    avr-bridge soak --self --calls 100 --duration 10m
    avr-bridge soak ws://127.0.0.1:6030 --with-model 8080 --max-p99-ms 60

    Exit code: 0 if all thresholds were reached, 1 if one was missed, 2 if the command line is
    wrong, 3 if the run is void: the generator itself was the bottleneck, or too little was
    measured. Ctrl-C ends the calls, and what was measured until then is reported; so does SIGTERM,
    which makes the run void unless most of it was measured.
    """
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        names = ", ".join(missing)
        raise click.UsageError(f"{names} not installed: pip install 'avr-bridge[soak]'")
    choices = _choices(url, given)
    files = ReportFiles(json_file, html_file, junit_file)
    files.check()
    console = Console()
    session = Session(choices, console)
    try:
        if given["find_limit"]:
            found = trio.run(session.find_limit)
            say_limit(console, found)
            code = EXIT_PASSED if found.limit else EXIT_MISSED
            if found.ended == "void" or found.terminated:
                code = EXIT_VOID
            failures = files.write_limit(found)
        else:
            report = trio.run(session.run)
            failures = files.write(report)
            say_report(console, report)
            code = exit_code(report.verdict)
    except StoppedBeforeCalls:
        raise click.Abort from None
    except AvrBridgeError as error:
        click.echo(f"Nothing was measured: {error}", err=True)
        sys.exit(EXIT_VOID)
    for failure in failures:
        click.echo(failure, err=True)
    sys.exit(code or (EXIT_MISSED if failures else EXIT_PASSED))


def _choices(url: str | None, given: dict[str, Any]) -> Choices:
    own, with_model, pid = given["own"], given["with_model"], given["pid"]
    if own and url:
        raise click.UsageError("--self starts a bridge of its own: leave URL out")
    over_http = given["transport"] == "http" or (not given["transport"] and _is_http(url))
    if over_http and given["barge_ins"]:
        raise click.UsageError("--barge-ins needs the WebSocket: HTTP knows no interruption")
    if pid and not _lives(pid):
        raise click.UsageError(f"--pid: no process {pid}")
    if own and (with_model or pid):
        raise click.UsageError("--self brings its own model and process: no --with-model, no --pid")
    if not own and not url:
        raise click.UsageError("give the container's URL, or --self")
    if given["workers"] and not own:
        raise click.UsageError("--workers goes with --self only")
    if given["pin"] and not own:
        raise click.UsageError("--pin goes with --self only: where another container runs is yours")
    if given["find_limit"] and not own:
        raise click.UsageError("--find-limit goes with --self only: each step needs a fresh bridge")
    costs = given["max_cpu_ms"], given["max_rss_mb_per_call"]
    if any(cost is not None for cost in costs) and not (own or pid):
        raise click.UsageError("--max-cpu-ms and --max-rss-mb-per-call need --pid or --self")
    if own:
        scheme = "http" if given["transport"] == "http" else "ws"
        url = f"{scheme}://127.0.0.1:{free_port()}"
    assert url is not None
    plan = _plan(url, given)
    workers = given["workers"] or 1
    if given["generators"] > plan.calls:
        raise click.BadParameter("more processes than calls", param_hint="--generators")
    return Choices(
        plan=plan,
        thresholds=_thresholds(given),
        layout=_layout(given["generators"], own, given["pin"], workers),
        own=own,
        workers=workers,
        pid=pid,
        model=ModelChoice(with_model[0], ask=not given["yes"]) if with_model else None,
        ramp_given=given["ramp"] is not None,
    )


def _is_http(url: str | None) -> bool:
    return bool(url) and urlsplit(url or "").scheme == "http"


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except OSError:
        return False
    return True


def _plan(url: str, given: dict[str, Any]) -> SoakPlan:
    parts = urlsplit(url)
    try:
        known = parts.scheme in ("ws", "http") and parts.hostname and parts.port != 0
    except ValueError:
        known = False
    if not known:
        raise click.BadParameter(f"{url!r} is not of the form ws://host:port", param_hint="URL")
    search = given["find_limit"]
    calls = given["calls"] or (FIRST_STEP if search else DEFAULT_CALLS)
    duration_s = (
        given["duration"] if given["duration"] is not None else (STEP_S if search else DEFAULT_S)
    )
    if duration_s < SHORTEST_S:
        raise click.BadParameter(f"at least {SHORTEST_S:g}s", param_hint="--duration")
    host, port = given["with_model"] or ("127.0.0.1", 0 if given["own"] else None)
    return SoakPlan(
        url=url,
        calls=calls,
        duration_s=duration_s,
        ramp_per_s=given["ramp"] or DEFAULT_RAMP,
        settle_s=given["settle"],
        transport=given["transport"] or ("http" if parts.scheme == "http" else "ws"),
        codec=given["codec"],
        model_port=port,
        model_host=host,
        arrivals_per_s=given["arrivals"],
        arrival_s=given["arrival_length"],
        workers=given["workers"] or 1,
        barge_ins_per_min=given["barge_ins"],
        tools_per_min=given["tools"],
        hangups_per_min=given["hangups"],
        seed=given["seed"],
        headers=dict(given["headers"]),
    )


def _thresholds(given: dict[str, Any]) -> Thresholds:
    """As asked; a search without any asks for the common measure."""
    asked = {name: given[name] for name in Thresholds.__struct_fields__}
    if given["find_limit"] and all(value is None for value in asked.values()):
        return HOLDS
    return Thresholds(**asked)


def _layout(generators: int, own: bool, pin: bool | None, workers: int) -> Layout:
    layout = Layout.bound(generators, workers) if own and pin is not False else None
    if layout is None and pin:
        words = f"needs Linux and {workers + 1} cores at least"
        raise click.BadParameter(words, param_hint="--pin")
    if layout is None and own and pin is None and workers > 1:
        click.echo(f"{workers} workers are not bound to cores: {workers + 1} are needed.", err=True)
    return layout or Layout.unbound(generators)
