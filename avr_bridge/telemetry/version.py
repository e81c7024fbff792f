"""Which bridge this is: its version, and the name that it gives servers that it asks."""

from __future__ import annotations

from importlib import metadata

__all__ = ["USER_AGENT", "VERSION"]


def _version() -> str:
    try:
        return metadata.version("avr-bridge")
    except metadata.PackageNotFoundError:
        return "unknown"  # run from a copy that nobody installed


VERSION = _version()
USER_AGENT = f"avr-bridge/{VERSION}"
