"""Several processes on one port: who accepts, what they tell each other, and the parent's sums."""

from __future__ import annotations

import os
import socket
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import attrs
import pytest
import trio

from avr_bridge import BridgeConfig, ServerConfig
from avr_bridge.server.admission import Admission, CallRefused
from avr_bridge.server.workers import TurnListener
from avr_bridge.server.workers_board import (
    LONGEST_S,
    REFUSING_S,
    STEP_S,
    STUCK_S,
    Board,
    Seat,
    Standing,
    patience_s,
)
from avr_bridge.server.workers_parent import usable_cores
from avr_bridge.server.workers_place import restart_pause_s, worker_command
from avr_bridge.server.workers_watch import KILL_S, LATE_S, LOOK_EVERY_S, SILENT_S, Watch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOW_S = 1000.0
LIMIT_S = 10


def standing(connections: int, *, refuses: bool = False, ago_s: float = 0.1) -> Standing:
    return Standing(NOW_S - ago_s, connections, calls=0, refuses=refuses)


@pytest.mark.parametrize(
    ("own", "others", "wanted_s"),
    [
        (standing(3), [], 0),
        (standing(3), [standing(3), standing(9)], 0),
        (standing(3), [standing(5), standing(2)], STEP_S),
        (standing(9), [standing(5), standing(7)], 4 * STEP_S),
        (standing(500), [standing(0)], LONGEST_S),
        (standing(9), [standing(0, ago_s=STUCK_S)], 0),
        (standing(9), [Standing()], 0),
        (standing(9), [standing(0, refuses=True)], 0),
        (standing(9), [standing(0, refuses=True), standing(8)], STEP_S),
        (standing(0, refuses=True), [standing(400)], REFUSING_S),
        (standing(0, refuses=True), [standing(400, ago_s=STUCK_S)], 0),
        (standing(1, refuses=True), [standing(0, refuses=True)], STEP_S),
    ],
)
def test_who_accepts(own: Standing, others: list[Standing], wanted_s: float) -> None:
    """At once the one with the fewest of those that live and would take a call; the others later,
    and nobody waits for one that is dead, hangs or refuses."""
    assert patience_s(own, others, NOW_S) == pytest.approx(wanted_s)


@pytest.fixture
def board() -> Iterator[Board]:
    made = Board.create(2)
    with closing(made):
        yield made
    os.close(made.fd)


def test_a_row_is_read_as_it_was_written(board: Board) -> None:
    """By another view of the memory too, and beside it nothing has changed."""
    written = Standing(12.345, 7, 5, refuses=True)
    board.write(2, written)
    with closing(Board(board.fd, 2)) as other:
        assert other.standing(2) == written
        assert other.standing(1) == Standing()
        other.write(1, attrs.evolve(written, calls=10))
    assert board.calls == 15


def test_nobody_waits_for_one_that_has_not_begun(board: Board) -> None:
    """A worker that still loads is no rival, however few connections it has."""
    first, second = Seat(board, 1), Seat(board, 2)
    first.begin()
    first.count_connections(3)
    second.beat(refuses=False)
    assert first.patience_s() == 0
    assert not first.another_takes_calls
    second.begin()
    assert first.patience_s() == pytest.approx(3 * STEP_S)
    assert first.another_takes_calls


def test_the_limit_counts_the_calls_of_all(board: Board) -> None:
    """The call that is one too many is refused wherever it comes; a dead worker's calls are not
    counted once its row is cleared."""
    config = ServerConfig(max_calls=2)
    doors = [Admission(config, Seat(board, 1)), Admission(config, Seat(board, 2))]
    with doors[0].call(), doors[1].call():
        for door in doors:
            with pytest.raises(CallRefused, match="limit of 2 calls"), door.call():
                pass
            assert door.refusal_of_all() == "the limit of 2 calls is reached"
        board.write(1, Standing())
        with doors[1].call():
            assert doors[1].calls == 2
    assert doors[0].open
    assert [door.refused for door in doors] == [1, 1]


def test_ready_as_long_as_one_takes_calls(board: Board) -> None:
    """A worker that refuses says ready while the other one does not refuse."""
    seats = [Seat(board, 1), Seat(board, 2)]
    first, second = (Admission(ServerConfig(), seat) for seat in seats)
    for seat in seats:
        seat.begin()
    first.close("stopping")
    assert first.refusal() == "stopping"
    assert first.refusal_of_all() is None
    second.close("stopping as well")
    assert first.refusal_of_all() == "stopping"
    assert second.refusal_of_all() == "stopping as well"


