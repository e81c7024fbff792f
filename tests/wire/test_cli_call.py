"""``avr-bridge call`` as its user sees it: words, files and exit codes, on real sockets."""

from __future__ import annotations

import base64
import json
import signal
import subprocess
import sys
from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio
from click.testing import CliRunner, Result

from avr_bridge.cli.call import call
from avr_bridge.testing.likeness import likeness
from avr_bridge.testing.wav import clip, read_wav, write_wav
from tests.wire.conftest import open_bridge
from tests.wire.sts_servers import HttpSts, WebSocketSts, echo, tcp_server, websocket_sts
from tests.wire.test_audiosocket import open_bridge as open_audiosocket_bridge

if TYPE_CHECKING:
    from pathlib import Path

    from trio_websocket import WebSocketConnection

SPEECH = read_wav(clip("question"))[:24_000]
LIMIT_S = 30


@pytest.fixture
def wav(tmp_path: Path) -> str:
    path = tmp_path / "said.wav"
    write_wav(path, SPEECH)
    return str(path)


async def run(*args: str, tmp_path: Path) -> Result:
    """Run the command in a thread, with its own Trio, beside the test's server."""
    invoke = partial(CliRunner().invoke, call, [*args, "--out", str(tmp_path / "out.wav")])
    return await trio.to_thread.run_sync(invoke)


async def test_reply_is_heard_and_written(tmp_path: Path, wav: str) -> None:
    """Exit 0; init with the given id, query and digits arrive; the reply is in the file."""
    with trio.fail_after(LIMIT_S):
        async with websocket_sts(echo) as (url, seen):
            result = await run(
                *(url, "--wav", wav, "--uuid", "u-9", "--query", "from=2000", "--query", "to=a=b"),
                *("--digits", "1#", "--no-wait-greeting"),
                tmp_path=tmp_path,
            )
            await seen.ended.wait()
    assert result.exit_code == 0, result.output
    assert seen.messages[0] == {"type": "init", "uuid": "u-9"}
    assert seen.path == "/?from=2000&to=a%3Db"
    assert [m["digit"] for m in seen.messages if m["type"] == "dtmf_digit"] == ["1", "#"]
    assert likeness(SPEECH, read_wav(tmp_path / "out.wav")).correlation > 0.9
    for words in ("caller presses 1", "bridge is heard", "caller hangs up", "answer latency"):
        assert words in result.stdout
    assert "line closed 1000" in result.stdout


async def test_greeting_is_let_finish(tmp_path: Path, wav: str) -> None:
    """With a greeting the caller speaks only after it; both are heard, in that order."""
    greeting = read_wav(clip("greeting"))[:16_000]

    async def greet_and_echo(ws: WebSocketConnection, seen: WebSocketSts) -> None:
        text = base64.b64encode(greeting).decode()
        await ws.send_message(json.dumps({"type": "audio", "audio": text}))
        await ws.send_message(json.dumps({"type": "transcript", "role": "agent", "text": "Hi."}))
        await echo(ws, seen)

    with trio.fail_after(LIMIT_S):
        async with websocket_sts(greet_and_echo) as (url, _):
            result = await run(url, "--wav", wav, tmp_path=tmp_path)
    assert result.exit_code == 0, result.output
    heard = read_wav(tmp_path / "out.wav")
    assert likeness(greeting, heard).correlation > 0.9
    assert likeness(SPEECH, heard).offset_ms > len(greeting) / 16
    assert "agent: Hi." in result.stdout


async def test_legacy_call_reports_as_json(tmp_path: Path, wav: str) -> None:
    """`--json` leaves exactly one JSON object on stdout; the live lines go to stderr."""
    sts = HttpSts()
    with trio.fail_after(LIMIT_S):
        async with tcp_server(sts.handle) as port:
            result = await run(
                *(f"http://127.0.0.1:{port}", "--wav", wav, "--json", "--no-wait-greeting"),
                tmp_path=tmp_path,
            )
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["closed_by"] == "caller"
    assert report["heard_s"] > 0.3
    assert "bridge is heard" in result.stderr


