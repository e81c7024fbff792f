"""The model's state machine: phases, the response gate, barge-in, errors. No I/O, no clock."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avr_bridge import ModelConfig, TalkConfig
from avr_bridge.audio.format import ALAW_8K, PCM16_24K, ULAW_8K
from avr_bridge.upstream.actions import (
    Act,
    Action,
    AnswerMeasured,
    FinishItem,
    FormatsAgreed,
    GiveUp,
    Interrupt,
    KeepTurn,
    Note,
    Play,
    RunTool,
    Say,
    Send,
    Tell,
    TurnEnded,
    Waiting,
)
from avr_bridge.upstream.caller_turns import SPEECH_LIMIT_S
from avr_bridge.upstream.commands import CreateItem, CreateResponse, UpdateSession
from avr_bridge.upstream.control import Control
from avr_bridge.upstream.conversation import Conversation, Phase
from avr_bridge.upstream.error_codes import Severity, severity_of
from avr_bridge.upstream.events import ErrorDetail, Unknown, decode_event
from avr_bridge.upstream.gate import Gate


def event(type: str, **fields: Any) -> str:
    return json.dumps({"type": type, "event_id": "event_1", **fields})


def feed(machine: Conversation, type: str, **fields: Any) -> list[Action]:
    return machine.handle(decode_event(event(type, **fields)), 0.0)


def session(format_type: str = "audio/pcmu", **more: Any) -> dict[str, Any]:
    fmt = {"type": format_type, **more}
    return {
        "type": "realtime",
        "expires_at": 1795000000,
        "audio": {"input": {"format": fmt}, "output": {"format": fmt}},
    }


def error(code: str | None, message: str = "words", **fields: Any) -> dict[str, Any]:
    return {"type": "invalid_request_error", "code": code, "message": message, **fields}


def ready(**settings: Any) -> Conversation:
    """A session in force, greeted with nothing to say."""
    machine = Conversation(ModelConfig(**settings), TalkConfig(), "be kind")
    feed(machine, "session.created", session={})
    feed(machine, "session.updated", session=session())
    done(machine)
    return machine


def ask(machine: Conversation) -> list[Action]:
    """Have the machine want an answer: a key that is an entry of its own."""
    return machine.key_pressed("#", 0.0)


def creates(actions: list[Action]) -> int:
    return sum(isinstance(a, Send) and isinstance(a.command, CreateResponse) for a in actions)


def delta(machine: Conversation, item: str = "A", response: str = "R") -> list[Action]:
    return feed(
        machine,
        "response.output_audio.delta",
        item_id=item,
        response_id=response,
        output_index=0,
        content_index=0,
        delta="f39/fw==",
    )


def created(machine: Conversation, response: str = "R") -> list[Action]:
    return feed(machine, "response.created", response={"id": response, "status": "in_progress"})


def done(machine: Conversation, status: str = "completed", **fields: Any) -> list[Action]:
    return feed(machine, "response.done", response={"id": "R", "status": status, **fields})


# -- setting up ---------------------------------------------------------------------------


def test_one_complete_update_after_session_created() -> None:
    """Nothing is sent before `session.created`; then one update with everything in it."""
    config = ModelConfig(max_tokens=300, language="de", voice="marin")
    machine = Conversation(config, TalkConfig(), "be kind")
    (action,) = feed(machine, "session.created", session={"expires_at": 1795000000})
    assert machine.phase is Phase.CONFIGURING
    assert isinstance(action, Send)
    assert isinstance(action.command, UpdateSession)
    sent = action.command.session
    assert sent["type"] == "realtime"
    assert sent["instructions"] == "be kind"
    assert sent["max_output_tokens"] == 300
    assert sent["audio"]["input"]["format"] == {"type": "audio/pcmu"}
    assert sent["audio"]["output"] == {
        "format": {"type": "audio/pcmu"},
        "voice": "marin",
        "speed": 1.0,
    }
    assert sent["audio"]["input"]["transcription"] == {"model": "whisper-1", "language": "de"}
    assert sent["audio"]["input"]["turn_detection"]["type"] == "server_vad"
    assert sent["reasoning"] == {"effort": "low"}
    assert "temperature" not in sent


def test_what_a_model_does_not_take_is_not_sent() -> None:
    """`reasoning` makes other models refuse the update; PCM needs its rate, G.711 none."""
    machine = Conversation(
        ModelConfig(model="gpt-realtime-1.5", audio_format="pcm", turn_detection="semantic_vad"),
        TalkConfig(),
        "x",
    )
    (action,) = feed(machine, "session.created", session={})
    assert isinstance(action, Send)
    assert isinstance(action.command, UpdateSession)
    sent = action.command.session
    assert "reasoning" not in sent
    assert sent["audio"]["input"]["format"] == {"type": "audio/pcm", "rate": 24000}
    assert sent["audio"]["input"]["turn_detection"] == {
        "type": "semantic_vad",
        "create_response": True,
        "interrupt_response": True,
    }


def test_the_greeting_is_asked_for_once() -> None:
    """A later `session.updated` greets nobody a second time."""
    machine = Conversation(ModelConfig(), TalkConfig(), "x")
    feed(machine, "session.created", session={})
    assert creates(feed(machine, "session.updated", session=session())) == 1
    created(machine)
    done(machine)
    assert creates(feed(machine, "session.updated", session=session())) == 0


@pytest.mark.parametrize(
    ("shown", "agreed", "as_requested"),
    [
        (session(), ULAW_8K, True),
        (session("audio/pcma"), ALAW_8K, False),
        (session("audio/pcm", rate=24000), PCM16_24K, False),
        ({"type": "realtime"}, ULAW_8K, True),
        ({"audio": {"input": None, "output": {"format": None}}}, ULAW_8K, True),
    ],
)
def test_the_format_in_force_is_the_one_shown(
    shown: dict[str, Any], agreed: object, as_requested: bool
) -> None:
    """`session.updated` decides; where it shows nothing, what was asked for holds."""
    machine = Conversation(ModelConfig(), TalkConfig(), "x")
    feed(machine, "session.created", session={})
    action, *_ = feed(machine, "session.updated", session=shown)
    assert action == FormatsAgreed(agreed, agreed, as_requested)  # type: ignore[arg-type]
    assert machine.phase is Phase.READY


@pytest.mark.parametrize("shown", [session("audio/pcm", rate=16000), session("audio/opus")])
def test_a_format_that_we_do_not_speak_ends_the_call(shown: dict[str, Any]) -> None:
    """Noise for the rest of the call would be worse."""
    machine = Conversation(ModelConfig(), TalkConfig(), "x")
    feed(machine, "session.created", session={})
    (action,) = feed(machine, "session.updated", session=shown)
    assert isinstance(action, GiveUp)


@pytest.mark.parametrize("event_id", ["br-1", None])
def test_a_refused_update_ends_the_call(event_id: str | None) -> None:
    """Nothing of a refused update is in force; some refusals do not echo our id."""
    machine = Conversation(ModelConfig(), TalkConfig(), "x")
    feed(machine, "session.created", session={})
    (action,) = feed(machine, "error", error=error("unknown_parameter", event_id=event_id))
    assert isinstance(action, GiveUp)
    assert "words" in action.message


# -- the gate -----------------------------------------------------------------------------


def test_a_refused_voice_of_the_call_gives_way_to_the_configured_one() -> None:
    """One more update, with everything in it; a second refusal ends the call."""
    config = ModelConfig(voice="nobody", dialect="ga")
    machine = Conversation(config, TalkConfig(), "be kind", spare_voice="marin")
    feed(machine, "session.created", session={})
    refusal = error("invalid_value", param="session.audio.output.voice", event_id="br-1")
    note, again = feed(machine, "error", error=refusal)
    assert isinstance(note, Note)
    assert isinstance(again, Send)
    assert isinstance(again.command, UpdateSession)
    assert again.command.session["audio"]["output"]["voice"] == "marin"
    refusal["event_id"] = again.command.event_id
    (ended,) = feed(machine, "error", error=refusal)
    assert isinstance(ended, GiveUp)
    assert "OPENAI_DIALECT=auto" in ended.message


def test_requests_wait_behind_the_running_answer_and_become_one() -> None:
    """Two requests during an answer are one `response.create` after it."""
    machine = ready()
    created(machine)
    assert creates(ask(machine)) == 0
    assert creates(ask(machine)) == 0
    assert creates(done(machine)) == 1
    assert machine.gate.state is Gate.REQUESTED


def test_a_lost_race_is_asked_again_after_the_winner() -> None:
    """The server's turn detection was faster: our request follows when that answer is done."""
    machine = ready()
    assert creates(ask(machine)) == 1
    created(machine, "VAD")
    taken = error("conversation_already_has_active_response")
    assert creates(feed(machine, "error", error=taken)) == 0
    assert creates(done(machine)) == 1


