"""Tools of this deployment: see docs/tools.md. The container reads them when it starts."""

from __future__ import annotations

from typing import Literal

HOURS = {"weekday": "9 to 18", "saturday": "10 to 14", "sunday": "closed"}


def opening_hours(day: Literal["weekday", "saturday", "sunday"]) -> str:
    """Tell when the shop is open."""
    return HOURS[day]