async def test_no_reply_is_exit_1(tmp_path: Path, wav: str) -> None:
    """A bridge that stays silent: exit 1 after the limit, with a sentence, and a file."""

    async def listen(ws: WebSocketConnection, seen: WebSocketSts) -> None:
        while True:
            await ws.get_message()

    with trio.fail_after(LIMIT_S):
        async with websocket_sts(listen) as (url, _):
            result = await run(
                url, "--wav", wav, "--no-wait-greeting", "--max-s", "2", tmp_path=tmp_path
            )
    assert result.exit_code == 1
    assert "No reply was heard: nothing came within 2 s." in result.stderr
    assert not any(read_wav(tmp_path / "out.wav"))


async def test_bridge_that_closes_is_exit_1(tmp_path: Path, wav: str) -> None:
    """The close code and reason are in the sentence."""

    async def close(ws: WebSocketConnection, seen: WebSocketSts) -> None:
        await ws.get_message()
        await ws.aclose(1011, "no model")

    with trio.fail_after(LIMIT_S):
        async with websocket_sts(close) as (url, _):
            result = await run(url, "--wav", wav, tmp_path=tmp_path)
    assert result.exit_code == 1
    assert "the other side ended the call with 1011 (no model)" in result.stderr


@pytest.mark.parametrize("target", ["/a b", "/é?x=ü y", "/a?b"])
async def test_an_odd_address_is_encoded(tmp_path: Path, wav: str, target: str) -> None:
    """As Node does it for avr-core; what is encoded already stays as it is."""
    encoded = {"/a b": "/a%20b", "/é?x=ü y": "/%C3%A9?x=%C3%BC%20y", "/a?b": "/a?b"}[target]
    with trio.fail_after(LIMIT_S):
        async with websocket_sts(echo) as (url, seen):
            result = await run(url + target, "--wav", wav, "--no-wait-greeting", tmp_path=tmp_path)
    assert result.exit_code == 0, result.output
    assert seen.path == encoded


async def test_an_out_that_cannot_be_written_is_told_before_the_call(tmp_path: Path) -> None:
    """Exit 2, and nobody is called. `test_unreachable_is_exit_1` shows that the check leaves no
    file."""
    async with websocket_sts(echo) as (url, seen):
        result = await run(url, tmp_path=tmp_path / "nowhere")
        assert seen.messages == []
    assert result.exit_code == 2
    assert "--out" in result.stderr
    assert "No such file or directory" in result.stderr


