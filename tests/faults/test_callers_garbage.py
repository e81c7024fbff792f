"""Garbage in every field: a corpus of connections, and what Hypothesis thinks of.

Each file in `corpus/` is what one client sends from its first byte. After each the bridge must
answer the next one, log no bug, and close the connection.
"""

from __future__ import annotations

import itertools
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from avr_bridge.testing.faults.callers import UPGRADE_REQUEST, frame
from tests.faults.conftest import CHECKOUT

CORPUS = sorted((Path(__file__).parent / "corpus").glob("*.bin"))
LIMIT_S = 20
POST = (
    b"POST /speech-to-speech-stream HTTP/1.1\r\nHost: b\r\nX-UUID: %b\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n%b"
)


@attrs.frozen
class Server:
    """A bridge in a process of its own, whose model cannot be reached."""

    host: str
    port: int
    log_path: Path
    senders: Iterator[int] = attrs.field(factory=lambda: itertools.count(256))
    bugs: list[dict[str, Any]] = attrs.field(factory=list)

    def send(self, raw: bytes, until: bytes | None = None) -> bytes:
        """All that the bridge says to these bytes and a FIN; or without one, up to a word.

        Each time from another address: one alone may not ask for so many pages.
        """
        number = next(self.senders)
        source = (f"127.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}", 0)
        to = (self.host, self.port)
        with socket.create_connection(to, timeout=LIMIT_S, source_address=source) as sock:
            got = b""
            try:
                sock.sendall(raw)
                if until is None:
                    sock.shutdown(socket.SHUT_WR)
                while (until is None or until not in got) and (piece := sock.recv(65_536)):
                    got += piece
            except (ConnectionResetError, BrokenPipeError):
                pass
        return got

    def assert_well(self) -> None:
        """It answers, and has logged no bug that is not told already: a search for the shortest
        garbage goes on behind the first."""
        assert self.send(b"GET /healthz HTTP/1.1\r\nHost: b\r\n\r\n").startswith(b"HTTP/1.1 200")
        bugs = [line for line in self.lines() if line["level"] == "error"]
        new, self.bugs[:] = bugs[len(self.bugs) :], bugs
        assert new == []

    def lines(self) -> list[dict[str, Any]]:
        """The log; without a line that is still being written."""
        text, _, _ = self.log_path.read_text().rpartition("\n")
        return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


@contextmanager
def _serving(log_path: Path) -> Iterator[Server]:
    env = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    env |= {"OPENAI_ENDPOINT": "ws://127.0.0.1:1/v1", "AVR_LOG_FORMAT": "json"}
    command = [sys.executable, "-m", "avr_bridge", "serve", "--host", "127.0.0.1", "--port", "0"]
    with log_path.open("w") as log:
        process = subprocess.Popen(
            command,
            cwd=CHECKOUT,
            env={**env, "AVR_MAX_LAG_MS": "0"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
        )
    try:
        server = Server("", 0, log_path)
        while not (found := [x for x in server.lines() if x["event"] == "listening"]):
            assert process.poll() is None, log_path.read_text()
        yield Server("127.0.0.1", urlsplit(found[0]["addresses"][0]).port or 0, log_path)
        assert process.poll() is None, log_path.read_text()
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


@pytest.fixture(name="server", scope="module")
def _server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with _serving(tmp_path_factory.mktemp("garbage") / "log") as server:
        yield server


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.stem)
def test_the_corpus(server: Server, path: Path) -> None:
    """Each connection is closed, and the bridge is well. What is wrong with HTTP is refused with
    a status, what is wrong with a frame with a close code, what is wrong with JSON in words."""
    in_words = b'"type":"error"' if path.stem.startswith("json-") else None
    got = server.send(path.read_bytes(), in_words)
    print(f"\n  {path.stem}: {got[:15]!r} ... {got[-60:]!r}")
    if in_words is not None:
        assert in_words in got
    elif path.stem in BROKEN_FRAMES:
        assert b"caller_broke_protocol" in got
    elif path.stem in REFUSED_HEADS:
        assert got.startswith(b"HTTP/1.1 4")
    server.assert_well()


BROKEN_FRAMES = {
    "frame-unmasked",
    "frame-reserved-opcode",
    "frame-reserved-bit",
    "frame-length-2-63",
    "frame-not-utf8",
    "frame-long-ping",
    "frame-orphan-continuation",
}
REFUSED_HEADS = {
    "head-binary",
    "head-no-host",
    "head-17-kib",
    "head-bad-length",
    "head-http10-upgrade",
    "head-not-ascii",
}

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
messages = st.fixed_dictionaries(
    {"type": st.sampled_from(["init", "audio", "dtmf_digit", "interruption"]) | json_values},
    optional={"uuid": json_values, "audio": json_values, "digit": json_values},
).map(lambda message: json.dumps(message).encode())
frames = st.builds(
    frame,
    st.binary(max_size=200) | messages,
    opcode=st.sampled_from([0, 1, 1, 1, 1, 2, 3, 8, 9, 10]),
    fin=st.sampled_from([True, True, True, False]),
)
connections = st.one_of(
    st.lists(frames, max_size=6).map(lambda all_: UPGRADE_REQUEST + b"".join(all_)),
    st.binary(max_size=300).map(lambda raw: UPGRADE_REQUEST + raw),
    st.builds(
        lambda head, at, raw: head[:at] + raw + head[at:],
        st.just(UPGRADE_REQUEST),
        st.integers(0, len(UPGRADE_REQUEST)),
        st.binary(max_size=20),
    ),
    st.builds(lambda uuid, body: POST % (uuid, body), st.binary(max_size=40), st.binary()),
)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck), database=None)
@given(raw=connections)
def test_what_nobody_thought_of(server: Server, raw: bytes) -> None:
    """Garbage in heads, frames, messages and chunks: each connection is closed, and the bridge
    is well."""
    server.send(raw)
    server.assert_well()
