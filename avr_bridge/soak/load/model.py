"""The model stand-in: sessions of the Realtime API that speak without pause and answer probes.

The far end of the road. Each session's speech leaves on an absolute clock, in responses of ten
seconds that follow each other without a gap, as if the caller had just been silent. A probe heard
is answered at once, 20 ms of the next delta being sent early; a barge-in is answered as voice
detection does. It does not judge what the client does, and believes everything.
"""

from __future__ import annotations

import binascii
import time
from typing import TYPE_CHECKING, Any

import msgspec
from picows import WSCloseCode, WSFrame, WSListener, WSMsgType, WSTransport

from avr_bridge.soak.load.hearing import Heard
from avr_bridge.soak.load.sounds import FRAME_MS, LOUD, LoudRun, Sound, level_of
from avr_bridge.soak.load.wording import (
    PCM_24K,
    ResponseWords,
    agreed_sound,
    arguments_for,
    first_tool,
    new_session,
    updated_session,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from avr_bridge.soak.load.clock import FrameClock
    from avr_bridge.soak.plan import SoakPlan

__all__ = ["ModelSession", "StandIn"]

RESPONSE_MS = 10_000
"""Of speech in one response."""

TURN_S = 0.3
"""How long a caller who barges in goes on speaking."""

AHEAD_MS = 60
"""Speech that leaves just before a barge-in is told of: a model is ahead of what it says, so
there is something to interrupt."""

UNASKED_S = 1.0
"""A client that asks for no greeting by then is taken to wait for the caller's first turn."""

TOOL_LIMIT_S = 5.0
"""A client that does not go on after a tool call by then is not waited for any longer."""


class StandIn:
    """All sessions of one process.

    Attributes:
        sessions: Those that are open.
        measuring: Whether what they hear is counted.
        answered: Called with every session that answers a probe, and the time; to be set.
        ended: Called with every session that has ended; to be set.
    """

    def __init__(self, plan: SoakPlan, clock: FrameClock, random: Random) -> None:
        self.plan = plan
        self.clock = clock
        self.random = random
        self.sessions: set[ModelSession] = set()
        self.measuring = False
        self.answered: Callable[[ModelSession, float], None] = lambda session, now_s: None
        self.ended: Callable[[ModelSession], None] = lambda session: None
        self._made = 0

    def new_session(self) -> ModelSession:
        """For a new connection."""
        self._made += 1
        return ModelSession(self, f"{self._made:06d}")

    def measure(self, now_s: float) -> None:
        """From now on what sessions hear is counted."""
        self.measuring = True
        for session in self.sessions:
            session.measure(now_s)


class ModelSession(WSListener):  # type: ignore[misc, unused-ignore]  # a compiled class
    """One connection of the container's.

    Attributes:
        heard: What came of the caller's sound.
        silent_s: How long, while measuring, nothing was said because a tool was waited for.
        tools: Function calls made; `tools_answered` of them were answered.
        answered_s: When the last probe was answered; 0.0: none was.
    """

    def __init__(self, stand_in: StandIn, session_id: str) -> None:
        self._all = stand_in
        self._clock = stand_in.clock
        self._id = session_id
        self._session = new_session(session_id)
        self._to_model: Sound = PCM_24K
        self._from_model: Sound = PCM_24K
        self._loud = LoudRun(24_000)
        self.heard = Heard()
        self.silent_s = 0.0
        self.tools = self.tools_answered = 0
        self.answered_s = 0.0
        self._response: ResponseWords | None = None
        self._responses = self._items = 0
        self._metadata: Any = None
        self._said_ms = self._at_ms = self._early_ms = 0
        self._due_s = 0.0
        self._run = 0
        self._open_calls: set[str] = set()
        self._silent_since_s: float | None = None
        self._tool_due_s = 0.0
        self._tone_owed = False
        self._fragments: list[bytes] = []
        self._closed = False

    # -- socket -----------------------------------------------------------------------------

    def on_ws_connected(self, transport: WSTransport) -> None:
        """The upgrade is done."""
        self._transport = transport
        self._all.sessions.add(self)
        self._emit({"type": "session.created", "session": self._session})

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        """The container has gone."""
        self._closed = True
        self._run += 1
        self.heard.close(time.monotonic())
        self._all.sessions.discard(self)
        self._all.ended(self)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """A message, or a piece of one."""
        if frame.msg_type is WSMsgType.CLOSE:
            self._closed = True
            transport.send_close(WSCloseCode.OK)
            transport.disconnect()
            return
        if frame.msg_type not in (WSMsgType.TEXT, WSMsgType.CONTINUATION):
            return
        payload = frame.get_payload_as_bytes()
        if not frame.fin or self._fragments:
            self._fragments.append(payload)
            if not frame.fin:
                return
            payload = b"".join(self._fragments)
            self._fragments.clear()
        begin = payload.find(b'"audio":')
        if begin >= 0 and b"input_audio_buffer.append" in payload:
            begin = payload.find(b'"', begin + 8) + 1
            self._sound(binascii.a2b_base64(payload[begin : payload.find(b'"', begin)]))
        else:
            self._event(msgspec.json.decode(payload))

    def close(self) -> None:
        """Close the connection."""
        if not self._closed:
            self._transport.send_close(WSCloseCode.GOING_AWAY)
            self._transport.disconnect()

    def _emit(self, *events: dict[str, Any]) -> None:
        if not self._closed:
            for event in events:
                self._transport.send(WSMsgType.TEXT, msgspec.json.encode(event))

    # -- hearing ----------------------------------------------------------------------------

    def measure(self, now_s: float) -> None:
        """From now on the sound that comes is counted."""
        self.heard.open(now_s)

    def _sound(self, data: bytes) -> None:
        now_s = time.monotonic()
        ms = len(data) / self._to_model.bytes_per_ms
        self.heard.sound(ms / 1000, now_s)
        if self._all.measuring and not self.heard.is_open:
            self.heard.open(now_s)
        pcm = self._to_model.decode(data)
        if level_of(pcm) <= LOUD:
            self._loud.quiet(ms)
            return
        begins, burst = self._loud.loud(pcm)
        if begins:
            self.answered_s = now_s
            self._all.answered(self, now_s)
            self._answer_probe()
        if burst and self._response is not None:
            self._barge_in(now_s)

    def _answer_probe(self) -> None:
        if self._response is None:
            self._tone_owed = True
            return
        self._tone_owed = False
        self._early_ms += FRAME_MS
        self._at_ms += FRAME_MS
        self._send_sound(self._from_model.probe64())

    def _barge_in(self, now_s: float) -> None:
        item_id = self._new_item()
        response = self._response
        assert response is not None
        self._send_sound(self._from_model.speech64(self._at_ms, AHEAD_MS))
        started = "input_audio_buffer.speech_started"
        self._emit({"type": started, "audio_start_ms": 0, "item_id": item_id})
        self._stop(response, "turn_detected")

        def turn_ends(now_s: float) -> None:
            stopped = "input_audio_buffer.speech_stopped"
            self._emit({"type": stopped, "audio_end_ms": 0, "item_id": item_id})
            self._take_turn(item_id)
            if self._response is None:
                self._begin(now_s, None)

        self._clock.at(now_s + TURN_S, turn_ends)

    def _stop(self, response: ResponseWords, reason: str) -> None:
        self._response = None
        self._run += 1
        self._early_ms = 0
        self._emit(*response.cancelled(reason))

    def _take_turn(self, item_id: str) -> None:
        """The caller's turn is an item now."""
        item = {
            "id": item_id,
            "object": "realtime.item",
            "type": "message",
            "status": "completed",
            "role": "user",
            "content": [{"type": "input_audio", "transcript": None}],
        }
        place = {"previous_item_id": None, "item_id": item_id}
        self._emit(
            {"type": "input_audio_buffer.committed", **place},
            {"type": "conversation.item.added", "previous_item_id": None, "item": item},
            {"type": "conversation.item.done", "previous_item_id": None, "item": item},
        )
        if self._session["audio"]["input"].get("transcription"):
            heard = "conversation.item.input_audio_transcription.completed"
            self._emit(
                {"type": heard, "item_id": item_id, "content_index": 0, "transcript": "Go on."}
            )

    def _new_item(self) -> str:
        self._items += 1
        return f"item_{self._id}_u{self._items}"

    # -- speaking ---------------------------------------------------------------------------

    def _begin(self, now_s: float, metadata: Any) -> None:
        """A response, now."""
        self._run += 1
        if self._silent_since_s is not None:
            if self._all.measuring:
                self.silent_s += now_s - self._silent_since_s
            self._silent_since_s = None
        self._due_s = now_s
        self._open_response(metadata)
        self._speak(self._run)
        if self._tone_owed:
            self._answer_probe()

    def _open_response(self, metadata: Any) -> None:
        self._responses += 1
        self._response = ResponseWords(self._responses, self._id, metadata)
        self._said_ms = 0
        self._emit(*self._response.begin())

    def _speak(self, run: int) -> None:
        """The next delta is due."""
        if run != self._run or self._closed or self._response is None:
            return
        if self._tool_is_due():
            return
        if self._said_ms >= RESPONSE_MS:
            self._emit(*self._response.end([]))
            self._take_turn(self._new_item())
            self._open_response(None)
        whole_ms = self._all.plan.delta_ms
        ms = max(whole_ms - self._early_ms, 0)
        self._early_ms -= whole_ms - ms
        if ms:
            self._send_sound(self._from_model.speech64(self._at_ms, ms))
        self._at_ms = (self._at_ms + ms) % 1000
        self._said_ms += whole_ms
        self._due_s += whole_ms / 1000
        self._clock.at(self._due_s, lambda now_s: self._speak(run))

    def _send_sound(self, sound64: bytes) -> None:
        if self._response is not None and not self._closed:
            self._transport.send(WSMsgType.TEXT, self._response.delta(sound64))

    # -- tools ------------------------------------------------------------------------------

    def _plan_tool(self, now_s: float) -> None:
        rate = self._all.plan.tools_per_min
        if rate > 0 and not self._tool_due_s and first_tool(self._session):
            self._tool_due_s = now_s + self._all.random.expovariate(rate / 60)

    def _tool_is_due(self) -> bool:
        """End the response with a function call, if it is time for one."""
        now_s = time.monotonic()
        tool = first_tool(self._session) if self._tool_due_s else None
        if tool is None or now_s < self._tool_due_s or self._said_ms == 0 or not self._response:
            return False
        item_id = self._new_item()
        call_id = f"call_{item_id}"
        call = {
            "id": item_id,
            "object": "realtime.item",
            "type": "function_call",
            "status": "completed",
            "name": tool["name"],
            "call_id": call_id,
            "arguments": msgspec.json.encode(arguments_for(tool)).decode(),
        }
        if self._all.measuring:
            self.tools += 1
            self._open_calls.add(call_id)
        self._emit(*self._response.end([call]))
        self._response = None
        self._run += 1
        self._tool_due_s = 0.0
        self._plan_tool(now_s)
        self._silent_since_s = now_s
        self._take_up_later(now_s + TOOL_LIMIT_S)
        return True

    # -- the client's events ----------------------------------------------------------------

    def _event(self, event: dict[str, Any]) -> None:
        now_s = time.monotonic()
        match event.get("type"):
            case "session.update":
                self._update(event.get("session") or {}, now_s)
            case "response.create":
                self._create(event, now_s)
            case "response.cancel":
                if self._response is None:
                    self._refuse("response_cancel_not_active", event)
                    return
                self._stop(self._response, "client_cancelled")
                self._take_up_later(now_s + TURN_S)
            case "conversation.item.create":
                self._add_item(event.get("item") or {}, now_s)
            case "conversation.item.truncate":
                told = {"content_index": 0, "audio_end_ms": event.get("audio_end_ms")}
                done = "conversation.item.truncated"
                self._emit({"type": done, "item_id": event.get("item_id"), **told})
            case "conversation.item.delete":
                done = "conversation.item.deleted"
                self._emit({"type": done, "item_id": event.get("item_id")})

    def _update(self, asked: dict[str, Any], now_s: float) -> None:
        self._session = updated_session(self._session, asked, self._all.plan.codec)
        self._to_model = agreed_sound(self._session, "input")
        self._from_model = agreed_sound(self._session, "output")
        self._loud = LoudRun(self._to_model.rate_hz)
        self._emit({"type": "session.updated", "session": self._session})
        self._plan_tool(now_s)
        if self._responses == 0:
            self._take_up_later(now_s + UNASKED_S)

    def _create(self, event: dict[str, Any], now_s: float) -> None:
        if self._response is not None:
            self._refuse("conversation_already_has_active_response", event)
            return
        wish = event.get("response")
        self._begin(now_s, wish.get("metadata") if isinstance(wish, dict) else None)

    def _add_item(self, item: dict[str, Any], now_s: float) -> None:
        if item.get("type") == "force_message":  # xAI: said at once, without being asked
            if self._response is None:
                self._begin(now_s, None)
            return
        if item.get("call_id") in self._open_calls and item["type"] == "function_call_output":
            self._open_calls.discard(item["call_id"])
            self.tools_answered += 1
        item = {"id": self._new_item(), "object": "realtime.item", "status": "completed"} | item
        self._emit(
            {"type": "conversation.item.added", "previous_item_id": None, "item": item},
            {"type": "conversation.item.done", "previous_item_id": None, "item": item},
        )

    def _take_up_later(self, when_s: float) -> None:
        """Answer a turn of the caller's then, unless a response was begun before."""
        run = self._run

        def take_up(now_s: float) -> None:
            if self._run == run and self._response is None and not self._closed:
                self._take_turn(self._new_item())
                self._begin(now_s, None)

        self._clock.at(when_s, take_up)

    def _refuse(self, code: str, event: dict[str, Any]) -> None:
        error = {
            "type": "invalid_request_error",
            "code": code,
            "message": f"refused: {code}",
            "param": None,
            "event_id": event.get("event_id"),
        }
        self._emit({"type": "error", "error": error})
