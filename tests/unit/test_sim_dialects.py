"""The simulator's beta and xAI, as a raw client sees them; and the bridge's dialects against them.

In memory and in virtual time. What is expected of the raw documents is written out by hand, from
the protocol sheet; what the bridge's dialects make of them is judged by the `openai` package's GA
types (in `Client.read`).
"""

from __future__ import annotations

import json
from collections import deque
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import trio
from click.testing import CliRunner

from avr_bridge.cli.simulate import simulate
from avr_bridge.errors import UpstreamClosed, UpstreamRejected
from avr_bridge.testing.realtime import (
    CallTool,
    Say,
    Script,
    Silence,
    SimulatedRealtime,
    SimulatorOptions,
)
from avr_bridge.upstream.dialect import DialectName, dialect_of_session, make_dialect
from tests.sim_client import ALAW, PCM, ULAW, URL, Client, quiet, tone

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from trio.testing import MockClock

    from avr_bridge.testing.realtime import Step
    from avr_bridge.upstream.dialect import Dialect
    from avr_bridge.upstream.socket import MessageSocket

SPOKEN = Say(tone(400), 24_000, "We open at nine.")
LONG = Say(tone(20_000), 24_000, "A very long story indeed.")
SERVER_VAD = {
    "type": "server_vad",
    "threshold": 0.5,
    "prefix_padding_ms": 300,
    "silence_duration_ms": 200,
    "idle_timeout_ms": None,
    "create_response": True,
    "interrupt_response": True,
}


class Raw(Client):
    """A client that takes events as they are."""

    async def read(self, within_s: float = 30) -> dict[str, Any]:
        with trio.fail_after(within_s):
            event: dict[str, Any] = json.loads(await self.socket.get_message())
        self.events.append(event)
        return event

    async def change(self, **session: Any) -> dict[str, Any]:
        """`session.update` as given; the session that is answered."""
        await self.send("session.update", session=session)
        updated: dict[str, Any] = (await self.until("session.updated"))["session"]
        return updated

    def of(self, event_type: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["type"] == event_type]


class TranslatedSocket:
    """A GA client's end of a connection to a server that speaks something else."""

    def __init__(self, socket: MessageSocket, dialect: Dialect) -> None:
        self._socket = socket
        self._dialect = dialect
        self._waiting: deque[dict[str, Any]] = deque()

    async def send_message(self, message: bytes | str) -> None:
        event = self._dialect.encode(json.loads(message))
        if event is not None:
            await self._socket.send_message(json.dumps(event))

    async def get_message(self) -> bytes | str:
        while not self._waiting:
            raw = json.loads(await self._socket.get_message())
            self._waiting.extend(self._dialect.decode(raw))
        return json.dumps(self._waiting.popleft())

    async def ping(self) -> None:
        await self._socket.ping()

    async def aclose(self, code: int = 1000, reason: str = "") -> None:
        await self._socket.aclose(code, reason)


def simulator(dialect: Any, *steps: list[Step], **options: Any) -> SimulatedRealtime:
    behaviour = Script(list(steps), then=Silence())
    return SimulatedRealtime(behaviour, SimulatorOptions(dialect=dialect, **options))


@asynccontextmanager
async def raw(server: SimulatedRealtime, url: str = URL) -> AsyncIterator[Raw]:
    """A raw client that has read `session.created`."""
    async with server.dial(url, []) as socket:
        client = Raw(socket)
        await client.until("session.created")
        yield client
    assert server.faults == []


@asynccontextmanager
async def translated(server: SimulatedRealtime, name: DialectName) -> AsyncIterator[Client]:
    """A GA client behind the bridge's dialect; everything it reads is judged as GA."""
    async with server.dial(URL, []) as socket:
        client = Client(TranslatedSocket(socket, make_dialect(name)))
        await client.until("session.created")
        yield client
    assert server.faults == []


async def speak(client: Client) -> None:
    """Say something, as a caller does."""
    await client.append(quiet(200) + tone(600) + quiet(800))


# --- beta, raw


