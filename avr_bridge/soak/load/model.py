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
from picows import WSCloseCode, WSFrame, WSMsgType, WSTransport

from avr_bridge.soak.load.hearing import Heard
from avr_bridge.soak.load.sounds import LOUD, LoudRun, Sound, level_of
from avr_bridge.soak.load.speaking import Speaker
from avr_bridge.soak.load.whole import WholeMessages
from avr_bridge.soak.load.wording import (
    PCM_24K,
    agreed_sound,
    updated_session,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from avr_bridge.soak.load.clock import FrameClock
    from avr_bridge.soak.plan import SoakPlan

__all__ = ["ModelSession", "StandIn"]

TURN_S = 0.3
"""How long a caller who barges in goes on speaking."""

AHEAD_MS = 60
"""Speech that leaves just before a barge-in is told of: a model is ahead of what it says, so
there is something to interrupt."""

UNASKED_S = 1.0
"""A client that asks for no greeting by then is taken to wait for the caller's first turn."""


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


class ModelSession(Speaker):
    """One connection of the container's.

    Attributes:
        heard: What came of the caller's sound.
        answered_s: When the last probe was answered; 0.0: none was.
    """

    def __init__(self, stand_in: StandIn, session_id: str) -> None:
        super().__init__(stand_in.plan, stand_in.clock, stand_in.random, session_id)
        self._all = stand_in
        self._to_model: Sound = PCM_24K
        self._loud = LoudRun(24_000)
        self._agreed = False
        self._whole = WholeMessages()
        self.heard = Heard()
        self.answered_s = 0.0

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
        payload = self._whole.push(frame)
        if payload is None:
            return
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

    # -- hearing ----------------------------------------------------------------------------

    def measure(self, now_s: float) -> None:
        """From now on the sound that comes is counted, and so are tools."""
        self.measuring = True
        self.heard.open(now_s)

    def _sound(self, data: bytes) -> None:
        now_s = time.monotonic()
        ms = len(data) / self._to_model.bytes_per_ms
        self.heard.sound(ms / 1000, now_s)
        if self._all.measuring and not self.heard.is_open:
            self.measure(now_s)
        pcm = self._to_model.decode(data)
        # Before it is agreed what is sent, anything may sound loud: it is no probe.
        heard = self._agreed or self._responses > 0
        if not heard or level_of(pcm) <= LOUD:
            self._loud.quiet(ms)
            return
        begins, burst = self._loud.loud(pcm)
        if begins:
            self.answered_s = now_s
            self._all.answered(self, now_s)
            self._answer_probe()
        if burst and self._response is not None:
            self._barge_in(now_s)

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
        self._agreed = True
        self._session = updated_session(self._session, asked, self._plan.codec)
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

    def _refuse(self, code: str, event: dict[str, Any]) -> None:
        error = {
            "type": "invalid_request_error",
            "code": code,
            "message": f"refused: {code}",
            "param": None,
            "event_id": event.get("event_id"),
        }
        self._emit({"type": "error", "error": error})
