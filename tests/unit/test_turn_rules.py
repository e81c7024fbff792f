"""Rules of the state machine for the welcome, the recording, call control, and what is kept."""

from __future__ import annotations

from avr_bridge.audio.format import PCM16_24K
from avr_bridge.audio.playback import Heard
from avr_bridge.upstream import wording
from avr_bridge.upstream.actions import FormatsAgreed, Say
from avr_bridge.upstream.closing import GREETING_ITEM
from avr_bridge.upstream.commands import (
    CreateItem,
    CreateResponse,
    SpeakWords,
    TruncateItem,
    UpdateSession,
)
from avr_bridge.upstream.control import Control, PendingControl
from avr_bridge.upstream.conversation import UNANSWERED_S
from avr_bridge.upstream.welcome import WELCOME_LIMIT_S
from tests.unit.talk import commands, opened, ready

IDLE_S = 5.0
SPEECH = "input_audio_buffer.speech_started"
SILENCE = "input_audio_buffer.speech_stopped"


# -- the welcome --------------------------------------------------------------------------------


def test_a_welcome_that_is_never_heard_protects_itself_no_longer() -> None:
    """The caller's side plays nothing: after 30 s the caller may interrupt."""
    talk = opened(welcome_message="Welcome!")
    talk.created()
    talk.item()
    talk.sound()
    talk.done()
    (update,) = commands(talk.wait(), UpdateSession)
    assert talk.now_s == WELCOME_LIMIT_S
    detection = update.session["audio"]["input"]["turn_detection"]
    assert detection["interrupt_response"] is True
    assert commands(talk.machine.item_heard("A", talk.now_s), UpdateSession) == []


def test_what_the_caller_said_into_the_welcome_is_answered_at_once() -> None:
    """The server could not while the welcome ran."""
    talk = opened(welcome_message="Welcome!")
    talk.created()
    talk.item()
    talk.sound()
    talk.feed(SPEECH, item_id="U")
    talk.feed(SILENCE)
    talk.feed("input_audio_buffer.committed", item_id="U")
    talk.done()
    assert len(commands(talk.machine.item_heard("A", talk.now_s), CreateResponse)) == 1


def test_a_welcome_without_a_word_is_asked_for_once_more() -> None:
    """In the same words; then answers are ordinary ones."""
    talk = opened(welcome_message="Welcome!")
    talk.created()
    again = talk.done(output=[])
    assert [command.text for command in commands(again, SpeakWords)] == ["Welcome!"]
    talk.created()
    talk.done(output=[])
    assert len(commands(talk.press(), CreateResponse)) == 1


def test_a_welcome_that_fails_in_the_middle_is_not_said_again() -> None:
    """The caller has heard half of it: an ordinary answer goes on from there."""
    talk = opened(welcome_message="Welcome!")
    talk.created()
    talk.item()
    talk.sound()
    talk.done("failed")
    asked = talk.wait()
    assert talk.now_s == UNANSWERED_S
    assert len(commands(asked, CreateResponse)) == 1
    assert commands(asked, SpeakWords) == []


# -- a recorded greeting --------------------------------------------------------------------------


def test_a_recorded_greeting_is_over_once() -> None:
    """Cut, and reported as heard all the same: its words leave once, as cut."""
    talk = opened(greeting_file="greeting.wav", welcome_message="Welcome!")
    cut = talk.machine.silenced([Heard(GREETING_ITEM, 500, whole=False)], 1.0)
    assert cut[0] == Say("agent", "Welcome! [interrupted]", cut=True)
    assert talk.machine.greeting_over(2.0) == []


def test_an_answer_is_cut_together_with_the_recording() -> None:
    """A key was answered behind the recording; the caller spoke between the two. What was heard of
    neither is forgotten."""
    talk = opened(greeting_file="greeting.wav")
    talk.press()
    talk.created()
    talk.item()
    talk.sound()
    talk.feed(SPEECH, item_id="U")
    heard = [Heard(GREETING_ITEM, 3000, whole=True), Heard("A", 60, whole=False)]
    actions = talk.machine.silenced(heard, 1.0, frozenset({"A"}))
    assert [c.audio_end_ms for c in commands(actions, TruncateItem)] == [60]
    assert wording.GREETING_CUT not in repr(actions)


# -- call control -------------------------------------------------------------------------------


def test_the_newest_wish_counts_but_none_replaces_a_final_one() -> None:
    """And only a wish that is not final is called off."""
    pending = PendingControl()
    pending.put(Control("transfer", "600"))
    pending.put(Control("hangup"))
    assert [pending.call_off(), pending.take()] == [Control("hangup"), None]
    final = Control("hangup", by_bridge=True, final=True)
    pending.put(Control("hangup"))
    pending.put(final)
    pending.put(Control("transfer", "600"))
    assert pending.call_off() is None
    assert pending.waits
    assert [pending.take(), pending.take()] == [final, None]


# -- what goes over, and in which format ----------------------------------------------------------


def test_of_a_cut_answer_only_the_heard_part_goes_over() -> None:
    """A quarter of the sound was heard: about a quarter of the words."""
    talk = ready()
    talk.created()
    talk.item()
    talk.sound(ms=4000)
    talk.words("one two three four five six seven eight")
    talk.feed(SPEECH, item_id="U")
    talk.machine.silenced([Heard("A", 1000, whole=False)], talk.now_s)
    talk.machine.session_lost(talk.now_s)
    talk.feed("session.created", session={})
    replayed = commands(talk.feed("session.updated", session={"type": "realtime"}), CreateItem)
    (said,) = [c.item["content"][0]["text"] for c in replayed if c.item.get("role") == "assistant"]
    assert said == "one two"


# -- what a later update shows ------------------------------------------------------------------


def test_a_welcome_without_a_word_stays_protected() -> None:
    """An empty answer is asked for again: as the welcome, and not to be interrupted."""
    talk = opened(welcome_message="Welcome!")
    talk.created()
    again = talk.done(output=[])
    assert [command.text for command in commands(again, SpeakWords)] == ["Welcome!"]
    assert commands(again, UpdateSession) == []


def test_what_was_heard_is_measured_in_the_format_that_really_comes() -> None:
    """A later update that still shows G.711 is not believed: the share heard would be a sixth of
    the truth."""
    talk = ready()
    talk.machine.fall_back_to_pcm()
    shown = {"audio": {side: {"format": {"type": "audio/pcmu"}} for side in ("input", "output")}}
    talk.feed("session.updated", session=shown)
    talk.created()
    talk.item()
    talk.sound(ms=600 * 6)  # bytes of 600 ms of PCM
    talk.words("one two three four five six seven eight")
    talk.feed(SPEECH, item_id="U")
    talk.machine.silenced([Heard("A", 300, whole=False)], talk.now_s)
    talk.machine.session_lost(talk.now_s)
    talk.feed("session.created", session={})
    replayed = commands(talk.feed("session.updated", session={"type": "realtime"}), CreateItem)
    (said,) = [c.item["content"][0]["text"] for c in replayed if c.item.get("role") == "assistant"]
    assert said == "one two three four"


def test_an_update_that_shows_no_format_changes_none() -> None:
    """The server had chosen PCM itself: what it shows of the session may leave that out."""
    talk = ready()
    pcm = {"format": {"type": "audio/pcm", "rate": 24_000}}
    talk.feed("session.updated", session={"audio": {"input": pcm, "output": pcm}})
    (agreed,) = talk.feed("session.updated", session={"type": "realtime"})
    assert agreed == FormatsAgreed(PCM16_24K, PCM16_24K, as_requested=False)
