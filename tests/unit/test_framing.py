"""The framer: whole frames only, and no byte lost, doubled or out of order."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avr_bridge.audio.format import ALAW_8K, PCM16_8K, PCM16_24K, ULAW_8K, AudioFormat
from avr_bridge.audio.framing import Framer

FORMATS = [PCM16_8K, PCM16_24K, ULAW_8K, ALAW_8K]


@given(
    fmt=st.sampled_from(FORMATS),
    sizes=st.lists(st.integers(0, 1_500), max_size=30),
    seed=st.binary(),
)
def test_any_chunks_come_out_in_whole_frames_and_in_order(
    fmt: AudioFormat, sizes: list[int], seed: bytes
) -> None:
    """After the flush the output is the input plus silence up to a whole frame; nothing pends."""
    framer = Framer(fmt)
    pushed = out = b""
    for i, size in enumerate(sizes):
        chunk = ((seed + i.to_bytes(2, "big")) * (size + 1))[:size]
        pushed += chunk
        frames = framer.push(chunk)
        assert len(frames) % fmt.frame_bytes == 0
        out += frames
        assert framer.pending_bytes == len(pushed) - len(out) < fmt.frame_bytes
    assert out == pushed[: len(out)]
    tail = framer.flush()
    assert len(tail) in (0, fmt.frame_bytes)
    whole_bytes = len(pushed) - len(pushed) % fmt.sample_bytes
    out += tail
    assert out[:whole_bytes] == pushed[:whole_bytes]
    rest = out[whole_bytes:]
    assert rest == fmt.silence(len(rest) // fmt.sample_bytes)
    assert framer.pending_bytes == 0
    assert framer.flush() == b""


@pytest.mark.parametrize("fmt", FORMATS)
def test_whole_frames_pass_without_a_copy(fmt: AudioFormat) -> None:
    """The usual case costs nothing."""
    data = bytes(3 * fmt.frame_bytes)
    assert Framer(fmt).push(data) is data


@pytest.mark.parametrize("fmt", [PCM16_8K, ULAW_8K, ALAW_8K])
def test_flush_fills_with_the_silence_of_the_format(fmt: AudioFormat) -> None:
    """One sample of sound, 159 of silence."""
    framer = Framer(fmt)
    sample = b"\x12" * fmt.sample_bytes
    assert framer.push(sample) == b""
    assert framer.flush() == sample + fmt.silence(159)


def test_half_a_sample_becomes_silence() -> None:
    """A cut last sample is not sound."""
    framer = Framer(PCM16_8K)
    framer.push(b"\1\2\3")
    assert framer.flush() == b"\1\2" + bytes(318)


def test_clear_forgets_the_remainder() -> None:
    """After an interruption the next answer starts on its own frame."""
    framer = Framer(PCM16_8K)
    framer.push(b"\1" * 100)
    framer.clear()
    assert framer.pending_bytes == 0
    assert framer.push(b"\2" * 320) == b"\2" * 320
    assert framer.flush() == b""
