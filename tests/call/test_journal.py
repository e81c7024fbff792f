"""What a call tells of itself, moment by moment: in order, with times that a listener can trust."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio

from avr_bridge import EndReason, LogConfig, run_call
from avr_bridge.audio.format import PCM16_8K
from avr_bridge.caller.transport import (
    AudioOut,
    CallerLeft,
    DtmfDigit,
    Interruption,
    Leaving,
    TranscriptOut,
)
from avr_bridge.server.console.board import Board
from avr_bridge.telemetry.journal import (
    AnswerOver,
    AnswerStarted,
    CallBegan,
    CallEnded,
    FirstSound,
    Interrupted,
    KeyPressed,
    Moment,
    ResponseDone,
    SessionLost,
    SessionReady,
    SessionRenewed,
    SpeechStarted,
    SpeechStopped,
    ToolDone,
    ToolStarted,
    Transcribed,
    Transcript,
    WaitedTooLong,
)
from avr_bridge.telemetry.usage import Usage
from avr_bridge.testing.ami import SimulatedAmi
from avr_bridge.testing.faults import CutAfter, HangConnect, ModelFaults, SessionLength
from avr_bridge.testing.memory import MemoryCaller
from avr_bridge.testing.realtime import (
    CallTool,
    Fail,
    Say,
    Script,
    Silence,
    SimulatedRealtime,
    SimulatorOptions,
)
from avr_bridge.tools import ToolResult
from tests.call.conftest import Echo, Placed, config, place_call
from tests.call.seen import conducted, first_sound_s, toolbox

if TYPE_CHECKING:
    from trio.testing import MockClock as Clock

UUID = "00000000-0000-4000-8000-000000000001"


def told(call: Placed, *kinds: type[Moment]) -> list[str]:
    """The names of the moments, in order; of some kinds, if they are given."""
    return [type(one).__name__ for one in call.moments if not kinds or isinstance(one, kinds)]


def all_of[Kind: Moment](call: Placed, kind: type[Kind]) -> list[Kind]:
    return [one for one in call.moments if isinstance(one, kind)]


async def test_a_call_from_its_beginning_to_its_end(autojump_clock: Clock, question: bytes) -> None:
    """Each moment once, in the order in which things happen, and none of them back in time."""
    async with place_call(
        SimulatedRealtime(Echo()), caller=MemoryCaller({"from": "+15550100"})
    ) as call:
        call.caller.start()
        call.caller.send(DtmfDigit("7"))
        await call.caller.be_silent(1)
        await call.caller.say(question)
        await call.caller.be_silent(7)
    assert told(call) == [
        *("CallBegan", "KeyPressed", "SessionReady"),
        *("ResponseDone", "ResponseDone"),  # the greeting: Echo says nothing, and is asked again
        *("SpeechStarted", "SpeechStopped"),
        *("FirstSound", "AnswerStarted", "Transcribed", "Transcript"),
        *("ResponseDone", "Transcript", "AnswerOver", "CallEnded"),
    ]
    began, ended = call.moments[0], call.moments[-1]
    assert began == CallBegan(0.0, UUID, {"from": "+15550100"}, "embedded")
    assert isinstance(ended, CallEnded)
    assert ended.summary == call.summary
    assert [one.at_s for one in call.moments] == sorted(one.at_s for one in call.moments)
    assert all_of(call, KeyPressed) == [KeyPressed(0.0, "7")]
    assert [(one.role, one.cut) for one in all_of(call, Transcript)] == [
        ("user", False),
        ("agent", False),
    ]


async def test_the_time_of_a_turn(autojump_clock: Clock, question: bytes) -> None:
    """From the model's word that the caller stopped to the frame that leaves, as the caller's own
    end of the line sees it; the summary has the same number."""
    simulator = SimulatedRealtime(Echo(), SimulatorOptions(first_audio_ms=700))
    async with place_call(simulator) as call:
        call.caller.start()
        await call.caller.say(question)
        await call.caller.be_silent(7)
    (stopped,) = all_of(call, SpeechStopped)
    (answer,) = all_of(call, AnswerStarted)
    assert answer.at_s == pytest.approx(first_sound_s(call.caller), abs=0.001)
    assert answer.latency_ms == pytest.approx((answer.at_s - stopped.at_s) * 1000)
    assert answer.latency_ms is not None
    assert 690 < answer.latency_ms < 800
    assert call.summary is not None
    assert call.summary.turn_latencies_ms == (answer.latency_ms,)


async def test_a_greeting_answers_nobody(autojump_clock: Clock) -> None:
    """Its beginning is told, without a latency: nobody had spoken."""
    async with place_call() as call:
        call.caller.start()
        await call.caller.be_silent(3)
    (answer,) = all_of(call, AnswerStarted)
    assert answer.latency_ms is None
    assert call.summary is not None
    assert call.summary.turn_latencies_ms == ()
    assert call.summary.answered_after_s == pytest.approx(answer.at_s, abs=0.001)
    assert all_of(call, FirstSound) == [FirstSound(answer.at_s, answer.at_s * 1000)]


async def test_single_frames_are_not_told_of(autojump_clock: Clock) -> None:
    """A minute of silence, 3,000 frames: nothing happens, and nobody is told anything."""
    async with place_call(SimulatedRealtime(Silence())) as call:
        call.caller.start()
        await call.caller.be_silent(3)
        before = len(call.moments)
        await call.caller.be_silent(60)
        assert len(call.moments) == before


async def test_recordings_are_no_answers(
    autojump_clock: Clock, question: bytes, tmp_path: Any
) -> None:
    """The greeting from a file, and the bridge's last words: sound, but nothing of the model's."""
    path = tmp_path / "hello.wav"
    path.write_bytes(_wav(question))
    settings = conducted(greeting_file=str(path), fallback_file=str(path))
    simulator = SimulatedRealtime(Silence(), outages=ModelFaults((), rest=HangConnect()))
    async with place_call(simulator, settings) as call:
        call.caller.start()
        await call.caller.be_silent(20)
    assert len(call.caller.audio()) > len(question)
    assert all_of(call, AnswerStarted) == []
    (first,) = all_of(call, FirstSound)
    assert first.at_s == pytest.approx(first_sound_s(call.caller), abs=0.001)
    assert told(call)[-1] == "CallEnded"


@pytest.mark.parametrize(
    ("words", "transcription_ms"), [("the same", 400), ("", 400), ("the same", 15_000)]
)
async def test_an_answer_is_over_when_it_was_heard(
    autojump_clock: Clock, question: bytes, words: str, transcription_ms: float
) -> None:
    """Also one that has no transcript, and one whose transcript waits for that of the caller's
    words: the console shows that nobody speaks."""
    board = Board()
    script = Script([[], [], [Say(question, 8000, words), Say(question, 8000, words)]])
    simulator = SimulatedRealtime(script, SimulatorOptions(transcription_ms=transcription_ms))
    async with place_call(simulator, listeners=[board.hear]) as call:
        call.caller.start()
        await call.caller.be_silent(1)
        await call.caller.say(question)
        await call.caller.be_silent(2)
        assert state_on(board) == "agent speaks"
        await call.caller.be_silent(2 * PCM16_8K.ms(len(question)) / 1000)
        assert state_on(board) == "listening"
    (started,), (over,) = all_of(call, AnswerStarted), all_of(call, AnswerOver)
    assert over.at_s - started.at_s == pytest.approx(2 * len(question) / 16_000, abs=0.1)


def state_on(board: Board) -> str:
    view = board.view(UUID, trio.current_time())
    assert view is not None
    return str(view["state"])


@pytest.mark.parametrize("words", ["long", ""])
async def test_an_answer_that_is_cut_is_over(
    autojump_clock: Clock, question: bytes, words: str
) -> None:
    """By the caller: `Interrupted` says so. The model has no more to say, and nobody speaks."""
    board = Board()
    script = Script([[Say(question * 4, 8000, words)]], then=Silence())
    async with place_call(SimulatedRealtime(script), listeners=[board.hear]) as call:
        call.caller.start()
        await call.caller.wait_for(AudioOut, 10)
        await call.caller.say(question)
        await call.caller.be_silent(3)
        assert state_on(board) == "listening"
    assert len(all_of(call, Interrupted)) == 1
    assert all_of(call, AnswerOver) == []


async def test_a_barge_in(autojump_clock: Clock, question: bytes) -> None:
    """The caller speaks into an answer: the moment at which playback stops, how long that took
    from the model's word, and how much of the answer was heard; its transcript is marked as cut."""
    script = Script([[Say(question * 4, 8000, "long")], [Say(question, 8000, "next")]])
    async with place_call(SimulatedRealtime(script)) as call:
        call.caller.start()
        await call.caller.wait_for(AudioOut, 10)
        await call.caller.say(question)
        await call.caller.wait_for(Interruption)
        await call.caller.be_silent(7)
    assert told(call, AnswerStarted, SpeechStarted, Interrupted, SpeechStopped) == [
        *("AnswerStarted", "SpeechStarted", "Interrupted", "SpeechStopped", "AnswerStarted"),
    ]
    (started,), (stop,) = all_of(call, SpeechStarted), all_of(call, Interrupted)
    at_s = next(e.at_s for e in call.caller.received if isinstance(e.message, Interruption))
    assert stop.at_s == pytest.approx(at_s, abs=0.001)
    assert stop.stop_ms == pytest.approx((stop.at_s - started.at_s) * 1000, abs=0.001)
    assert stop.stop_ms < 5
    heard_s = stop.at_s - first_sound_s(call.caller)
    assert stop.heard_ms == pytest.approx(heard_s * 1000, abs=25)
    assert stop.position_error_ms is None  # avr-core tells nobody what it has played
    cut = [one for one in all_of(call, Transcript) if one.cut]
    assert [(one.role, one.text) for one in cut] == [("agent", "long")]
    told_avr = [
        e.message.text for e in call.caller.received if isinstance(e.message, TranscriptOut)
    ]
    assert "long [interrupted]" in told_avr
    assert call.summary is not None
    assert call.summary.stop_times_ms == (stop.stop_ms,)
    assert call.summary.interruptions == len(all_of(call, Interrupted)) == 1


