"""What tokens cost: a list of prices as data, by the model's name. An estimate, not a bill.

The list that ships is `prices.toml`; an operator's own file goes before it. What is not in either
has no price, and its cost is None. It is never 0, which would look like an answer.
"""

from __future__ import annotations

import functools
import stat
import tomllib
from fnmatch import fnmatchcase
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec

from avr_bridge.telemetry.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Sequence

    from avr_bridge.telemetry.usage import Usage

__all__ = ["Price", "Prices", "load_prices", "prices_file_fault"]

TOKENS = 1_000_000
"""That a price is for."""

MOST_BYTES = 1024 * 1024
"""Of an operator's file: a hundred times the list that ships. It is read whole."""

type Dollars = Annotated[float, msgspec.Meta(ge=0, le=1_000_000)]
"""The bound keeps out `inf`, which TOML can say and JSON cannot."""


class Price(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One entry of the list: US dollars for a million tokens of each kind that `Usage` has, and for
    a minute of sound where that is billed. None: unknown."""

    models: list[str]
    text_in: Dollars | None = None
    audio_in: Dollars | None = None
    cached_text_in: Dollars | None = None
    cached_audio_in: Dollars | None = None
    text_out: Dollars | None = None
    audio_out: Dollars | None = None
    heard_minute: Dollars | None = None

    def cost_usd(self, usage: Usage) -> float | None:
        """What this costs; None if there is something in it that has no price here."""
        if self.missing(usage) or usage.other_in or usage.other_out:
            return None
        return sum(amount * (price or 0.0) for _, amount, price in self._parts(usage))

    def missing(self, usage: Usage) -> list[str]:
        """The prices that this needs and that are not here."""
        return [name for name, amount, price in self._parts(usage) if amount and price is None]

    def _parts(self, usage: Usage) -> tuple[tuple[str, float, float | None], ...]:
        return (
            ("text_in", usage.text_in / TOKENS, self.text_in),
            ("audio_in", usage.audio_in / TOKENS, self.audio_in),
            ("cached_text_in", usage.cached_text_in / TOKENS, self.cached_text_in),
            ("cached_audio_in", usage.cached_audio_in / TOKENS, self.cached_audio_in),
            ("text_out", usage.text_out / TOKENS, self.text_out),
            ("audio_out", usage.audio_out / TOKENS, self.audio_out),
            ("heard_minute", usage.heard_s / 60, self.heard_minute),
        )


class _List(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    price: list[Price]


class Prices:
    """The list. The first entry with a pattern that fits a model counts.

    Args:
        entries: In the order in which they are looked at.
    """

    def __init__(self, entries: Sequence[Price] = ()) -> None:
        self._entries = tuple(entries)
        self._found: dict[str, Price | None] = {}

    def cost_usd(self, model: str, usage: Usage | None) -> float | None:
        """What this much of that model costs, in US dollars; None if that is not known."""
        if usage is None:
            return None
        price = self.of(model)
        return None if price is None else price.cost_usd(usage)

    def of(self, model: str) -> Price | None:
        """The entry of that model, if there is one."""
        if model not in self._found:
            self._found[model] = self._find(model)
        return self._found[model]

    def _find(self, model: str) -> Price | None:
        for entry in self._entries:
            if any(fnmatchcase(model, pattern) for pattern in entry.models):
                return entry
        return None


@functools.lru_cache(maxsize=8)
def load_prices(path: str | None) -> Prices:
    """The list that ships, behind the entries of the file at `path`, if there is one.

    A server refuses a file that cannot be read before it starts (`prices_file_fault`). In a program
    that did not ask it is logged, and then nothing has a price: a figure that is wrong is worse
    than none.
    """
    shipped = resources.files("avr_bridge.telemetry").joinpath("prices.toml").read_text("utf-8")
    if path is None:
        return Prices(_parsed(shipped))
    try:
        own = _read(path)
    except ValueError as error:
        get_logger().error("the list of prices failed: costs are unknown", error=str(error))
        return Prices()
    return Prices([*own, *_parsed(shipped)])


def prices_file_fault(path: str | None) -> str | None:
    """Why the file that AVR_PRICES_FILE names cannot be; None if it can, or none is named."""
    if path is None:
        return None
    try:
        _read(path)
    except ValueError as error:
        return f"AVR_PRICES_FILE={path}: {error}; expected a list of prices in TOML"
    return None


def _read(path: str) -> list[Price]:
    """Raises: ValueError: There is no such file, or no list in it."""
    try:
        if not stat.S_ISREG(Path(path).stat().st_mode):
            raise ValueError("no regular file")  # to open a pipe would wait for who writes
        with Path(path).open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise ValueError(error.strerror or str(error)) from error
    if len(data) > MOST_BYTES:
        raise ValueError("the file is too long")
    return _parsed(data.decode("utf-8"))


def _parsed(text: str) -> list[Price]:
    """Raises: ValueError: It is no such list."""
    return msgspec.convert(tomllib.loads(text), _List).price