async def test_beta_opens_flat(autojump_clock: MockClock) -> None:
    """The sheet's first session, then `conversation.created`; no `type`, no `audio`."""
    async with raw(simulator("beta")) as client:
        session = client.events[0]["session"]
        assert await client.read() == {
            "event_id": client.events[1]["event_id"],
            "type": "conversation.created",
            "conversation": {"id": "conv_1_000002", "object": "realtime.conversation"},
        }
    assert session.pop("expires_at") > 0
    assert session == {
        "id": "sess_1_000001",
        "object": "realtime.session",
        "model": "gpt-realtime-2.1",
        "modalities": ["text", "audio"],
        "instructions": "You are a simulated voice assistant.",
        "voice": "alloy",
        "input_audio_format": "pcm16",
        "output_audio_format": "pcm16",
        "input_audio_noise_reduction": None,
        "input_audio_transcription": None,
        "turn_detection": SERVER_VAD,
        "tools": [],
        "tool_choice": "auto",
        "speed": 1.0,
        "temperature": 0.8,
        "max_response_output_tokens": "inf",
    }


async def test_beta_takes_the_session_of_the_sheet(autojump_clock: MockClock) -> None:
    """Every field of it takes effect, and is shown under the same name."""
    wish = {
        "modalities": ["text", "audio"],
        "instructions": "You answer the phone.",
        "voice": "ash",
        "input_audio_format": "g711_ulaw",
        "output_audio_format": "g711_alaw",
        "input_audio_noise_reduction": {"type": "near_field"},
        "input_audio_transcription": {"model": "whisper-1", "language": "en"},
        "turn_detection": SERVER_VAD | {"silence_duration_ms": 500},
        "tools": [{"type": "function", "name": "f", "parameters": {}}],
        "tool_choice": "auto",
        "temperature": 0.7,
        "max_response_output_tokens": 2048,
    }
    async with raw(simulator("beta")) as client:
        session = await client.change(**wish)
    assert {name: session[name] for name in wish} == wish


@pytest.mark.parametrize(
    ("session", "code", "param"),
    [
        ({"type": "realtime"}, "unknown_parameter", "session.type"),
        ({"modalities": ["audio"]}, "invalid_value", "session.modalities"),
        ({"output_modalities": ["audio"]}, "unknown_parameter", "session.output_modalities"),
        ({"audio": {}}, "unknown_parameter", "session.audio"),
        ({"reasoning": {"effort": "low"}}, "unknown_parameter", "session.reasoning"),
        ({"truncation": "auto"}, "unknown_parameter", "session.truncation"),
        ({"max_output_tokens": 10}, "unknown_parameter", "session.max_output_tokens"),
        ({"input_audio_format": "audio/pcmu"}, "invalid_value", "session.input_audio_format"),
        ({"voice": "marin"}, "invalid_value", "session.voice"),
        ({"tools": [{"type": "mcp"}]}, "invalid_value", "session.tools[0].type"),
        ({"temperature": 2}, "decimal_above_max_value", "session.temperature"),
        # found by the rules of GA inside, and told in the names of beta
        (
            {"max_response_output_tokens": 0},
            "integer_below_min_value",
            "session.max_response_output_tokens",
        ),
        (
            {"turn_detection": {"type": "server_vad", "threshold": 2}},
            "decimal_above_max_value",
            "session.turn_detection.threshold",
        ),
        ({"instructions": None}, "invalid_type", "session.instructions"),
    ],
)
async def test_beta_refuses_ga(
    autojump_clock: MockClock, session: dict[str, Any], code: str, param: str
) -> None:
    """The whole update is refused, in beta's names, and the session goes on."""
    async with raw(simulator("beta")) as client:
        error = await client.refused("session.update", session=session)
        assert (error["code"], error["param"]) == (code, param)
        assert param in error["message"] or code == "invalid_value"
        assert "audio.input" not in error["message"]
        assert (await client.change(instructions="x"))["modalities"] == ["text", "audio"]


async def test_beta_refuses_gas_items_and_answers(autojump_clock: MockClock) -> None:
    """`output_text` and `output_modalities` are unknown there; `text` and `modalities` are not."""
    async with raw(simulator("beta", [SPOKEN])) as client:

        def said(kind: str) -> dict[str, Any]:
            content = [{"type": kind, "text": "x"}]
            return {"type": "message", "role": "assistant", "content": content}

        error = await client.refused("conversation.item.create", item=said("output_text"))
        assert error["param"] == "item.content[0].type"
        await client.send("conversation.item.create", item=said("text"))
        told = await client.until("conversation.item.created")
        assert told["item"]["content"] == [{"type": "text", "text": "x"}]
        error = await client.refused("response.create", response={"output_modalities": ["text"]})
        assert error["param"] == "response.output_modalities"
        wish = {"modalities": ["text"], "max_response_output_tokens": 50, "temperature": 0.8}
        await client.send("response.create", response=wish)
        done = await client.until("response.done")
        assert done["response"]["modalities"] == ["text"]
        assert done["response"]["max_output_tokens"] == 50
        assert done["response"]["output"][0]["content"] == [
            {"type": "text", "text": "We open at nine."}
        ]