async def test_a_stop_that_takes_its_time(autojump_clock: Clock, question: bytes) -> None:
    """A caller's side that reads slowly delays its own silence, and that is told."""
    script = Script([[Say(question * 4, 8000, "long")], []])
    async with place_call(SimulatedRealtime(script)) as call:
        call.caller.start()
        await call.caller.wait_for(AudioOut, 10)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(call.caller.say, question)
            call.caller.stop_reading()
            while not all_of(call, SpeechStarted):  # noqa: ASYNC110 - the call tells it
                await trio.sleep(0.01)
            await trio.sleep(0.25)
            call.caller.reading.set()
        await call.caller.be_silent(3)
    (stop,) = all_of(call, Interrupted)
    assert stop.stop_ms == pytest.approx(250, abs=15)


@pytest.mark.parametrize(
    ("outcome", "took_ms"), [("ok", 2000), ("error", 2000), ("timeout", 15_000), ("unknown", 0)]
)
async def test_a_tool(autojump_clock: Clock, question: bytes, outcome: str, took_ms: float) -> None:
    """It begins when the model's answer is done, and ends well or not, in so many ms."""

    async def look_up(_arguments: Any, _context: Any) -> Any:
        await trio.sleep(100 if outcome == "timeout" else 2)
        return ToolResult("nothing found", ok=outcome == "ok")

    name = "no_such_tool" if outcome == "unknown" else "look_up"
    script = Script([[], [], [CallTool(name, "{}")], [Say(question, 8000, "found")]])
    async with place_call(SimulatedRealtime(script), toolbox=toolbox(look_up=look_up)) as call:
        call.caller.start()
        await call.caller.be_silent(1)  # asked to greet, and once more
        await call.caller.say(question)
        await call.caller.be_silent(22)
    (started,), (done,) = all_of(call, ToolStarted), all_of(call, ToolDone)
    expected = "error" if outcome == "unknown" else outcome
    assert (started.name, done.name, done.outcome) == (name, name, expected)
    assert done.took_ms == pytest.approx(took_ms, abs=1)
    assert done.at_s - started.at_s == pytest.approx(took_ms / 1000, abs=0.001)
    order = told(call, SpeechStopped, ResponseDone, ToolStarted, ToolDone, AnswerStarted)
    turn = order[order.index("SpeechStopped") :]
    assert turn[:4] == ["SpeechStopped", "ResponseDone", "ToolStarted", "ToolDone"]
    assert "AnswerStarted" in turn
    barked = [one.watchdog for one in all_of(call, WaitedTooLong)]
    assert barked == (["tool_stuck"] if outcome == "timeout" else [])
    assert call.summary is not None
    assert call.summary.tool_runs == {name: {expected: 1}}


