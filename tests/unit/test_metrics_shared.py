"""Numbers of several workers: added up, never falling, and never torn."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from avr_bridge import ServerConfig
from avr_bridge.call.running import RunningCalls
from avr_bridge.server.admission import Admission
from avr_bridge.server.metrics import MetricsPage
from avr_bridge.server.workers_board import Board, Seat, Standing
from avr_bridge.server.workers_metrics import SLOT_BYTES, MetricsBoard
from avr_bridge.telemetry.journal import ToolDone
from avr_bridge.telemetry.metrics_text import Number, added
from tests.unit.metrics_seen import ALL_MOMENTS, parsed, value, values

if TYPE_CHECKING:
    from collections.abc import Iterator


DEATHS = "avr_bridge_worker_deaths_total"


@pytest.fixture
def board() -> Iterator[Board]:
    made = Board.create(3)
    yield made
    made.close()
    os.close(made.fd)


class Worker:
    """One worker's page, and what it stands on."""

    def __init__(self, board: Board, number: int) -> None:
        self.seat = Seat(board, number)
        self.seat.begin()
        self.door = Admission(ServerConfig(), self.seat)
        self.page = MetricsPage(self.door, RunningCalls(), 7, self.seat)

    def call(self) -> None:
        """Everything happens in it once."""
        for moment in ALL_MOMENTS:
            self.page.metrics.take("u", moment)

    def text(self) -> str:
        return self.page.text().decode()


def count(page: str) -> float:
    """A counter that `Worker.call` raises by one."""
    return value(page, "avr_bridge_turn_latency_seconds_count")


def test_whoever_answers_tells_of_all(board: Board) -> None:
    """Counters and histograms are added, the worst of queues is taken, lag is told by worker."""
    workers = [Worker(board, number) for number in (1, 2, 3)]
    for times, worker in enumerate(workers, start=1):
        for _ in range(times):
            worker.call()
        worker.page.text()
    with workers[0].door.call(), workers[1].door.call():
        for worker in workers:
            worker.page.text()
        pages = [worker.text() for worker in workers]
    for page in pages:
        assert count(page) == 6
        assert value(page, "avr_bridge_turn_latency_seconds_bucket", le="+Inf") == 6
        assert value(page, "avr_bridge_tokens_total", of="response", flow="in", kind="text") == 12
        assert value(page, "avr_bridge_calls") == 2
        assert value(page, "avr_bridge_calls_limit") == 7
        assert value(page, "avr_bridge_workers") == 3
        assert set(values(page, "avr_bridge_event_loop_lag_seconds", "worker")) == {
            ("1",),
            ("2",),
            ("3",),
        }
        assert list(values(page, "avr_bridge_info").values()) == [1]
        assert len(parsed(page)) == len(parsed(pages[0]))


def test_series_that_only_another_one_has(board: Board) -> None:
    """A tool that ran elsewhere is told of as well."""
    first, second = Worker(board, 1), Worker(board, 2)
    second.page.metrics.know_tools(["look_up"])
    second.call()
    second.text()
    assert value(first.text(), "avr_bridge_tool_seconds_count", tool="look_up", outcome="ok") == 1


def test_what_was_told_once_is_never_taken_back(board: Board) -> None:
    """Who answers next knows at least as much: a worker writes before it answers."""
    first, second = Worker(board, 1), Worker(board, 2)
    told = 0.0
    for _ in range(5):
        first.call()
        for worker in (first, second):
            now = count(worker.text())
            assert now >= told
            told = now
    assert told == 5


def test_a_dead_workers_counters_stay(board: Board) -> None:
    """And its replacement goes on from them; what it only had for the moment is gone."""
    first, second = Worker(board, 1), Worker(board, 2)
    second.call()
    with second.door.call():
        second.text()
        assert value(first.text(), "avr_bridge_calls") == 1
        board.write(2, Standing())  # as its parent does
        page = first.text()
    assert count(page) == 1
    assert value(page, "avr_bridge_calls") == 0
    assert value(page, "avr_bridge_workers") == 1
    replacement = Worker(board, 2)
    assert count(first.text()) == 1
    replacement.call()
    assert count(replacement.text()) == 2
    assert count(first.text()) == 2
    board.write(2, Standing())
    third = Worker(board, 2)
    assert count(third.text()) == 2
    assert value(first.text(), "avr_bridge_workers") == 2


