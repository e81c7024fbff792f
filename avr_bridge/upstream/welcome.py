"""The beginning of a conversation: what is said first, and that nobody interrupts it.

The part of the state machine in `conversation.py` that concerns the welcome and the recorded
greeting.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from avr_bridge.upstream import wording
from avr_bridge.upstream.actions import Action, Send
from avr_bridge.upstream.answering import CREATED_LIMIT_S, Timer
from avr_bridge.upstream.caller_turns import CallerTurns
from avr_bridge.upstream.commands import (
    SpeakWords,
    UpdateSession,
    text_item,
    turn_detection_only,
)
from avr_bridge.upstream.formats import requested_format

if TYPE_CHECKING:
    from avr_bridge.config import ModelConfig, TalkConfig

__all__ = ["Welcome"]

WELCOME_LIMIT_S = 30.0
"""A welcome that was not heard by then no longer keeps the caller from speaking."""


class Welcome(CallerTurns):
    """State and rules of the welcome.

    Args:
        config: The model's settings.
        talk: How the call is conducted.
        instructions: The system prompt of this call.
    """

    def __init__(self, config: ModelConfig, talk: TalkConfig, instructions: str) -> None:
        super().__init__(requested_format(config), talk)
        self._config = config
        self._instructions = instructions
        self._protected = bool(talk.welcome_message) and not talk.greeting_file
        self._welcome_due = ""

    def _greet(self, now_s: float) -> list[Action]:
        text = self._talk.welcome_message
        if self._talk.greeting_file:
            told = text_item("system", wording.GREETING_PLAYED)
            if text:
                told = text_item("assistant", text)
            return self._add_item(told) + self._all_quiet(now_s)
        if not text:
            return self._ask(now_s)
        self._timers.set(Timer.WELCOME, now_s + WELCOME_LIMIT_S)
        self._welcome_due = text
        return self._ask(now_s)

    def _create_response(self, now_s: float) -> list[Action]:
        if not self._welcome_due:
            return super()._create_response(now_s)
        self._timers.set(Timer.CREATED, now_s + CREATED_LIMIT_S)
        words = wording.welcome(self._instructions, self._welcome_due)
        return [Send(SpeakWords(self._welcome_due, words, self._event_id()))]

    def _welcome_over(self, now_s: float) -> list[Action]:
        """The welcome was heard, or will not be: the caller may interrupt from now on."""
        if not self._protected:
            return []
        self._protected = False
        self._timers.clear(Timer.WELCOME)
        actions = self._send(self._interruptible_session())
        if self._turn_unanswered:
            actions += self._ask(now_s)
        return actions

    def _may_be_interrupted(self) -> bool:
        return self._config.interruptible and not self._protected

    def _interruptible_session(self) -> UpdateSession:
        return UpdateSession(turn_detection_only(self._config), self._event_id())