def test_a_lost_race_whose_winner_is_already_done_is_asked_again_at_once() -> None:
    """Waiting for a `response.done` that has passed would be silence for ever."""
    machine = ready()
    ask(machine)
    created(machine, "VAD")
    done(machine)
    taken = error("conversation_already_has_active_response")
    assert creates(feed(machine, "error", error=taken)) == 1


def test_response_done_without_created_frees_the_gate() -> None:
    """Seen in the wild during interruptions."""
    machine = ready()
    ask(machine)
    done(machine, "cancelled")
    assert machine.gate.state is Gate.FREE


@given(st.lists(st.sampled_from(["ask", "created", "done", "taken", "speech", "delta"])))
def test_no_request_is_lost_and_none_races(steps: list[str]) -> None:
    """In any order of events: creates are sent only through a free gate, and a request that
    was made is either on its way or kept."""
    machine = ready()
    outstanding = False
    for step in steps:
        gate_before = machine.gate.state
        actions: list[Action] = []
        if step == "ask":
            actions = ask(machine)
            outstanding = not machine.caller_speaks  # else the server answers by itself
        elif step == "created":
            created(machine)
            outstanding = outstanding and machine.gate.kept
        elif step == "done":
            actions = done(machine)
            outstanding = outstanding and (
                machine.gate.kept or machine.gate.state is Gate.REQUESTED
            )
        elif step == "taken":
            taken = error("conversation_already_has_active_response")
            actions = feed(machine, "error", error=taken)
            outstanding = True
        elif step == "speech":
            feed(machine, "input_audio_buffer.speech_started")
        else:
            delta(machine)
        assert creates(actions) <= 1
        if creates(actions):
            assert machine.gate.state is Gate.REQUESTED
            assert gate_before is Gate.FREE or step == "done"
        if outstanding:
            assert machine.gate.kept or machine.gate.state is not Gate.FREE


