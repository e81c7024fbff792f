"""Nothing is left of a call, however it ends: hundreds of them, at random, in one process."""

from __future__ import annotations

import json
import os
import random
import socket
import struct
import subprocess
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs
import trio

from avr_bridge import EndReason
from avr_bridge.audio.format import PCM16_8K
from avr_bridge.testing import (
    CallTool,
    Hang,
    Say,
    Silence,
    SimulatedAmi,
    SimulatedRealtime,
    SimulatorOptions,
    Step,
    Turn,
    clip,
    read_wav,
    write_wav,
)
from avr_bridge.testing.faults import (
    CutAfter,
    HangConnect,
    ModelFaults,
    NoUpdate,
    Refuse,
    SessionLength,
    Unreachable,
)
from avr_bridge.testing.faults.callers import (
    UPGRADE_REQUEST,
    FaultyCaller,
    Transport,
    connect,
    frame,
    open_faulty_caller,
)
from tests.call.conftest import Echo
from tests.faults.conftest import CHECKOUT, START_S, STOP_S, SpeaksOn
from tests.faults.counted_bridges import BUG

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

SEED = 4
WARM_UP_CALLS = 50
CALLS = 300
AT_ONCE = 20
LIMIT_S = 180
"""Against a hang. All calls take 40 s on a shared machine with 2 cores."""
CALL_LIMIT_S = 20
SETTLE_S = 10

NOT_HERE = {
    "caller_vanished",
    "bridge_stopped",
    "cancelled",
    "budget_reached",
    "caller_format_unknown",
}
"""The first needs a network of its own, the next two are ends of the process, a budget is the whole
bridge's, and the last is an end of other transports: other tests' work."""

MOST_BLOCKS = 15_000
"""Small objects of Python, 50 a call; of one that was kept there are 270. Without a leak they go up
or down by 4,000 in all."""

MOST_GROWTH_MB = 16
"""50 kB a call, for what Python does not count: long buffers. A call that was kept has 60. A heap
in pieces does not shrink at once: 300 calls leave 4 to 9 MB, and 900 leave 7."""

QUESTION = read_wav(clip("question")) + PCM16_8K.silence(16_000)
MESSAGE_DRIPS = 30
"""Bytes, ten a second: half a second longer than the limit of this process."""

AT_ONCE_RESET = struct.pack("ii", 1, 0)


class UsesATool:
    """Calls the tool at the start, and speaks when it has its result."""

    def __init__(self, tool: str) -> None:
        self._tool = tool
        self._speaks_on = SpeaksOn()

    def answer(self, turn: Turn) -> list[Step]:
        if turn.function_outputs:
            return [Say(self._speaks_on.pcm, 8000, "on and on")]
        return [CallTool(self._tool, "{}")]


class NeverSpeaks:
    """Every response begins, and then nothing comes."""

    def answer(self, turn: Turn) -> list[Step]:
        return [Hang(cancellable=True)]


def models() -> dict[str, SimulatedRealtime]:
    """The model of each bridge."""
    slow = SimulatorOptions(connect_delay_s=0.4, updated_delay_s=0.4)
    return {
        "speaks": SimulatedRealtime(SpeaksOn()),
        "answers": SimulatedRealtime(Echo()),
        "slow": SimulatedRealtime(SpeaksOn(), slow),
        "slow_tool": SimulatedRealtime(UsesATool("sleeps")),
        "broken_tool": SimulatedRealtime(UsesATool("breaks")),
        "renews_ws": SimulatedRealtime(SpeaksOn()),
        "renews_http": SimulatedRealtime(SpeaksOn()),
        "reconnects": SimulatedRealtime(SpeaksOn()),
        "refuses": SimulatedRealtime(outages=ModelFaults(rest=Refuse(401))),
        "refuses_briefly": SimulatedRealtime(outages=ModelFaults(rest=Refuse(401))),
        "unreachable": SimulatedRealtime(outages=ModelFaults(rest=Unreachable())),
        "closes": SimulatedRealtime(SpeaksOn(), outages=ModelFaults(rest=CutAfter(0.1, 1011))),
        "never_speaks": SimulatedRealtime(NeverSpeaks()),
        "token": SimulatedRealtime(SpeaksOn()),
        "full": SimulatedRealtime(SpeaksOn()),
        "silent": SimulatedRealtime(Silence()),
        "idle": SimulatedRealtime(Silence()),
        "longest": SimulatedRealtime(Silence()),
        BUG: SimulatedRealtime(),
    }