async def test_a_beta_turn_has_betas_events(autojump_clock: MockClock) -> None:
    """One caller turn: one event an item, the older names, flat responses, `audio` parts."""
    async with raw(simulator("beta", [SPOKEN])) as client:
        await client.change(
            output_audio_format="g711_ulaw",
            input_audio_transcription={"model": "whisper-1"},
        )
        mark = len(client.events)
        await speak(client)
        await client.settle()
        seen = list(dict.fromkeys(event["type"] for event in client.events[mark:]))
        assert seen == [
            "input_audio_buffer.speech_started",
            "input_audio_buffer.speech_stopped",
            "input_audio_buffer.committed",
            "conversation.item.created",
            "response.created",
            "response.output_item.added",
            "response.content_part.added",
            "response.audio_transcript.delta",
            "response.audio.delta",
            "response.audio.done",
            "response.audio_transcript.done",
            "response.content_part.done",
            "response.output_item.done",
            "response.done",
            "rate_limits.updated",
            "conversation.item.input_audio_transcription.delta",
            "conversation.item.input_audio_transcription.completed",
        ]
        statuses = [event["item"]["status"] for event in client.of("conversation.item.created")]
        assert statuses == ["completed", "in_progress"]
        (done,) = client.of("response.done")
        assert done["response"].keys() == {
            *("object", "id", "status", "status_details", "output", "conversation_id"),
            *("modalities", "voice", "output_audio_format", "temperature", "max_output_tokens"),
            *("usage", "metadata"),
        }
        assert done["response"]["output_audio_format"] == "g711_ulaw"
        assert done["response"]["output"][0]["content"] == [
            {"type": "audio", "transcript": "We open at nine."}
        ]
        server = await client.change(instructions="y")
        assert server["instructions"] == "y"


async def test_betas_tool_calls_have_no_name_at_their_end(autojump_clock: MockClock) -> None:
    """The name is in the item alone."""
    async with raw(simulator("beta", [CallTool("lookup", "{}")])) as client:
        await client.send("response.create")
        done = await client.until("response.function_call_arguments.done")
        assert "name" not in done
        over = await client.until("response.output_item.done")
        assert over["item"]["name"] == "lookup"


# --- where it is found, and with which key


AZURE_GA = "wss://r.openai.azure.com/openai/v1/realtime?model=d"
AZURE_PREVIEW = (
    "wss://r.openai.azure.com/openai/realtime?api-version=2025-04-01-preview&deployment=d"
)


@pytest.mark.parametrize(("dialect", "url"), [("ga", AZURE_GA), ("beta", AZURE_PREVIEW)])
async def test_azures_addresses(autojump_clock: MockClock, dialect: str, url: str) -> None:
    """`api-key` or a bearer token; the deployment is the model. A wrong key is no key."""
    server = simulator(dialect, api_key="k")
    for headers in ([("api-key", "k")], [("Authorization", "Bearer k")]):
        async with server.dial(url, headers) as socket:
            assert "session.created" in str(await socket.get_message())
    assert [session.model for session in server.sessions] == ["d", "d"]
    with pytest.raises(UpstreamRejected, match="401"):
        async with server.dial(url, [("api-key", "other")]):
            pytest.fail("let in")
    with pytest.raises(UpstreamRejected, match="401"):
        async with server.dial(URL, [("api-key", "k")]):
            pytest.fail("let in")


@pytest.mark.parametrize(
    ("dialect", "url", "status"),
    [
        ("ga", f"{AZURE_GA}&api-version=2025-04-01-preview", "401"),
        ("ga", AZURE_PREVIEW, "404"),
        ("beta", AZURE_GA, "404"),
        ("beta", "wss://r.openai.azure.com/openai/realtime?deployment=d", "404"),
        ("beta", "wss://r.openai.azure.com/openai/realtime?api-version=p", "400"),
        ("xai", AZURE_GA, "404"),
    ],
)
async def test_mixed_up_addresses(
    autojump_clock: MockClock, dialect: str, url: str, status: str
) -> None:
    """Azure's GA and preview addresses do not answer for each other."""
    with pytest.raises(UpstreamRejected, match=status):
        async with simulator(dialect).dial(url, []):
            pytest.fail("let in")


