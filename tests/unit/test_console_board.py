"""The console's board: what a call is doing, told by its moments; and that no words are on it."""

from __future__ import annotations

from importlib.resources import files

import msgspec
import pytest

from avr_bridge import CallSummary, EndReason
from avr_bridge.server.console.board import Board, State, told
from avr_bridge.telemetry.journal import (
    AnswerOver,
    AnswerStarted,
    CallBegan,
    CallEnded,
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

UUID = "7a5f1c0e"
BEGAN = CallBegan(10.0, UUID, {"from": "+15550100"}, "websocket")
READY = SessionReady(10.2, 180.04, "gpt-realtime-2", again=False)


def _words() -> str:
    return (files("avr_bridge.server.console") / "page" / "words.js").read_text()


def _summary() -> CallSummary:
    return CallSummary(
        uuid=UUID,
        end_reason=EndReason.CALLER_HUNG_UP,
        detail="",
        metadata={"from": "+15550100"},
        duration_s=10.0,
        answered_after_s=None,
        caller_audio_ms=0,
        played_ms=0,
        dropped_ms=0,
        turns=0,
        interruptions=0,
        underruns=0,
        tools=0,
        digits=0,
        faults=0,
    )


def board_after(*moments: Moment) -> Board:
    board = Board()
    for moment in (BEGAN, *moments):
        board.hear(UUID, moment)
    return board


def state_after(*moments: Moment) -> str:
    view = board_after(*moments).view(UUID, 12.0)
    assert view is not None
    return str(view["state"])


@pytest.mark.parametrize(
    ("moments", "state"),
    [
        ([], State.CONNECTING),
        ([READY], State.LISTENING),
        ([READY, SpeechStarted(11.0)], State.CALLER),
        ([READY, SpeechStarted(11.0), SpeechStopped(12.0)], State.THINKING),
        ([READY, AnswerStarted(11.0, None)], State.AGENT),
        ([READY, AnswerStarted(11.0, 500.0), AnswerOver(13.0)], State.LISTENING),
        ([READY, AnswerStarted(11.0, 500.0), Transcript(13.0, "agent", "words")], State.AGENT),
        ([READY, AnswerStarted(11.0, 500.0), Transcript(13.0, "user", "words")], State.AGENT),
        ([READY, AnswerStarted(11.0, 5.0), SpeechStarted(12.0)], State.CALLER),
        ([READY, SpeechStarted(12.0), Interrupted(12.1, 5.0, 400.0)], State.CALLER),
        ([READY, AnswerStarted(11.0, 5.0), Interrupted(12.0, 5.0, None)], State.LISTENING),
        ([READY, AnswerStarted(11.0, 5.0), SpeechStarted(12.0), AnswerOver(12.1)], State.CALLER),
        ([READY, ToolStarted(11.0, "crm")], State.TOOL),
        ([READY, ToolStarted(11.0, "crm"), ToolDone(12.0, "crm", "ok", 9.0)], State.THINKING),
        ([READY, ToolDone(12.0, "never_begun", "ok", 9.0)], State.LISTENING),
        ([READY, SpeechStopped(11.0), ResponseDone(12.0, "completed", None, 1.0)], State.LISTENING),
        ([READY, AnswerStarted(11.0, 1.0), ResponseDone(12.0, "failed", None, 1.0)], State.AGENT),
        ([READY, SessionLost(12.0, "1006")], State.CONNECTING),
        ([READY, AnswerStarted(11.0, 5.0), READY], State.AGENT),
    ],
)
def test_the_state(moments: list[Moment], state: State) -> None:
    assert state_after(*moments) == state.value


def test_two_tools_at_once() -> None:
    """The call waits until both are done; the newest is shown."""
    board = board_after(READY, ToolStarted(11.0, "a"), ToolStarted(11.1, "b"))
    view = board.view(UUID, 12.0)
    assert view is not None
    assert view["tool"] == "b"
    board.hear(UUID, ToolDone(12.0, "b", "ok", 9.0))
    view = board.view(UUID, 12.0)
    assert view is not None
    assert (view["state"], view["tool"]) == ("tool", "a")


def test_a_view() -> None:
    """Numbers add up; what has no number has none."""
    usage = Usage(text_in=10, audio_out=20)
    board = board_after(
        READY,
        AnswerStarted(10.5, None),
        AnswerStarted(11.0, 512.34),
        AnswerStarted(12.0, None),
        Interrupted(12.2, 4.0, 100.0),
        ResponseDone(12.3, "completed", usage, 0.002),
        Transcribed(12.3, None, None),
    )
    assert board.view(UUID, 13.5) == {
        "call": UUID,
        "transport": "websocket",
        "state": "listening",
        "tool": None,
        "age_ms": 3500.0,
        "turns": 3,
        "interruptions": 1,
        "latency_ms": 512.3,
        "cost_usd": 0.002,
    }
    assert board.views(13.5) == [board.view(UUID, 13.5)]


def test_a_call_leaves_the_board() -> None:
    """At its end; one that never began was never on it."""
    board = board_after(READY)
    board.hear("another", READY)
    assert board.count == 1
    board.hear(UUID, CallEnded(20.0, _summary()))
    board.hear("", CallEnded(20.0, _summary()))
    assert board.count == 0
    assert board.view(UUID, 20.0) is None


def test_no_words_are_told() -> None:
    """Neither what was said nor a key nor the caller's number: not in what happened, and not in the
    view. That a key was pressed is told."""
    moments = [BEGAN, Transcript(11.0, "user", "planted words"), KeyPressed(12.0, "7")]
    assert told(moments[1]) == {"kind": "transcript", "role": "user", "cut": False}
    assert told(moments[2]) == {"kind": "key_pressed"}
    board = board_after(*moments[1:])
    everything = msgspec.json.encode([*map(told, moments), board.views(13.0)]).decode()
    assert "planted" not in everything
    assert "15550100" not in everything


@pytest.mark.parametrize(
    "moment",
    [
        BEGAN,
        READY,
        SpeechStarted(1.0),
        SpeechStopped(1.0),
        AnswerStarted(1.0, None),
        AnswerOver(1.0),
        Interrupted(1.0, 1.0, None),
        KeyPressed(1.0, "1"),
        Transcript(1.0, "agent", "words", cut=True),
        ToolStarted(1.0, "a"),
        ToolDone(1.0, "a", "timeout", 1.0),
        ResponseDone(1.0, "failed", None, None),
        ResponseDone(1.0, "completed", Usage(), 0.1),
        SessionLost(1.0, "gone"),
        SessionRenewed(1.0),
        WaitedTooLong(1.0, "answer"),
        CallEnded(1.0, _summary()),
    ],
    ids=lambda moment: type(moment).__name__,
)
def test_a_moment_is_told_in_json(moment: Moment) -> None:
    """Each has a kind that the page has words for (`page/words.js`), and can be encoded."""
    news = told(moment)
    assert news is not None
    assert msgspec.json.decode(msgspec.json.encode(news)) == news
    assert f"{news['kind']}: " in _words()