async def test_a_tool_that_outlives_its_call(autojump_clock: Clock, question: bytes) -> None:
    """The caller hangs up meanwhile: the tool is told of as cancelled, before the call's end."""

    async def look_up(_arguments: Any, _context: Any) -> Any:
        await trio.sleep(10)

    script = Script([[], [], [CallTool("look_up", "{}")]])
    async with place_call(SimulatedRealtime(script), toolbox=toolbox(look_up=look_up)) as call:
        call.caller.start()
        await call.caller.be_silent(1)
        await call.caller.say(question)
        await call.caller.be_silent(3)
    assert told(call)[-2:] == ["ToolDone", "CallEnded"]
    (done,) = all_of(call, ToolDone)
    assert done.outcome == "cancelled"
    assert call.summary is not None
    assert call.summary.tool_runs == {"look_up": {"cancelled": 1}}


async def test_a_session_that_is_lost(autojump_clock: Clock) -> None:
    """The loss, then the next session with the time that it took, and the call goes on."""
    simulator = SimulatedRealtime(
        Silence(),
        SimulatorOptions(connect_delay_s=0.5),
        outages=ModelFaults((CutAfter(2), None)),
    )
    async with place_call(simulator) as call:
        call.caller.start()
        await call.caller.be_silent(6)
    assert told(call, SessionReady, SessionLost, SessionRenewed) == [
        *("SessionReady", "SessionLost", "SessionReady")
    ]
    first, second = all_of(call, SessionReady)
    (lost,) = all_of(call, SessionLost)
    assert (first.again, second.again) == (False, True)
    assert first.setup_ms == pytest.approx(first.at_s * 1000)
    assert second.setup_ms == pytest.approx((second.at_s - lost.at_s) * 1000, abs=1)
    assert second.setup_ms >= 500
    assert call.summary is not None
    assert call.summary.reconnects == 1
    assert call.summary.setup_ms == first.setup_ms