async def test_only_ga_minds_the_beta_header(autojump_clock: MockClock) -> None:
    """GA closes with 4000; beta lets in."""
    header = [("OpenAI-Beta", "realtime=v1")]
    async with simulator("beta").dial(URL, header) as socket:
        assert "session.created" in str(await socket.get_message())
    async with simulator("ga").dial(URL, header) as socket:
        assert "beta_api_shape_disabled" in str(await socket.get_message())
        with pytest.raises(UpstreamClosed) as closed:
            await socket.get_message()
    assert closed.value.code == 4000


# --- xAI, raw


async def test_xai_opens_mixed(autojump_clock: MockClock) -> None:
    """The conversation first, then a session with voice and detection at its top, then a ping."""
    async with raw(simulator("xai")) as client:
        conversation, created = client.events
        assert conversation["type"] == "conversation.created"
        assert (await client.read()).keys() == {"event_id", "type", "timestamp"}
    session = created["session"]
    assert session.pop("expires_at") > 0
    assert session == {
        "id": "sess_1_000001",
        "object": "realtime.session",
        "model": "gpt-realtime-2.1",
        "instructions": "You are a simulated voice assistant.",
        "tools": [],
        "voice": "eve",
        "turn_detection": SERVER_VAD,
        "audio": {
            "input": {"format": PCM, "transcription": {}},
            "output": {"format": PCM, "speed": 1.0},
        },
    }


async def test_xai_takes_the_session_of_the_sheet(autojump_clock: MockClock) -> None:
    """Its own voice names, its names for transcription."""
    wish: dict[str, Any] = {
        "instructions": "You answer the phone.",
        "voice": "rex",
        "turn_detection": SERVER_VAD | {"threshold": 0.6},
        "audio": {
            "input": {"format": ULAW, "transcription": {"language_hint": "de"}},
            "output": {"format": ULAW, "speed": 1.2},
        },
        "tools": [],
    }
    async with raw(simulator("xai")) as client:
        session = await client.change(**wish)
    assert {name: session[name] for name in wish} == wish


@pytest.mark.parametrize(
    ("session", "param"),
    [
        ({"output_modalities": ["audio"]}, "session.output_modalities"),
        ({"audio": {"output": {"voice": "eve"}}}, "session.audio.output.voice"),
        ({"audio": {"input": {"turn_detection": None}}}, "session.audio.input.turn_detection"),
        ({"turn_detection": {"type": "semantic_vad"}}, "session.turn_detection.type"),
        (
            {"turn_detection": {"type": "server_vad", "threshold": 0.95}},
            "session.turn_detection.threshold",
        ),
        ({"audio": {"output": {"speed": 0.5}}}, "session.audio.output.speed"),
        (
            {"audio": {"input": {"transcription": {"model": "whisper-1"}}}},
            "session.audio.input.transcription.model",
        ),
        (
            {"turn_detection": {"type": "server_vad", "silence_duration_ms": -1}},
            "session.turn_detection.silence_duration_ms",
        ),
    ],
)
async def test_xai_refuses_what_is_not_its_own(
    autojump_clock: MockClock, session: dict[str, Any], param: str
) -> None:
    """Stricter than the real server is known to be, so that nothing is sent on hope."""
    async with raw(simulator("xai")) as client:
        error = await client.refused("session.update", session=session)
        assert error["param"] == param


async def test_an_xai_turn_has_its_gaps(autojump_clock: MockClock) -> None:
    """Cumulative transcripts, usage beside the response, no words at a transcript's end, items
    told of once, a ping before an answer."""
    async with raw(simulator("xai", [SPOKEN])) as client:
        await speak(client)
        await client.settle()
        kind = "conversation.item.input_audio_transcription"
        (whole,) = client.of(f"{kind}.completed")
        first, second = (event["transcript"] for event in client.of(f"{kind}.updated"))
        assert second == whole["transcript"]
        assert second.startswith(first)
        (done,) = client.of("response.done")
        assert done["response"]["usage"] == {}
        assert done["usage"]["total_tokens"] > 0
        (over,) = client.of("response.output_audio_transcript.done")
        assert "transcript" not in over
        assert client.of("conversation.item.added")
        assert not client.of("conversation.item.done")
        assert client.types[client.types.index("response.created") - 1] == "ping"


