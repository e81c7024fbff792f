"""`run_conversation`: the Realtime client of one call, between the two audio pumps.

Connects to the model, then only reads: each server event goes through the state machine of
`upstream/conversation.py`, and what that decides is done here, without ever waiting on the
caller or the pacer. A reader that waits stops answering pings and hears a barge-in late.
"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import attrs
import trio

from avr_bridge.audio.format import PCM16_24K, AudioFormat, Encoding
from avr_bridge.audio.sniff import looks_like_pcm16
from avr_bridge.audio.sounds import waiting_sound
from avr_bridge.audio.transcode import Decoder
from avr_bridge.call.ending import EndReason
from avr_bridge.call.orders import FinishItemSound, PlaySound, SilenceNow, WaitingSound
from avr_bridge.call.toolwork import ControlJob, ToolJob
from avr_bridge.caller.transport import ErrorOut, TranscriptOut
from avr_bridge.errors import UpstreamClosed, UpstreamRejected, UpstreamUnavailable
from avr_bridge.telemetry import ContentLog, get_logger
from avr_bridge.upstream.actions import (
    Abandon,
    Act,
    Action,
    AnswerMeasured,
    FinishItem,
    FormatsAgreed,
    GiveUp,
    Interrupt,
    Note,
    Play,
    RunTool,
    Say,
    Send,
    Tell,
    TurnEnded,
    Waiting,
)
from avr_bridge.upstream.client import Dial, RealtimeConnection, open_realtime
from avr_bridge.upstream.control import Control
from avr_bridge.upstream.conversation import Conversation, Phase

if TYPE_CHECKING:
    from avr_bridge.audio.playback import Heard
    from avr_bridge.call.instructions import CallSettings
    from avr_bridge.call.line import CallLine
    from avr_bridge.caller.transport import CallStarted
    from avr_bridge.config import BridgeConfig
    from avr_bridge.tools import ToolResult

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
    start: CallStarted,
    settings: CallSettings,
    line: CallLine,
    dial: Dial | None,
) -> None:
    """Hold the conversation until the model or the call ends; record which in the ending."""
    log = get_logger().bind(call=start.uuid)
    model = config.model
    if settings.voice:
        model = _evolved(model, voice=settings.voice)
    talk = config.talk
    if settings.welcome and not talk.greeting_file:
        talk = _evolved(talk, welcome_message=settings.welcome)
    machine = Conversation(model, talk, settings.instructions, tools=_offered(line, settings, log))
    try:
        async with open_realtime(model, dial=dial) as connection:
            with line.ending.scope():
                await _Talk(config, machine, connection, line, log).run()
    except UpstreamUnavailable as error:
        line.ending.end(EndReason.MODEL_UNAVAILABLE, str(error))
    except UpstreamRejected as error:
        line.ending.end(EndReason.MODEL_REJECTED, str(error))


def _evolved[Section](section: Section, **changes: Any) -> Section:
    evolved: Section = attrs.evolve(cast("Any", section), **changes)
    return evolved


def _offered(line: CallLine, settings: CallSettings, log: Any) -> list[dict[str, Any]]:
    """The tools of this call: all, or those that its settings name."""
    described = line.toolbox.descriptions()
    if settings.tools is None:
        return described
    names = {str(tool.get("name") or tool.get("server_label")) for tool in described}
    unknown = sorted(set(settings.tools) - names)
    if unknown:
        log.warning("tools named for the call do not exist", tools=unknown)
    return [
        tool
        for tool in described
        if str(tool.get("name") or tool.get("server_label")) in settings.tools
    ]


class _Talk:
    """Carries out what the state machine decides."""

    def __init__(
        self,
        config: BridgeConfig,
        machine: Conversation,
        connection: RealtimeConnection,
        line: CallLine,
        log: Any,
    ) -> None:
        self._config = config
        self._resampler_kind = config.audio.resampler
        self._machine = machine
        self._connection = connection
        self._line = line
        self._uplink = line.uplink
        self._orders = line.orders
        self._ending = line.ending
        self._stats = line.stats
        self._log = log
        self._content = ContentLog(config.log, log)
        self._decoder: Decoder | None = None
        self._from_model: AudioFormat | None = None
        self._g711_trusted = False
        self._undecided = b""
        self._misread_bytes = 0
        self._pcm_forced = False
        self._waiting = trio.CancelScope()

    async def run(self) -> None:
        """Read until the model closes. Leaves through the ending's scope."""
        if self._config.talk.max_call_s:
            self._machine.longest_call(self._stats.started_s + self._config.talk.max_call_s)
        self._line.keypad.connect(self._key_pressed)
        self._line.greeting.connect(self._greeting_heard)
        self._orders.on_cut = partial(self._silenced, None)
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
        event = None
        try:
            with trio.move_on_at(self._next_due_s()) as self._waiting:
                event = await self._connection.receive()
            now_s = trio.current_time()
            if now_s >= self._gap_due_s():
                self._uplink.fill_gap()
            if event is not None:
                self._do(self._machine.handle(event, now_s))
            if now_s >= self._machine.next_deadline_s:
                self._do(self._machine.tick(now_s))
        except UpstreamClosed as closed:
            self._model_closed(closed)
            await trio.lowlevel.checkpoint()  # the ending's scope is left here

    def _tell(self, actions: list[Action]) -> None:
        """Do what the machine decided on news that did not come from the model."""
        try:
            self._do(actions)
        except UpstreamClosed as closed:
            self._model_closed(closed)
        # The news may have set a deadline earlier than the one that is waited for now.
        self._waiting.deadline = self._next_due_s()

    def _next_due_s(self) -> float:
        return min(self._machine.next_deadline_s, self._gap_due_s())

    def _gap_due_s(self) -> float:
        """When the silence behind the caller's words has to be made up; infinity if none."""
        return self._uplink.gap_due_s if self._machine.caller_speaks else math.inf

    def _key_pressed(self, digit: str) -> None:
        self._content.digit(digit)
        self._tell(self._machine.key_pressed(digit, trio.current_time()))

    def _greeting_heard(self) -> None:
        self._tell(self._machine.greeting_over(trio.current_time()))

    def _silenced(self, items: frozenset[str] | None, heard: list[Heard]) -> None:
        self._tell(self._machine.silenced(heard, trio.current_time(), items))

    def _item_heard(self, item_id: str) -> None:
        self._tell(self._machine.item_heard(item_id, trio.current_time()))

    def _tool_done(self, call_id: str, result: ToolResult) -> None:
        control = None
        if result.control is not None:
            asked = result.control
            control = Control(asked.action, asked.extension, asked.context, asked.priority)
        self._stats.tools += 1
        now_s = trio.current_time()
        self._tell(self._machine.tool_done(call_id, result.output, control, now_s))

    def _control_done(self, control: Control, failure: str | None) -> None:
        self._log.info("call control", action=control.action, failure=failure)
        if control.by_bridge:
            self._ending.end(EndReason.BRIDGE_HUNG_UP, failure or "")
        elif failure is not None:
            self._tell(self._machine.control_failed(failure, trio.current_time()))
        else:
            self._tell(self._machine.control_done(trio.current_time()))

    def _model_closed(self, closed: UpstreamClosed) -> None:
        # OpenAI checks the key after the upgrade: close 3000 "invalid_request_error.<code>".
        permanent = closed.reason.startswith("invalid_request_error")
        reason = EndReason.MODEL_REJECTED if permanent else EndReason.MODEL_CLOSED
        self._ending.end(reason, str(closed))

    def _do(self, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case Play(item_id=item_id, data=data):
                    self._play(item_id, data)
                case Send(command=command):
                    self._connection.send_nowait(command)
                case AnswerMeasured():
                    self._check_rate(action)
                case FinishItem(item_id=item_id):
                    self._finish(item_id)
                case Interrupt(items=items):
                    if self._decoder:
                        self._decoder.reset()
                    self._misread_bytes = 0
                    self._orders.give(SilenceNow(partial(self._silenced, items)))
                case RunTool(call_id=call_id, name=name, arguments=arguments):
                    self._content.tool_called(name, arguments)
                    done = partial(self._tool_done, call_id)
                    self._line.give_job(ToolJob(name, arguments, done))
                case Waiting(on=on):
                    self._orders.give(WaitingSound(self._tool_sound() if on else None))
                case Act(control=control):
                    done_so = partial(self._control_done, control)
                    self._line.give_job(ControlJob(control, done_so))
                case TurnEnded():
                    self._stats.turns += 1
                case Say(role=role, text=text):
                    self._content.transcript(role, text)
                    self._orders.give(TranscriptOut(role, text))
                case Tell(message=message):
                    self._orders.give(ErrorOut(message))
                case FormatsAgreed():
                    self._formats_agreed(action)
                case Note(event=event, fields=fields, severe=severe):
                    (self._log.warning if severe else self._log.debug)(event, **fields)
                case Abandon(message=message):
                    self._ending.end(EndReason.MODEL_CLOSED, message)
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

    def _tool_sound(self) -> bytes | None:
        kind = self._config.talk.tool_sound
        if kind == "off":
            return None
        try:
            return waiting_sound(kind)
        except (OSError, ValueError) as error:
            self._log.warning("tool sound failed", error=str(error))
            return None

    def _play(self, item_id: str, data: bytes) -> None:
        if self._distrust_g711(data):
            # Half a sample may have gone before as a sample of its own.
            data = data[self._misread_bytes % 2 :]
        self._misread_bytes += len(data)
        if self._decoder is None:
            return  # sound before the session is in force: of no agreed format
        pcm = self._decoder.decode(data)
        if pcm:
            self._orders.give(PlaySound(pcm, item_id))

    def _distrust_g711(self, data: bytes) -> bool:
        """Some models agree to G.711 and send PCM all the same: noise, unless it is noticed.

        Returns:
            Whether it was noticed just now.
        """
        fmt = self._from_model
        if self._g711_trusted or fmt is None or fmt.encoding is Encoding.PCM16:
            return False
        self._undecided = (self._undecided + data)[-UNDECIDED_BYTES:]
        verdict = looks_like_pcm16(self._undecided, fmt.encoding)
        if verdict is None:
            return False
        self._g711_trusted = True
        self._undecided = b""
        if verdict:
            self._orders.give(SilenceNow(lambda _heard: None))  # what was queued is noise
            self._switch_to_pcm()
        return verdict

    def _check_rate(self, answer: AnswerMeasured) -> None:
        """What the sound itself did not tell, the bill does: PCM has six times the bytes."""
        fmt = self._from_model
        if fmt is None or fmt.encoding is Encoding.PCM16 or answer.billed_ms < LEAST_MEASURED_MS:
            return
        as_g711_ms, as_pcm_ms = fmt.ms(answer.audio_bytes), PCM16_24K.ms(answer.audio_bytes)
        if abs(as_pcm_ms - answer.billed_ms) < abs(as_g711_ms - answer.billed_ms):
            self._g711_trusted = True
            self._orders.give(SilenceNow(partial(self._silenced, None)))
            self._switch_to_pcm()

    def _switch_to_pcm(self) -> None:
        self._log.warning("model sends PCM although it agreed to G.711: switching to PCM")
        self._pcm_forced = True
        self._decode_from(PCM16_24K)
        self._do(self._machine.fall_back_to_pcm())

    def _finish(self, item_id: str) -> None:
        if self._decoder is not None:
            tail = self._decoder.flush()
            if tail:
                self._orders.give(PlaySound(tail, item_id))
        self._misread_bytes = 0
        self._orders.give(FinishItemSound(item_id, self._item_heard))