async def test_a_session_that_is_renewed(autojump_clock: Clock) -> None:
    """The change is told, with what the new session's set-up took; nobody waited for it."""
    simulator = SimulatedRealtime(
        Silence(),
        SimulatorOptions(connect_delay_s=0.5),
        outages=ModelFaults((SessionLength(40), None)),
    )
    async with place_call(simulator) as call:
        call.caller.start()
        await call.caller.be_silent(45)
    assert told(call, SessionReady, SessionLost, SessionRenewed) == [
        *("SessionReady", "SessionReady", "SessionRenewed")
    ]
    again = all_of(call, SessionReady)[1]
    assert again.again
    assert 500 <= again.setup_ms < 1000
    assert call.summary is not None
    assert call.summary.renewals == 1


async def test_a_watchdog(autojump_clock: Clock) -> None:
    """It is told when it barks."""
    simulator = SimulatedRealtime(outages=ModelFaults((HangConnect(), None)))
    async with place_call(simulator) as call:
        call.caller.start()
        await call.caller.be_silent(10)
    assert [one.watchdog for one in all_of(call, WaitedTooLong)] == ["session_setup"]
    assert told(call).index("WaitedTooLong") < told(call).index("SessionReady")


# -- tokens and what they cost ------------------------------------------------------------------