async def test_xai_leaves_an_interrupted_answer_open(autojump_clock: MockClock) -> None:
    """Two answers begin, one ends."""
    async with raw(simulator("xai", [LONG], [SPOKEN], speed=1.0)) as client:
        await client.send("response.create")
        await client.until("response.output_audio.delta")
        await speak(client)
        await client.settle()
        assert len(client.of("response.created")) == 2
        (done,) = client.of("response.done")
        assert done["response"]["id"] == client.of("response.created")[1]["response"]["id"]


def force(text: str, **fields: Any) -> dict[str, Any]:
    content = [{"type": "output_text", "text": text}]
    return {"type": "force_message", "role": "assistant", "content": content, **fields}


async def test_forced_words_are_said_as_given(autojump_clock: MockClock) -> None:
    """Without `response.create`, without the behaviour; the words and some sound for them."""
    server = simulator("xai", [SPOKEN])
    async with raw(server) as client:
        await client.send("conversation.item.create", item=force("Example Dental."))
        done = await client.until("response.done")
        (part,) = done["response"]["output"][0]["content"]
        assert part["transcript"] == "Example Dental."
        assert len(client.audio()) == len("Example Dental.") * 60 * 48
        assert server.sessions[0].turns == []
        error = await client.refused("conversation.item.create", item=force("x") | {"role": "user"})
        assert error["param"] == "item.role"


@pytest.mark.parametrize(("fields", "whole"), [({}, False), ({"interruptible": False}, True)])
async def test_forced_words_may_be_deaf(
    autojump_clock: MockClock, fields: dict[str, Any], whole: bool
) -> None:
    """`interruptible: false` is said to its end, whoever speaks."""
    text = "This call is recorded. " * 4
    async with raw(simulator("xai", speed=1.0)) as client:
        await client.send("conversation.item.create", item=force(text, **fields))
        await client.until("response.output_audio.delta")
        await speak(client)
        await client.settle(10)
        size_bytes = len(text) * 60 * 48
        assert (len(client.audio()) == size_bytes) is whole


async def test_forced_words_wait_for_nobody(autojump_clock: MockClock) -> None:
    """While an answer runs they are refused."""
    async with raw(simulator("xai", [LONG], speed=1.0)) as client:
        await client.send("response.create")
        await client.until("response.created")
        error = await client.refused("conversation.item.create", item=force("x"))
        assert error["code"] == "conversation_already_has_active_response"


async def test_forced_words_are_xais_alone(autojump_clock: MockClock) -> None:
    """GA and beta do not know such an item."""
    for dialect in ("ga", "beta"):
        async with raw(simulator(dialect)) as client:
            error = await client.refused("conversation.item.create", item=force("x"))
            assert error["param"] == "item.type"


# --- the bridge's dialects against the simulator's


NAMES = pytest.mark.parametrize("name", DialectName, ids=lambda name: name.value)


@NAMES
async def test_the_first_session_is_recognised(
    autojump_clock: MockClock, name: DialectName
) -> None:
    """Whatever the address said."""
    async with raw(simulator(name.value)) as client:
        (created,) = client.of("session.created")
        assert dialect_of_session(created) is name


