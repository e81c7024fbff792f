"""The calls that run, each with what it is doing: told by moments, shown as plain values. Pure.

It holds no word of anybody: no transcript, key or argument, and of metadata nothing at all.
"""

from __future__ import annotations

import enum
from typing import Any

import attrs

from avr_bridge.telemetry.journal import (
    AnswerOver,
    AnswerStarted,
    CallBegan,
    CallEnded,
    Interrupted,
    KeyPressed,
    Moment,
    ResponseDone,
    SessionLost,
    SessionReady,
    SessionRenewed,
    SpeechStarted,
    SpeechStopped,
    ToolDone,
    ToolStarted,
    Transcribed,
    Transcript,
    WaitedTooLong,
)

__all__ = ["Board", "State", "told"]


class State(enum.Enum):
    """What a call is doing. The value is its word on the page."""

    CONNECTING = "connecting"
    """There is no session with the model, or not yet again."""

    LISTENING = "listening"
    """Nobody speaks."""

    CALLER = "caller speaks"
    THINKING = "thinking"
    """The caller has spoken, and no sound of the answer has left yet."""

    AGENT = "agent speaks"
    TOOL = "tool"


@attrs.define(eq=False)
class _Call:
    uuid: str
    transport: str
    began_s: float
    state: State = State.CONNECTING
    tools: dict[str, int] = attrs.field(factory=dict)
    turns: int = 0
    interruptions: int = 0
    latency_ms: float | None = None
    cost_usd: float | None = None

    def view(self, now_s: float) -> dict[str, Any]:
        running = next(reversed(self.tools), None)
        return {
            "call": self.uuid,
            "transport": self.transport,
            "state": self.state.value,
            "tool": running if self.state is State.TOOL else None,
            "age_ms": _rounded((now_s - self.began_s) * 1000),
            "turns": self.turns,
            "interruptions": self.interruptions,
            "latency_ms": _rounded(self.latency_ms),
            "cost_usd": self.cost_usd,
        }

    def hear(self, moment: Moment) -> None:
        match moment:
            case SessionReady() if self.state is State.CONNECTING:
                self.state = State.LISTENING
            case SessionLost():
                self.state = State.CONNECTING
            case SpeechStarted():
                self.state = State.CALLER
            case SpeechStopped():
                self.state = State.THINKING
            case AnswerStarted(latency_ms=latency_ms):
                self.state = State.AGENT
                self.turns += 1
                self.latency_ms = self.latency_ms if latency_ms is None else latency_ms
            case Interrupted():
                self.interruptions += 1
                self._falls_silent()
            case AnswerOver():
                self._falls_silent()
            case ToolStarted(name=name):
                self.tools[name] = self.tools.get(name, 0) + 1
                self.state = State.TOOL
            case ToolDone(name=name):
                self._tool_done(name)
            case ResponseDone(cost_usd=cost_usd):
                self._pay(cost_usd)
                if self.state is State.THINKING:
                    self.state = State.LISTENING  # nothing to say, or its sound is yet to leave
            case Transcribed(cost_usd=cost_usd):
                self._pay(cost_usd)
            case _:
                pass

    def _pay(self, cost_usd: float | None) -> None:
        if cost_usd is not None:
            self.cost_usd = (self.cost_usd or 0.0) + cost_usd

    def _falls_silent(self) -> None:
        if self.state is State.AGENT:
            self.state = State.TOOL if self.tools else State.LISTENING

    def _tool_done(self, name: str) -> None:
        left = self.tools.pop(name, 1) - 1
        if left > 0:
            self.tools[name] = left
        if self.state is State.TOOL and not self.tools:
            self.state = State.THINKING


class Board:
    """The calls of one process, from their beginning to their end."""

    def __init__(self) -> None:
        self._calls: dict[str, _Call] = {}

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self._calls)

    def hear(self, uuid: str, moment: Moment) -> None:
        """Something happened in a call. One that never began is not known here."""
        if isinstance(moment, CallBegan):
            self._calls[uuid] = _Call(uuid, moment.transport, moment.at_s)
        elif isinstance(moment, CallEnded):
            self._calls.pop(uuid, None)
        elif uuid in self._calls:
            self._calls[uuid].hear(moment)

    def view(self, uuid: str, now_s: float) -> dict[str, Any] | None:
        """One call as JSON-ready values; None if it is not running."""
        call = self._calls.get(uuid)
        return None if call is None else call.view(now_s)

    def views(self, now_s: float) -> list[dict[str, Any]]:
        """All calls, the oldest first."""
        return [call.view(now_s) for call in self._calls.values()]


def told(moment: Moment) -> dict[str, Any] | None:
    """What a listener is told of a moment, as JSON-ready values; None for what is none of theirs.

    When something was said or pressed, not what. A tool's name may be told, what it was given not.
    """
    match moment:
        case CallBegan(transport=transport):
            fields: dict[str, Any] = {"transport": transport}
        case SessionReady(setup_ms=setup_ms, model=model, again=again):
            fields = {"setup_ms": _rounded(setup_ms), "model": model, "again": again}
        case AnswerStarted(latency_ms=latency_ms):
            fields = {"latency_ms": _rounded(latency_ms)}
        case Interrupted(stop_ms=stop_ms, heard_ms=heard_ms):
            fields = {"stop_ms": _rounded(stop_ms), "heard_ms": _rounded(heard_ms)}
        case Transcript(role=role, cut=cut):
            fields = {"role": role, "cut": cut}
        case ToolStarted(name=name):
            fields = {"tool": name}
        case ToolDone(name=name, outcome=outcome, took_ms=took_ms):
            fields = {"tool": name, "outcome": outcome, "took_ms": _rounded(took_ms)}
        case ResponseDone(status=status, usage=usage, cost_usd=cost_usd):
            fields = {"status": status, "cost_usd": cost_usd}
            if usage is not None:
                fields |= {"tokens_in": usage.tokens_in, "tokens_out": usage.tokens_out}
        case SessionLost(reason=reason):
            fields = {"reason": reason}
        case WaitedTooLong(watchdog=watchdog):
            fields = {"watchdog": watchdog}
        case CallEnded(summary=summary):
            fields = {
                "reason": summary.end_reason.value,
                "detail": summary.detail,
                "duration_ms": _rounded(summary.duration_s * 1000),
            }
        case SpeechStarted() | SpeechStopped() | AnswerOver() | KeyPressed() | SessionRenewed():
            fields = {}
        case _:
            return None
    return {"kind": _kind(type(moment).__name__), **fields}


def _kind(name: str) -> str:
    """``AnswerStarted`` as ``answer_started``."""
    return "".join(f"_{sign.lower()}" if sign.isupper() else sign for sign in name).lstrip("_")


def _rounded(ms: float | None) -> float | None:
    return None if ms is None else round(ms, 1)
