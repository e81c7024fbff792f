"""Rules of the state machine that end silences: failures in a row, speech, idle time."""

from __future__ import annotations

import math

import pytest

from avr_bridge.audio.playback import Heard
from avr_bridge.upstream.actions import (
    Abandon,
    Act,
    Alarm,
    Say,
    Watchdog,
)
from avr_bridge.upstream.answering import (
    CREATED_LIMIT_S,
    FIRST_AUDIO_LIMIT_S,
    MOST_FAILURES,
    STUCK_LIMIT_S,
)
from avr_bridge.upstream.caller_turns import SPEECH_LIMIT_S
from avr_bridge.upstream.commands import (
    CreateResponse,
    DeleteItem,
)
from avr_bridge.upstream.control import Control
from tests.unit.talk import commands, opened, ready

IDLE_S = 5.0
SPEECH = "input_audio_buffer.speech_started"
SILENCE = "input_audio_buffer.speech_stopped"


# -- failures in a row ------------------------------------------------------------------------


def test_requests_that_nobody_answers_end_the_session() -> None:
    """Each is made again after its limit; at the third the session is given up."""
    talk = opened()
    for _ in range(MOST_FAILURES - 1):
        asked_s = talk.now_s
        actions = talk.wait()
        assert talk.now_s == asked_s + CREATED_LIMIT_S
        assert len(commands(actions, CreateResponse)) == 1
        assert Alarm(Watchdog.ANSWER_MISSING) in actions
    assert any(isinstance(action, Abandon) for action in talk.wait())


@pytest.mark.parametrize("sound", [True, False])
def test_answers_that_get_stuck_end_the_session(sound: bool) -> None:
    """In the middle, or before the first sound: silenced, asked for again, and at the third the
    session is given up."""
    talk = opened()
    talk.created()
    watchdog, limit_s = Watchdog.NO_FIRST_AUDIO, FIRST_AUDIO_LIMIT_S
    if sound:
        watchdog, limit_s = Watchdog.ANSWER_STUCK, STUCK_LIMIT_S
    for _ in range(MOST_FAILURES - 1):
        talk.sound() if sound else None
        begun_s = talk.now_s
        actions = talk.wait()
        assert talk.now_s == begun_s + limit_s
        assert Alarm(watchdog) in actions
        assert len(commands(actions, CreateResponse)) == 1
        talk.created()
    talk.sound() if sound else None
    actions = talk.wait()
    assert Alarm(watchdog) in actions
    assert isinstance(actions[-1], Abandon)


def test_answers_that_fail_end_the_session() -> None:
    """The server's own, one for each turn of the caller: the third is one too many."""
    talk = ready()
    for _ in range(MOST_FAILURES - 1):
        talk.created()
        assert not any(isinstance(action, Abandon) for action in talk.done("failed"))
    talk.created()
    assert isinstance(talk.done("failed")[-1], Abandon)


def test_only_failures_in_a_row_count() -> None:
    """An answer between them begins the count anew; a cut one says nothing."""
    talk = ready()
    for _ in range(MOST_FAILURES * 2):
        talk.created()
        assert not any(isinstance(action, Abandon) for action in talk.done("failed"))
        talk.answered()
    for _ in range(MOST_FAILURES - 1):
        talk.created()
        talk.done("failed")
        talk.created()
        talk.done("cancelled")
    talk.created()
    assert isinstance(talk.done("failed")[-1], Abandon)


def test_a_first_sound_or_call_is_waited_for_once() -> None:
    """Behind it only silence within the answer counts; behind the answer nothing."""
    for begin in ("sound", "call", "done"):
        talk = opened()
        talk.created()
        assert talk.machine.next_deadline_s == FIRST_AUDIO_LIMIT_S
        if begin == "sound":
            talk.sound()
        elif begin == "call":
            item = {"id": "F", "type": "function_call", "status": "in_progress"}
            talk.feed("conversation.item.added", item=item)
        else:
            talk.done()
        left_s = math.inf if begin == "done" else STUCK_LIMIT_S
        assert talk.machine.next_deadline_s == left_s


