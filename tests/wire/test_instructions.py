"""Where a call's instructions come from, and what happens when a source fails."""

from __future__ import annotations

import gzip
import json
import tracemalloc
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import structlog
import trio

from avr_bridge import BridgeConfig, ModelConfig, Secret, TalkConfig, run_call
from avr_bridge.call import instructions
from avr_bridge.call.instructions import (
    MOST_INSTRUCTIONS_CHARS,
    CallSettings,
    settings_for_call,
)
from avr_bridge.config import DEFAULT_INSTRUCTIONS
from avr_bridge.testing import MemoryCaller, SimulatedRealtime, write_wav
from avr_bridge.upstream import wording
from avr_bridge.upstream.commands import text_item

if TYPE_CHECKING:
    from pathlib import Path

LIMIT_S = 10


async def asked(config: ModelConfig, **metadata: str) -> str:
    settings = await settings_for_call(config, "u-1", metadata, structlog.get_logger())
    return settings.instructions


async def test_the_setting_wins(tmp_path: Path) -> None:
    """Then the file, then the built-in sentence."""
    prompt = tmp_path / "prompt.txt"
    prompt.write_text("from the file\n")
    file = str(prompt)
    assert await asked(ModelConfig(instructions="set", instructions_file=file)) == "set"
    assert await asked(ModelConfig(instructions_file=file)) == "from the file"
    assert await asked(ModelConfig()) == DEFAULT_INSTRUCTIONS


async def test_the_file_is_read_anew_for_each_call(tmp_path: Path) -> None:
    """A prompt is changed without a restart."""
    prompt = tmp_path / "prompt.txt"
    config = ModelConfig(instructions_file=str(prompt))
    for words in ("first", "second"):
        prompt.write_text(words)
        assert await asked(config) == words


@pytest.mark.parametrize("content", [None, b"", b"  \n", b"\xff\xfe\xff"])
async def test_a_bad_file_falls_to_the_built_in(
    tmp_path: Path, content: bytes | None, log: list[dict[str, Any]]
) -> None:
    """Missing, empty or no text: logged, and the call goes on."""
    prompt = tmp_path / "prompt.txt"
    if content is not None:
        prompt.write_bytes(content)
    assert await asked(ModelConfig(instructions_file=str(prompt))) == DEFAULT_INSTRUCTIONS
    assert [line["log_level"] for line in log] == ["warning"]


class PromptServer:
    """Answers every request with one body; keeps what was asked."""

    def __init__(self, body: bytes, status: str = "200 OK", extra: str = "") -> None:
        self.head = b""
        head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{extra}"
        self._answer = f"{head}Connection: close\r\n\r\n".encode() + body

    async def serve(self, stream: trio.SocketStream) -> None:
        async with stream:
            while b"\r\n\r\n" not in self.head:
                self.head += await stream.receive_some(4096)
            try:
                await stream.send_all(self._answer)
            except trio.BrokenResourceError:
                return  # the client has read enough


async def fetched(server: PromptServer, **metadata: str) -> str:
    return (await fetched_settings(server, **metadata)).instructions


async def fetched_settings(server: PromptServer, **metadata: str) -> CallSettings:
    with trio.fail_after(LIMIT_S):
        async with trio.open_nursery() as nursery:
            (listener,) = await nursery.start(
                partial(trio.serve_tcp, server.serve, 0, host="127.0.0.1")
            )
            port = listener.socket.getsockname()[1]
            config = ModelConfig(instructions_url=f"http://127.0.0.1:{port}/prompt?tenant=7")
            found = await settings_for_call(config, "u-1", metadata, structlog.get_logger())
            nursery.cancel_scope.cancel()
    return found


async def test_the_address_is_asked_with_the_calls_id_and_metadata() -> None:
    """The header of avr-sts-openai, the metadata as query, the address' own query kept."""
    server = PromptServer(json.dumps({"system": "from the address"}).encode())
    assert await fetched(server, **{"from": "+1 555", "tenant2": "&x=1"}) == "from the address"
    request, *headers = server.head.decode().split("\r\n")
    assert request.startswith("GET /prompt?tenant=7&from=%2B1")
    assert "x=1" not in request
    assert "x-avr-uuid: u-1" in [header.lower() for header in headers]


async def test_a_caller_cannot_set_what_the_address_has() -> None:
    """A tenant or a key in the configured address stays what it is, under each name that a server
    could take for it; other metadata is asked with."""
    server = PromptServer(json.dumps({"system": "x"}).encode())
    evil = {"tenant": "evil", "tenant[]": "evil", "Tenant": "evil", " tenant": "evil", "to": "1"}
    assert await fetched(server, **evil) == "x"
    assert server.head.decode().startswith("GET /prompt?tenant=7&to=1 HTTP/1.1\r\n")


