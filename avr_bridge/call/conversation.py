"""`run_conversation`: the Realtime client of one call, between the two audio pumps.

Connects to the model, then only reads: each server event goes through the state machine of
`upstream/conversation.py`, and what that decides is done here, without ever waiting on the
caller or the pacer. A reader that waits stops answering pings and hears a barge-in late.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio

from avr_bridge.audio.format import PCM16_24K, AudioFormat, Encoding
from avr_bridge.audio.sniff import looks_like_pcm16
from avr_bridge.audio.transcode import Decoder
from avr_bridge.call.ending import CallEnding, EndReason
from avr_bridge.call.instructions import instructions_for_call
from avr_bridge.call.orders import FinishAnswer, Orders, PlaySound, SilenceNow
from avr_bridge.caller.transport import CallStarted, ErrorOut, TranscriptOut
from avr_bridge.errors import UpstreamClosed, UpstreamRejected, UpstreamUnavailable
from avr_bridge.telemetry import get_logger
from avr_bridge.upstream.actions import (
    Action,
    AnswerMeasured,
    FinishItem,
    FormatsAgreed,
    GiveUp,
    Interrupt,
    Note,
    Play,
    Say,
    Send,
    Tell,
    TurnEnded,
)
from avr_bridge.upstream.client import Dial, RealtimeConnection, open_realtime
from avr_bridge.upstream.conversation import Conversation, Phase

if TYPE_CHECKING:
    from collections.abc import Mapping

    from avr_bridge.call.stats import CallStats
    from avr_bridge.call.uplink import Uplink
    from avr_bridge.config import BridgeConfig

__all__ = ["run_conversation"]

UNDECIDED_BYTES = 4096
"""Sound kept for telling G.711 from PCM: half a second of G.711, most of which may be silence."""

LEAST_MEASURED_MS = 1000
"""Answers shorter than this are too coarsely billed to tell a rate from."""

SETUP_LIMIT_S = 10.0
"""From the open socket to `session.updated`. It takes well under a second; a server that does
not answer it would leave the caller in silence for ever."""


async def run_conversation(
    config: BridgeConfig,
    metadata: Mapping[str, str],
    starts: trio.MemoryReceiveChannel[CallStarted],
    uplink: Uplink,
    orders: Orders,
    ending: CallEnding,
    stats: CallStats,
    dial: Dial | None,
) -> None:
    """Hold the conversation until the model or the call ends; record which in `ending`."""
    start = await starts.receive()
    log = get_logger().bind(call=start.uuid)
    log.info("call started", metadata_keys=sorted(metadata))
    instructions = await instructions_for_call(config.model, start.uuid, metadata, log)
    machine = Conversation(config.model, instructions)
    try:
        async with open_realtime(config.model, dial=dial) as connection:
            with ending.scope():
                talk = _Talk(config, machine, connection, uplink, orders, ending, stats, log)
                await talk.run()
    except UpstreamUnavailable as error:
        ending.end(EndReason.MODEL_UNAVAILABLE, str(error))
    except UpstreamRejected as error:
        ending.end(EndReason.MODEL_REJECTED, str(error))


class _Talk:
    """Carries out what the state machine decides."""

    def __init__(
        self,
        config: BridgeConfig,
        machine: Conversation,
        connection: RealtimeConnection,
        uplink: Uplink,
        orders: Orders,
        ending: CallEnding,
        stats: CallStats,
        log: Any,
    ) -> None:
        self._resampler_kind = config.audio.resampler
        self._machine = machine
        self._connection = connection
        self._uplink = uplink
        self._orders = orders
        self._ending = ending
        self._stats = stats
        self._log = log
        self._decoder: Decoder | None = None
        self._from_model: AudioFormat | None = None
        self._g711_trusted = False
        self._undecided = b""
        self._pcm_forced = False

    async def run(self) -> None:
        """Read until the model closes. Leaves through the ending's scope."""
        with trio.move_on_after(SETUP_LIMIT_S) as limit:
            while self._machine.phase is not Phase.READY:
                await self._step()
        if limit.cancelled_caught:
            self._ending.end(
                EndReason.MODEL_UNAVAILABLE, f"no session within {SETUP_LIMIT_S:.0f} s"
            )
        while True:
            await self._step()

    async def _step(self) -> None:
        try:
            event = await self._connection.receive()
            self._do(self._machine.handle(event))
        except UpstreamClosed as closed:
            self._model_closed(closed)
            await trio.lowlevel.checkpoint()  # the ending's scope is left here

    def _model_closed(self, closed: UpstreamClosed) -> None:
        # OpenAI checks the key after the upgrade: close 3000 "invalid_request_error.<code>".
        permanent = closed.reason.startswith("invalid_request_error")
        reason = EndReason.MODEL_REJECTED if permanent else EndReason.MODEL_CLOSED
        self._ending.end(reason, str(closed))

    def _do(self, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case Play(data=data):
                    self._play(data)
                case Send(command=command):
                    self._connection.send_nowait(command)
                case AnswerMeasured():
                    self._check_rate(action)
                case FinishItem():
                    self._finish()
                case Interrupt():
                    if self._decoder:
                        self._decoder.reset()
                    self._orders.give(SilenceNow())
                case TurnEnded():
                    self._stats.turns += 1
                case Say(role=role, text=text):
                    self._orders.give(TranscriptOut(role, text))
                case Tell(message=message):
                    self._orders.give(ErrorOut(message))
                case FormatsAgreed():
                    self._formats_agreed(action)
                case Note(event=event, fields=fields, severe=severe):
                    (self._log.warning if severe else self._log.debug)(event, **fields)
                case GiveUp(message=message):
                    self._ending.end(EndReason.MODEL_REJECTED, message)

    def _formats_agreed(self, formats: FormatsAgreed) -> None:
        from_model = PCM16_24K if self._pcm_forced else formats.from_model
        if not formats.as_requested and not self._pcm_forced:
            self._log.warning(
                "model does not speak the audio format asked for",
                to_model=formats.to_model.encoding.value,
                from_model=from_model.encoding.value,
            )
        if from_model != self._from_model:
            self._decode_from(from_model)
        self._uplink.open(self._connection, formats.to_model)
        self._log.debug("session ready", format=from_model.encoding.value)

    def _decode_from(self, fmt: AudioFormat) -> None:
        self._from_model = fmt
        self._decoder = Decoder(fmt, self._resampler_kind)

    def _play(self, data: bytes) -> None:
        self._distrust_g711(data)
        if self._decoder is None:
            return  # sound before the session is in force: of no agreed format
        pcm = self._decoder.decode(data)
        if pcm:
            self._orders.give(PlaySound(pcm))

    def _distrust_g711(self, data: bytes) -> None:
        """Some models agree to G.711 and send PCM all the same: noise, unless it is noticed."""
        fmt = self._from_model
        if self._g711_trusted or fmt is None or fmt.encoding is Encoding.PCM16:
            return
        self._undecided = (self._undecided + data)[-UNDECIDED_BYTES:]
        verdict = looks_like_pcm16(self._undecided, fmt.encoding)
        if verdict is None:
            return
        self._g711_trusted = True
        self._undecided = b""
        if verdict:
            self._switch_to_pcm()

    def _check_rate(self, answer: AnswerMeasured) -> None:
        """What the sound itself did not tell, the bill does: PCM has six times the bytes."""
        fmt = self._from_model
        if fmt is None or fmt.encoding is Encoding.PCM16 or answer.billed_ms < LEAST_MEASURED_MS:
            return
        as_g711_ms, as_pcm_ms = fmt.ms(answer.audio_bytes), PCM16_24K.ms(answer.audio_bytes)
        if abs(as_pcm_ms - answer.billed_ms) < abs(as_g711_ms - answer.billed_ms):
            self._g711_trusted = True
            self._switch_to_pcm()

    def _switch_to_pcm(self) -> None:
        self._log.warning("model sends PCM although it agreed to G.711: switching to PCM")
        self._pcm_forced = True
        self._decode_from(PCM16_24K)
        self._do(self._machine.fall_back_to_pcm())

    def _finish(self) -> None:
        if self._decoder is not None:
            tail = self._decoder.flush()
            if tail:
                self._orders.give(PlaySound(tail))
        self._orders.give(FinishAnswer())