# -- sound, barge-in, transcripts -----------------------------------------------------------


def test_deltas_play_and_the_item_is_finished_once() -> None:
    """Sound comes out as bytes; `output_audio.done` and `response.done` finish one item once."""
    machine = ready()
    created(machine)
    assert delta(machine) == [Play("A", b"\x7f\x7f\x7f\x7f")]
    assert feed(machine, "response.output_audio.done", item_id="A") == [FinishItem("A")]
    assert FinishItem("A") not in done(machine)


def test_an_item_without_its_done_is_finished_by_the_response() -> None:
    """Optional events are optional: the tail is flushed all the same."""
    machine = ready()
    created(machine)
    delta(machine)
    assert FinishItem("A") in done(machine)


def test_the_next_item_of_a_response_finishes_the_one_before() -> None:
    """Reasoning models speak several items in one response."""
    machine = ready()
    created(machine)
    delta(machine, "A")
    assert delta(machine, "B") == [FinishItem("A"), Play("B", b"\x7f\x7f\x7f\x7f")]


def test_late_deltas_of_an_interrupted_answer_are_dropped() -> None:
    """What was in flight when the caller spoke is never played; the next answer is."""
    machine = ready()
    created(machine, "R1")
    delta(machine, "A", "R1")
    stopped = [Interrupt(frozenset({"A"})), KeepTurn(True)]
    assert feed(machine, "input_audio_buffer.speech_started", item_id="U") == stopped
    assert delta(machine, "A", "R1") == []
    done(machine, "cancelled")
    created(machine, "R2")
    feed(machine, "input_audio_buffer.committed", item_id="U")
    assert delta(machine, "B", "R2") == [KeepTurn(False), Play("B", b"\x7f\x7f\x7f\x7f")]