TOOLS = '''
import asyncio
import trio

async def sleeps() -> str:
    """Never done."""
    await trio.sleep_forever()

async def breaks() -> str:
    """Has a bug."""
    raise ZeroDivisionError
'''


def settings(folder: Path) -> dict[str, dict[str, str]]:
    """What each bridge has besides the settings of all."""
    tools = folder / "tools"
    tools.mkdir()
    (tools / "two.py").write_text(TOOLS)
    words = folder / "words.wav"
    write_wav(words, read_wav(clip("question"))[: PCM16_8K.bytes_of_ms(200)])
    with_tools = {"AVR_TOOLS_DIR": str(tools), "AVR_TOOL_SOUND": "typing"}
    return {
        "slow_tool": with_tools,
        "broken_tool": with_tools,
        "refuses_briefly": {"AVR_FALLBACK_FILE": str(words)},
        "unreachable": {"AVR_FALLBACK_FILE": str(words)},
        "closes": {"AVR_FALLBACK_FILE": str(words)},
        "never_speaks": {"AVR_FALLBACK_FILE": "off"},
        "token": {"AVR_TOKEN": "planted-token"},
        "full": {"AVR_MAX_CALLS": "1"},
        "silent": {"AVR_NO_AUDIO_S": "0.5"},
        "idle": {"AVR_IDLE_S": "0.3"},
        "longest": {"AVR_MAX_CALL_S": "0.5"},
    }


# --- one process with all bridges


@attrs.define(eq=False)
class Bridges:
    """All bridges, in one process."""

    urls: dict[str, str]
    models: dict[str, SimulatedRealtime]
    answers: trio.MemoryReceiveChannel[dict[str, Any]]
    process: trio.Process
    ended: dict[str, str] = attrs.field(factory=dict)
    started: set[str] = attrs.field(factory=set)
    nameless: list[str] = attrs.field(factory=list)
    """Why calls ended that had no id: nobody said `init`."""
    faults: list[dict[str, Any]] = attrs.field(factory=list)
    one_at_a_time: dict[str, trio.Lock] = attrs.field(factory=dict)
    _news: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot)

    async def held(self) -> dict[str, Any]:
        """What the process holds now."""
        assert self.process.stdin is not None
        await self.process.stdin.send_all(b"\n")
        try:
            return await self.answers.receive()
        except trio.EndOfChannel:
            raise AssertionError(f"the process has ended: {self.faults}") from None

    async def wait_started(self, uuid: str) -> None:
        """Wait until this call has begun."""
        while uuid not in self.started:
            await self._news.park()

    async def wait_ended(self, uuid: str) -> str:
        """Why this call ended."""
        while uuid not in self.ended:
            await self._news.park()
        return self.ended[uuid]

    async def wait_nameless(self, count: int) -> None:
        """Wait until so many calls have ended that never had an id."""
        while len(self.nameless) < count:
            await self._news.park()

    def note(self, line: dict[str, Any]) -> None:
        """A line of the log."""
        if line["event"] == "call started":
            self.started.add(line["call"])
            self._news.unpark_all()
        elif line["event"] == "call ended":
            if line["call"]:
                self.ended[line["call"]] = line["reason"]
            else:
                self.nameless.append(line["reason"])
            self._news.unpark_all()
        elif line.get("level") in ("error", "critical") or "event" not in line:
            self.faults.append(line)


