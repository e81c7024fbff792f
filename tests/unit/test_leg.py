"""What a leg carries is found out from its first sound: slin, µ-law or A-law."""

from __future__ import annotations

import numpy as np
import pytest

from avr_bridge.audio import leg
from avr_bridge.audio.codec import decode, encode
from avr_bridge.audio.format import PCM16_8K, Encoding
from avr_bridge.audio.leg import LegDecoder, guess_encoding
from avr_bridge.testing import clip, read_wav

CLIPS = ["question", "greeting", "hours-answer", "keys-answer", "transfer-question"]
FRAME = PCM16_8K.frame_bytes
EVERY = 23
"""Frames from one judged place to the next; no voice has such a period."""

ENCODINGS = pytest.mark.parametrize("encoding", Encoding)


def speech(name: str, gain: float = 1.0, noise: float = 0.0) -> bytes:
    """A clip at another level, with noise of the line added."""
    samples = np.frombuffer(read_wav(clip(name)), "<i2") * gain
    samples = samples + np.random.default_rng(1).normal(0, noise, len(samples))
    return np.clip(samples, -32768, 32767).astype("<i2").tobytes()


def frame_bytes(encoding: Encoding) -> int:
    """Of 20 ms, as Asterisk sends them."""
    return FRAME if encoding is Encoding.PCM16 else FRAME // 2


@ENCODINGS
@pytest.mark.parametrize("gain", [1.0, 0.1, 0.01])
@pytest.mark.parametrize("noise", [0.0, 30.0])
def test_a_tenth_of_a_second_of_speech_tells(encoding: Encoding, gain: float, noise: float) -> None:
    """Wherever in the speech it is, the guess is right, and nearly always sure; from a single frame
    it is right as well."""
    wrong, sure, tried = [], 0, 0
    for name in CLIPS:
        pcm = speech(name, gain, noise)
        for at in range(0, len(pcm) - 5 * FRAME, EVERY * FRAME):
            coded = encode(pcm[at : at + 5 * FRAME], encoding)
            guess, is_sure = guess_encoding(coded)
            length = frame_bytes(encoding)
            first, _ = guess_encoding(coded[:length], length)
            tried += 1
            sure += is_sure
            if guess is not encoding or first is not encoding:
                wrong.append((name, at))
    assert wrong == []
    assert sure >= 0.6 * tried


@ENCODINGS
def test_digital_silence_tells_at_once(encoding: Encoding) -> None:
    """Most calls begin with it. It is heard as what it is, and decides nothing: each might be a
    constant of another encoding."""
    decoder = LegDecoder()
    silent = encode(bytes(FRAME), encoding)
    for _ in range(10):
        assert not decoder.decode(silent, frame_bytes(encoding)).strip(b"\0\x08")
        assert decoder.encoding is encoding
    assert not decoder.sure


def test_slin_that_was_alaw_before() -> None:
    """Asterisk's translation of A-law silence is no zero but 8: still slin, not µ-law."""
    quiet = decode(encode(bytes(5 * FRAME), Encoding.ALAW), Encoding.ALAW)
    assert quiet.strip(b"\0")
    assert guess_encoding(quiet) == (Encoding.PCM16, True)


@ENCODINGS
@pytest.mark.parametrize("freq_hz", [50, 425, 697, 1633, 3300])
@pytest.mark.parametrize("level", [30_000, 3_000, 100])
def test_tones_tell(encoding: Encoding, freq_hz: int, level: int) -> None:
    """Ringing, keys and worse, full scale and quiet."""
    turns = 2 * np.pi * freq_hz / 8000 * np.arange(1600)
    pcm = (level * np.sin(turns)).astype("<i2").tobytes()
    guess, _ = guess_encoding(encode(pcm, encoding), frame_bytes(encoding))
    assert guess is encoding


@ENCODINGS
@pytest.mark.parametrize("level", [10, 100, 500, 700, 1000, 1400, 2000, 8000])
@pytest.mark.parametrize("kind", ["normal", "laplace"])
def test_noise_tells(encoding: Encoding, level: int, kind: str) -> None:
    """White noise of any loudness, in which nothing can be predicted: a fifth of a second tells the
    laws apart by how rare great amplitudes are, and what is sure is right. At about 1000 each law
    looks calmer in the other's reading."""
    random = np.random.default_rng(level)
    wrong = sure = 0
    for _ in range(50):
        samples = getattr(random, kind)(0, level, 1600)
        pcm = np.clip(samples, -32768, 32767).astype("<i2").tobytes()
        guess, is_sure = guess_encoding(encode(pcm, encoding), frame_bytes(encoding))
        wrong += guess is not encoding
        sure += is_sure
    assert wrong == 0
    assert sure > 35


def test_bytes_of_no_kind_are_never_sure() -> None:
    """Opus, say, or what is encrypted: nothing is sure, so what comes later may still tell."""
    random = np.random.default_rng(1)
    assert not any(guess_encoding(random.bytes(1600), 160)[1] for _ in range(200))