async def test_ctrl_c_keeps_what_was_heard(tmp_path: Path) -> None:
    """SIGINT is a hangup: the bridge sees a close, the file and the report are written."""
    greeting = read_wav(clip("greeting"))[:16_000]
    out = tmp_path / "heard.wav"

    async def greet(ws: WebSocketConnection, seen: WebSocketSts) -> None:
        text = base64.b64encode(greeting).decode()
        await ws.send_message(json.dumps({"type": "audio", "audio": text}))
        while True:
            await ws.get_message()

    with trio.fail_after(LIMIT_S):
        async with websocket_sts(greet) as (url, seen):
            process = await trio.lowlevel.open_process(
                [sys.executable, "-m", "avr_bridge", "call", url, "--out", str(out)],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
            assert process.stdout is not None
            assert process.stderr is not None
            async with process.stdout, process.stderr:
                shown = b""
                while b"bridge fell silent" not in shown:
                    shown += await process.stdout.receive_some()
                process.send_signal(signal.SIGINT)
                async for piece in process.stdout:
                    shown += piece
                told = b"".join([piece async for piece in process.stderr])
            assert await process.wait() == 1
            await seen.ended.wait()
    assert likeness(greeting, read_wav(out)).correlation > 0.9
    assert b"caller hangs up" in shown
    assert b"line closed 1000" in shown
    assert told == b"No reply was heard: it was interrupted.\n"


async def test_unreachable_is_exit_1(tmp_path: Path) -> None:
    """Nobody listens: exit 1 and a sentence, no traceback."""
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    await listeners[0].aclose()
    with trio.fail_after(LIMIT_S):
        result = await run(f"ws://127.0.0.1:{port}", tmp_path=tmp_path)
    assert result.exit_code == 1
    assert "The call was not placed: cannot reach" in result.stderr
    assert not (tmp_path / "out.wav").exists()


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["ftp://h"], "must begin with ws://"),
        (["ws://h", "--digits", "1x"], "'x': keys are"),
        (["http://h", "--digits", "1"], "carries no digits"),
        (["ws://h", "--query", "from"], "not of the form key=value"),
        (["ws://h", "--wav", __file__], "not a WAV file"),
        (["ws://h", "--wav", "/nowhere.wav"], "does not exist"),
        (["ws://h", "--max-s", "0"], "--max-s"),
        (["ws://a..b"], "'a..b' cannot be a host's name"),
        (["ws://h ö"], "cannot be a host's name"),
        (["ws://h", "--transport", "sip"], "--transport"),
        ([], "Missing argument"),
    ],
)
async def test_bad_usage_is_exit_2(tmp_path: Path, args: list[str], words: str) -> None:
    """A wrong command line is told before any call is placed."""
    result = await run(*args, tmp_path=tmp_path)
    assert result.exit_code == 2
    assert words in " ".join(result.stderr.split())


async def test_a_call_as_from_asterisk(tmp_path: Path, wav: str) -> None:
    """Over AudioSocket to the bridge's own port; an id that is no UUID is refused before."""
    with trio.fail_after(LIMIT_S):
        async with open_audiosocket_bridge() as bridge:
            url = f"{bridge.audiosocket}?codec=ulaw"
            result = await run(url, "--wav", wav, tmp_path=tmp_path)
            refused = await run(url, "--wav", wav, "--uuid", "mine", tmp_path=tmp_path)
    assert result.exit_code == 0, result.output
    assert likeness(SPEECH, read_wav(tmp_path / "out.wav")).correlation > 0.9
    assert refused.exit_code == 2
    assert "AudioSocket wants a UUID" in refused.output


async def test_a_call_as_from_chan_websocket(tmp_path: Path, wav: str) -> None:
    """To the path that speaks Asterisk's media subprotocol: keys and call data go along, what the
    bridge commands is known to Asterisk, and the reply is heard at its pace."""
    with trio.fail_after(LIMIT_S):
        async with open_bridge() as bridge:
            url = f"{bridge.ws}/asterisk/media"
            more = ("--uuid", "mine", "--query", "from=2000", "--digits", "1#")
            result = await run(url, "--wav", wav, *more, tmp_path=tmp_path)
            (ended,) = await bridge.wait_ended()
    assert result.exit_code == 0, result.output
    assert "FAULT" not in result.output
    assert likeness(SPEECH, read_wav(tmp_path / "out.wav")).correlation > 0.9
    assert (ended["call"], ended["transport"]) == ("mine", "chan_websocket")
    assert (ended["digits"], ended["faults"], ended["metadata_keys"]) == (2, 0, ["from"])
    assert ended["reason"] == "caller_hung_up"


async def test_a_bridge_that_refuses_a_call_from_chan_websocket(tmp_path: Path) -> None:
    """Before the upgrade, by its HTTP status; exit code 1."""
    with trio.fail_after(LIMIT_S):
        async with open_bridge(token="a-long-shared-secret") as bridge:
            result = await run(f"{bridge.ws}/asterisk/media", tmp_path=tmp_path)
    assert result.exit_code == 1
    assert "The call was not placed: refused with HTTP 401" in result.output