async def test_what_the_address_may_set_for_a_call() -> None:
    """Voice, welcome, tools by name and metadata, all of the right type; `{name}` in the texts
    stands for metadata, the caller's and the address' own; unknown names stay."""
    body = {
        "system": "You answer {from} for {shop} on {weekday}.",
        "voice": "marin",
        "welcome": "Hello {name}!",
        "tools": ["avr_hangup"],
        "metadata": {"shop": "Example Dental", "name": "Ann {from}"},
        "api_key": "sk-evil",
    }
    server = PromptServer(json.dumps(body).encode())
    settings = await fetched_settings(server, **{"from": "+1 {voice}"})
    assert settings == CallSettings(
        "You answer +1 {voice} for Example Dental on {weekday}.",
        {"from": "+1 {voice}", "shop": "Example Dental", "name": "Ann {from}"},
        "marin",
        "Hello Ann {from}!",
        ("avr_hangup",),
    )


@pytest.mark.parametrize(
    ("log", "all_of_it"), [("debug", True), ("info", False), (True, False), ({"a": 1}, False)]
)
async def test_the_address_may_have_a_call_logged_closely(log: object, all_of_it: bool) -> None:
    """By one word; another service's field of that name harms nothing."""
    server = PromptServer(json.dumps({"system": "x", "log": log}).encode())
    assert await fetched_settings(server) == CallSettings("x", {}, log_all=all_of_it)


async def test_the_address_wins_over_the_call() -> None:
    """A name that both know has the value of the address, in prompts and for tools."""
    body = {"system": "You speak to {name}.", "metadata": {"name": "Ann"}}
    server = PromptServer(json.dumps(body).encode())
    settings = await fetched_settings(server, name="somebody", to="600")
    assert settings == CallSettings("You speak to Ann.", {"name": "Ann", "to": "600"})


async def test_what_the_address_sets_reaches_the_model(log: list[dict[str, Any]]) -> None:
    """Voice, instructions and tools in the session of this call, the welcome in its first
    answer; what the settings say is for others."""
    body = {"system": "s", "voice": "marin", "welcome": "Good day!", "tools": ["avr_hangup"]}
    server = PromptServer(json.dumps(body).encode())
    caller, model = MemoryCaller(), SimulatedRealtime()
    with trio.fail_after(LIMIT_S):
        async with trio.open_nursery() as nursery:
            (listener,) = await nursery.start(
                partial(trio.serve_tcp, server.serve, 0, host="127.0.0.1")
            )
            url = f"http://127.0.0.1:{listener.socket.getsockname()[1]}/"
            settings = ModelConfig(
                api_key=Secret("k"),
                endpoint="ws://simulator/v1",
                instructions_url=url,
                voice="alloy",
            )
            config = BridgeConfig(model=settings, talk=TalkConfig(welcome_message="Hello?"))
            nursery.start_soon(partial(run_call, caller.transport, config, dial=model.dial))
            caller.start()
            session = await model.wait_session()
            update = (await session.wait_received("session.update"))["session"]
            greeting = await session.wait_received("response.create")
            nursery.cancel_scope.cancel()
    assert update["audio"]["output"]["voice"] == "marin"
    assert update["instructions"] == "s"
    assert [tool["name"] for tool in update["tools"]] == ["avr_hangup"]
    assert "Good day!" in repr(greeting)
    assert "Hello?" not in repr(greeting)


async def test_a_welcome_of_the_address_is_not_what_a_recording_says(
    tmp_path: Path, question: bytes, log: list[dict[str, Any]]
) -> None:
    """Only the settings know the words of AVR_GREETING_FILE: where they have none, the model is
    told that there was a recording, and no words."""
    server = PromptServer(json.dumps({"system": "s", "welcome": "Good day!"}).encode())
    write_wav(tmp_path / "greeting.wav", question[:3200])
    caller, model = MemoryCaller(), SimulatedRealtime()
    with trio.fail_after(LIMIT_S):
        async with trio.open_nursery() as nursery:
            (listener,) = await nursery.start(
                partial(trio.serve_tcp, server.serve, 0, host="127.0.0.1")
            )
            url = f"http://127.0.0.1:{listener.socket.getsockname()[1]}/"
            settings = ModelConfig(
                api_key=Secret("k"), endpoint="ws://simulator/v1", instructions_url=url
            )
            talk = TalkConfig(greeting_file=str(tmp_path / "greeting.wav"))
            config = BridgeConfig(model=settings, talk=talk)
            nursery.start_soon(partial(run_call, caller.transport, config, dial=model.dial))
            caller.start()
            session = await model.wait_session()
            told = await session.wait_received("conversation.item.create")
            nursery.cancel_scope.cancel()
    assert told["item"] == text_item("system", wording.GREETING_PLAYED)