@asynccontextmanager
async def open_bridges(folder: Path) -> AsyncGenerator[Bridges]:
    """The process, and the models and avr-ami beside it."""
    inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    simulators, own = models(), settings(folder)
    async with trio.open_nursery() as nursery:
        ami = await nursery.start(SimulatedAmi().serve)
        environments = {
            name: {
                "OPENAI_ENDPOINT": await nursery.start(simulator.serve),
                "AMI_URL": ami,
                "AVR_HOST": "127.0.0.1",
                "PORT": "0",
                "AVR_LOG_FORMAT": "json",
                "AVR_MAX_LAG_MS": "0",
                **own.get(name, {}),
            }
            for name, simulator in simulators.items()
        }
        program = ["-m", "tests.faults.counted_bridges", json.dumps(environments)]
        process = await trio.lowlevel.open_process(
            [sys.executable, *program],
            cwd=CHECKOUT,
            env=inherited,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        give, take = trio.open_memory_channel[dict[str, Any]](1)

        async def read_answers(stream: trio.abc.ReceiveStream) -> None:
            with give:
                await _read_lines(stream, give.send_nowait)

        bridges = Bridges({}, simulators, take, process)
        try:
            nursery.start_soon(_read_lines, process.stderr, bridges.note)
            nursery.start_soon(read_answers, process.stdout)
            with trio.fail_after(START_S):
                bridges.urls |= await take.receive()
            yield bridges
            await process.stdin.aclose()
            with trio.fail_after(STOP_S):
                assert await process.wait() == 0
        finally:
            process.kill()
            with trio.CancelScope(shield=True, deadline=trio.current_time() + STOP_S):
                await process.wait()
            nursery.cancel_scope.cancel()


async def _read_lines(
    stream: trio.abc.ReceiveStream, take: Callable[[dict[str, Any]], None]
) -> None:
    rest = b""
    async with stream:
        async for chunk in stream:
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                is_json = line.startswith(b"{")
                take(json.loads(line) if is_json else {"event": line.decode(), "level": "error"})


# --- endings


type Act = Callable[[Placed], Awaitable[None]]


@attrs.frozen
class Call:
    """One call to be placed: to which bridge, how it ends, and why the bridge must say it did.

    Attributes:
        reason: None: it is no call that ends, since it is refused.
        act: What its caller does from `init` on, until it is over.
        alone: No two of them at a time, since the test counts the model's connections.
    """

    fault: str
    bridge: str
    transport: Transport
    reason: str | None
    act: Act
    init: bool = True
    alone: bool = False
    receive_buffer_bytes: int | None = None

    def __str__(self) -> str:
        return f"{self.fault}, {self.transport}"


@attrs.frozen
class Placed:
    """A call that runs."""

    caller: FaultyCaller
    url: str
    model: SimulatedRealtime
    random: random.Random
    dialled_before: int

    async def wait_sound(self) -> None:
        """Wait until the caller hears something: a message with sound, or a frame."""
        got = b""
        while b'"audio"' not in got and not (self.caller.transport == "http" and len(got) > 500):
            piece = bytes(await self.caller.stream.receive_some())
            assert piece, f"no sound: {got!r}"
            got += piece

    async def wait_dialled(self, count: int) -> None:
        """Wait until this call has had so many connections to the model."""
        await self.model.wait_dialled(self.dialled_before + count)


async def _nothing(placed: Placed) -> None:
    await trio.lowlevel.checkpoint()


async def _while_it_connects(placed: Placed) -> None:
    await trio.sleep(placed.random.uniform(0, 1))


async def _in_an_answer(placed: Placed) -> None:
    caller = placed.caller
    for at in range(0, len(QUESTION), 320):
        await caller.send_audio(QUESTION[at : at + 320])
    await placed.wait_sound()


async def _while_it_renews(placed: Placed) -> None:
    placed.model.outages = ModelFaults(rest=NoUpdate())  # the next session is never ready
    await placed.wait_dialled(2)


async def _while_it_reconnects(placed: Placed) -> None:
    placed.model.outages = ModelFaults(rest=HangConnect())
    await placed.wait_dialled(2)


MOMENTS: dict[str, tuple[str, Act]] = {
    "at once": ("speaks", _nothing),
    "while the model connects": ("slow", _while_it_connects),
    "in the greeting": ("speaks", Placed.wait_sound),
    "in an answer": ("answers", _in_an_answer),
    "while a tool runs": ("slow_tool", Placed.wait_sound),
    "after a bug in a tool": ("broken_tool", Placed.wait_sound),
    "in the fallback clip": ("refuses", Placed.wait_sound),
    "while the session is renewed": ("renews", _while_it_renews),
    "while it reconnects": ("reconnects", _while_it_reconnects),
}


async def _close(placed: Placed) -> None:
    goodbye = b"0\r\n\r\n"
    if placed.caller.transport == "ws":
        goodbye = frame(b"\x03\xe8", opcode=8)
    await placed.caller.send_bytes(goodbye)
    await placed.caller.read_to_end()


async def _fin(placed: Placed) -> None:
    await placed.caller.stream.aclose()


async def _reset(placed: Placed) -> None:
    sock = placed.caller.stream.socket
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE_RESET)
    await placed.caller.stream.aclose()


