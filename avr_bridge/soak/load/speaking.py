"""How the model stand-in speaks: response after response, on time, and tools between them.

The first step of an answer's road. `model.py` decides what is heard and what the client wants; this
does not read the socket.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import msgspec
from picows import WSListener, WSMsgType, WSTransport

from avr_bridge.soak.load.sounds import FRAME_MS, Sound
from avr_bridge.soak.load.wording import (
    PCM_24K,
    ResponseWords,
    arguments_for,
    first_tool,
    new_session,
)

if TYPE_CHECKING:
    from random import Random

    from avr_bridge.soak.load.clock import FrameClock
    from avr_bridge.soak.plan import SoakPlan

__all__ = ["Speaker"]

RESPONSE_MS = 10_000
"""Of speech in one response."""

TOOL_LIMIT_S = 5.0
"""A client that does not go on after a tool call by then is not waited for any longer."""


class Speaker(WSListener):  # type: ignore[misc, unused-ignore]  # a compiled class
    """The speaking half of a session.

    Args:
        plan: Length of deltas, how often tools are called.
        clock: For what is due later.
        random: For the times of tools.
        session_id: In all ids.

    Attributes:
        measuring: Whether tools and silence are counted.
        silent_s: How long nothing was said because a tool was waited for.
        tools: Function calls made; `tools_answered` of them were answered.
    """

    def __init__(self, plan: SoakPlan, clock: FrameClock, random: Random, session_id: str) -> None:
        self._plan = plan
        self._clock = clock
        self._random = random
        self._id = session_id
        self._session = new_session(session_id)
        self._from_model: Sound = PCM_24K
        self._transport: WSTransport
        self._closed = False
        self.measuring = False
        self.silent_s = 0.0
        self.tools = self.tools_answered = 0
        self._response: ResponseWords | None = None
        self._responses = self._items = 0
        self._said_ms = self._at_ms = self._early_ms = 0
        self._due_s = 0.0
        self._run = 0
        self._open_calls: set[str] = set()
        self._silent_since_s: float | None = None
        self._tool_due_s = 0.0
        self._tone_owed = False

    def _emit(self, *events: dict[str, Any]) -> None:
        if not self._closed:
            for event in events:
                self._transport.send(WSMsgType.TEXT, msgspec.json.encode(event))

    def _answer_probe(self) -> None:
        if self._response is None:
            self._tone_owed = True
            return
        self._tone_owed = False
        self._early_ms += FRAME_MS
        self._at_ms += FRAME_MS
        self._send_sound(self._from_model.probe64())

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
            if self.measuring:
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
        whole_ms = self._plan.delta_ms
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
        rate = self._plan.tools_per_min
        if rate > 0 and not self._tool_due_s and first_tool(self._session):
            self._tool_due_s = now_s + self._random.expovariate(rate / 60)

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
        if self.measuring:
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

    def _take_up_later(self, when_s: float) -> None:
        """Answer a turn of the caller's then, unless a response was begun before."""
        run = self._run

        def take_up(now_s: float) -> None:
            if self._run == run and self._response is None and not self._closed:
                self._take_turn(self._new_item())
                self._begin(now_s, None)

        self._clock.at(when_s, take_up)
