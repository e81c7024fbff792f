"""Faults of the model's side, struck at calls on a real bridge; `test_model.py` judges.

A `Case` is a fault and what the model says in that call; a `Scene` is one bridge with two innocent
calls and some cases, each over both transports. All scenes run beside each other, because most of
their time is waiting. Which connection has which fault is settled by placing the calls one after
another; what strikes later than that strikes all of them at once.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

import attrs
import trio

from avr_bridge.audio.codec import decode, encode
from avr_bridge.audio.format import PCM16_8K, Encoding
from avr_bridge.testing import (
    CallReport,
    Say,
    SimulatedCall,
    SimulatedRealtime,
    SimulatorOptions,
    Step,
    Turn,
    clip,
    open_simulated_call,
    read_wav,
)
from avr_bridge.testing.faults import ModelFault, ModelFaults
from avr_bridge.testing.likeness import is_audible
from avr_bridge.testing.realtime import Wait
from avr_bridge.testing.realtime.session import SimulatedSession
from tests.faults.conftest import SpeaksOn, innocent_call, open_bridge

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.faults.conftest import Bridge

TRANSPORTS = ("ws", "http")
SCENE_S = 110
CASE_S = 55
"""For one call; what does not recover in this time does not recover."""
DELAYS = SimulatorOptions(
    connect_delay_s=0.3, created_delay_s=0.05, updated_delay_s=0.1, first_audio_ms=400
)
"""About what a good day at OpenAI's takes, so that the times to recover mean something."""