@NAMES
@pytest.mark.parametrize("fmt", [ULAW, ALAW, PCM], ids=lambda fmt: str(fmt["type"]))
async def test_a_whole_turn_reads_as_ga(
    autojump_clock: MockClock, name: DialectName, fmt: dict[str, Any]
) -> None:
    """A full GA session, a caller's turn, an answer and its sound: all of it valid GA, with the
    formats that were asked for, and nothing refused on the way."""
    async with translated(simulator(name.value, [SPOKEN]), name) as client:
        session = await client.update(
            output_modalities=["audio"],
            instructions="Be kind.",
            audio={
                "input": {
                    "format": fmt,
                    "noise_reduction": {"type": "near_field"},
                    "transcription": {"model": "whisper-1", "language": "en"},
                    "turn_detection": SERVER_VAD | {"idle_timeout_ms": 30_000},
                },
                "output": {"format": fmt, "voice": "alloy", "speed": 1.0},
            },
            tools=[{"type": "function", "name": "f", "parameters": {}}],
            tool_choice="auto",
            max_output_tokens=2048,
            truncation="auto",
            reasoning={"effort": "low"},
        )
        assert session["type"] == "realtime"
        assert session["audio"]["input"]["format"] == session["audio"]["output"]["format"] == fmt
        assert session["audio"]["input"]["turn_detection"]["type"] == "server_vad"
        assert session["instructions"] == "Be kind."
        assert len(session["tools"]) == 1
        client.encoding = fmt["type"]
        rate_hz = 24_000 if fmt is PCM else 8_000
        await client.append(quiet(200, rate_hz) + tone(600, rate_hz) + quiet(800, rate_hz))
        done = await client.until("response.done")
        await client.settle()
        assert "error" not in client.types
        assert done["response"]["usage"]["output_token_details"]["audio_tokens"] == 8
        assert len(client.audio()) == 400 * (48 if fmt is PCM else 8)
        by_type = {event["type"]: event for event in client.events}
        over = by_type["response.output_audio_transcript.done"]
        assert over["transcript"] == "We open at nine."
        heard = "conversation.item.input_audio_transcription.completed"
        assert client.types.count(heard) == 1
        assert by_type[heard]["transcript"].endswith("of speech)")


@NAMES
async def test_an_interruption_reads_as_ga(autojump_clock: MockClock, name: DialectName) -> None:
    """Each answer that begins has exactly one end, before the next one begins; the first is
    cancelled; truncation and the agent's replayed words are taken."""
    async with translated(simulator(name.value, [LONG], [SPOKEN], speed=1.0), name) as client:
        await client.send("response.create", response={"output_modalities": ["audio"]})
        delta = await client.until("response.output_audio.delta")
        await speak(client)
        await client.settle()
        ends = [
            (event["type"], event["response"]["status"])
            for event in client.events
            if event["type"] in ("response.created", "response.done")
        ]
        assert ends == [
            ("response.created", "in_progress"),
            ("response.done", "cancelled"),
            ("response.created", "in_progress"),
            ("response.done", "completed"),
        ]
        await client.send(
            "conversation.item.truncate",
            item_id=delta["item_id"],
            content_index=0,
            audio_end_ms=20,
        )
        await client.until("conversation.item.truncated")
        content = [{"type": "output_text", "text": "We open at nine."}]
        item = {"type": "message", "role": "assistant", "content": content}
        await client.send("conversation.item.create", item=item)
        assert (await client.until("conversation.item.added"))["item"]["content"] == content
        assert "error" not in client.types


@NAMES
async def test_a_tool_call_reads_as_ga(autojump_clock: MockClock, name: DialectName) -> None:
    """The call is in the output of its answer; its result is taken; the next answer follows."""
    server = simulator(name.value, [CallTool("lookup", '{"q": 1}', "call_1")], [SPOKEN])
    async with translated(server, name) as client:
        await client.send("response.create")
        done = await client.until("response.done")
        (call,) = done["response"]["output"]
        assert (call["type"], call["name"], call["call_id"]) == (
            "function_call",
            "lookup",
            "call_1",
        )
        result = {"type": "function_call_output", "call_id": "call_1", "output": "{}"}
        await client.send("conversation.item.create", item=result)
        await client.send("response.create")
        await client.until("response.done")
        assert server.sessions[0].turns[1].function_outputs == (("call_1", "{}"),)
        assert "error" not in client.types


async def test_the_welcome_of_xai_is_spoken_word_by_word(autojump_clock: MockClock) -> None:
    """The dialect's events, sent as they are: one answer with these very words."""
    text = "Example Dental, how can I help?"
    async with translated(simulator("xai"), DialectName.XAI) as client:
        for event in make_dialect(DialectName.XAI).welcome(text) or []:
            await client.send(**{"event_type": event.pop("type")}, **event)
        over = await client.until("response.output_audio_transcript.done")
        assert over["transcript"] == text
        assert (await client.until("response.done"))["response"]["status"] == "completed"


# --- the command


def test_the_command_offers_the_dialects() -> None:
    """`--dialect` with its three names; another is a usage error."""
    shown = CliRunner().invoke(simulate, ["--help"]).output
    assert "--dialect [ga|beta|xai]" in shown
    assert CliRunner().invoke(simulate, ["--dialect", "qwen"]).exit_code == 2
