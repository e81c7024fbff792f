"""What the bridge tells of its work: structured logs."""

from __future__ import annotations

from avr_bridge.telemetry.brake import LogBrake
from avr_bridge.telemetry.logs import ContentLog, configure_logging, get_logger
from avr_bridge.telemetry.seldom import SeldomLog

__all__ = ["ContentLog", "LogBrake", "SeldomLog", "configure_logging", "get_logger"]
