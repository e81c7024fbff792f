"""``avr-bridge soak`` as its user sees it: words, files and exit codes."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import psutil
import pytest
from click.testing import CliRunner, Result

from avr_bridge.cli.soak import soak
from avr_bridge.cli.soak_types import Duration, Header, ListenAddress, Rate
from avr_bridge.soak import container
from avr_bridge.soak import run as soak_run
from tests.soak.conftest import FAKE

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import click

URL = "ws://127.0.0.1:1"
LIMIT_S = 30
HOLD = ("--max-p99-ms", "60", "--min-heard", "0.99", "--max-errors", "0", "--max-lost-probes", "0")


def run(*args: str) -> Result:
    return CliRunner().invoke(soak, list(args))


@pytest.mark.parametrize(
    ("kind", "value", "read"),
    [
        (Duration(), "90s", 90),
        (Duration(), "10m", 600),
        (Duration(), "1h30m", 5400),
        (Duration(), "500ms", 0.5),
        (Duration(), "20", 20),
        (Rate(), "5/s", 5),
        (Rate(), "6/min", 0.1),
        (Rate("min"), "2/min", 2),
        (Rate("min"), "1/s", 60),
        (Rate("min"), "3", 3),
        (ListenAddress(), "0", ("127.0.0.1", 0)),
        (ListenAddress(), "0.0.0.0:8080", ("0.0.0.0", 8080)),
        (ListenAddress(), "[::1]:8080", ("::1", 8080)),
        (Header(), "Authorization: Bearer x", ("Authorization", "Bearer x")),
    ],
)
def test_options_are_read(kind: click.ParamType[Any], value: str, read: object) -> None:
    """Units are those of the words."""
    found = kind.convert(value, None, None)
    assert found == (pytest.approx(read) if isinstance(read, int | float) else read)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ((), "give the container's URL, or --self"),
        ((URL, "--self"), "leave URL out"),
        (("--self", "--pid", "1"), "no --with-model, no --pid"),
        (("ftp://x",), "is not of the form ws://host:port"),
        ((URL, "--duration", "soon"), "is no length of time such as 90s"),
        ((URL, "--duration", "10s5"), "is no length of time such as 90s"),
        ((URL, "--duration", "2s"), "at least 6s"),
        ((URL, "--ramp", "fast"), "is no rate such as 5/s"),
        ((URL, "--ramp", "0/s"), "must be more than 0"),
        ((URL, "--with-model", "8080x"), "[HOST:]PORT"),
        ((URL, "--with-model", "70000"), "[HOST:]PORT"),
        ((URL, "--header", "secret"), "of the form 'Name: value'"),
        ((URL, "--pin"), "--pin goes with --self only"),
        ((URL, "--workers", "2"), "--workers goes with --self only"),
        (("--self", "--workers", "64", "--pin"), "needs Linux and 65 cores at least"),
        ((URL, "--find-limit"), "--find-limit goes with --self only"),
        ((URL, "--max-p99-ms", "nan"), "is no number"),
        ((URL, "--min-heard", "nan"), "is no number"),
        ((URL, "--pid", "99999999"), "--pid: no process 99999999"),
        (("--self", "--transport", "http", "--barge-ins", "1/min"), "HTTP knows no interruption"),
        (("http://127.0.0.1:1", "--barge-ins", "1/min"), "HTTP knows no interruption"),
        ((URL, "--max-cpu-ms", "3"), "need --pid or --self"),
        ((URL, "--calls", "1", "--generators", "2"), "more processes than calls"),
        ((URL, "--json", "/nowhere/at/all.json"), "No such file or directory"),
        ((URL, "--html", "/"), "is a directory"),
    ],
)
def test_what_cannot_be_is_said_before_anything_starts(
    args: tuple[str, ...], words: str, story: Callable[[str], None]
) -> None:
    """Exit code 2, one sentence; a generator would have said something else."""
    story("never ready")
    result = run(*args)
    assert result.exit_code == 2, result.output
    assert words in " ".join(result.stderr.replace("│", " ").split())


def test_a_header_is_not_repeated() -> None:
    """It may hold a secret."""
    assert "geheim" not in run(URL, "--header", "geheim").output


def test_the_extra_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """One line with the command; exit code 2."""
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "picows" else found(name, *a)
    )
    result = run(URL)
    assert result.exit_code == 2
    assert "picows not installed: pip install 'avr-bridge[soak]'" in result.stderr


def test_a_passed_run_writes_its_files(story: Callable[[str], None], tmp_path: Path) -> None:
    """Exit 0; the verdict is the last line; each file has the run."""
    story("good")
    files = {kind: tmp_path / f"soak.{kind}" for kind in ("json", "html", "junit")}
    options = [word for kind, path in files.items() for word in (f"--{kind}", str(path))]
    result = run(URL, "--calls", "3", "--duration", "8s", *HOLD, *options)
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[-1] == "PASSED"
    assert "p99 23.0 ms" in result.stdout
    report = json.loads(files["json"].read_text())
    assert report["verdict"] == {"void": [], "missed": [], "facts": []}
    assert report["holds"] is True
    assert len(report["calls"]) == 3
    assert "PASSED" in files["html"].read_text()
    assert ElementTree.parse(files["junit"]).getroot().tag == "testsuites"


@pytest.mark.parametrize(
    ("name", "code", "last", "words"),
    [
        ("slow", 1, "MISSED", "round trip p99 was 150.0 ms, asked for at most 60 ms"),
        ("busy", 3, "VOID", "the generator was the bottleneck"),
        ("dies", 3, "VOID", "it broke"),
        ("refused", 1, "MISSED", "no call came up: refused"),
    ],
)
def test_a_bad_run_says_so_and_writes_its_report(
    story: Callable[[str], None], tmp_path: Path, name: str, code: int, last: str, words: str
) -> None:
    """The exit code tells missed from void, and the report is there in any case."""
    story(name)
    path = tmp_path / "soak.json"
    result = run(URL, "--duration", "8s", *HOLD, "--json", str(path))
    assert result.exit_code == code, result.output
    assert result.stdout.splitlines()[-1] == last
    assert words in result.stdout
    assert json.loads(path.read_text())["calls"] is not None


def test_a_generator_that_does_not_start_is_void(story: Callable[[str], None]) -> None:
    """Exit 3, its own words on standard error."""
    story("never ready")
    result = run(URL)
    assert result.exit_code == 3
    assert "Nothing was measured" in result.stderr
    assert "cannot listen" in result.stderr


def test_lines_are_told_where_there_is_no_terminal(story: Callable[[str], None]) -> None:
    """One every ten seconds of the run."""
    story("good")
    result = run(URL, "--duration", "36s")
    lines = [line for line in result.stdout.splitlines() if "calls up:" in line]
    assert [line.split()[0] for line in lines] == ["10", "20", "30", "40"]
    assert "measuring" in lines[-1]


def test_a_container_is_waited_for_with_a_stand_in(
    story: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The address for its settings is printed, and calls begin when it takes connections."""
    story("good")
    monkeypatch.setattr(container, "ASK_S", 0.1)
    monkeypatch.setattr(soak_run, "SETTLED_S", 0.0)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"ws://127.0.0.1:{listener.getsockname()[1]}"
        result = run(url, "--with-model", "0", "--yes", "--duration", "8s", "--pid", "1")
    assert result.exit_code == 0, result.output
    assert "OPENAI_ENDPOINT=ws://127.0.0.1:8123/v1\n" in result.stdout


