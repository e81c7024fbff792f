"""What a container's environment says of the port, and the form in which it says anything.

For `config.py`, and for `health.py`, which starts every few seconds and has no time for more
imports than these. Knows no other setting.
"""

from __future__ import annotations

__all__ = ["DEFAULT_HOST", "DEFAULT_PORT", "unquoted"]

DEFAULT_HOST = "0.0.0.0"
DEFAULT_PORT = 6030


def unquoted(value: str) -> str:
    """`value` without surrounding blanks and without one pair of quotes around it."""
    value = value.strip()
    if len(value) >= 2 and value[0] == value[-1] and value[0] in "\"'":
        return value[1:-1]
    return value