async def test_a_connection_is_left_to_the_other_one_but_not_for_ever(board: Board) -> None:
    """The one with more waits: the other one, if it is there, gets it; if it is not, it is
    accepted all the same."""
    with socket.create_server(("127.0.0.1", 0)) as shared, trio.fail_after(LIMIT_S):
        shared.setblocking(False)
        opened = trio.Event()
        opened.set()
        seats = [Seat(board, 1), Seat(board, 2)]
        listeners = [TurnListener(shared.dup(), seat, opened) for seat in seats]
        for seat in seats:
            seat.begin()
        seats[0].count_connections(5)
        accepted: list[int] = []
        with socket.create_connection(shared.getsockname()):
            async with trio.open_nursery() as nursery:

                async def accept(number: int) -> None:
                    stream = await listeners[number].accept()
                    accepted.append(number)
                    await stream.aclose()
                    nursery.cancel_scope.cancel()

                nursery.start_soon(accept, 0)
                nursery.start_soon(accept, 1)
        assert accepted == [1]
        with socket.create_connection(shared.getsockname()):
            stream = await listeners[0].accept()
            await stream.aclose()
        assert board.standing(1).connections == 6
        for listener in listeners:
            await listener.aclose()


@pytest.mark.parametrize(
    ("written", "most"), [("200000 100000\n", 2), ("150000 100000\n", 2), ("50000 100000\n", 1)]
)
def test_auto_obeys_a_containers_limit(
    tmp_path: Path, written: str, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rounded up; without a limit it is the cores."""
    monkeypatch.setattr(os, "process_cpu_count", lambda: 16)
    quota = tmp_path / "cpu.max"
    quota.write_text(written)
    assert usable_cores(quota) == most
    quota.write_text("max 100000\n")
    assert usable_cores(quota) == 16
    assert usable_cores(tmp_path / "none") == 16


@pytest.mark.parametrize(
    ("written", "read"), [("1", 1), ("64", 64), ("auto", None), ("AUTO", None)]
)
def test_the_setting(written: str, read: int | None) -> None:
    """A number, or None for as many as there are cores."""
    config = BridgeConfig.from_env({"OPENAI_API_KEY": "k", "AVR_WORKERS": written})
    assert config.server.workers == read
    assert BridgeConfig().server.workers == 1


def test_a_worker_without_a_beat_grows_silent() -> None:
    """From its last beat, or from the word to begin where there was none."""
    watch = Watch(NOW_S)
    assert not watch.look(NOW_S + LOOK_EVERY_S / 2)
    for second in range(1, 31):
        assert watch.look(NOW_S + second * LOOK_EVERY_S)
    assert watch.silent_s(NOW_S + 29.9, NOW_S, NOW_S + 30) == pytest.approx(0.1)
    assert watch.silent_s(NOW_S + 8, NOW_S, NOW_S + 30) == 22 > KILL_S
    assert watch.silent_s(0, NOW_S + 23, NOW_S + 30) == 7 > SILENT_S


def test_a_machine_that_was_suspended_makes_no_worker_silent() -> None:
    """The parent looks an hour late: it counts from there on. A little late it does not."""
    watch = Watch(NOW_S)
    assert watch.look(NOW_S + LOOK_EVERY_S + LATE_S / 2)
    assert watch.silent_s(NOW_S + 0.5, NOW_S, NOW_S + 1.5) == 1
    assert watch.look(NOW_S + 3600)
    assert watch.silent_s(NOW_S + 1.5, NOW_S, NOW_S + 3600) == 0
    assert watch.look(NOW_S + 3601)
    assert watch.silent_s(NOW_S + 1.5, NOW_S, NOW_S + 3601) == 1


def test_the_pause_before_a_restart_is_bounded() -> None:
    """It doubles from a tenth of a second to ten."""
    assert [restart_pause_s(deaths) for deaths in (1, 2, 3, 7, 8, 10_000)] == [
        0.1,
        0.2,
        0.4,
        6.4,
        10,
        10,
    ]


def test_a_worker_is_started_as_the_program_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its script, if that is how; else as a module."""
    script = tmp_path / "avr-bridge"
    script.touch()
    monkeypatch.setattr(sys, "argv", [str(script), "serve"])
    assert worker_command(["serve"]) == [sys.executable, str(script), "serve"]
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "__main__.py"), "serve"])
    assert worker_command(["serve"]) == [sys.executable, "-m", "avr_bridge", "serve"]
