"""What the console knows and tells: the board of calls, the feed, the settings, how the process is.

Listens to every call's journal. The routes are `routes.py`'s; it knows no HTTP.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import trio

from avr_bridge.net.rhythm import the_rhythm
from avr_bridge.server.console.board import Board, told
from avr_bridge.server.console.feed import Feed, FeedBody
from avr_bridge.server.console.settings_shown import settings_shown
from avr_bridge.telemetry.version import VERSION

if TYPE_CHECKING:
    from avr_bridge.config import BridgeConfig
    from avr_bridge.server.admission import Admission
    from avr_bridge.server.workers_board import Seat
    from avr_bridge.telemetry.journal import Moment

__all__ = ["Console"]


class Console:
    """One process'.

    Args:
        config: All settings.
        door: Says whether calls are let in, and how late the event loop is.
        seat: This process' place among several; None: it is alone.
    """

    def __init__(self, config: BridgeConfig, door: Admission, seat: Seat | None = None) -> None:
        self.feed = Feed()
        self._config = config
        self._door = door
        self._seat = seat
        self._mask = config.mask()
        self._board = Board()

    def hear(self, uuid: str, moment: Moment) -> None:
        """A journal's listener. While nobody watches it costs a look into a table."""
        self._board.hear(uuid, moment)
        if not self.feed.listeners:
            return
        news = told(moment)
        if news is None or not uuid:
            return
        for name in ("reason", "detail"):  # words of the model's server may be among them
            if name in news:
                news[name] = self._mask(str(news[name]))
        now_s = trio.current_time()
        ago_ms = round((now_s - moment.at_s) * 1000, 1)
        view = self._board.view(uuid, now_s)
        self.feed.tell({"type": "moment", "call": uuid, "ago_ms": ago_ms, **news, "view": view})

    def body(self) -> FeedBody:
        """A new listener's response."""
        return FeedBody(self.feed, self._hello, self._pulse)

    def settings(self) -> dict[str, Any]:
        """The settings in force, without secrets."""
        return {
            "version": VERSION,
            "model": self._config.model.model,
            "sections": settings_shown(self._config),
        }

    def close(self) -> None:
        """The process ends: nobody is told anything more."""
        self.feed.close()

    def _hello(self) -> dict[str, Any]:
        return {
            "type": "hello",
            "version": VERSION,
            "model": self._config.model.model,
            "process": os.getpid(),
            "worker": None if self._seat is None else self._seat.number,
            "workers": 1 if self._seat is None else self._seat.board.workers,
            "max_calls": self._config.server.max_calls,
            "calls": self._board.views(trio.current_time()),
            "pulse": self._pulse(),
        }

    def _pulse(self) -> dict[str, Any]:
        """How the process is."""
        return {
            "type": "pulse",
            "calls": self._door.calls,
            "calls_of_all": self._door.calls if self._seat is None else self._seat.calls_of_all,
            "refuses": self._door.refusal(),
            "lag_ms": round(self._door.lag_ms, 1),
            "load": round(the_rhythm().load, 3),
        }