async def test_tokens_of_a_call(autojump_clock: Clock, question: bytes) -> None:
    """Those of all its answers, as the simulator billed them, of one that was cut off as well; in
    dollars by the list of prices; transcripts apart, by the second."""
    script = Script([[Say(question * 4, 8000, "long")], [Say(question, 8000, "next")]])
    async with place_call(
        SimulatedRealtime(script), config(transcription_model="whisper-1", model="gpt-realtime")
    ) as call:
        call.caller.start()
        await call.caller.wait_for(AudioOut, 10)
        await call.caller.say(question)
        await call.caller.be_silent(7)
    done = all_of(call, ResponseDone)
    assert [one.status for one in done] == ["cancelled", "completed"]
    cut, whole = [one.usage for one in done]
    assert cut is not None
    assert whole is not None
    assert cut.audio_out > 0
    assert whole.audio_in > 0
    assert whole.cached_text_in + whole.text_in > 0
    (transcribed,) = all_of(call, Transcribed)
    assert transcribed.usage is not None
    assert transcribed.usage.heard_s == pytest.approx(len(question) / 16_000, abs=1)
    summary = call.summary
    assert summary is not None
    assert (summary.usage, summary.transcription) == (cut + whole, transcribed.usage)
    used = cut + whole
    dollars = (
        used.text_in * 4
        + (used.cached_text_in + used.cached_audio_in) * 0.4
        + used.text_out * 16
        + used.audio_in * 32
        + used.audio_out * 64
    ) / 1e6 + transcribed.usage.heard_s / 60 * 0.006
    assert summary.cost_usd == pytest.approx(dollars)
    assert summary.unpriced == 0
    assert summary.model == "gpt-realtime"


async def test_a_model_without_a_price(autojump_clock: Clock, question: bytes) -> None:
    """Its tokens are counted all the same; its cost is unknown, not nothing."""
    async with place_call(SimulatedRealtime(Echo()), config(model="my-deployment")) as call:
        call.caller.start()
        await call.caller.say(question)
        await call.caller.be_silent(6)
    assert {one.cost_usd for one in all_of(call, ResponseDone)} == {None}
    assert call.summary is not None
    assert call.summary.usage.tokens_out > 0
    assert call.summary.cost_usd is None
    assert call.summary.unpriced == len(all_of(call, ResponseDone)) > 0


async def test_prices_of_ones_own(autojump_clock: Clock, question: bytes, tmp_path: Any) -> None:
    """AVR_PRICES_FILE: of a deployment that has a name of its own."""
    path = tmp_path / "prices.toml"
    priced = ("text_in", "audio_in", "cached_text_in", "cached_audio_in", "text_out", "audio_out")
    prices = "".join(f"{name} = 1.0\n" for name in priced)
    path.write_text(f'[[price]]\nmodels = ["my-dep*"]\n{prices}')
    settings = attrs.evolve(
        config(model="my-deployment", transcription_model="my-transcriber"),
        log=LogConfig(prices_file=str(path)),
    )
    async with place_call(SimulatedRealtime(Echo()), settings) as call:
        call.caller.start()
        await call.caller.say(question)
        await call.caller.be_silent(6)
    assert call.summary is not None
    used = call.summary.usage
    assert call.summary.cost_usd == pytest.approx((used.tokens_in + used.tokens_out) / 1e6)
    assert call.summary.unpriced == len(all_of(call, Transcribed)) == 1


@pytest.mark.parametrize("dialect", ["ga", "beta", "xai"])
async def test_tokens_in_each_dialect(autojump_clock: Clock, question: bytes, dialect: Any) -> None:
    """GA and beta servers bill; where an answer has no bill nothing is invented."""
    simulator = SimulatedRealtime(Echo(), SimulatorOptions(dialect=dialect))
    async with place_call(simulator, config(dialect=dialect)) as call:
        call.caller.start()
        await call.caller.say(question)
        await call.caller.be_silent(6)
    usage = all_of(call, ResponseDone)[-1].usage
    assert usage is not None
    assert usage.audio_out == pytest.approx(len(question) / 16 / 50, rel=0.3)
    assert (usage.other_in, usage.other_out) == (0, 0)


async def test_an_answer_that_failed(autojump_clock: Clock, question: bytes) -> None:
    """It has no bill, and that makes nothing unknown."""
    script = Script([[Fail("server_error", "sorry")], [Say(question, 8000, "here")]])
    async with place_call(SimulatedRealtime(script)) as call:
        call.caller.start()
        await call.caller.be_silent(8)
    failed, answered = all_of(call, ResponseDone)[:2]
    assert (failed.status, failed.usage) == ("failed", None)
    assert answered.status == "completed"
    assert call.summary is not None
    assert call.summary.cost_usd is not None
    assert call.summary.unpriced == 0