async def _half_close(placed: Placed) -> None:
    await placed.caller.stream.send_eof()
    await placed.caller.read_to_end()


MANNERS = {"close": _close, "fin": _fin, "reset": _reset, "half-close": _half_close}


async def _to_the_end(placed: Placed) -> None:
    await placed.caller.read_to_end()


async def _stop_reading(placed: Placed) -> None:
    """The test waits for the log."""
    await trio.lowlevel.checkpoint()


async def _pour(placed: Placed, pieces: list[bytes]) -> None:
    try:
        for piece in pieces:
            await placed.caller.send_bytes(piece)
    except trio.BrokenResourceError:
        return
    await placed.caller.read_to_end()


async def _drip(placed: Placed) -> None:
    await placed.caller.send_audio(bytes(2))
    await placed.caller.read_to_end()


async def _frame_in_drips(placed: Placed) -> None:
    message = frame(b'{"type":"audio","audio":"' + b"A" * 428)
    for at in range(MESSAGE_DRIPS):
        await placed.caller.send_bytes(message[at : at + 1])
        await trio.sleep(0.1)
    await placed.caller.read_to_end()


async def _wrong_token(placed: Placed) -> None:
    async with await connect(placed.url) as stream:
        request = UPGRADE_REQUEST
        if placed.caller.transport == "http":
            request = b"POST /speech-to-speech-stream HTTP/1.1\r\nHost: b\r\n\r\n"
        await stream.send_all(request)
        got = b""
        while piece := await stream.receive_some():
            got += piece
    assert got.startswith(b"HTTP/1.1 401")


async def _one_too_many(placed: Placed) -> None:
    await placed.wait_sound()
    transport = placed.caller.transport
    async with open_faulty_caller(placed.url, transport=transport, uuid="too many") as caller:
        if transport == "http":
            await caller.send_bytes(b"0\r\n\r\n")
        seen = await caller.read_to_end()
    assert seen.code == (1013 if transport == "ws" else 503)


def _then(first: Act, second: Act) -> Act:
    async def both(placed: Placed) -> None:
        await first(placed)
        await second(placed)

    return both