def test_turns_and_transcripts() -> None:
    """The caller's text leaves at once; an answer's when it was heard; empty text never."""
    machine = ready()
    assert feed(machine, "input_audio_buffer.speech_stopped") == [TurnEnded()]
    feed(machine, "input_audio_buffer.committed", item_id="U")
    heard = "conversation.item.input_audio_transcription.completed"
    assert feed(machine, heard, item_id="U", transcript="Hi") == [Say("user", "Hi")]
    assert feed(machine, heard, item_id="U2", transcript="") == []
    created(machine)
    delta(machine)
    said = "response.output_audio_transcript.done"
    assert feed(machine, said, item_id="A", transcript="Yes") == []
    done(machine)
    assert machine.item_heard("A", 1.0) == [Say("agent", "Yes")]


def test_tools_run_when_the_response_is_done() -> None:
    """Of a cut response nothing runs; outputs go back together, then one answer is asked for."""
    machine = ready()
    created(machine)
    call = {"type": "function_call", "name": "fly", "call_id": "c1", "arguments": "{}"}
    cut = {**call, "call_id": "c2", "status": "incomplete"}
    second = {**call, "call_id": "c3", "name": "swim"}
    actions = done(machine, output=[{**call, "status": "completed"}, cut, second])
    assert actions == [
        RunTool("c1", "fly", "{}"),
        RunTool("c3", "swim", "{}"),
        Waiting(True),
    ]
    first = machine.tool_done("c3", "wet", None, 1.0)
    assert [type(a.command) for a in first if isinstance(a, Send)] == [CreateItem]
    last = machine.tool_done("c1", "high", None, 2.0)
    assert [type(a.command) for a in last if isinstance(a, Send)] == [CreateItem, CreateResponse]
    assert machine.tool_done("c1", "twice", None, 3.0) == []


def test_call_control_waits_for_the_goodbye() -> None:
    """Said with the call of the tool: no second goodbye is asked for; the hangup is done when
    the last word was heard, and not before."""
    machine = ready()
    created(machine)
    delta(machine)
    call = {"type": "function_call", "name": "avr_hangup", "call_id": "c", "arguments": "{}"}
    done(machine, output=[call])
    told = machine.tool_done("c", "will be done", Control("hangup"), 1.0)
    assert creates(told) == 0
    assert not any(isinstance(action, Act) for action in told)
    assert Act(Control("hangup")) in machine.item_heard("A", 3.0)


def test_call_control_is_called_off_by_speech() -> None:
    """The caller spoke again: nothing is done, and the model is told."""
    machine = ready()
    created(machine)
    delta(machine)
    call = {"type": "function_call", "name": "avr_hangup", "call_id": "c", "arguments": "{}"}
    done(machine, output=[call])
    machine.tool_done("c", "will be done", Control("hangup"), 1.0)
    actions = feed(machine, "input_audio_buffer.speech_started")
    items = [a.command for a in actions if isinstance(a, Send)]
    assert any(isinstance(item, CreateItem) and item.item["role"] == "system" for item in items)
    assert machine.next_deadline_s == SPEECH_LIMIT_S
    feed(machine, "input_audio_buffer.speech_stopped")
    assert machine.next_deadline_s == math.inf
    assert not any(isinstance(action, Act) for action in machine.item_heard("A", 3.0))


def test_call_control_waits_no_longer_than_its_limit() -> None:
    """An answer that never ends does not keep a call for ever."""
    machine = ready()
    created(machine)
    delta(machine)
    call = {"type": "function_call", "name": "avr_hangup", "call_id": "c", "arguments": "{}"}
    done(machine, output=[call])
    machine.tool_done("c", "will be done", Control("hangup"), 1.0)
    assert machine.next_deadline_s == 11.0
    assert machine.tick(11.0) == [Act(Control("hangup"))]
    assert not any(isinstance(action, Act) for action in machine.item_heard("A", 12.0))


