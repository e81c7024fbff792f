"""What happens in a call as lines of the log, at debug: for calls that are looked at closely.

A listener of the journal. Nothing that was said, pressed or given to a tool is in a line; what is
worth a line in every call is logged where it happens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from avr_bridge.telemetry.journal import CallBegan, CallEnded, KeyPressed, Moment, Transcript
from avr_bridge.telemetry.levels import Levels
from avr_bridge.telemetry.logs import get_logger
from avr_bridge.telemetry.usage import Usage

if TYPE_CHECKING:
    from avr_bridge.config import LogConfig

__all__ = ["MomentLog"]


class MomentLog:
    """Logs moments of those calls whose lines at debug are logged.

    Args:
        config: Says which.
    """

    def __init__(self, config: LogConfig) -> None:
        self._levels = Levels(config.level, config.calls)

    def __call__(self, call: str, moment: Moment) -> None:
        """Something happened in a call."""
        if not self._levels.lets_through("debug", call):
            return
        if isinstance(moment, CallBegan | CallEnded):
            return  # each has a line of its own
        name = type(moment).__name__
        get_logger().debug("moment", call=call, moment=name, **_fields(moment))


def _fields(moment: Moment) -> dict[str, Any]:
    match moment:
        case KeyPressed():
            return {}
        case Transcript(role=role, text=text, cut=cut):
            return {"role": role, "chars": len(text), "cut": cut}
    found = attrs.asdict(moment, recurse=False)
    del found["at_s"]
    return {name: _plain(value) for name, value in found.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, Usage):
        return {"in": value.tokens_in, "cached": value.tokens_cached, "out": value.tokens_out}
    return round(value, 6) if isinstance(value, float) else value