def _whole_frames(pcm: bytes) -> bytes:
    return pcm[: len(pcm) // PCM16_8K.frame_bytes * PCM16_8K.frame_bytes]


QUESTION = read_wav(clip("question"))
BEFORE = _whole_frames(QUESTION)
AFTER = _whole_frames(read_wav(clip("hours-answer")))
"""What the model says before the fault and after it: to tell one from the other."""

PIECE_MS = 500


def as_heard(pcm: bytes) -> bytes:
    """Sound of the model after its way through G.711."""
    return decode(encode(pcm, Encoding.ULAW), Encoding.ULAW)


def _mark() -> bytes:
    """The first audible frame of `AFTER`, as it is heard: a longer piece may be heard with a gap
    within it."""
    frame = PCM16_8K.frame_bytes
    heard = as_heard(AFTER)
    at = next(n for n in range(0, len(heard), frame) if is_audible(heard[n : n + frame]))
    mark = heard[at : at + frame]
    assert mark not in as_heard(BEFORE + BEFORE)
    return mark


MARK = _mark()


def speech(seconds: float) -> list[Step]:
    """An answer that comes hardly faster than it is heard, so that a cut is in the middle of it."""
    pcm = (BEFORE * 60)[: PCM16_8K.bytes_of_ms(round(seconds * 1000))]
    size = PCM16_8K.bytes_of_ms(PIECE_MS)
    steps: list[Step] = []
    for at in range(0, len(pcm), size):
        steps += [Say(pcm[at : at + size], 8000, "before"), Wait(PIECE_MS * 0.85)]
    return steps


WORDS: list[Step] = [Say(BEFORE, 8000, "before")]
GOES_ON: list[Step] = [Say(AFTER, 8000, "after")]


@attrs.frozen
class Case:
    """A fault in one call.

    Attributes:
        faults: Those of the call's first connections.
        answers: The model's answers over all sessions of the call; the last one is repeated.
        asks: Whether the caller asks something once all calls of the scene are placed.
        strikes_after_s: After how many seconds of its first session a fault strikes that ends
            nothing; None: it strikes with the end of the first session, or before there is one.
        settles: Whether the fault is over before the next call may be placed.
        ends: Whether the call ends of it.
        sessions: Instead: in so many sessions of the call the caller asks something, once in each.
    """

    name: str
    faults: tuple[ModelFault, ...] = ()
    answers: tuple[list[Step], ...] = (GOES_ON,)
    asks: bool = False
    strikes_after_s: float | None = None
    settles: bool = False
    ends: bool = False
    sessions: int = 0


@attrs.frozen
class Scene:
    """Cases on one bridge; `rest` is the fault of all connections that no case names."""

    cases: tuple[Case, ...]
    rest: ModelFault | None = None


@attrs.define(eq=False)
class Row:
    """What became of one case over one transport.

    Attributes:
        report: The caller's side of it.
        received: All that the caller's side received, PCM16 LE mono, 8 kHz.
        ended: The bridge's log line of the end.
        sessions: The model's sessions of the call.
        asked: How often the caller asked.
        struck_ms: When the fault struck, on the call's time; 0 for one before the first session.
        recovered_ms: When the first sound behind it was heard; None if none was.
        second_ms: When the second session was opened; None if none was.
    """

    report: CallReport
    received: bytes
    ended: dict[str, Any]
    sessions: list[SimulatedSession]
    asked: int
    struck_ms: float
    recovered_ms: float | None
    second_ms: float | None

    @property
    def silent_s(self) -> float:
        """From the fault to the first sound behind it."""
        assert self.recovered_ms is not None, "the call did not recover"
        return (self.recovered_ms - self.struck_ms) / 1000


class _Answers:
    """Each call's own answers; the innocent ones hear speech on and on."""

    def __init__(self, cases: dict[str, Case]) -> None:
        self._cases = cases
        self._asked: Counter[str] = Counter()
        self._innocent = SpeaksOn()

    def answer(self, turn: Turn) -> list[Step]:
        case = self._cases.get(turn.instructions)
        if case is None:
            return self._innocent.answer(turn)
        number = self._asked[turn.instructions]
        self._asked[turn.instructions] += 1
        return case.answers[min(number, len(case.answers) - 1)]


class _Stage:
    """One bridge, and who has which session on it."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.cases = {
            f"{case.name}, {transport}": case for case in scene.cases for transport in TRANSPORTS
        }
        self.model = SimulatedRealtime(_Answers(self.cases), DELAYS)
        self.opened_s: dict[int, float] = {}
        self.closed_s: dict[int, float] = {}
        self.model.on_opened = lambda s: self._note(self.opened_s, s)
        self.model.on_closed = lambda s: self._note(self.closed_s, s)
        self.placed = trio.Event()
        self.settled: defaultdict[str, trio.Event] = defaultdict(trio.Event)
        self.rows: dict[tuple[str, str], Row] = {}

    @staticmethod
    def _note(times: dict[int, float], session: SimulatedSession) -> None:
        times[session.number] = trio.current_time()

    def sessions_of(self, uuid: str) -> list[SimulatedSession]:
        """Whose session it is stands in its instructions."""
        return [
            session
            for session in self.model.sessions
            for update in session.received_of("session.update")[:1]
            if update["session"]["instructions"] == uuid
        ]

    async def play(self) -> None:
        with trio.fail_after(SCENE_S):
            async with (
                open_bridge(model=self.model, OPENAI_INSTRUCTIONS="{call}") as bridge,
                innocent_call(bridge, "ws"),
                innocent_call(bridge, "http"),
                trio.open_nursery() as nursery,
            ):
                for case in self.scene.cases:
                    for transport in TRANSPORTS:
                        uuid = f"{case.name}, {transport}"
                        dialled = len(self.model.dialled_at_s)
                        pattern = (None,) * dialled + case.faults
                        self.model.outages = ModelFaults(pattern, self.scene.rest)
                        nursery.start_soon(self._call, bridge, case, transport, uuid)
                        await self.model.wait_dialled(dialled + 1)
                        if case.settles:
                            await self.settled[uuid].wait()
                self.placed.set()

    async def _wait_left(self, uuid: str, count: int) -> None:
        """Wait until a call has left so many sessions."""
        while sum(session.closed for session in self.sessions_of(uuid)) < count:  # noqa: ASYNC110
            await trio.sleep(0.1)

    async def _take_part(self, call: SimulatedCall, case: Case, uuid: str) -> int:
        """The caller's part, until the fault is over; how often something was asked."""
        asked = 0
        if case.asks:
            await self.placed.wait()
            await call.wait_heard_speech()
            asked += await ask(call)
        for number in range(case.sessions):
            # Behind a change, so that the answer is over long before the next one is due: in the
            # middle of it that would cost words, and when it is due hangs on a rounded second.
            await self._wait_left(uuid, number)
            await call.wait_heard_speech()
            await call.wait_quiet()
            asked += await ask(call)
        if case.sessions:
            await call.wait_heard_speech()
            await call.wait_quiet()
            return asked
        if case.ends:
            await call.wait_closed()
            return asked
        while MARK not in call.received():
            await trio.sleep(0.1)
            if call.report().closed_by is not None:
                return asked
        await trio.sleep(0.5)  # so that it is heard as well
        return asked

    async def _call(self, bridge: Bridge, case: Case, transport: str, uuid: str) -> None:
        address = bridge.address(transport)
        async with open_simulated_call(address, uuid=uuid, query={"call": uuid}) as call:
            offset_s = trio.current_time() - call.now_ms() / 1000
            asked = 0
            with trio.move_on_after(CASE_S):  # the judge sees what is missing
                asked = await self._take_part(call, case, uuid)
            heard, received = call.heard(), call.received()
        report = call.report()
        ended = await bridge.wait_ended(uuid)
        self.settled[uuid].set()
        sessions = self.sessions_of(uuid)
        at = heard.find(MARK)
        recovered = PCM16_8K.ms(at) if at >= 0 else None
        if case.ends:
            recovered = report.answered_after_ms
        self.rows[case.name, transport] = Row(
            report,
            received,
            ended,
            sessions,
            asked,
            self._struck_ms(case, sessions, offset_s),
            recovered,
            (self.opened_s[sessions[1].number] - offset_s) * 1000 if len(sessions) > 1 else None,
        )

    def _struck_ms(self, case: Case, sessions: list[SimulatedSession], offset_s: float) -> float:
        if case.strikes_after_s is not None:
            opened_s = self.opened_s[sessions[0].number]
            return (opened_s + case.strikes_after_s - offset_s) * 1000
        if len(sessions) < 2:
            return 0.0
        return (self.closed_s[sessions[0].number] - offset_s) * 1000


async def ask(call: SimulatedCall) -> int:
    """One question of the caller, to its end."""
    call.say(QUESTION)
    await call.wait_said()
    return 1


def play_all(*lanes: tuple[Scene, ...]) -> dict[tuple[str, str], Row]:
    """Play the lanes beside each other, the scenes of each one after another."""
    rows: dict[tuple[str, str], Row] = {}

    async def one(scenes: tuple[Scene, ...]) -> None:
        for scene in scenes:
            stage = _Stage(scene)
            await stage.play()
            rows.update(stage.rows)

    async def all_of_them() -> None:
        async with trio.open_nursery() as nursery:
            for scenes in lanes:
                run: Callable[[tuple[Scene, ...]], Awaitable[None]] = one
                nursery.start_soon(run, scenes)

    trio.run(all_of_them)
    return rows
