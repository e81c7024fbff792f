"""Trying things before a caller does: the model as a call would set it up, and what is beside it.

For ``avr-bridge check`` and for `/readyz` with AVR_READY_CHECKS_MODEL. Nothing here carries a call,
and nothing waits longer than a caller would.
"""

from __future__ import annotations

from avr_bridge.checking.neighbours import check_neighbours
from avr_bridge.checking.session import check_model
from avr_bridge.checking.steps import Step, Verdict

__all__ = ["Step", "Verdict", "check_model", "check_neighbours"]
