"""Which core is whose in a soak run."""

from __future__ import annotations

import os

import pytest

from avr_bridge.soak.layout import Layout


@pytest.fixture(autouse=True)
def four_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 1, 2, 3}, raising=False)


def test_the_bridge_has_a_core_for_each_worker() -> None:
    """The first ones; the generators share what is left, in turn."""
    layout = Layout.bound(3, bridge=2)
    assert layout is not None
    assert layout.bridge_cores == {0, 1}
    assert layout.generator_cores == (2, 3, 2)
    assert layout.words == "bridge on core 0, 1, generator on core 2, 3"


def test_one_worker_has_one_core() -> None:
    """As without the option."""
    layout = Layout.bound(1)
    assert layout is not None
    assert layout.bridge_cores == {0}
    assert layout.generator_cores == (1,)


@pytest.mark.parametrize("workers", [4, 5])
def test_nothing_is_bound_where_no_core_is_left(workers: int) -> None:
    """The generators need one at least."""
    assert Layout.bound(1, bridge=workers) is None
    assert Layout.unbound(1).words == "no process bound to a core"
