"""Numbers as they are collected, added up over several processes, and as Prometheus' text.

Pure. Which process' numbers are added is decided in `server/`; what they are, in `metrics.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from prometheus_client import generate_latest
from prometheus_client.samples import Sample

from avr_bridge.telemetry.metrics import OF_THE_WORST

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from prometheus_client import CollectorRegistry, Metric

__all__ = ["CONTENT_TYPE", "Number", "added", "families_of", "numbers_of", "text_of"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

RISING = ("counter", "histogram")


class Number(msgspec.Struct, frozen=True, array_like=True):
    """One number: its name as in the text, its labels, and whether it only ever rises."""

    name: str
    labels: dict[str, str]
    value: float
    rises: bool

    @property
    def key(self) -> tuple[str, tuple[tuple[str, str], ...]]:
        """The same for the same number of another process."""
        return self.name, tuple(self.labels.items())


def families_of(registry: CollectorRegistry) -> list[Metric]:
    """What there is now, without the times at which each series began: they would double the
    number of series, and nobody looks at them."""
    families = list(registry.collect())
    for family in families:
        family.samples = [one for one in family.samples if not one.name.endswith("_created")]
    return families


def numbers_of(families: Iterable[Metric]) -> list[Number]:
    """The numbers alone."""
    return [
        Number(one.name, one.labels, one.value, family.type in RISING)
        for family in families
        for one in family.samples
    ]


def added(parts: Sequence[Iterable[Number]]) -> list[Number]:
    """The sum of all parts, or the greatest, in the order in which they first come."""
    sums: dict[Any, Number] = {}
    for part in parts:
        for number in part:
            key = number.key
            if key in sums:
                worst = number.name in OF_THE_WORST
                both = (sums[key].value, number.value)
                value = max(both) if worst else sum(both)
                sums[key] = msgspec.structs.replace(number, value=value)
            else:
                sums[key] = number
    return list(sums.values())


def text_of(families: Iterable[Metric], numbers: Iterable[Number]) -> bytes:
    """The text, of these families with these numbers in place of their own."""
    by_name: dict[str, list[Sample]] = {}
    for one in numbers:
        by_name.setdefault(one.name, []).append(Sample(one.name, one.labels, one.value))
    for family in families:
        endings = ("_bucket", "_sum", "_count") if family.type == "histogram" else ("", "_total")
        names = [family.name + ending for ending in endings]
        family.samples = [sample for name in names for sample in by_name.get(name, [])]
    return generate_latest(_Given(families))


class _Given:
    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families
