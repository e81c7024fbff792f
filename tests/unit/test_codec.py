"""G.711 <-> PCM16: lengths, silence, and what comes back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from avr_bridge.audio.codec import decode, encode
from avr_bridge.audio.format import ALAW_8K, PCM16_8K, ULAW_8K, AudioFormat, Encoding

G711 = [Encoding.ULAW, Encoding.ALAW]


@pytest.mark.parametrize("fmt", [ULAW_8K, ALAW_8K, PCM16_8K])
def test_silence_is_silence_in_both_directions(fmt: AudioFormat) -> None:
    """20 ms of PCM16 zeros become the format's own silence; back, at most A-law's +-8 remains."""
    assert encode(bytes(320), fmt.encoding) == fmt.silence(160)
    back = np.frombuffer(decode(fmt.silence(160), fmt.encoding), "<i2")
    assert len(back) == 160
    assert np.abs(back).max() <= 8


@pytest.mark.parametrize("encoding", G711)
def test_every_code_survives_a_round_trip(encoding: Encoding) -> None:
    """Decoding all 256 codes and encoding them again changes no sample value."""
    pcm = decode(bytes(range(256)), encoding)
    assert len(pcm) == 512
    assert decode(encode(pcm, encoding), encoding) == pcm


@pytest.mark.parametrize("encoding", G711)
@given(sample=st.integers(-32768, 32767))
def test_a_sample_comes_back_within_its_step(encoding: Encoding, sample: int) -> None:
    """G.711 is wrong by at most 1/16 of the sample, or a few steps near zero."""
    pcm = sample.to_bytes(2, "little", signed=True)
    back = int.from_bytes(decode(encode(pcm, encoding), encoding), "little", signed=True)
    assert abs(back - sample) <= max(abs(sample) / 16, 16)


def test_pcm16_passes_as_the_same_object() -> None:
    """PCM16 is no conversion, so no copy is made."""
    pcm = bytes(range(64))
    assert encode(pcm, Encoding.PCM16) is pcm
    assert decode(pcm, Encoding.PCM16) is pcm


@pytest.mark.parametrize("encoding", Encoding)
def test_nothing_gives_nothing(encoding: Encoding) -> None:
    """Empty chunks are allowed."""
    assert encode(b"", encoding) == b""
    assert decode(b"", encoding) == b""


@pytest.mark.parametrize("encoding", Encoding)
def test_half_a_sample_is_refused(encoding: Encoding) -> None:
    """PCM16 of an odd length raises ValueError, not audioop's own error."""
    with pytest.raises(ValueError, match="middle of a sample"):
        encode(b"\0\0\0", encoding)


def test_half_a_sample_of_pcm16_is_refused_by_decode() -> None:
    """As in the other direction."""
    with pytest.raises(ValueError, match="middle of a sample"):
        decode(b"\0", Encoding.PCM16)