def test_a_container_that_never_comes_is_void(
    story: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing was measured; exit 3."""
    story("good")
    monkeypatch.setattr("avr_bridge.cli.soak_session.CONTAINER_S", 0.2)
    result = run(URL, "--with-model", "0", "--yes")
    assert result.exit_code == 3
    assert "took no connection" in result.stderr


def test_a_search_is_a_table_and_a_limit(
    story: Callable[[str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fresh bridge for each step; exit 0, the limit in the last line and in the files."""
    story("tearful")
    monkeypatch.setattr(soak_run, "SETTLED_S", 0.0)
    path = tmp_path / "limit.json"
    page = tmp_path / "limit.html"
    result = run(
        *("--self", "--find-limit", "--calls", "60", "--duration", "8s", "--max-p99-ms", "63"),
        *("--json", str(path), "--html", str(page)),
    )
    assert result.exit_code == 0, result.output
    found = json.loads(path.read_text())
    assert 61 <= found["limit"] <= 63
    assert len({step["report"]["plan"]["url"] for step in found["steps"]}) > 1
    assert result.stdout.splitlines()[-1].startswith(f"limit: {found['limit']} calls hold")
    assert found["words"] in page.read_text()
    assert not psutil.Process().children(recursive=True)


def test_our_own_bridge_that_does_not_start_says_why(
    story: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its last lines are shown; exit 3; nothing is left running."""
    story("good")
    monkeypatch.setenv("AVR_IDLE_S", "no number")
    result = run("--self")
    assert result.exit_code == 3
    assert "the bridge did not start" in result.stderr
    assert "AVR_IDLE_S" in result.stderr
    assert not psutil.Process().children(recursive=True)


def test_our_own_bridge_gets_no_secret_of_the_environment() -> None:
    """The user's settings, but for keys, tokens and the neighbours' addresses."""
    environ = {"OPENAI_API_KEY": "sk-x", "AVR_TOKEN": "t", "AVR_RESAMPLER": "fir", "PORT": "1"}
    ours = container.own_environ(environ, port=9, model_url="ws://m", tools="/t")
    assert "AVR_TOKEN" not in ours
    assert (ours["OPENAI_API_KEY"], ours["OPENAI_ENDPOINT"], ours["PORT"]) == (
        "soak",
        "ws://m",
        "9",
    )
    assert "OPENAI_AUDIO_FORMAT" not in ours
    pcm = container.own_environ(environ, port=9, model_url="ws://m", tools="/t", codec="pcm")
    assert pcm["OPENAI_AUDIO_FORMAT"] == "pcm"
    assert (ours["AVR_RESAMPLER"], ours["AVR_LOG_LEVEL"]) == ("fir", "warning")


INTERRUPTED = f"""
import sys
from avr_bridge.cli.soak import soak
from avr_bridge.soak import generators
generators.COMMAND = (sys.executable, {str(FAKE)!r}, sys.argv.pop(1))
soak()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_reports_what_was_measured(number: signal.Signals) -> None:
    """Calls end politely, and the run, of which all was measured, is judged; exit 0."""
    with _interrupted("endless") as process:
        _read_until(process, "measuring")
        process.send_signal(number)
        rest, _ = process.communicate(timeout=LIMIT_S)
    assert rest.splitlines()[-1] == "PASSED (interrupted)"
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("number", "last", "code"),
    [
        (signal.SIGINT, "PASSED (interrupted)", 0),
        (signal.SIGTERM, "VOID (interrupted)", 3),
    ],
)
def test_a_run_that_was_cut_short_is_not_green_by_sigterm(
    number: signal.Signals, last: str, code: int
) -> None:
    """8 of 20 s: a person who ends it reads the figures; a CI job whose time is up did not pass."""
    with _interrupted("cut") as process:
        _read_until(process, "measuring")
        process.send_signal(number)
        rest, _ = process.communicate(timeout=LIMIT_S)
    assert rest.splitlines()[-1] == last
    assert process.returncode == code


def test_a_second_ctrl_c_ends_it_at_once() -> None:
    """A generator that hears nothing is killed; exit 1, and no process is left."""
    with _interrupted("deaf") as process:
        _read_until(process, "measuring")
        children = psutil.Process(process.pid).children()
        assert children
        process.send_signal(signal.SIGINT)
        _read_until(process, "once more")
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=LIMIT_S)
    assert process.returncode == 1
    psutil.wait_procs(children, timeout=LIMIT_S)
    assert not [child for child in children if child.is_running()]


def _interrupted(story: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, story, URL, "--duration", "20s", *HOLD],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )


def _read_until(process: subprocess.Popen[str], words: str) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if words in line:
            return
    raise AssertionError(f"no {words!r}")
