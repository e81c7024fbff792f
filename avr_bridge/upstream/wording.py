"""What the model is told in words, in one place: English, which every model follows.

None of it is spoken as it stands, but for the welcome.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from avr_bridge.upstream.control import Control

__all__ = [
    "ANSWER_TORN",
    "BUDGET_SPENT",
    "CHECK_IN",
    "GREETING_CUT",
    "GREETING_PLAYED",
    "NOBODY_THERE",
    "TIME_IS_UP",
    "called_off",
    "control_failed",
    "heard_only",
    "keys_pressed",
    "welcome",
]

GREETING_PLAYED = (
    "A recorded greeting was just played to the caller. Do not greet again; wait for the caller."
)
GREETING_CUT = "The caller interrupted the recorded greeting and did not hear all of it."
CHECK_IN = "The caller has been silent for a while. Ask once, briefly, whether they are there."
NOBODY_THERE = "The caller is still silent. Say goodbye in one short sentence; the call then ends."
ANSWER_TORN = (
    "The line to you was interrupted in the middle of your last answer. Go on with it where it "
    "stops, without repeating what you said and without greeting."
)
TIME_IS_UP = (
    "The longest time for a call is reached. Say so and say goodbye in one short sentence; "
    "the call then ends."
)
BUDGET_SPENT = (
    "This call has to end now. Do not say why. Sum up in one short sentence what was settled or is "
    "still open, and say goodbye; the call then ends."
)


def welcome(instructions: str, text: str) -> str:
    """Instructions of the one answer that speaks given words. They replace the session's for
    that answer, so the session's are repeated."""
    return (
        f"{instructions}\n\nThe call begins now. Say exactly the following words and nothing "
        f"else, in their own language:\n{text}"
    )


def keys_pressed(digits: str) -> str:
    """One entry on the keypad, as a turn of the caller."""
    return f"[The caller pressed {' '.join(digits)} on the keypad]"


def heard_only(text: str) -> str:
    """An answer of an earlier session was interrupted after the session had gone."""
    if not text:
        return "The caller interrupted your last answer before hearing any of it."
    return f"The caller interrupted your last answer. They heard only this of it: {text}"


def called_off(control: Control) -> str:
    """The caller spoke before the goodbye was over."""
    what = "hung up" if control.action == "hangup" else "transferred"
    return f"The caller spoke again, so the call was not {what}. Go on with the conversation."


def control_failed(words: str) -> str:
    """Asterisk did not do it."""
    return f"It did not work: {words}. Tell the caller in one sentence and go on."
