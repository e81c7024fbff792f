"""The conversation against a small server and a small playback, in every legal order of events.

The server keeps the API's rules: one response at a time, its events in order, each command
answered in the order in which it came. Both directions have a queue, so that news crosses. The
playback does what the outbound pump does: it plays in order, tells what was heard to its end, and
at an interruption how far it came. No clock but the numbers that the test hands in.
"""

from __future__ import annotations

import base64
import json
import math
from collections import deque
from typing import Any

import attrs
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from avr_bridge import ModelConfig, TalkConfig
from avr_bridge.audio.playback import Heard
from avr_bridge.upstream import wording
from avr_bridge.upstream.actions import (
    Abandon,
    Act,
    Action,
    FinishItem,
    GiveUp,
    Interrupt,
    KeepTurn,
    Play,
    RunTool,
    Say,
    Send,
)
from avr_bridge.upstream.answering import CREATED_LIMIT_S
from avr_bridge.upstream.answers import LEAST_TRUNCATED_MS
from avr_bridge.upstream.caller_turns import TRANSCRIPT_LIMIT_S
from avr_bridge.upstream.commands import (
    MARK,
    CancelResponse,
    CreateItem,
    CreateResponse,
    DeleteItem,
    SpeakWords,
    TruncateItem,
    UpdateSession,
)
from avr_bridge.upstream.control import Control
from avr_bridge.upstream.conversation import Conversation, Phase
from avr_bridge.upstream.events import decode_event
from avr_bridge.upstream.gate import Gate

BYTES_PER_MS = 8
DELTA_MS = 100
DELTA = base64.b64encode(bytes(DELTA_MS * BYTES_PER_MS)).decode()


@attrs.define(eq=False)
class Item:
    """One item of the server's conversation."""

    id: str
    role: str = "assistant"
    sound_ms: int = 0
    text: str = ""
    truncated_ms: int | None = None


@attrs.define(eq=False)
class Response:
    """The response that the server makes."""

    id: str
    output: list[dict[str, Any]] = attrs.field(factory=list)
    open: Item | None = None


@attrs.define(eq=False)
class Sounding:
    """An item in the playback."""

    item_id: str
    got_ms: int = 0
    heard_ms: int = 0
    finished: bool = False


