"""`avr-bridge serve` as a process: addresses, signals, exit codes, bad settings."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import httpx2
import pytest
import trio

from avr_bridge.soak.container import free_port
from avr_bridge.testing import SimulatedRealtime, open_simulated_call

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

LIMIT_S = 30
KEY = "sk-planted-secret"


def bare_environ(**variables: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("OPENAI_", "AVR_", "PORT"))}
    return {**kept, **variables}


@contextmanager
def bridge_process(environ: Mapping[str, str]) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "avr_bridge", "serve", "--host", "127.0.0.1", "--port", "0"],
        env=bare_environ(**environ),
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        assert process.stderr is not None
        process.stderr.close()


def read_until(process: subprocess.Popen[str], event: str) -> tuple[dict[str, object], list[str]]:
    """Log lines up to the one with this event. Blocking: run it in a thread."""
    assert process.stderr is not None
    lines = []
    for line in process.stderr:
        lines.append(line)
        if json.loads(line)["event"] == event:
            return json.loads(line), lines
    raise AssertionError(f"no {event!r} in {lines}")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it_with_0(number: signal.Signals) -> None:
    """With a call up: the call is closed with 1001, the exit code is 0, the key is nowhere."""
    with trio.fail_after(LIMIT_S):
        async with trio.open_nursery() as nursery:
            endpoint = await nursery.start(SimulatedRealtime().serve)
            with bridge_process({"OPENAI_ENDPOINT": endpoint, "OPENAI_API_KEY": KEY}) as process:
                listening, lines = await trio.to_thread.run_sync(read_until, process, "listening")
                addresses = listening["addresses"]
                assert isinstance(addresses, list)
                url = addresses[0].replace("http:", "ws:")
                async with open_simulated_call(url) as call:
                    await call.wait_heard_speech()
                    process.send_signal(number)
                    await call.wait_closed()
                assert call.report().close_code == 1001
                _, more = await trio.to_thread.run_sync(read_until, process, "ended")
                assert await trio.to_thread.run_sync(process.wait) == 0
                assert KEY not in "".join(lines + more)
            nursery.cancel_scope.cancel()


def test_a_limit_of_cost_without_a_price_is_refused() -> None:
    """Exit code 2 before anything is served, in words that say what helps."""
    ran = run_serve(OPENAI_API_KEY=KEY, AVR_MAX_COST_PER_CALL="0.5", OPENAI_MODEL="my-deployment")
    assert ran.returncode == 2
    assert "no price is known for OPENAI_MODEL=my-deployment" in ran.stderr
    assert "AVR_MAX_TOKENS_PER_CALL" in ran.stderr


@pytest.mark.parametrize("what", ["missing", "malformed", "a directory", "not text"])
def test_a_list_of_prices_that_cannot_be_read_is_refused(what: str, tmp_path: Path) -> None:
    """Exit code 2, alone and beside every other fault. In the log only, it would be missed, and
    with it the cost of every call."""
    path = tmp_path / "prices.toml"
    if what == "malformed":
        path.write_text("[[price]]\nmodels = gpt\n")
    elif what == "a directory":
        path.mkdir()
    elif what == "not text":
        path.write_bytes(b"\xff\xfe\x00")
    ran = run_serve(OPENAI_API_KEY=KEY, PORT="0", AVR_HOST="127.0.0.1", AVR_PRICES_FILE=str(path))
    assert ran.returncode == 2
    assert f"AVR_PRICES_FILE={path}: " in ran.stderr
    assert "expected a list of prices in TOML" in ran.stderr
    assert "Traceback" not in ran.stderr
    ran = run_serve(AVR_PRICES_FILE=str(path), AVR_RESAMPLER="y")
    assert ran.returncode == 2
    for name in ("OPENAI_API_KEY", "AVR_RESAMPLER=y", f"AVR_PRICES_FILE={path}: "):
        assert name in ran.stderr


@contextmanager
def served(port: int, stderr: int | None, *closing: str) -> Iterator[subprocess.Popen[bytes]]:
    """A bridge on this port, its log on this descriptor; killed at the end."""
    environ = bare_environ(OPENAI_API_KEY=KEY, PORT=str(port), AVR_HOST="127.0.0.1")
    environ.pop("PYTHONUNBUFFERED", None)  # with it Python keeps nothing to try once more
    process = subprocess.Popen(
        [*closing, sys.executable, "-m", "avr_bridge", "serve"],
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=stderr,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def wait_serving(port: int) -> None:
    limit_s = time.monotonic() + LIMIT_S
    while time.monotonic() < limit_s:
        with suppress(httpx2.TransportError):
            if httpx2.get(f"http://127.0.0.1:{port}/readyz").status_code == 200:
                return
        time.sleep(0.05)
    raise AssertionError("it does not serve")


@pytest.mark.parametrize("where", ["a full disk", "nobody", "closed"])
def test_a_log_that_cannot_be_written_changes_no_exit_code(where: str) -> None:
    """A disk that is full, a pipe whose reader has gone, no standard error at all: it serves, and
    SIGTERM ends it with 0."""
    port, closing = free_port(), []
    if where == "a full disk":
        if not os.path.exists("/dev/full"):
            pytest.skip("no /dev/full here")
        log = os.open("/dev/full", os.O_WRONLY)
    else:
        reader, log = os.pipe()
        os.close(reader)
    if where == "closed":
        closing = ["sh", "-c", 'exec "$@" 2>&-', "sh"]
    try:
        with served(port, log, *closing) as process:
            wait_serving(port)
            process.terminate()
            assert process.wait(LIMIT_S) == 0
    finally:
        os.close(log)


def run_serve(**variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "avr_bridge", "serve"],
        env=bare_environ(**variables),
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )


def test_bad_settings_are_told_all_at_once_with_2() -> None:
    """One line each on standard error, no traceback, no key."""
    ran = run_serve(OPENAI_API_KEY=KEY, PORT="x", OPENAI_AUDIO_FORMAT="mp3", AVR_RESAMPLER="y")
    assert ran.returncode == 2
    assert "PORT=x" in ran.stderr
    assert "OPENAI_AUDIO_FORMAT=mp3" in ran.stderr
    assert "AVR_RESAMPLER=y" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert KEY not in ran.stderr


def test_a_missing_key_is_told_with_2() -> None:
    """The Node container started without one and failed each call."""
    ran = run_serve()
    assert ran.returncode == 2
    assert "OPENAI_API_KEY" in ran.stderr


@pytest.mark.parametrize("what", ["nothing", "no certificates"])
def test_certificates_that_cannot_be_read_are_told_with_2(what: str, tmp_path: Path) -> None:
    """The variable and its value, and not a word of the port."""
    path = tmp_path / "ca.pem"
    if what == "no certificates":
        path.write_text("nothing\n")
    ran = run_serve(OPENAI_API_KEY=KEY, PORT="0", AVR_HOST="127.0.0.1", SSL_CERT_FILE=str(path))
    assert ran.returncode == 2
    assert f"SSL_CERT_FILE={path}" in ran.stderr
    assert ": expected certificates in PEM; " in ran.stderr
    assert "listen" not in ran.stderr
    assert "Traceback" not in ran.stderr


def test_a_greeting_that_cannot_be_read_is_warned_of_at_the_start(tmp_path: Path) -> None:
    """As the fallback is: before the first caller misses it."""
    path = tmp_path / "greeting.wav"
    path.write_text("no sound\n")
    settings = {"OPENAI_API_KEY": KEY, "AVR_GREETING_FILE": str(path)}
    with bridge_process(settings) as process:
        _, lines = read_until(process, "listening")
    (warning,) = [json.loads(line) for line in lines if "greeting file failed" in line]
    assert warning["level"] == "warning"


def test_a_taken_port_is_told_with_1() -> None:
    """In words, with the address."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ran = run_serve(OPENAI_API_KEY=KEY, PORT=port, AVR_HOST="127.0.0.1")
    assert ran.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}" in ran.stderr
    assert "Traceback" not in ran.stderr


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_taken_port_of_audiosocket_is_told_with_1(workers: str) -> None:
    """With that port's address, not with the other one's."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ran = run_serve(
            OPENAI_API_KEY=KEY,
            PORT="0",
            AVR_HOST="127.0.0.1",
            AVR_AUDIOSOCKET_PORT=port,
            AVR_WORKERS=workers,
        )
    assert ran.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}" in ran.stderr
    assert "Traceback" not in ran.stderr