def all_endings() -> list[Call]:
    """Every ending that there is, on each transport that has it."""
    found: list[Call] = []
    both: tuple[Transport, ...] = ("ws", "http")
    hung_up = "caller_hung_up"
    for transport in both:
        for manner, leave in MANNERS.items():
            for moment, (bridge, wait) in MOMENTS.items():
                alone = bridge in ("renews", "reconnects")
                own = f"renews_{transport}" if bridge == "renews" else bridge
                act = _then(wait, leave)
                found.append(Call(f"{manner} {moment}", own, transport, hung_up, act, alone=alone))
        too_much = [b"10000\r\n%b\r\n" % bytes(65_536)] * 100
        if transport == "ws":
            too_much = [frame(b'{"type":"dtmf_digit","digit":"1"}') * 100] * 50
        flood = partial(_pour, pieces=too_much)
        found += [
            Call("stops reading", "speaks", transport, "caller_stalled", _stop_reading,
                 receive_buffer_bytes=4096),
            Call("flood", "speaks", transport, "caller_flooded", flood),
            Call("no sound", "silent", transport, "caller_sent_no_audio", _to_the_end),
            Call("drips", "silent", transport, "caller_too_slow", _drip),
            Call("one call too many", "full", transport, hung_up,
                 _then(_one_too_many, _close), alone=True),
            Call("the model is unreachable", "unreachable", transport, "model_unavailable",
                 _to_the_end),
            Call("the model refuses", "refuses_briefly", transport, "model_rejected", _to_the_end),
            Call("the model closes", "closes", transport, "model_closed", _to_the_end),
            Call("the model fails", "never_speaks", transport, "model_failed", _to_the_end),
            Call("nobody speaks", "idle", transport, "bridge_hung_up", _to_the_end),
            Call("the longest time", "longest", transport, "bridge_hung_up", _to_the_end),
            Call("a bug in the call", BUG, transport, "internal_error", _to_the_end),
            Call("no token", "token", transport, None, _wrong_token),
        ]  # fmt: skip
    too_big = [frame(b"x" * 65_536, fin=False)] + [frame(b"x" * 65_536, opcode=0, fin=False)] * 32
    found += [
        Call(f"{manner} before init", "speaks", "ws", hung_up, leave, init=False)
        for manner, leave in MANNERS.items()
    ]
    found += [
        Call("no init", "speaks", "ws", "caller_sent_no_init", _to_the_end, init=False),
        Call("a frame without end", "speaks", "ws", "caller_too_slow",
             _frame_in_drips),
        Call("over 1 MiB", "speaks", "ws", "caller_message_too_big",
             partial(_pour, pieces=too_big)),
        Call("garbage", "speaks", "ws", "caller_broke_protocol",
             partial(_pour, pieces=[b"\xff" * 100])),
    ]  # fmt: skip
    return found


async def place(bridges: Bridges, call: Call, number: int, chance: random.Random) -> None:
    """Place one call, see how it ends, and that the bridge says the same."""
    model, url, uuid = bridges.models[call.bridge], bridges.urls[call.bridge], f"c-{number}"
    before = len(model.dialled_at_s)
    if call.bridge.startswith("renews"):
        model.outages = ModelFaults(rest=SessionLength(2))
    elif call.bridge == "reconnects":
        model.outages = ModelFaults(rest=CutAfter(0.1))
    if call.reason is None:
        stream = await connect(url)
        async with stream:
            caller = FaultyCaller(stream, call.transport)
            await call.act(Placed(caller, url, model, chance, before))
        return
    async with open_faulty_caller(
        url,
        transport=call.transport,
        uuid=uuid,
        init=call.init,
        receive_buffer_bytes=call.receive_buffer_bytes,
    ) as caller:
        if call.init:  # an RST behind it might otherwise overtake it, and there be no call
            await bridges.wait_started(uuid)
        if call.alone:
            await model.wait_dialled(before + 1)
        await call.act(Placed(caller, url, model, chance, before))
        if call.init:
            assert await bridges.wait_ended(uuid) == call.reason


