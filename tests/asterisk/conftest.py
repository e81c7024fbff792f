"""Real calls through a real Asterisk; skipped where there is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.asterisk import why_not

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is in this folder, and skip it where it cannot run."""
    reason = why_not()
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.asterisk)
            if reason is not None:
                item.add_marker(pytest.mark.skip(reason=reason))