@pytest.mark.parametrize(
    "server",
    [
        PromptServer(b'{"system": "x", "voice": 7}'),
        PromptServer(json.dumps({"system": "x", "voice": "two\nlines"}).encode()),
        PromptServer(json.dumps({"system": "x", "voice": "marin\n"}).encode()),
        PromptServer(json.dumps({"system": "x", "voice": "v" * 65}).encode()),
        PromptServer(json.dumps({"system": "x", "voice": "<b>"}).encode()),
        PromptServer(json.dumps({"system": "x" * 65537}).encode()),
        PromptServer(json.dumps({"system": "x", "welcome": "x" * 4097}).encode()),
        PromptServer(json.dumps({"system": "x", "more": "x" * 524288}).encode()),
        PromptServer(b'{"system": "x", "tools": "all"}'),
        PromptServer(b'{"system": "x", "metadata": {"a": 1}}'),
        PromptServer(b"no json"),
        PromptServer(b"[]"),
        PromptServer(b'{"system": 7}'),
        PromptServer(b'{"system": " "}'),
        PromptServer(b'{"system": "no"}', "500 Oops"),
        PromptServer(b'{"system": "no"}', "302 Found"),
    ],
)
async def test_a_bad_answer_falls_to_the_next_source(
    server: PromptServer, log: list[dict[str, Any]]
) -> None:
    """Logged without the answer's content; the call goes on."""
    assert await fetched(server) == DEFAULT_INSTRUCTIONS
    assert [line["log_level"] for line in log] == ["warning"]


@pytest.mark.parametrize(
    ("voice", "expected"), [("", None), (None, None), ("voice_68a-1.b", "voice_68a-1.b")]
)
async def test_a_voice_is_a_name(voice: str | None, expected: str | None) -> None:
    """None, or an empty one, is the configured voice."""
    server = PromptServer(json.dumps({"system": "x", "voice": voice}).encode())
    assert (await fetched_settings(server)).voice == expected


async def test_the_log_says_what_was_wrong_with_an_answer(log: list[dict[str, Any]]) -> None:
    """The place, for whoever runs the address; nothing of what stood there."""
    await fetched(PromptServer(b'{"system": "secret", "voice": "a secret\\n"}'))
    (line,) = log
    assert "$.voice" in line["error"]
    assert "secret" not in repr(log)


async def test_the_longest_answer() -> None:
    """Instructions at their limit, in the longest way to write them."""
    server = PromptServer(json.dumps({"system": "я" * MOST_INSTRUCTIONS_CHARS}).encode())
    assert await fetched(server) == "я" * MOST_INSTRUCTIONS_CHARS


async def test_a_packed_answer_is_no_way_around_the_limits(log: list[dict[str, Any]]) -> None:
    """30 MB packed into 30 kB, although packing was not asked for: refused, and never there."""
    bomb = gzip.compress(json.dumps({"system": "x" * 30_000_000}).encode())
    tracemalloc.start()
    try:
        server = PromptServer(bomb, extra="Content-Encoding: gzip\r\n")
        tracemalloc.reset_peak()
        before, _ = tracemalloc.get_traced_memory()
        assert await fetched(server) == DEFAULT_INSTRUCTIONS
        assert tracemalloc.get_traced_memory()[1] - before < 10_000_000
    finally:
        tracemalloc.stop()
    (line,) = log
    assert line["error"] == "the answer is longer than 524288 bytes"


async def test_a_small_packed_answer_is_read() -> None:
    """Some servers pack whatever they are asked."""
    packed = gzip.compress(b'{"system": "packed"}')
    assert await fetched(PromptServer(packed, extra="Content-Encoding: gzip\r\n")) == "packed"


async def test_a_slow_address_has_a_limit(
    monkeypatch: pytest.MonkeyPatch, log: list[dict[str, Any]]
) -> None:
    """The caller hears nothing meanwhile, so it is asked for 3 s and no longer."""
    monkeypatch.setattr(instructions, "FETCH_LIMIT_S", 0.2)
    server = PromptServer(b"{}")

    async def never(stream: trio.SocketStream) -> None:
        await trio.sleep_forever()

    server.serve = never  # type: ignore[method-assign]
    assert await fetched(server) == DEFAULT_INSTRUCTIONS
    assert [line["error"] for line in log] == ["no answer within 0.2 s"]
