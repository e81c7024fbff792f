"""What the bridge tells of its work: structured logs."""

from __future__ import annotations

from avr_bridge.telemetry.brake import Brake, LogBrake
from avr_bridge.telemetry.levels import log_all_of, log_no_more_of
from avr_bridge.telemetry.logs import ContentLog, bind_call, configure_logging, get_logger
from avr_bridge.telemetry.seldom import SeldomLog

__all__ = [
    "Brake",
    "ContentLog",
    "LogBrake",
    "SeldomLog",
    "bind_call",
    "configure_logging",
    "get_logger",
    "log_all_of",
    "log_no_more_of",
]