@ENCODINGS
def test_a_doubtful_beginning_is_made_good(encoding: Encoding, question: bytes) -> None:
    """Two samples say nothing; what they are taken for is not kept."""
    decoder = LegDecoder()
    decoder.decode(b"\xff\xff")
    assert not decoder.sure
    coded = encode(question, encoding)
    step = FRAME // 2
    heard = b"".join(decoder.decode(coded[at : at + step]) for at in range(0, len(coded), step))
    expected = decode(coded, encoding)
    assert (decoder.encoding, decoder.sure) == (encoding, True)
    assert heard[-len(expected) // 2 :] == expected[-len(expected) // 2 :]


@ENCODINGS
def test_a_leg_that_is_known_is_not_judged(encoding: Encoding) -> None:
    """What the settings say stands, whatever the bytes look like."""
    decoder = LegDecoder(encoding)
    data = b"\xff" * FRAME
    assert decoder.decode(data) == decode(data, encoding)
    assert (decoder.encoding, decoder.sure) == (encoding, True)


def test_half_a_sample_is_dropped() -> None:
    """Slin of an odd length: no error, and the next frame begins at its own first byte."""
    decoder = LegDecoder(Encoding.PCM16)
    assert decoder.decode(b"\1\0\2") == b"\1\0"
    assert decoder.decode(b"\3\0") == b"\3\0"
    assert decoder.decode(b"") == b""


OFFSETS = [0, *(sign * size for size in (10, 30, 64, 80, 120, 300, 500) for sign in (1, -1))]
FAR_OFFSETS = [716, -716, 1000, -1000]


def late_frames(
    encoding: Encoding, gain: float, offset: int, noise: float, hum: float
) -> tuple[list[int], LegDecoder]:
    """Half a second without speech on an offset, then 2 s of a clip on the same: which frames of
    those with speech were taken for something else, counted from its beginning."""
    spoken = np.frombuffer(read_wav(clip("greeting")), "<i2")[:16_000] * gain
    samples = np.concatenate([np.zeros(4_000), spoken]) + offset
    samples += hum * np.sin(2 * np.pi * 50 / 8_000 * np.arange(len(samples)))
    samples += np.random.default_rng(abs(offset)).normal(0, noise, len(samples))
    coded = encode(np.rint(samples).clip(-32768, 32767).astype("<i2").tobytes(), encoding)
    levels = np.sqrt(np.mean(np.square(spoken.reshape(-1, 160)), axis=1))
    step, decoder, late = frame_bytes(encoding), LegDecoder(), []
    for n, at in enumerate(range(0, len(coded), step)):
        decoder.decode(coded[at : at + step], step)
        speaks = n >= 25 and levels[n - 25] > 0.2 * levels.max()
        if speaks and decoder.encoding is not encoding:
            late.append(n - 25)
    return late, decoder


@ENCODINGS
@pytest.mark.parametrize("offset", OFFSETS)
@pytest.mark.parametrize("noise", [0.0, 5.0, 50.0])
def test_speech_decides_on_any_offset(encoding: Encoding, offset: int, noise: float) -> None:
    """Whatever the quiet before seemed to be: from the first frame of the speech on it is right,
    and within 2 s it stands, but for quiet speech and great offsets."""
    for gain in (1.0, 0.3, 0.1):
        for hum in (0.0, 100.0):
            late, decoder = late_frames(encoding, gain, offset, noise, hum)
            assert late == []
            assert decoder.encoding is encoding
            assert decoder.sure or gain < 1 or abs(offset) > 300


@ENCODINGS
@pytest.mark.parametrize("offset", FAR_OFFSETS)
@pytest.mark.parametrize("noise", [0.0, 5.0, 50.0])
def test_speech_on_a_far_offset(encoding: Encoding, offset: int, noise: float) -> None:
    """3 % of full scale: its beginning may be lost in the offset's coarse steps, no more of it."""
    late, decoder = late_frames(encoding, 1.0, offset, noise, 0.0)
    assert len(late) <= 2
    assert decoder.encoding is encoding


@ENCODINGS
def test_what_speech_decided_stands(encoding: Encoding, question: bytes) -> None:
    """Sound of another encoding behind it changes nothing, and is not looked at."""
    decoder = LegDecoder()
    coded, step = encode(question, encoding), frame_bytes(encoding)
    for at in range(0, len(coded), step):
        decoder.decode(coded[at : at + step], step)
    assert decoder.sure
    for other in Encoding:
        decoder.decode(encode(question, other), step)
        assert decoder.encoding is encoding


def test_the_codes_of_silence_may_be_an_offset(question: bytes) -> None:
    """A constant of 716 in µ-law is silence in A-law, byte for byte: the speech behind it tells."""
    silent = encode(bytes(16_000), Encoding.ALAW)
    coded = encode(np.full(8_000, 716, "<i2").tobytes(), Encoding.ULAW)
    assert coded == silent
    decoder = LegDecoder()
    decoder.decode(coded, 160)
    assert (decoder.encoding, decoder.sure) == (Encoding.ALAW, False)
    decoder.decode(encode(question, Encoding.ULAW), 160)
    assert decoder.encoding is Encoding.ULAW


@ENCODINGS
@pytest.mark.parametrize(("noise", "most_looks"), [(0.0, 20), (5.0, 30)])
def test_a_caller_who_only_listens_costs_few_looks(
    monkeypatch: pytest.MonkeyPatch, encoding: Encoding, noise: float, most_looks: int
) -> None:
    """A look takes a millisecond. Each frame has one until there are 3,200 bytes to judge, at most
    20; of the ten seconds behind them each has one, and of digital silence none. What is said
    after that is read rightly all the same."""
    looks = 0

    def counted(data: bytes, frame_bytes: int = 0) -> tuple[Encoding, bool]:
        nonlocal looks
        looks += 1
        return guess_encoding(data, frame_bytes)

    monkeypatch.setattr(leg, "guess_encoding", counted)
    quiet = np.random.default_rng(1).normal(0, noise, 80_000).astype("<i2").tobytes()
    decoder, size = LegDecoder(), frame_bytes(encoding)
    coded = encode(quiet, encoding)
    for at in range(0, len(coded), size):
        decoder.decode(coded[at : at + size], size)
    assert 0 < looks <= most_looks
    coded = encode(speech("question"), encoding)
    for at in range(0, len(coded), size):
        decoder.decode(coded[at : at + size], size)
    assert (decoder.encoding, decoder.sure) == (encoding, True)