class Server:
    """The model's side. `wire` is what it has said and the bridge has not read yet."""

    def __init__(self, *, echoes: bool, first_id: int = 0) -> None:
        self.echoes = echoes
        self.wire: deque[dict[str, Any]] = deque()
        self.inbox: deque[Any] = deque()
        self.items: list[Item] = []
        self.active: Response | None = None
        self.speaking: Item | None = None
        self.interruptible = True
        self.untranscribed: list[Item] = []
        self.made_calls: set[str] = set()
        self.done_calls: set[str] = set()
        self.ids = first_id

    def new_id(self, kind: str) -> str:
        self.ids += 1
        return f"{kind}{self.ids}"

    def emit(self, type: str, **fields: Any) -> None:
        self.wire.append({"type": type, **fields})

    def item(self, item_id: str) -> Item | None:
        return next((item for item in self.items if item.id == item_id), None)

    def add(self, item: Item, kind: str = "message") -> None:
        before = self.items[-1].id if self.items else None
        self.items.append(item)
        body = {"id": item.id, "type": kind}
        if kind == "message":
            body["role"] = item.role
        self.emit("conversation.item.added", previous_item_id=before, item=body)

    # -- responses

    def respond(self, mark: str | None = None) -> None:
        self.active = Response(self.new_id("R"))
        metadata = {MARK: mark} if mark and self.echoes else None
        response = {"id": self.active.id, "status": "in_progress", "metadata": metadata}
        self.emit("response.created", response=response)

    def speak(self) -> None:
        assert self.active
        if self.active.open is None:
            self.active.open = item = Item(self.new_id("A"))
            item.text = f"says {item.id}"
            self.add(item)
        item = self.active.open
        item.sound_ms += DELTA_MS
        self.emit(
            "response.output_audio.delta",
            response_id=self.active.id,
            item_id=item.id,
            content_index=0,
            delta=DELTA,
        )

    def close_item(self) -> None:
        assert self.active
        item, self.active.open = self.active.open, None
        if item is None:
            return
        ids = {"response_id": self.active.id, "item_id": item.id}
        self.emit("response.output_audio.done", content_index=0, **ids)
        self.emit("response.output_audio_transcript.done", transcript=item.text, **ids)
        self.active.output.append({"id": item.id, "type": "message", "role": "assistant"})

    def call_tool(self) -> None:
        assert self.active
        self.close_item()
        item = Item(self.new_id("F"), role="")
        self.add(item, "function_call")
        call_id = self.new_id("call")
        self.active.output.append(
            {
                "id": item.id,
                "type": "function_call",
                "status": "completed",
                "call_id": call_id,
                "name": "tool",
                "arguments": "{}",
            }
        )

    def end(self, status: str) -> None:
        assert self.active
        self.close_item()
        response, self.active = self.active, None
        if status in ("completed", "incomplete"):
            self.made_calls |= {o["call_id"] for o in response.output if "call_id" in o}
        self.emit(
            "response.done",
            response={"id": response.id, "status": status, "output": response.output},
        )

    # -- the caller

    def hear_speech(self) -> None:
        self.speaking = Item(self.new_id("U"), role="user")
        self.emit("input_audio_buffer.speech_started", item_id=self.speaking.id)
        if self.active and self.interruptible:
            self.end("cancelled")

    def hear_silence(self) -> None:
        assert self.speaking
        item, self.speaking = self.speaking, None
        before = self.items[-1].id if self.items else None
        self.emit("input_audio_buffer.speech_stopped", item_id=item.id)
        self.emit("input_audio_buffer.committed", item_id=item.id, previous_item_id=before)
        self.add(item)
        self.untranscribed.append(item)
        if self.active is None:
            self.respond()

    def transcribe(self, index: int, works: bool) -> None:
        item = self.untranscribed.pop(index % len(self.untranscribed))
        kind = "conversation.item.input_audio_transcription."
        if works:
            item.text = f"says {item.id}"
            self.emit(kind + "completed", item_id=item.id, transcript=item.text)
        else:
            self.emit(kind + "failed", item_id=item.id)

    # -- commands

    def take_command(self) -> None:
        command = self.inbox.popleft()
        match command:
            case CreateResponse(event_id=event_id) | SpeakWords(event_id=event_id):
                if self.active:
                    self.refuse("conversation_already_has_active_response", event_id)
                else:
                    self.respond(event_id)
            case CancelResponse(event_id=event_id, response_id=response_id):
                if self.active and response_id in (None, self.active.id):
                    self.end("cancelled")
                else:
                    self.refuse("response_cancel_not_active", event_id)
            case TruncateItem(item_id=item_id, audio_end_ms=end_ms):
                item = self.item(item_id)
                assert item is not None, "only items that exist are truncated"
                assert item.role == "assistant"
                assert item.truncated_ms is None, "an item is truncated once"
                assert LEAST_TRUNCATED_MS <= end_ms <= item.sound_ms
                item.truncated_ms = end_ms
                self.emit("conversation.item.truncated", item_id=item_id, audio_end_ms=end_ms)
            case DeleteItem(item_id=item_id):
                item = self.item(item_id)
                assert item is not None, "only items that exist are deleted, and once"
                self.items.remove(item)
                self.emit("conversation.item.deleted", item_id=item_id)
            case CreateItem(item=body):
                if body["type"] == "function_call":
                    self.made_calls.add(body["call_id"])
                    self.add(Item(self.new_id("F"), role=""), "function_call")
                elif body["type"] == "function_call_output":
                    assert body["call_id"] in self.made_calls, "outputs answer finished calls"
                    assert body["call_id"] not in self.done_calls, "each call has one output"
                    self.done_calls.add(body["call_id"])
                    self.add(Item(self.new_id("O"), role=""), "function_call_output")
                else:
                    self.add(Item(self.new_id("S"), role=body["role"]))
            case UpdateSession(session=session):
                detection = session.get("audio", {}).get("input", {}).get("turn_detection", {})
                self.interruptible = detection.get("interrupt_response", self.interruptible)
                self.emit("session.updated", session={"type": "realtime"})

    def refuse(self, code: str, event_id: str) -> None:
        error = {"type": "invalid_request_error", "code": code, "message": code}
        self.emit("error", error={**error, "event_id": event_id})


