"""The queue before the caller: nothing lost, doubled, reordered or leaked."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from avr_bridge.audio.playout import Playout

FRAME = 320


def drain(playout: Playout, frames: int = 3) -> bytes:
    taken = []
    while piece := playout.take(frames)[0]:
        assert len(piece) % FRAME == 0
        taken.append(piece)
    return b"".join(taken)


@given(
    st.lists(st.binary(max_size=1000).map(lambda half: half * 2), max_size=30), st.integers(1, 7)
)
def test_bytes_come_out_as_they_went_in(deltas: list[bytes], step: int) -> None:
    """Whatever the sizes in, in whole samples: the same bytes come out, padded once at the end."""
    playout = Playout()
    out = b""
    for delta in deltas:
        playout.push(delta)
        out += playout.take(step)[0]
    playout.finish()
    out += drain(playout, step)
    said = b"".join(deltas)
    assert out[: len(said)] == said
    padding = out[len(said) :]
    assert padding == bytes(-len(said) % FRAME)


def test_nothing_of_an_answer_leaks_into_the_next() -> None:
    """The last partial frame is padded and flushed; the next answer starts on a frame."""
    playout = Playout()
    playout.push(b"\1" * 330)
    playout.finish()
    playout.push(b"\2" * 320)
    playout.finish()
    frames = drain(playout)
    assert frames == b"\1" * 330 + bytes(310) + b"\2" * 320


def test_clear_drops_whole_frames_and_the_started_one() -> None:
    """After an interruption not one byte of the old answer is left."""
    playout = Playout()
    playout.push(b"\1" * 1000)
    assert playout.take(1)[0] == b"\1" * 320
    playout.clear()
    assert playout.waiting_bytes == 0
    playout.push(b"\2" * 640)
    assert drain(playout) == b"\2" * 640


def test_long_answers_do_not_keep_what_was_played() -> None:
    """Played bytes are given back while the answer goes on."""
    playout = Playout()
    playout.push(bytes(FRAME) * 3000)
    for _ in range(2900):
        playout.take(1)
    assert playout.waiting_frames == 100
    assert len(playout._waiting) < 70_000 + 100 * FRAME