def test_a_stuck_answer_holds_no_line_up() -> None:
    """Its text and its end never come; what the caller says next leaves at once, and the next
    answer's words when they were heard."""
    talk = opened()
    talk.created()
    talk.item("A")
    talk.sound("A")
    talk.wait()
    talk.machine.silenced([Heard("A", 60, whole=False)], talk.now_s)
    talk.feed("input_audio_buffer.committed", item_id="U", previous_item_id="A")
    transcript = "conversation.item.input_audio_transcription.completed"
    assert talk.feed(transcript, item_id="U", transcript="Hello?") == [Say("user", "Hello?")]
    talk.created()
    talk.item("B")
    talk.sound("B")
    talk.words("here", "B")
    talk.done()
    assert talk.machine.item_heard("B", talk.now_s) == [Say("agent", "here")]
    assert talk.machine.rests


# -- the caller speaks ------------------------------------------------------------------------


def test_nothing_is_done_to_the_call_while_the_caller_speaks() -> None:
    """The last hangup is not called off by speech, but it lets them finish, up to its cap."""
    talk = ready()
    talk.machine.longest_call(10.0)
    talk.wait()
    talk.created()
    talk.item()
    talk.sound()
    talk.feed(SPEECH, item_id="U")
    over = talk.machine.silenced([Heard("A", 60, whole=False)], talk.now_s) + talk.done("cancelled")
    assert not any(isinstance(action, Act) for action in over)
    talk.feed(SILENCE)
    talk.created()
    assert Act(Control("hangup", by_bridge=True, final=True)) in talk.done(output=[{"id": "x"}])


def test_a_caller_who_speaks_is_not_idle() -> None:
    """Where they may not interrupt, the answer is heard to its end while they speak."""
    talk = ready({"interruptible": False}, idle_s=IDLE_S)
    talk.created()
    talk.sound()
    talk.feed(SPEECH, item_id="U")
    talk.done()
    talk.machine.item_heard("A", talk.now_s)
    assert talk.machine.next_deadline_s == SPEECH_LIMIT_S


def test_a_wish_is_not_lost_where_speech_was_a_false_alarm() -> None:
    """A key waited behind the answer that noise interrupted. No turn is committed, so the server
    answers nothing: the bridge asks."""
    talk = ready()
    talk.created()
    talk.sound()
    talk.press()
    talk.feed(SPEECH, item_id="U")
    assert commands(talk.done("cancelled"), CreateResponse) == []
    talk.feed(SILENCE)
    assert len(commands(talk.wait(), CreateResponse)) == 1
    assert talk.now_s == CREATED_LIMIT_S


def test_speech_without_end_keeps_nobody_from_being_asked() -> None:
    """The idle time counts from the limit on."""
    talk = ready(idle_s=IDLE_S)
    talk.feed(SPEECH, item_id="U")
    assert talk.wait() == [Alarm(Watchdog.SPEECH_WITHOUT_END)]
    assert talk.now_s == SPEECH_LIMIT_S
    assert talk.machine.next_deadline_s == SPEECH_LIMIT_S + IDLE_S


def test_an_answer_ends_the_idle_time() -> None:
    """Also one that the server began by itself, and of which nothing is heard yet."""
    talk = ready(idle_s=IDLE_S)
    assert talk.machine.next_deadline_s == IDLE_S
    talk.created()
    assert talk.machine.next_deadline_s == FIRST_AUDIO_LIMIT_S


def test_an_item_whose_sound_came_too_late_is_deleted() -> None:
    """The server had begun it when the caller spoke; not one piece was played, and the model would
    believe that the caller knows it."""
    talk = ready()
    talk.created()
    talk.item("late")
    talk.feed(SPEECH, item_id="U")
    assert talk.sound("late") == []
    talk.words("a secret", "late")
    actions = talk.done("cancelled", output=[{"id": "late"}])
    assert [command.item_id for command in commands(actions, DeleteItem)] == ["late"]
    assert not any(isinstance(action, Say) for action in actions)
    talk.machine.session_lost(talk.now_s)
    talk.feed("session.created", session={})
    replayed = talk.feed("session.updated", session={"type": "realtime"})
    assert "a secret" not in repr(replayed)