def test_an_unanswered_request_is_made_again() -> None:
    """A lost `response.create` must not bar the gate for ever."""
    machine = ready()
    ask(machine)
    deadline_s = machine.next_deadline_s
    assert creates(machine.tick(deadline_s)) == 1


# -- errors -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "code",
    [
        "response_cancel_not_active",
        "input_audio_buffer_commit_empty",
        "item_truncate_invalid_item_id",
        "unsupported_content_type",
    ],
)
def test_harmless_errors_reach_nobody(code: str) -> None:
    """A note for the debug log, nothing for avr-core."""
    (action,) = feed(ready(), "error", error=error(code))
    assert isinstance(action, Note)
    assert not action.severe


@pytest.mark.parametrize("code", ["insufficient_quota", "invalid_api_key", "model_not_found"])
def test_hopeless_errors_end_the_call(code: str) -> None:
    """As an event and as the reason of a failed answer."""
    assert isinstance(feed(ready(), "error", error=error(code))[0], GiveUp)
    details = {"type": "failed", "error": error(code)}
    assert isinstance(done(ready(), "failed", status_details=details)[0], GiveUp)


def test_other_errors_are_told_and_survived() -> None:
    """An unknown code is reported; the session is usable."""
    note, tell = feed(ready(), "error", error=error("brand_new_code"))
    assert isinstance(note, Note)
    assert note.severe
    assert tell == Tell("words")


@pytest.mark.parametrize("details", [None, "text", {"type": "failed"}, {"error": None}, 7, []])
def test_any_shape_of_status_details_is_survived(details: object) -> None:
    """Seen as object, text and null."""
    actions = done(ready(), "failed", status_details=details)
    assert any(isinstance(action, Tell) for action in actions)


def test_truncating_too_late_is_noise() -> None:
    """There was less to cut than we thought; the session goes on."""
    late = ErrorDetail(
        code="invalid_value", message="Audio content of 3700ms is already shorter than 3760ms"
    )
    assert severity_of(late) is Severity.NOISE


# -- reading ------------------------------------------------------------------------------


@given(st.one_of(st.text(), st.binary()))
def test_reading_never_raises(message: str | bytes) -> None:
    """Garbage is an unknown event."""
    decode_event(message)


@pytest.mark.parametrize(
    "text",
    [
        '{"type":"response.output_audio.delta","delta":"%%"}',
        '{"type":"session.updated","session":[]}',
        '{"type":"error"}',
    ],
)
def test_misshapen_known_events_are_noted(text: str) -> None:
    """They change nothing, and the log says so."""
    read = decode_event(text)
    assert isinstance(read, Unknown)
    assert read.fault
    (action,) = ready().handle(read, 0.0)
    assert isinstance(action, Note)


def test_unknown_events_and_fields_are_ignored() -> None:
    """Servers add both without notice."""
    assert feed(ready(), "rate_limits.updated", rate_limits=[]) == []
    assert feed(ready(), "input_audio_buffer.speech_stopped", item_id="U", phase="new") == [
        TurnEnded()
    ]


@pytest.mark.parametrize(
    "text",
    [
        '{"type":"input_audio_buffer.speech_stopped","x":' + "[" * 100_000 + "]" * 100_000 + "}",
        "[" * 100_000 + "]" * 100_000,
    ],
)
def test_deep_nesting_is_an_unknown_event(text: str) -> None:
    """A model or a proxy gone mad ends no call."""
    assert isinstance(decode_event(text), Unknown)


def test_a_bill_that_cannot_be_is_no_bill() -> None:
    """Numbers beyond all measure are ignored."""
    machine = ready()
    created(machine)
    delta(machine)
    usage = {"output_token_details": {"audio_tokens": 10**400}}
    assert not any(isinstance(a, AnswerMeasured) for a in done(machine, usage=usage))