async def test_an_answer_whose_bill_never_comes(autojump_clock: Clock, question: bytes) -> None:
    """The caller hangs up while it is generated: it is told of as lost, and counted as of unknown
    cost; what was billed before stays known."""
    script = Script([[Say(question, 8000, "welcome")], [Say(question * 4, 8000, "long")]])
    simulator = SimulatedRealtime(script, SimulatorOptions(speed=1.1))
    async with place_call(simulator) as call:
        call.caller.start()
        await call.caller.be_silent(5)
        await call.caller.say(question)
        await call.caller.be_silent(4)
    assert [one.status for one in all_of(call, ResponseDone)] == ["completed", "lost"]
    assert told(call)[-2:] == ["ResponseDone", "CallEnded"]
    assert call.summary is not None
    assert call.summary.unpriced == 1
    assert call.summary.cost_usd is not None
    assert call.summary.cost_usd > 0


async def test_an_answer_in_which_the_session_breaks(
    autojump_clock: Clock, question: bytes
) -> None:
    """It is lost with its bill; the answer in the next session has one."""
    script = Script([[Say(question * 4, 8000, "long")], [Say(question, 8000, "again")]])
    simulator = SimulatedRealtime(
        script, SimulatorOptions(speed=1.1), outages=ModelFaults((CutAfter(2), None))
    )
    async with place_call(simulator) as call:
        call.caller.start()
        await call.caller.be_silent(12)
    kinds = told(call, ResponseDone, SessionLost, SessionReady)
    assert kinds == ["SessionReady", "ResponseDone", "SessionLost", "SessionReady", "ResponseDone"]
    assert [one.status for one in all_of(call, ResponseDone)] == ["lost", "completed"]
    assert call.summary is not None
    assert call.summary.unpriced == 1


# -- whoever listens ----------------------------------------------------------------------------


async def test_a_listener_that_raises_harms_no_call(
    autojump_clock: Clock, question: bytes, log: list[dict[str, Any]]
) -> None:
    """The call goes on, and the others are told of it to its end."""
    caller, simulator = MemoryCaller(), SimulatedRealtime(Echo())
    moments: list[Moment] = []

    def broken(_uuid: str, _moment: Moment) -> None:
        raise RuntimeError

    def keep(_uuid: str, moment: Moment) -> None:
        moments.append(moment)

    async with trio.open_nursery() as nursery:

        async def run() -> None:
            await run_call(
                caller.transport,
                config(),
                dial=simulator.dial,
                control=SimulatedAmi(),
                listeners=[broken, keep],
            )

        nursery.start_soon(run)
        caller.start()
        await caller.say(question)
        await caller.be_silent(6)
        caller.hang_up()
    assert isinstance(moments[-1], CallEnded)
    assert moments[-1].summary.usage != Usage()
    assert [line["error"] for line in log if "listener" in line] == ["RuntimeError"]


async def test_a_call_that_never_says_who_it_is(autojump_clock: Clock) -> None:
    """Only its end is told, under no id."""
    caller = MemoryCaller()
    told_of: list[tuple[str, str]] = []
    async with trio.open_nursery() as nursery:

        async def run() -> None:
            await run_call(
                caller.transport,
                config(),
                dial=SimulatedRealtime().dial,
                listeners=[lambda uuid, moment: told_of.append((uuid, type(moment).__name__))],
            )

        nursery.start_soon(run)
        caller.send(DtmfDigit("1"))
        caller.send(CallerLeft(Leaving.HUNG_UP))
    assert told_of == [("", "CallEnded")]


async def test_a_call_that_is_cancelled(autojump_clock: Clock) -> None:
    """Its end is told as well."""
    caller, simulator = MemoryCaller(), SimulatedRealtime()
    moments: list[Moment] = []
    with trio.move_on_after(3):
        caller.start()
        await run_call(
            caller.transport,
            config(),
            dial=simulator.dial,
            listeners=[lambda _uuid, moment: moments.append(moment)],
        )
    assert isinstance(moments[-1], CallEnded)
    assert moments[-1].summary.end_reason is EndReason.CANCELLED


def _wav(pcm: bytes) -> bytes:
    head = b"RIFF" + (36 + len(pcm)).to_bytes(4, "little") + b"WAVEfmt "
    fmt = (16, 4), (1, 2), (1, 2), (8000, 4), (16_000, 4), (2, 2), (16, 2)
    body = b"".join(number.to_bytes(size, "little") for number, size in fmt)
    return head + body + b"data" + len(pcm).to_bytes(4, "little") + pcm
