"""The log's own thread: lines come in order, all at the end, and a stalled reader stalls nobody."""

from __future__ import annotations

import io
import os
import threading

from avr_bridge.telemetry.background import MOST_LINES, BackgroundStream


def test_every_line_is_there_at_the_end() -> None:
    """In order, without a flush of the writer's."""
    stream = io.StringIO()
    background = BackgroundStream(stream)
    for number in range(1000):
        background.write(f"{number}\n")
    background.close()
    assert stream.getvalue().split() == [str(number) for number in range(1000)]


def test_a_reader_that_stalls_holds_nobody_up() -> None:
    """More lines than a pipe takes and than are kept: writing returns; what was lost is told as
    soon as somebody reads again."""
    read_end, write_end = os.pipe()
    with os.fdopen(read_end) as reader, os.fdopen(write_end, "w") as stream:
        background = BackgroundStream(stream)
        line = "x" * 999 + "\n"
        for _ in range(MOST_LINES + 500):
            background.write(line)
        told = threading.Event()

        def read() -> None:
            for one in reader:
                if "log lines were lost" in one:
                    told.set()

        thread = threading.Thread(target=read, daemon=True)
        thread.start()
        for _ in range(2 * MOST_LINES):
            if told.is_set():
                break
            background.write(line)
            told.wait(0.01)
        assert told.is_set()
        background.close()
        stream.close()
        thread.join()


def test_a_reader_that_has_gone_is_no_fault() -> None:
    """Nothing is raised where the log is written, and the end does not wait for it."""
    read_end, write_end = os.pipe()
    os.close(read_end)
    stream = os.fdopen(write_end, "w")
    background = BackgroundStream(stream)
    for _ in range(100):
        background.write("x" * 9999 + "\n")
    background.close()
    try:
        stream.close()
    except BrokenPipeError:
        return