async def place_all(bridges: Bridges, calls: list[Call], first: int, chance: random.Random) -> None:
    """Place these calls in this order, several at once."""
    waiting = list(enumerate(calls, first))
    waiting.reverse()

    async def work() -> None:
        while waiting:
            number, call = waiting.pop()
            lock = bridges.one_at_a_time.setdefault(call.bridge, trio.Lock())
            try:
                if call.alone:
                    async with lock:
                        with trio.fail_after(CALL_LIMIT_S):
                            await place(bridges, call, number, chance)
                else:
                    with trio.fail_after(CALL_LIMIT_S):
                        await place(bridges, call, number, chance)
            except (AssertionError, trio.TooSlowError, OSError) as error:
                raise AssertionError(f"call {number} ({call}): {error!r}") from error

    nameless = len(bridges.nameless) + sum(not call.init for call in calls)
    async with trio.open_nursery() as nursery:
        for _ in range(AT_ONCE):
            nursery.start_soon(work)
    with trio.fail_after(CALL_LIMIT_S):
        await bridges.wait_nameless(nameless)


ALL = ("tasks", "descriptors", "objects")


def differences(
    before: dict[str, Any], after: dict[str, Any], kinds: tuple[str, ...] = ALL
) -> dict[str, Any]:
    """What there is more of, by name, of tasks, descriptors and objects."""
    found: dict[str, Any] = {}
    for what in kinds:
        more = Counter(after[what]) - Counter(before[what])
        if more:
            found[what] = dict(more)
    return found


async def settled(
    bridges: Bridges, before: dict[str, Any], kinds: tuple[str, ...] = ALL
) -> dict[str, Any]:
    """What is held when there is no more than before, or after `SETTLE_S`: a connection is let
    linger for 2 s after its call."""
    with trio.move_on_after(SETTLE_S):
        while differences(before, await bridges.held(), kinds):  # noqa: ASYNC110 - a measure
            await trio.sleep(0.1)
    return await bridges.held()


async def test_nothing_is_left_of_any_call(tmp_path: Path) -> None:
    """After 300 calls there are the tasks and descriptors that the process had before its first
    one, the objects of after the warm-up, and no more memory than a heap that moves."""
    chance = random.Random(SEED)
    endings = all_endings()
    hangups = [call for call in endings if call.fault.split()[0] in MANNERS]
    others = [call for call in endings if call not in hangups]
    warm_up = others + chance.sample(hangups, WARM_UP_CALLS - len(others))
    calls = endings + chance.choices(endings, k=CALLS - len(endings))
    chance.shuffle(warm_up)
    chance.shuffle(calls)
    with trio.fail_after(LIMIT_S):
        async with open_bridges(tmp_path) as bridges:
            at_rest = await bridges.held()
            await place_all(bridges, warm_up, 0, chance)
            before = await settled(bridges, at_rest, ("tasks", "descriptors"))
            before = {**before, "tasks": at_rest["tasks"], "descriptors": at_rest["descriptors"]}
            await place_all(bridges, calls, WARM_UP_CALLS, chance)
            after = await settled(bridges, before)
    more_blocks = after["blocks"] - before["blocks"]
    grown_mb = after["rss_mb"] - before["rss_mb"]
    reasons = Counter([*bridges.ended.values(), *bridges.nameless])
    print(
        f"\n  {len(calls)} calls of {len(endings)} kinds, seed {SEED}: {grown_mb:+.1f} MB of "
        f"{before['rss_mb']:.0f}, {more_blocks:+} blocks; {dict(reasons)}"
    )
    assert differences(before, after) == {}, f"seed {SEED}"
    assert more_blocks < MOST_BLOCKS, f"seed {SEED}"
    assert grown_mb < MOST_GROWTH_MB, f"seed {SEED}"
    unexpected = [line for line in bridges.faults if line["event"] != "bug in a call"]
    assert unexpected == [], f"seed {SEED}"
    assert reasons == Counter(call.reason for call in warm_up + calls if call.reason)
    assert set(reasons) == {reason.value for reason in EndReason} - NOT_HERE
