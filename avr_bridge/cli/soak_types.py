"""What the options of ``avr-bridge soak`` may be: lengths of time, rates, addresses, headers.

Reads words into numbers, and says what was expected where it cannot.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    _Number = click.ParamType[float]
    _Pair = click.ParamType[tuple[str, int]]
    _Words = click.ParamType[tuple[str, str]]
else:  # generic for the type checker only, before click 8.4
    _Number = _Pair = _Words = click.ParamType

__all__ = ["Duration", "FiniteRange", "Header", "ListenAddress", "Rate"]

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "": 1.0}
_PER_SECOND = {"s": 1.0, "min": 1 / 60, "h": 1 / 3600, "": 1.0}
_NUMBER = r"(\d+(?:\.\d+)?|\.\d+)"


class Duration(_Number):
    """``90s``, ``10m``, ``1h``, ``1h30m``, or seconds; gives seconds."""

    name = "duration"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        if isinstance(value, int | float):
            return float(value)
        if not re.fullmatch(rf"{_NUMBER}|({_NUMBER}(ms|s|m|h))+", value):
            self.fail(f"{value!r} is no length of time such as 90s, 10m or 1h", param, ctx)
        parts = re.findall(rf"{_NUMBER}(ms|s|m|h|)", value)
        return sum(float(number) * _SECONDS[unit] for number, unit in parts)


class FiniteRange(click.FloatRange):
    """`click.FloatRange` lets ``nan`` through, which is neither over nor under any limit."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value!r} is no number", param, ctx)
        return number


class Rate(_Number):
    """``5/s``, ``2/min``, ``30/h``; gives so many a second, or a minute."""

    name = "rate"

    def __init__(self, per: str = "s", *, positive: bool = False) -> None:
        """`per` is what the result counts by, and what a bare number means: ``s`` or ``min``."""
        self._per = per
        self._positive = positive

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        if isinstance(value, int | float):
            return float(value)
        found = re.fullmatch(rf"{_NUMBER}(?:/(s|min|h))?", value)
        if not found:
            self.fail(f"{value!r} is no rate such as 5/s, 2/min or 30/h", param, ctx)
        rate = float(found[1]) * _PER_SECOND[found[2] or self._per] / _PER_SECOND[self._per]
        if self._positive and not rate:
            self.fail(f"{value!r}: the rate must be more than 0", param, ctx)
        return rate


class ListenAddress(_Pair):
    """``[HOST:]PORT``; gives both. Port 0: any free one."""

    name = "address"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, int]:
        if isinstance(value, tuple):
            return value
        host, _, port = value.rpartition(":")
        if not re.fullmatch(r"\d{1,5}", port) or int(port) > 65535:
            self.fail(f"{value!r} is not of the form [HOST:]PORT, such as 8080", param, ctx)
        return host.strip("[]") or "127.0.0.1", int(port)


class Header(_Words):
    """``Name: value``; gives both."""

    name = "header"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        if isinstance(value, tuple):
            return value
        found = re.fullmatch(r"([!#$%&'*+.^_`|~\w-]+):[ \t]*([^\r\n]*)", value)
        if not found:  # the value may be a secret: it is not repeated
            self.fail("a header is of the form 'Name: value'", param, ctx)
        return found[1], found[2]
