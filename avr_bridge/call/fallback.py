"""The model cannot serve this call: words from a file, then a hangup or a transfer.

Needs no model and no network, but for the transfer. What the words are is a setting; that they
are heard is `farewell.py`'s.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from avr_bridge.call.farewell import clip_of, say_farewell
from avr_bridge.call.toolwork import ControlJob
from avr_bridge.settings import transfer_target
from avr_bridge.upstream.control import Control

if TYPE_CHECKING:
    from avr_bridge.call.ending import EndReason
    from avr_bridge.call.line import CallLine
    from avr_bridge.config import TalkConfig

__all__ = ["fall_back"]


def fall_back(config: TalkConfig, line: CallLine, reason: EndReason, detail: str, log: Any) -> None:
    """Say the words and end the call with `reason`; where it is to be transferred, do that
    between the two. Never waits."""
    clip = clip_of(config.fallback_file, "fallback")
    target = transfer_target(config.fallback_action)
    if not clip and target is None:
        line.ending.end(reason, detail)
        return
    log.warning("falling back", reason=reason.value, error=detail, transfers=target is not None)
    then = None
    if target is not None:
        then = partial(_transfer, line, Control("transfer", *target, by_bridge=True), log)
    say_farewell(line, clip, reason, detail, then=then)


def _transfer(line: CallLine, control: Control, log: Any) -> None:
    def done(failure: str | None) -> None:
        say = log.info if failure is None else log.warning
        say("call control", action="transfer", failure=failure)
        line.ending.end_as_planned()

    line.give_job(ControlJob(control, done))
