"""The caller's turns: appended audio becomes speech events, items, transcripts and responses.

The audio itself is `listening.py`'s; here are the events of the input side, in the API's order.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from avr_bridge.testing.realtime.behaviour import Transcriber
from avr_bridge.testing.realtime.behaviours import describe_speech
from avr_bridge.testing.realtime.conversation import Item, text_tokens
from avr_bridge.testing.realtime.listening import Ear, Heard, SpeechStarted
from avr_bridge.testing.realtime.speaking import encode

if TYPE_CHECKING:
    from avr_bridge.testing.realtime.responding import ResponseWriter
    from avr_bridge.testing.realtime.responses import ResponseDesk
    from avr_bridge.testing.realtime.state import SessionState

__all__ = ["CallerTurns"]

BILLED_BY_TIME = ("whisper-1", "gpt-transcribe", "gpt-live-transcribe", "gpt-realtime-whisper")
"""Transcription models whose bill is in seconds."""


class CallerTurns:
    """Takes `input_audio_buffer.*`, interrupts and begins responses."""

    def __init__(self, state: SessionState, responses: ResponseDesk) -> None:
        self._state = state
        self._responses = responses
        self._ear = Ear(state.input_format, state.turn_detection)
        self._speech_item: str | None = None
        self._quiet_since = object()  # replaced whenever an idle timer must not fire any more
        responses.on_begun = self._not_quiet
        responses.on_ended = self._answer_ended

    def configure(self) -> None:
        """Obey a changed session."""
        self._ear.configure(self._state.input_format, self._state.turn_detection)

    def append(self, event: dict[str, Any]) -> None:
        """`input_audio_buffer.append`."""
        pcm, edges = self._ear.push(base64.b64decode(event["audio"]))
        self._state.host.heard(pcm, self._ear.audio_format.rate_hz)
        for edge in edges:
            if isinstance(edge, SpeechStarted):
                self._speech_started(edge.audio_start_ms)
            else:
                self._speech_stopped(edge.audio_end_ms, edge.heard)

    def _speech_started(self, audio_start_ms: int) -> None:
        self._not_quiet()
        self._speech_item = self._state.new_id("item")
        self._state.emit(
            {
                "type": "input_audio_buffer.speech_started",
                "audio_start_ms": audio_start_ms,
                "item_id": self._speech_item,
            }
        )
        detection = self._state.turn_detection
        if detection and detection["interrupt_response"] and self._responses.active:
            self._responses.active.cancel("turn_detected")

    def _speech_stopped(self, audio_end_ms: int, heard: Heard) -> None:
        item_id = self._speech_item or self._state.new_id("item")
        self._speech_item = None
        self._state.emit(
            {
                "type": "input_audio_buffer.speech_stopped",
                "audio_end_ms": audio_end_ms,
                "item_id": item_id,
            }
        )
        self._add_turn(heard, item_id)
        detection = self._state.turn_detection
        if detection and detection["create_response"] and not self._responses.active:
            self._responses.respond({}, requested=False)

    def commit(self, event: dict[str, Any]) -> None:
        """`input_audio_buffer.commit`."""
        heard = self._ear.commit()
        item_id, self._speech_item = self._speech_item or self._state.new_id("item"), None
        self._add_turn(heard, item_id)

    def clear(self, event: dict[str, Any]) -> None:
        """`input_audio_buffer.clear`."""
        self._ear.clear()
        self._speech_item = None
        self._state.emit({"type": "input_audio_buffer.cleared"})

    def _add_turn(self, heard: Heard, item_id: str) -> None:
        """A turn of the caller becomes an item."""
        item = Item(
            {
                "id": item_id,
                "object": "realtime.item",
                "type": "message",
                "status": "completed",
                "role": "user",
                "content": [{"type": "input_audio", "transcript": None}],
            },
            audio_format=self._state.input_format,
        )
        item.add_audio(encode(heard.pcm, heard.rate_hz, self._state.input_format))
        previous = self._state.conversation.add(item)
        self._state.emit(
            {
                "type": "input_audio_buffer.committed",
                "previous_item_id": previous,
                "item_id": item_id,
            }
        )
        self._state.show_item(item, previous)
        self._state.pending.add_audio(heard.pcm, heard.rate_hz)
        if self._state.session["audio"]["input"]["transcription"] is not None:
            delay_s = self._state.host.options.transcription_ms / 1000
            self._state.host.later(delay_s, lambda: self._transcribe(item_id, heard))

    def _transcribe(self, item_id: str, heard: Heard) -> None:
        item = self._state.conversation.find(item_id)
        if item is None:
            return
        where = {"item_id": item_id, "content_index": 0}
        kind = "conversation.item.input_audio_transcription"
        if self._state.host.options.transcription == "fails":
            error = {
                "type": "server_error",
                "code": None,
                "message": "input transcription failed",
                "param": None,
            }
            self._state.emit({"type": f"{kind}.failed", **where, "error": error})
            return
        if isinstance(self._state.behaviour, Transcriber):
            transcript = self._state.behaviour.transcribe(heard.pcm, heard.rate_hz)
        else:
            transcript = describe_speech(heard.pcm, heard.rate_hz)
        half = len(transcript) // 2
        for delta in filter(None, (transcript[:half], transcript[half:])):
            self._state.emit({"type": f"{kind}.delta", **where, "delta": delta})
        item.body["content"][0]["transcript"] = transcript
        usage = self._bill(heard, item.tokens()[1], text_tokens(transcript))
        self._state.emit(
            {"type": f"{kind}.completed", **where, "transcript": transcript, "usage": usage}
        )

    def _bill(self, heard: Heard, tokens_in: int, tokens_out: int) -> dict[str, Any]:
        """Transcription is billed by its own model: some count tokens, others seconds."""
        transcription = self._state.session["audio"]["input"]["transcription"] or {}
        if transcription.get("model") in BILLED_BY_TIME:
            seconds = len(heard.pcm) / 2 / heard.rate_hz
            return {"type": "duration", "seconds": round(seconds, 2)}
        return {
            "type": "tokens",
            "total_tokens": tokens_in + tokens_out,
            "input_tokens": tokens_in,
            "output_tokens": tokens_out,
            "input_token_details": {"text_tokens": 0, "audio_tokens": tokens_in},
        }

    # --- the caller says nothing

    def _not_quiet(self) -> None:
        self._quiet_since = object()

    def _answer_ended(self, writer: ResponseWriter) -> None:
        """Start the idle timer, behind the end of the answer's audio."""
        detection = self._state.turn_detection
        if not detection or not detection.get("idle_timeout_ms"):
            return
        timer = self._quiet_since = object()
        idle_ms: int = detection["idle_timeout_ms"]
        delay_ms = writer.output_audio_ms + idle_ms
        self._state.host.later(delay_ms / 1000, lambda: self._idle(timer, idle_ms))

    def _idle(self, timer: object, idle_timeout_ms: int) -> None:
        if timer is not self._quiet_since or self._responses.active or self._ear.speaking:
            return
        end_ms = round(self._ear.timeline_ms)
        item_id = self._state.new_id("item")
        self._state.emit(
            {
                "type": "input_audio_buffer.timeout_triggered",
                "audio_start_ms": max(0, end_ms - idle_timeout_ms),
                "audio_end_ms": end_ms,
                "item_id": item_id,
            }
        )
        self._add_turn(Heard(b"", self._ear.audio_format.rate_hz, 0.0), item_id)
        self._responses.respond({}, requested=False)
