"""Real calls through a real Asterisk; skipped where there is none."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from scripts.asterisk import why_not
from tests.asterisk.busy import VOID

if TYPE_CHECKING:
    from collections.abc import Generator

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is in this folder, and skip it where it cannot run."""
    reason = why_not()
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.asterisk)
            if reason is not None:
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """pytest-trio 0.8 forgets the reason for which a test skips itself; here there is but one."""
    report = yield
    if HERE in item.path.parents and call.when == "call" and report.skipped:
        report.longrepr = (str(item.path), 0, f"Skipped: {VOID}")
    return report
