"""What a recording of the caller's ear tells: how far into an answer the caller had come.

Whole recordings only, PCM16 LE mono, 8 kHz. Nothing here knows Asterisk.
"""

from __future__ import annotations

import attrs
import numpy as np

from avr_bridge.audio.codec import decode, encode
from avr_bridge.audio.format import PCM16_8K, Encoding
from avr_bridge.testing import clip, likeness, read_wav
from avr_bridge.testing.likeness import is_audible

SAMPLES_A_MS = 8
BLOCK_MS = 200
DRIFT_MS = 100
"""How far one block may lie from where the one before it was: five frames too many, or missing."""
SURE = 0.95
TAILS_MS = (400, 200, 100)
"""So much before the cut is enough to find its place: sounds that occur but once. The shorter ones
are for a recording with a late frame just there."""
CLIPS = (
    "greeting",
    "hours-answer",
    "keys-answer",
    "transfer-answer",
    "question",
    "hours-question",
    "transfer-question",
)


@attrs.frozen
class Cut:
    """The end of what was heard of an answer.

    Attributes:
        at_ms: Its place within the answer: so much of it was heard.
        in_recording_ms: Its place within the recording.
        correlation: How surely it is that place; 1 is the very samples.
    """

    at_ms: float
    in_recording_ms: float
    correlation: float


@attrs.frozen
class Pieces:
    """How much of what was said is in a recording, block by block.

    Attributes:
        correlation: 1 is the same sound, 0 is nothing of it.
        drift_ms: How far apart the blocks' places are: 0 if nothing was put in or left out. On a
            busy machine a frame is late once in a while, and silence is heard in its place.
    """

    correlation: float
    drift_ms: float


def pieces(said: bytes, heard: bytes) -> Pieces:
    """Find what was said within what was heard, each block near the place of the one before it."""
    places: list[float] = []
    score = total = 0.0
    at_ms = likeness(said, heard).offset_ms
    block = PCM16_8K.bytes_of_ms(BLOCK_MS)
    for begin in range(0, len(said), block):
        part = said[begin : begin + block]
        energy = float(np.square(np.frombuffer(part, "<i2").astype(float)).sum())
        if not is_audible(part):
            continue
        from_ms = max(0.0, PCM16_8K.ms(begin) + at_ms - DRIFT_MS)
        start = PCM16_8K.bytes_of_ms(from_ms)
        near = heard[start : start + len(part) + PCM16_8K.bytes_of_ms(2 * DRIFT_MS)]
        found = likeness(part, near)
        total += energy
        score += energy * found.correlation
        if found.correlation > SURE:
            at_ms = PCM16_8K.ms(start) + found.offset_ms - PCM16_8K.ms(begin)
            places.append(at_ms)
    return Pieces(score / total, max(places) - min(places) if places else 0.0)


def long_answer() -> bytes:
    """Eleven seconds of speech without pauses or repetitions, as it sounds after µ-law: wherever it
    is cut, the place can be told."""
    frame = PCM16_8K.frame_bytes
    speech = b"".join(read_wav(clip(name)) for name in CLIPS)
    frames = (speech[at : at + frame] for at in range(0, len(speech), frame))
    kept = b"".join(part for part in frames if is_audible(part))
    return decode(encode(kept, Encoding.ULAW), Encoding.ULAW)


def cut_of(answer: bytes, heard: bytes) -> Cut:
    """Where within `answer` the sound in `heard` ends. There is no other sound in `heard`."""
    samples = np.frombuffer(heard, "<i2")
    loud = np.flatnonzero(samples)
    assert len(loud), "nothing was heard"
    end = int(loud[-1]) + 1
    cuts = []
    for tail_ms in TAILS_MS:
        tail = samples[max(0, end - tail_ms * SAMPLES_A_MS) : end]
        found = likeness(tail.tobytes(), answer)
        at_ms = found.offset_ms + len(tail) / SAMPLES_A_MS
        cuts.append(Cut(at_ms, end / SAMPLES_A_MS, found.correlation))
    return next((cut for cut in cuts if cut.correlation > SURE), cuts[0])


def onset_ms(pcm: bytes) -> float:
    """Where the first sound in a recording begins."""
    loud = np.flatnonzero(np.frombuffer(pcm, "<i2"))
    assert len(loud), "there is no sound"
    return float(loud[0]) / SAMPLES_A_MS
