"""Both directions, next to the model's socket: G.711 µ-law or A-law <-> PCM16 at the same rate.

The sound keeps its rate here; rates change in `resample.py`, and `transcode.py` puts the two
together. Stateless: every sample stands for itself.
"""

from __future__ import annotations

import audioop

from avr_bridge.audio.format import Encoding

__all__ = ["decode", "encode"]

_PCM16_BYTES = 2


def encode(pcm: bytes, encoding: Encoding) -> bytes:
    """Turn PCM16 LE mono into `encoding`, sample for sample, at the same rate.

    Args:
        pcm: PCM16 LE mono, whole samples; may be empty.
        encoding: What comes out: one byte a sample for G.711; `PCM16` returns `pcm` as it is.

    Raises:
        ValueError: `pcm` ends in the middle of a sample.
    """
    if len(pcm) % _PCM16_BYTES:
        raise ValueError(f"PCM16 of {len(pcm)} bytes ends in the middle of a sample")
    match encoding:
        case Encoding.PCM16:
            return pcm
        case Encoding.ULAW:
            return audioop.lin2ulaw(pcm, _PCM16_BYTES)
        case Encoding.ALAW:
            return audioop.lin2alaw(pcm, _PCM16_BYTES)


def decode(data: bytes, encoding: Encoding) -> bytes:
    """Turn samples of `encoding` into PCM16 LE mono, sample for sample, at the same rate.

    Args:
        data: Whole samples of `encoding`; may be empty.
        encoding: What `data` is; `PCM16` returns it as it is.

    Raises:
        ValueError: `data` is PCM16 and ends in the middle of a sample.
    """
    match encoding:
        case Encoding.PCM16:
            if len(data) % _PCM16_BYTES:
                raise ValueError(f"PCM16 of {len(data)} bytes ends in the middle of a sample")
            return data
        case Encoding.ULAW:
            return audioop.ulaw2lin(data, _PCM16_BYTES)
        case Encoding.ALAW:
            return audioop.alaw2lin(data, _PCM16_BYTES)