class ConversationOrders(RuleBasedStateMachine):
    """One call. Rules are what may happen next; assertions are the promises of the bridge."""

    @initialize(
        welcome=st.sampled_from([None, "Welcome."]),
        idle_s=st.sampled_from([0.0, 6.0]),
        key_interrupts=st.booleans(),
        echoes=st.booleans(),
    )
    def start(self, welcome: str | None, idle_s: float, key_interrupts: bool, echoes: bool) -> None:
        talk = TalkConfig(
            welcome_message=welcome,
            idle_s=idle_s,
            dtmf_interrupts=key_interrupts,
        )
        self.talk = talk
        self.machine = Conversation(ModelConfig(), talk, "be kind")
        self.server = Server(echoes=echoes)
        self.now_s = 0.0
        self.playing: list[Sounding] = []
        self.tools: list[str] = []
        self.ran: list[str] = []
        self.outputs: list[str] = []
        self.said: list[str] = []
        self.response_of: dict[str, str] = {}
        self.received_ms: dict[str, int] = {}
        # what the bridge was told, as opposed to what the server knows
        self.told_active: str | None = None
        self.told_speaking = False
        self.outstanding = 0
        self.knows_its_own = False
        self.reports: deque[tuple[list[Heard], frozenset[str]]] = deque()
        self.dead: set[str] = set()
        self.control_until_s: float | None = None
        self.ended_by_bridge = False
        self.protected = welcome is not None
        self.asked_s = 0.0
        self.wanted = False
        self.expected_calls: set[str] = set()
        self.greetings = 0
        self.late: set[str] = set()
        self.committed_s: dict[str, float] = {}
        self.turn_kept = self.replaying = False
        self.spoken_over: set[str] = set()
        self.past_items: list[Item] = []
        self.lost = 0
        self.server.emit("session.created", session={"type": "realtime"})
        self.read()
        self.server.take_command()
        self.read()
        assert self.greetings == 1

    # -- what may happen

    @precondition(lambda self: self.server.wire)
    @rule()
    def read(self) -> None:
        """The bridge reads one event."""
        event = self.server.wire.popleft()
        match event["type"]:
            case "response.created":
                self.told_active = event["response"]["id"]
                ours = bool(event["response"]["metadata"])
                self.knows_its_own = self.knows_its_own or ours
                if ours or not self.knows_its_own:
                    self.outstanding = 0
            case "response.done":
                self.told_active = None
                self.wanted = self.wanted and (self.protected or not self.told_speaking)
                self.asked_s = self.now_s  # a request of ours is waited for from now
            case "error" if "active_response" in event["error"]["code"]:
                self.outstanding = 0
                self.wanted = True
            case "input_audio_buffer.speech_started":
                self.told_speaking = True
                self.wanted = self.wanted and self.protected  # the server answers what was said
                self.caller_is_heard()
            case "input_audio_buffer.speech_stopped":
                self.told_speaking = False
            case "input_audio_buffer.committed":
                self.committed_s[event["item_id"]] = self.now_s
            case "response.output_audio.delta":
                self.response_of[event["item_id"]] = event["response_id"]
        was_ready = self.machine.phase is Phase.READY
        self.replaying = not was_ready
        greeting = event["type"] == "session.updated" and not self.lost
        if event["type"] == "response.done":
            output = event["response"]["output"]
            self.expected_calls = {item["call_id"] for item in output if "call_id" in item}
        self.do(self.machine.handle(decode_event(json.dumps(event)), self.now_s), greeting=greeting)
        if not was_ready and self.machine.phase is Phase.READY and self.turn_kept:
            while self.server.inbox:
                self.server.take_command()
            self.replaying = False
            self.server.hear_speech()  # the sound of the turn is sent anew
            self.server.hear_silence()

    @precondition(lambda self: self.machine.phase is Phase.READY)
    @rule()
    def session_is_lost(self) -> None:
        """The connection breaks; the next one is a server that knows nothing."""
        self.lost += 1
        self.past_items += self.server.items
        self.server = Server(echoes=self.server.echoes, first_id=self.server.ids)
        owed = self.outstanding or (self.told_active and self.told_active not in self.dead)
        self.wanted = bool(self.wanted or owed) and not self.turn_kept
        self.told_active = None
        self.told_speaking = self.knows_its_own = False
        self.outstanding = 0
        self.outputs.clear()
        self.do(self.machine.session_lost(self.now_s))
        self.server.interruptible = not self.protected
        self.server.emit("session.created", session={"type": "realtime"})

    def caller_is_heard(self) -> None:
        """By voice or by key: no hangup that was asked for before is wanted any more."""
        self.spoken_over |= set(self.tools)
        if not self.ended_by_bridge:
            self.control_until_s = None

    @precondition(lambda self: self.server.inbox)
    @rule()
    def server_takes_a_command(self) -> None:
        self.server.take_command()

    @precondition(
        lambda self: (
            self.server.inbox and isinstance(self.server.inbox[0], CreateResponse | SpeakWords)
        )
    )
    @rule()
    def a_request_is_lost(self) -> None:
        self.server.inbox.popleft()

    @precondition(lambda self: self.server.speaking is None and self.machine.phase is Phase.READY)
    @rule()
    def caller_speaks(self) -> None:
        self.server.hear_speech()

    @precondition(lambda self: self.server.speaking is not None)
    @rule()
    def caller_stops(self) -> None:
        self.server.hear_silence()

    @precondition(lambda self: self.server.untranscribed)
    @rule(index=st.integers(0, 3), works=st.booleans())
    def transcript_comes(self, index: int, works: bool) -> None:
        self.server.transcribe(index, works)

    @precondition(lambda self: self.server.active)
    @rule(deltas=st.integers(1, 4))
    def model_speaks(self, deltas: int) -> None:
        for _ in range(deltas):
            self.server.speak()

    @precondition(lambda self: self.server.active)
    @rule()
    def model_ends_an_item(self) -> None:
        self.server.close_item()

    @precondition(lambda self: self.server.active and len(self.server.active.output) < 4)
    @rule()
    def model_calls_a_tool(self) -> None:
        self.server.call_tool()

    @precondition(lambda self: self.server.active)
    @rule(status=st.sampled_from(["completed", "completed", "completed", "failed", "incomplete"]))
    def model_ends_the_response(self, status: str) -> None:
        self.server.end(status)

    @precondition(lambda self: self.tools)
    @rule(index=st.integers(0, 3), control=st.booleans())
    def a_tool_ends(self, index: int, control: bool) -> None:
        call_id = self.tools.pop(index % len(self.tools))
        asked = Control("hangup") if control else None
        if control and call_id not in self.spoken_over:
            self.control_until_s = self.now_s + self.talk.control_max_wait_s
        # To a caller who speaks the server answers by itself, and knows the outputs by then.
        ours = not self.told_speaking and self.control_until_s is None
        self.wanted = self.wanted or (not self.tools and ours)
        self.do(self.machine.tool_done(call_id, "done", asked, self.now_s))
        assert self.outputs.count(call_id) == (self.machine.phase is Phase.READY)
        assert self.machine.tool_done(call_id, "again", None, self.now_s) == []

    @rule(key=st.sampled_from("12#"))
    def caller_presses(self, key: str) -> None:
        self.caller_is_heard()
        self.do(self.machine.key_pressed(key, self.now_s))

    @precondition(lambda self: self.reports)
    @rule()
    def what_was_heard_is_reported(self) -> None:
        """The pump reports late where the socket to the caller is slow, but in order."""
        heard, items = self.reports.popleft()
        self.do(self.machine.silenced(heard, self.now_s, items))

    @precondition(lambda self: self.playing)
    @rule(ms=st.sampled_from([30, 100, 500]))
    def caller_hears(self, ms: int) -> None:
        self.report_all()
        while self.playing and ms > 0:
            first = self.playing[0]
            part = min(ms, first.got_ms - first.heard_ms)
            first.heard_ms += part
            ms -= part
            if first.heard_ms < first.got_ms:
                return
            if not first.finished:
                return
            self.finish_heard()

    @rule(wait_s=st.sampled_from([0.5, 2.0, 5.0, 11.0]))
    def time_passes(self, wait_s: float) -> None:
        self.report_all()
        if self.server.active:
            self.server.speak()  # an answer of which nothing comes is given up: not told here
        while self.server.wire or self.server.inbox:
            if self.server.wire:
                self.read()
            else:
                self.server.take_command()
        until_s = self.now_s + wait_s
        while self.machine.next_deadline_s <= until_s:
            self.now_s = max(self.now_s, self.machine.next_deadline_s)
            passed_s = self.now_s - TRANSCRIPT_LIMIT_S
            self.late |= {i for i, at_s in self.committed_s.items() if at_s <= passed_s}
            if self.told_active is None and self.now_s >= self.asked_s + CREATED_LIMIT_S:
                self.outstanding = 0  # it was lost
            self.do(self.machine.tick(self.now_s))
        self.now_s = until_s

    # -- what the bridge does

    def do(self, actions: list[Action], *, greeting: bool = False) -> None:
        for action in actions:
            match action:
                case Send(command=command):
                    self.sent(command, greeting=greeting)
                case Play(item_id=item_id, data=data):
                    assert self.response_of[item_id] not in self.dead, "no sound of a dead answer"
                    self.sounding(item_id).got_ms += len(data) // BYTES_PER_MS
                    self.received_ms[item_id] = self.sounding(item_id).got_ms
                case FinishItem(item_id=item_id):
                    for entry in self.playing:
                        entry.finished = entry.finished or entry.item_id == item_id
                    self.finish_heard()
                case Interrupt(items=items):
                    if self.told_active:
                        self.dead.add(self.told_active)
                    heard = [
                        Heard(e.item_id, e.heard_ms, whole=e.heard_ms == e.got_ms)
                        for e in self.playing
                    ]
                    self.playing.clear()
                    self.reports.append((heard, items))
                case KeepTurn(on=on):
                    self.turn_kept = on
                case Abandon():
                    self.session_is_lost()
                    return
                case RunTool(call_id=call_id):
                    assert call_id in self.expected_calls
                    assert call_id not in self.ran, "a call runs once"
                    self.ran.append(call_id)
                    self.tools.append(call_id)
                case Act():
                    self.acts()
                case Say(text=text):
                    self.say(text)
                case GiveUp():
                    raise AssertionError("nothing here is hopeless")

    def report_all(self) -> None:
        while self.reports:
            self.what_was_heard_is_reported()

    def sounding(self, item_id: str) -> Sounding:
        if not self.playing or self.playing[-1].item_id != item_id:
            self.playing.append(Sounding(item_id))
        return self.playing[-1]

    def finish_heard(self) -> None:
        while self.playing and self.playing[0].finished:
            first = self.playing[0]
            if first.heard_ms < first.got_ms:
                return
            del self.playing[0]
            self.do(self.machine.item_heard(first.item_id, self.now_s))

    def sent(self, command: Any, *, greeting: bool) -> None:
        self.server.inbox.append(command)
        match command:
            case CreateResponse() | SpeakWords():
                assert self.told_active is None, "no request into a running answer"
                assert self.outstanding == 0, "one request at a time"
                self.outstanding += 1
                self.wanted = False
                self.asked_s = self.now_s
                self.greetings += greeting
                assert self.greetings <= 1, "greeted once"
            case TruncateItem(item_id=item_id, audio_end_ms=end_ms):
                assert end_ms <= self.received_ms[item_id]
            case CancelResponse(response_id=str(response_id)):
                self.dead.add(response_id)
            case UpdateSession(session=session):
                # The first of a session sets it up; a later one ends the welcome's protection.
                if "instructions" not in session:
                    self.protected = False
            case CreateItem(item={"role": "system", "content": [{"text": wording.NOBODY_THERE}]}):
                self.ended_by_bridge = True
                self.control_until_s = self.now_s + self.talk.control_max_wait_s
            case CreateItem(item={"role": "user"}) if not self.replaying:
                # To a caller who speaks the server answers by itself, keys included.
                self.wanted = self.wanted or self.protected or not self.told_speaking
            case CreateItem(item={"type": "function_call_output", "call_id": call_id}):
                assert call_id in self.ran
                self.outputs.append(call_id)

    def acts(self) -> None:
        assert self.control_until_s is not None, "asked for and not called off"
        quiet = not self.playing and self.told_active is None and not self.outstanding
        quiet = quiet and not self.told_speaking and not self.tools
        assert quiet or self.now_s >= self.control_until_s
        self.control_until_s = None
        self.ended_by_bridge = False

    def say(self, text: str) -> None:
        text = text.removesuffix(" [interrupted]")
        assert text not in self.said, "each line once"
        self.said.append(text)

    # -- at any time

    @invariant()
    def waits_have_an_end(self) -> None:
        """What may never come has a deadline: an answer and its end, the goodbye before a
        hangup, the welcome."""
        machine = self.machine
        may_never_come = (
            (machine.gate.state is not Gate.FREE)
            or self.control_until_s is not None
            or (self.protected and machine.phase is Phase.READY)
        )
        if may_never_come:
            assert machine.next_deadline_s < math.inf

    @invariant()
    def the_gate_knows_what_it_was_told(self) -> None:
        """A response that we were told of and that is not done keeps the gate shut."""
        if self.told_active is not None:
            assert self.machine.gate.state is Gate.ACTIVE
            assert self.machine.gate.active_id == self.told_active

    def teardown(self) -> None:
        """Whatever happened, the conversation comes to rest: every call of a tool is answered,
        every wish for an answer was asked for, all is heard, and the gate is free."""
        if not hasattr(self, "machine"):
            return
        self.come_to_rest()
        assert self.machine.gate.state is Gate.FREE
        assert not self.machine.gate.kept
        assert not self.wanted, "each wish for an answer was asked for"
        assert sorted(self.outputs) == sorted(self.ran), "known to the last session too"
        assert self.server.done_calls == set(self.ran) == self.server.made_calls
        assert not self.playing
        assert self.server.interruptible is not self.protected
        self.lines_are_in_order()

    def come_to_rest(self) -> None:
        if self.server.speaking:
            self.server.hear_silence()
        for _ in range(60):
            while self.server.untranscribed:
                self.server.transcribe(0, works=True)
            if self.server.active:
                self.server.end("completed")
            while self.server.wire:
                self.read()
            while self.tools:
                self.a_tool_ends(index=0, control=False)
            while self.server.inbox:
                self.server.take_command()
            self.report_all()
            if self.playing:
                self.caller_hears(ms=100_000)
            if self.server.wire or self.server.active or self.server.inbox or self.tools:
                continue
            if self.machine.gate.state is Gate.FREE:
                return
            self.time_passes(CREATED_LIMIT_S)
        raise AssertionError("the conversation does not come to rest")

    def lines_are_in_order(self) -> None:
        """In the order of the conversation, except for the caller's words that came too late."""
        items = self.past_items + self.server.items
        order = {item.text: n for n, item in enumerate(items) if item.text}
        too_late = {f"says {item_id}" for item_id in self.late}
        numbers = [order[text] for text in self.said if text in order and text not in too_late]
        assert numbers == sorted(numbers)


ConversationOrders.TestCase.settings = settings(
    max_examples=120, stateful_step_count=50, deadline=None
)
TestConversationOrders = ConversationOrders.TestCase
