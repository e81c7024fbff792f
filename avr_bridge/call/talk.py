"""What the conversation decides, done: sound, commands, tools, transcripts, alarms.

Between the state machine in `upstream/conversation.py` and the rest of the call. Which session it
is that is talked to is `conversation.py`'s.
"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any

import trio

from avr_bridge.audio.sounds import waiting_sound
from avr_bridge.call.answer_sound import AnswerSound
from avr_bridge.call.ending import EndReason
from avr_bridge.call.orders import WaitingSound
from avr_bridge.call.toolwork import ControlJob, ToolJob
from avr_bridge.caller.transport import ErrorOut, TranscriptOut
from avr_bridge.errors import UpstreamClosed
from avr_bridge.telemetry import Brake, ContentLog, LogBrake
from avr_bridge.telemetry.budget import Budget
from avr_bridge.telemetry.journal import ResponseDone, Transcribed, Transcript, WaitedTooLong
from avr_bridge.telemetry.prices import load_prices
from avr_bridge.upstream import events
from avr_bridge.upstream.actions import (
    Abandon,
    Act,
    Action,
    Alarm,
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
    Watchdog,
)
from avr_bridge.upstream.control import Control
from avr_bridge.upstream.transcripts import CUT_MARK
from avr_bridge.upstream.usage import usage_of_response, usage_of_transcription

if TYPE_CHECKING:
    from collections.abc import Callable

    from avr_bridge.audio.format import AudioFormat
    from avr_bridge.audio.playback import Heard
    from avr_bridge.call.line import CallLine
    from avr_bridge.config import BridgeConfig
    from avr_bridge.tools import ToolResult
    from avr_bridge.upstream.client import RealtimeConnection
    from avr_bridge.upstream.commands import Command
    from avr_bridge.upstream.conversation import Conversation

__all__ = ["Failure", "Talk"]

HANGUP_LIMIT_S = 10.0
"""From a hangup that was done until the caller's side closes; Asterisk needs milliseconds. Then we
do: the model would go on listening, and be paid for."""

type Failure = tuple[EndReason, str]


class Talk:
    """Carries out what the state machine decides.

    Args:
        leg: The format of the caller's leg.
        also_due_s: When something else is due that `step` should return for.

    Attributes:
        connection: The session that is talked to; None while there is none.
        failure: Why no session can help any more.
    """

    def __init__(
        self,
        config: BridgeConfig,
        machine: Conversation,
        leg: AudioFormat,
        line: CallLine,
        log: Any,
        also_due_s: Callable[[], float],
    ) -> None:
        self.connection: RealtimeConnection | None = None
        self.failure: Failure | None = None
        self._config = config
        self._machine = machine
        self._line = line
        self._uplink = line.uplink
        self._orders = line.orders
        self._ending = line.ending
        self._stats = line.stats
        self._journal = line.journal
        self._prices = load_prices(config.log.prices_file)
        self._budget = Budget(config.talk)
        self._wrapping_up = False
        self._log = log
        self._brake, self._caller_brake = LogBrake(log), Brake()
        self._also_due_s = also_due_s
        self._content = ContentLog(config.log, log)
        self._sound = AnswerSound(
            line.orders,
            leg,
            config.audio.resampler,
            log,
            silenced=self._silenced,
            item_heard=self._item_heard,
            ask_for_pcm=lambda: self.do(machine.fall_back_to_pcm()),
        )
        self._frames_at_abandon = -1
        self._waiting = trio.CancelScope()

    def connect(self) -> None:
        """Take what the caller's side has to say from now on."""
        self._line.keypad.connect(self._key_pressed)
        self._line.greeting.connect(self._greeting_heard)
        self._orders.on_cut = partial(self._silenced, None)

    async def step(self) -> None:
        """Wait for the next event or deadline, and do what follows from it.

        Raises:
            UpstreamClosed: The session is lost.
        """
        assert self.connection is not None
        event = None
        with trio.CancelScope(deadline=self._next_due_s()) as self._waiting:
            event = await self.connection.receive()
        now_s = trio.current_time()
        if now_s >= self._gap_due_s():
            self._uplink.fill_gap()
        if event is not None:
            self._note(event)
            self.do(self._machine.handle(event, now_s))
            self._keep_to_budget(now_s)
        if now_s >= self._machine.next_deadline_s:
            self.do(self._machine.tick(now_s))

    def _note(self, event: events.ServerEvent | events.Unknown) -> None:
        """What the journal tells of the model's own words, whatever they lead to."""
        match event:
            case events.AudioDelta() | events.TranscriptDelta():
                return  # the most frequent ones
            case events.SpeechStarted():
                self._line.turns.speech_started()
            case events.SpeechStopped():
                self._line.turns.speech_stopped()
            case events.ResponseDone(response=response):
                usage = usage_of_response(response.usage)
                cost_usd = self._prices.cost_usd(self._machine.model, usage)
                status = response.status or "completed"
                self._journal.tell(ResponseDone(trio.current_time(), status, usage, cost_usd))
                if usage is not None or status != "failed":  # what failed at once cost nothing
                    self._spend(cost_usd, usage.tokens_in + usage.tokens_out if usage else 0)
            case events.CallerTranscript():
                usage = usage_of_transcription(event.usage)
                model = self._config.model.transcription_model
                cost_usd = self._prices.cost_usd(model, usage)
                self._journal.tell(Transcribed(trio.current_time(), usage, cost_usd))
                self._spend(cost_usd)

    def _spend(self, cost_usd: float | None, tokens: int = 0) -> None:
        unknown_before = self._budget.incomplete
        self._budget.spend(cost_usd, tokens)
        if self._budget.counts_cost and self._budget.incomplete and not unknown_before:
            self._log.warning("the limit of cost counts without what has no price")

    def _keep_to_budget(self, now_s: float) -> None:
        """Has the call end when it has used what it may; once."""
        if self._budget.reached and not self._wrapping_up:
            self._wrapping_up = True
            self._log.info(
                "budget reached",
                limit=self._budget.reached,
                tokens=self._budget.tokens,
                cost_usd=round(self._budget.cost_usd, 6),
            )
            self.do(self._machine.budget_spent(self._budget.reached, now_s))

    def _tell(self, actions: list[Action]) -> None:
        """Do what the machine decided on news that did not come from the model."""
        self.do(actions)
        self.wake()

    def wake(self) -> None:
        """Something may be due earlier than what `step` waits for."""
        self._waiting.deadline = self._next_due_s()

    def _next_due_s(self) -> float:
        return min(self._machine.next_deadline_s, self._gap_due_s(), self._also_due_s())

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
        if result.timed_out:
            self.alarm(Watchdog.TOOL_STUCK)
        now_s = trio.current_time()
        self._tell(self._machine.tool_done(call_id, result.output, control, now_s))

    def _control_done(self, control: Control, failure: str | None) -> None:
        log = self._log.info if failure is None else self._log.warning
        log("call control", action=control.action, failure=failure)
        if control.limit:
            detail = control.limit + (f"; {failure}" if failure else "")
            self._ending.end(EndReason.BUDGET_REACHED, detail)
        elif control.by_bridge:
            self._ending.end(EndReason.BRIDGE_HUNG_UP, failure or "")
        elif failure is not None:
            self._tell(self._machine.control_failed(failure, trio.current_time()))
        else:
            now_s = trio.current_time()
            if control.action == "hangup":
                words = "the caller's side went on after the hangup"
                self._ending.plan(now_s + HANGUP_LIMIT_S, EndReason.BRIDGE_HUNG_UP, words)
            self._tell(self._machine.control_done(now_s))

    def do(self, actions: list[Action]) -> None:
        """Carry out actions, in order."""
        for action in actions:
            match action:
                case Play(item_id=item_id, data=data):
                    self._sound.play(item_id, data)
                case Send(command=command):
                    self._send(command)
                case AnswerMeasured():
                    self._sound.check_rate(action)
                case FinishItem(item_id=item_id):
                    self._sound.finish(item_id)
                case Interrupt(items=items):
                    self._sound.interrupt(items)
                case RunTool(call_id=call_id, name=name, arguments=arguments):
                    self._content.tool_called(name, arguments)
                    done = partial(self._tool_done, call_id)
                    self._line.give_job(ToolJob(name, arguments, done))
                case Waiting(on=on):
                    self._orders.give(WaitingSound(self._tool_sound() if on else None))
                case KeepTurn(on=on):
                    self._uplink.keep_turn(on=on)
                case Act(control=control):
                    done_so = partial(self._control_done, control)
                    self._line.give_job(ControlJob(control, done_so))
                case TurnEnded():
                    self._stats.turns += 1
                case Say(role=role, text=text, cut=cut):
                    self._content.transcript(role, text)
                    self._orders.give(TranscriptOut(role, text))
                    plain = text.removesuffix(CUT_MARK) if cut else text
                    self._journal.tell(Transcript(trio.current_time(), role, plain, cut))
                case Tell(message=message):
                    if self._caller_brake.lets_through(trio.current_time()):
                        self._orders.give(ErrorOut(message))
                case FormatsAgreed():
                    self._formats_agreed(action)
                case Note(event=event, fields=fields, severe=True):
                    self._brake.warning(event, fields, trio.current_time())
                case Note(event=event, fields=fields):
                    self._log.debug(event, **fields)
                case Alarm(watchdog=watchdog):
                    self.alarm(watchdog)
                case Abandon(message=message):
                    self._abandon(message)
                case GiveUp(message=message):
                    self._give_up(EndReason.MODEL_REJECTED, message)

    def _send(self, command: Command) -> None:
        assert self.connection is not None
        try:
            self.connection.send_nowait(command)
        except UpstreamClosed as closed:
            self.connection.lose(str(closed))

    def alarm(self, watchdog: Watchdog) -> None:
        """Count and log a wait that took too long."""
        self._stats.watchdogs[watchdog.value] += 1
        self._journal.tell(WaitedTooLong(trio.current_time(), watchdog.value))
        self._log.warning("waited too long", watchdog=watchdog.value)

    def _abandon(self, message: str) -> None:
        """Try another session; a second one in a row without a sound is no better."""
        if self._stats.played_frames == self._frames_at_abandon:
            self._give_up(EndReason.MODEL_FAILED, message)
        elif self.connection is not None:
            self._frames_at_abandon = self._stats.played_frames
            self.connection.lose(message)

    def _give_up(self, reason: EndReason, message: str) -> None:
        """No session can help: `step` raises, and `failure` says why."""
        self.failure = self.failure or (reason, message)
        if self.connection is not None:
            self.connection.lose(message)

    def _formats_agreed(self, formats: FormatsAgreed) -> None:
        assert self.connection is not None
        self._sound.agree(formats)
        self._uplink.open(self.connection, formats.to_model)
        self._log.debug("session ready", format=formats.from_model.encoding.value)

    def _tool_sound(self) -> bytes | None:
        kind = self._config.talk.tool_sound
        if kind == "off":
            return None
        try:
            return waiting_sound(kind)
        except (OSError, ValueError) as error:
            self._log.warning("tool sound failed", error=str(error))
            return None
