"""Encoder and decoder: cut anywhere, never mixed between calls, silence stays silence."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from avr_bridge.audio import codec
from avr_bridge.audio.format import (
    ALAW_8K,
    PCM16_8K,
    PCM16_16K,
    PCM16_24K,
    ULAW_8K,
    AudioFormat,
    Encoding,
)
from avr_bridge.audio.resample import make_resampler
from avr_bridge.audio.transcode import Decoder, Encoder, clip_in
from avr_bridge.testing import likeness

FORMATS = [PCM16_24K, PCM16_8K, ULAW_8K, ALAW_8K]
EVERY_FORMAT = pytest.mark.parametrize(
    "fmt", FORMATS, ids=lambda f: f"{f.encoding.name}{f.rate_hz}"
)
EVERY_KIND = pytest.mark.parametrize("kind", ["fir", "audioop"])
N_CALLS = 7


def tone(freq_hz: float, rate_hz: int, n_samples: int) -> bytes:
    """A sine at -6 dBFS, PCM16 LE."""
    t = np.arange(n_samples) / rate_hz
    return np.rint(16_000 * np.sin(2 * np.pi * freq_hz * t)).astype("<i2").tobytes()


def model_sound(fmt: AudioFormat, freq_hz: float, n_samples: int) -> bytes:
    """The tone as a model would send it in `fmt`."""
    return codec.encode(tone(freq_hz, fmt.rate_hz, n_samples), fmt.encoding)


@EVERY_FORMAT
@EVERY_KIND
def test_interleaved_calls_never_mix(fmt: AudioFormat, kind: str) -> None:
    """Each of several calls in turn gives the very bytes that it gives alone, both ways."""
    heard = [tone(300 + 200 * i, 8_000, 1_600) for i in range(N_CALLS)]
    said = [model_sound(fmt, 250 + 210 * i, 2_400) for i in range(N_CALLS)]
    encoders = [Encoder(fmt, kind) for _ in range(N_CALLS)]
    decoders = [Decoder(fmt, kind) for _ in range(N_CALLS)]
    up, down = [b""] * N_CALLS, [b""] * N_CALLS
    for start in range(0, 4_800, 320):
        for i in range(N_CALLS):
            up[i] += encoders[i].encode(heard[i][start : start + 320])
            down[i] += decoders[i].decode(said[i][start : start + 320])
    for i in range(N_CALLS):
        assert up[i] == Encoder(fmt, kind).encode(heard[i])
        assert down[i] == Decoder(fmt, kind).decode(said[i])
    assert len(set(up)) == len(set(down)) == N_CALLS


@given(
    data=st.binary(max_size=600),
    cuts=st.lists(st.integers(0, 600), max_size=20),
    fmt=st.sampled_from(FORMATS),
    kind=st.sampled_from(["fir", "audioop"]),
)
def test_deltas_cut_anywhere_decode_to_the_same_bytes(
    data: bytes, cuts: list[int], fmt: AudioFormat, kind: str
) -> None:
    """Even in the middle of a sample, and with empty deltas between; flush included."""
    whole, parts = Decoder(fmt, kind), Decoder(fmt, kind)
    expected = whole.decode(data) + whole.flush()
    edges = [0, *sorted(min(c, len(data)) for c in cuts), len(data)]
    out = b"".join(parts.decode(data[a:b]) for a, b in pairwise(edges))
    assert out + parts.flush() == expected


@EVERY_FORMAT
@EVERY_KIND
def test_silence_maps_to_silence(fmt: AudioFormat, kind: str) -> None:
    """Up: the format's own silence. Down: zeros, or A-law's smallest step, 8."""
    up = Encoder(fmt, kind).encode(PCM16_8K.silence(800))
    assert up == fmt.silence(len(up) // fmt.sample_bytes)
    down = np.frombuffer(Decoder(fmt, kind).decode(fmt.silence(2_400)), "<i2")
    assert np.abs(down).max() <= (8 if fmt.encoding is Encoding.ALAW else 0)


@pytest.mark.parametrize("fmt", [ULAW_8K, ALAW_8K, PCM16_8K])
def test_8_khz_adds_no_delay_and_flushes_nothing(fmt: AudioFormat) -> None:
    """20 ms in, 20 ms out, at once."""
    encoder, decoder = Encoder(fmt, "fir"), Decoder(fmt, "fir")
    assert len(encoder.encode(bytes(320))) == fmt.frame_bytes
    assert len(decoder.decode(fmt.silence(160))) == 320
    assert decoder.flush() == b""
    assert encoder.delay_ms == decoder.delay_ms == 0


def test_24_khz_keeps_frames_whole_and_flushes_the_delay() -> None:
    """With fir, 320 bytes <-> 960 bytes frame by frame; the flush gives the last 2 ms."""
    encoder, decoder = Encoder(PCM16_24K, "fir"), Decoder(PCM16_24K, "fir")
    for _ in range(5):
        assert len(encoder.encode(bytes(320))) == 960
        assert len(decoder.decode(bytes(960))) == 320
    assert len(decoder.flush()) == 32
    assert encoder.delay_ms == decoder.delay_ms == 2


@EVERY_KIND
@pytest.mark.parametrize("end", ["flush", "reset"])
def test_the_next_answer_starts_as_new(kind: str, end: str) -> None:
    """Neither the filter's past nor an odd byte reaches the next answer."""
    said = model_sound(PCM16_24K, 440, 2_400)
    decoder = Decoder(PCM16_24K, kind)
    decoder.decode(said[:-1])
    getattr(decoder, end)()
    assert decoder.decode(said) == Decoder(PCM16_24K, kind).decode(said)


