"""What the server does where there are no descriptors left for another connection."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any, cast

import pytest
import structlog
import trio

from avr_bridge.server.sockets import PatientListener

if TYPE_CHECKING:
    from trio.testing import MockClock


class Full:
    """A listener that cannot accept so many times."""

    def __init__(self, number: int, times: int) -> None:
        self.number = number
        self.times = times

    async def accept(self) -> str:
        await trio.lowlevel.checkpoint()
        self.times -= 1
        if self.times >= 0:
            raise OSError(self.number, "no")
        return "a connection"


async def test_no_descriptors_left(autojump_clock: MockClock) -> None:
    """A minute of them, less a second: one line, and then the connection that waited."""
    with structlog.testing.capture_logs() as lines:
        listener = PatientListener(cast("Any", Full(errno.EMFILE, 590)))
        accepted: object = await listener.accept()
    assert accepted == "a connection"
    assert trio.current_time() == pytest.approx(59)
    assert [(line["error"], line["count"]) for line in lines] == [("Too many open files", 1)]


async def test_a_listener_that_is_broken() -> None:
    """Another error is not waited out."""
    with pytest.raises(OSError, match="no"):
        await PatientListener(cast("Any", Full(errno.EBADF, 1))).accept()
