"""The simulated model speaks: plays a behaviour's steps into a response, faster than real time.

Holds the clock of a response and nothing else; the events are made in `responding.py`.
"""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Protocol, assert_never

import audioop
import trio

from avr_bridge.audio.format import AudioFormat, Encoding
from avr_bridge.testing.realtime.behaviour import (
    CallTool,
    Close,
    Drop,
    Emit,
    Fail,
    Hang,
    Raw,
    Say,
    Step,
    Wait,
)
from avr_bridge.testing.realtime.clips import resample
from avr_bridge.testing.realtime.conversation import ASSISTANT_TOKEN_MS, text_tokens
from avr_bridge.testing.realtime.outbox import Closing, Dropping

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from avr_bridge.testing.realtime.options import SimulatorOptions
    from avr_bridge.testing.realtime.outbox import Outbox
    from avr_bridge.testing.realtime.responding import Desk, ResponseWriter

__all__ = ["ResponseRun", "Stage", "encode"]

WORDS_A_DELTA = 3
"""Transcript words that go ahead of each piece of audio."""

ARGUMENT_PIECE = 12
"""Characters of a function call's arguments in one delta."""


class Stage(Protocol):
    """Where a response is played: the session's way out."""

    options: SimulatorOptions
    outbox: Outbox


def encode(pcm: bytes, rate_hz: int, audio_format: AudioFormat) -> bytes:
    """Encode a whole clip of PCM16 LE mono for the wire."""
    pcm = resample(pcm, rate_hz, audio_format.rate_hz)
    match audio_format.encoding:
        case Encoding.ULAW:
            return audioop.lin2ulaw(pcm, 2)
        case Encoding.ALAW:
            return audioop.lin2alaw(pcm, 2)
        case Encoding.PCM16:
            return pcm


class ResponseRun:
    """One response being played. `run` plays it; `cancel` ends it at once, from any other task."""

    def __init__(
        self,
        writer: ResponseWriter,
        steps: Sequence[Step],
        desk: Desk,
        stage: Stage,
        *,
        interruptible: bool = True,
    ) -> None:
        self.writer = writer
        self._steps = steps
        self._desk = desk
        self._stage = stage
        self._scope = trio.CancelScope()
        first = steps[0] if steps else None
        self._deaf = not interruptible or (isinstance(first, Hang) and not first.cancellable)

    def cancel(self, reason: str) -> None:
        """End the response as cancelled; a `Hang`, and what nobody may interrupt, is deaf to it."""
        if not self._deaf:
            self.writer.end("cancelled", {"type": "cancelled", "reason": reason})
            self._scope.cancel()

    async def run(self) -> None:
        """Play all steps; returns when the response has ended, however it ended."""
        with self._scope:
            await trio.sleep(self._stage.options.first_audio_ms / 1000)
            for step in self._steps:
                await self._play(step)
                if self.writer.ended:
                    return
            self.writer.end("completed")

    async def _play(self, step: Step) -> None:
        outbox = self._stage.outbox
        match step:
            case Say():
                await self._say(step)
            case CallTool():
                await self._call_tool(step)
            case Fail():
                error = {"type": step.type, "code": step.code, "message": step.message}
                self.writer.end("failed", {"type": "failed", "error": error})
            case Emit():
                self._desk.emit(dict(step.event))
            case Raw():
                outbox.put(step.text)
            case Wait():
                await trio.sleep(step.ms / 1000)
            case Hang():
                self._deaf = not step.cancellable
                await trio.sleep_forever()
            case Close():
                outbox.put(Closing(step.code, step.reason))
                await trio.sleep_forever()
            case Drop():
                outbox.put(Dropping())
                await trio.sleep_forever()
            case _:
                assert_never(step)

    async def _say(self, say: Say) -> None:
        writer, options = self.writer, self._stage.options
        text_only = writer.plan.modalities == ["text"]
        audio = b"" if text_only else encode(say.pcm, say.rate_hz, writer.plan.spoken)
        audio_ms = writer.plan.spoken.ms(len(audio))
        transcript, left = say.transcript, writer.tokens_left
        need_text, need_audio = text_tokens(transcript), math.ceil(audio_ms / ASSISTANT_TOKEN_MS)
        whole = need_text + need_audio <= left
        if not whole:
            text_share = int(left * need_text / (need_text + need_audio))
            transcript = transcript[: text_share * 4]
            audio_ms = (left - text_share) * ASSISTANT_TOKEN_MS
            audio = audio[: writer.plan.spoken.bytes_of_ms(audio_ms)]
        words = _words(transcript)
        writer.open_message()
        deltas = list(self._cut(audio))
        per_delta = max(WORDS_A_DELTA, -(-len(words) // max(1, len(deltas))))
        due = trio.current_time()
        for delta in deltas:
            if now_said := "".join(words[:per_delta]):
                writer.text(now_said)
                del words[:per_delta]
            writer.audio(delta)
            due += writer.plan.spoken.ms(len(delta)) / 1000 / options.speed
            await trio.sleep_until(due)
            await self._stage.outbox.wait_room()
        if words:
            writer.text("".join(words))
            await trio.lowlevel.checkpoint()
        if whole:
            writer.close_item()
        else:
            writer.end("incomplete", {"type": "incomplete", "reason": "max_output_tokens"})

    def _cut(self, audio: bytes) -> Iterator[bytes]:
        spoken, options = self.writer.plan.spoken, self._stage.options
        at = 0
        for number, ms in enumerate(itertools.cycle(options.delta_ms)):
            if at >= len(audio):
                return
            size_bytes = max(spoken.sample_bytes, spoken.bytes_of_ms(ms))
            if options.odd_bytes and spoken.encoding is Encoding.PCM16 and number % 2 == 0:
                size_bytes += 1
            yield audio[at : at + size_bytes]
            at += size_bytes

    async def _call_tool(self, call: CallTool) -> None:
        writer = self.writer
        writer.open_call(call.name, call.call_id or self._desk.new_id("call"))
        allowed = min(len(call.arguments), writer.tokens_left * 4)
        whole = allowed == len(call.arguments)
        arguments = call.arguments[: int(allowed)]
        for at in range(0, len(arguments), ARGUMENT_PIECE):
            writer.arguments(arguments[at : at + ARGUMENT_PIECE])
            await trio.lowlevel.checkpoint()
        if whole:
            writer.close_item()
        else:
            writer.end("incomplete", {"type": "incomplete", "reason": "max_output_tokens"})


def _words(text: str) -> list[str]:
    """The words of a text, each with the space after it."""
    *first, last = text.split(" ")
    return [word + " " for word in first] + ([last] if last else [])