def test_the_encoder_refuses_half_a_sample() -> None:
    """The caller's side is always whole; a remainder there is a bug."""
    with pytest.raises(ValueError, match="middle of a sample"):
        Encoder(ULAW_8K, "fir").encode(b"\0")


def test_an_impossible_format_is_refused_at_once() -> None:
    """Not at the first sound of a call."""
    odd_rate = AudioFormat(Encoding.PCM16, 44_100)
    for build in (Encoder, Decoder):
        with pytest.raises(ValueError, match="converts"):
            build(odd_rate, "fir")


@pytest.mark.parametrize("fmt", [ULAW_8K, ALAW_8K, PCM16_8K, PCM16_16K, PCM16_24K])
def test_a_shared_format_passes_untouched(fmt: AudioFormat) -> None:
    """The very bytes, those that no encoder writes too (µ-law 0x7f is another zero)."""
    data = bytes(range(256)) * 2
    assert Encoder(fmt, "fir", fmt).encode(data) is data
    decoder = Decoder(fmt, "fir", fmt)
    assert decoder.decode(data) is data
    assert decoder.flush() == b""
    assert Decoder(fmt, "fir", fmt).delay_ms == 0


def test_a_shared_pcm_format_still_carries_half_a_sample() -> None:
    """A delta may end anywhere; the caller's side gets whole samples."""
    decoder = Decoder(PCM16_24K, "fir", PCM16_24K)
    assert decoder.decode(b"\1\2\3") == b"\1\2"
    assert decoder.decode(b"\4\5") == b"\3\4"


@pytest.mark.parametrize("leg", [ULAW_8K, ALAW_8K, PCM16_16K, PCM16_24K])
@pytest.mark.parametrize("model", [ULAW_8K, ALAW_8K, PCM16_24K])
def test_speech_survives_every_pair(question: bytes, leg: AudioFormat, model: AudioFormat) -> None:
    """From a leg's format to the model's and back."""
    there = Encoder(model, "fir", leg).encode(clip_in(leg, question))
    decoder = Decoder(model, "fir", leg)
    back = decoder.decode(there) + decoder.flush()
    heard = Encoder(PCM16_8K, "fir", leg).encode(back)
    assert likeness(question, heard).correlation > 0.99


@pytest.mark.parametrize("fmt", [PCM16_8K, ULAW_8K, ALAW_8K, PCM16_16K, PCM16_24K])
def test_a_clip_keeps_its_length_and_its_place(question: bytes, fmt: AudioFormat) -> None:
    """Whole frames stay whole frames, and nothing is late by the filter's delay."""
    there = clip_in(fmt, question)
    assert fmt.ms(len(there)) == PCM16_8K.ms(len(question))
    resampler = make_resampler("fir", fmt.rate_hz, 8_000)
    back = resampler.process(codec.decode(there, fmt.encoding)) + resampler.flush()
    assert abs(likeness(question, back).offset_ms - resampler.delay_ms) < 0.2