def test_deaths_are_told_by_all_and_counted_once(board: Board) -> None:
    """By the replacement as well, which goes on from what the dead one had told."""
    first, second = Worker(board, 1), Worker(board, 2)
    assert value(first.text(), DEATHS) == 0
    for deaths in (1, 2):
        second.text()
        board.write(2, Standing())  # as its parent does
        board.count_death()
        assert value(first.text(), DEATHS) == deaths
        second = Worker(board, 2)
        assert value(second.text(), DEATHS) == value(first.text(), DEATHS) == deaths


def test_alone(board: Board) -> None:
    """Without a seat there is nothing shared."""
    page = MetricsPage(Admission(ServerConfig()), RunningCalls(), 0)
    for moment in ALL_MOMENTS:
        page.metrics.take("u", moment)
    assert count(page.text().decode()) == 1
    page.close()


def test_too_many_numbers_are_left_out(board: Board) -> None:
    """The earlier ones stay, and the log says so once."""
    worker = Worker(board, 1)
    worker.call()
    worker.text()
    names = [f"tool_{number}_{'x' * 60}" for number in range(300)]
    worker.page.metrics.know_tools(names)
    for name in names:
        worker.page.metrics.take("u", ToolDone(1.0, name, "ok", 1.0))
    with structlog.testing.capture_logs() as log:
        for _ in range(3):
            assert "tool_299" in worker.text()
    assert [line["log_level"] for line in log] == ["error"]
    assert count(Worker(board, 2).text()) == 1


NUMBERS = st.lists(
    st.builds(
        Number,
        st.sampled_from(["avr_bridge_a_total", "avr_bridge_b", "avr_bridge_info"]),
        st.dictionaries(st.sampled_from(["tool", "why"]), st.text(max_size=3), max_size=2),
        st.integers(0, 1000).map(float),
        st.booleans(),
    ),
    max_size=6,
    unique_by=lambda number: number.key,
)


@given(parts=st.lists(NUMBERS, max_size=4))
def test_adding_is_adding(parts: list[list[Number]]) -> None:
    """Each number once, with the sum of all parts, or the greatest where that is meant."""
    sums = {number.key: number.value for number in added(parts)}
    assert len(added(parts)) == len(sums)
    for key, total in sums.items():
        found = [number.value for part in parts for number in part if number.key == key]
        assert total == (max(found) if key[0] == "avr_bridge_info" else sum(found))


@given(numbers=NUMBERS)
def test_what_is_written_is_read(numbers: list[Number]) -> None:
    """By who shares the memory, again and again; a row that nobody wrote is empty."""
    board = Board.create(2)
    try:
        ours, theirs = MetricsBoard(board), MetricsBoard(board)
        assert ours.read(2) == theirs.read(2) == []
        for _ in range(3):
            assert ours.write(2, numbers)
            assert theirs.read(2) == numbers
        assert theirs.read(1) == []
        ours.close()
        theirs.close()
    finally:
        board.close()
        os.close(board.fd)


def test_a_worker_that_is_killed_while_it_writes(board: Board) -> None:
    """What it wrote before is read: a torn slot is not the one that counts, and would be seen."""
    shared = MetricsBoard(board)
    old = [Number("avr_bridge_a_total", {}, 1.0, True)]
    shared.write(1, old)
    memory = shared._memory
    newer = memory[0]
    torn_at = 64 + (1 - newer) * SLOT_BYTES
    memory[torn_at : torn_at + 100] = os.urandom(100)
    assert shared.read(1) == old
    memory[64 + newer * SLOT_BYTES + 9] ^= 0xFF
    assert shared.read(1) == []
    shared.close()
