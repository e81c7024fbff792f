"""The tones that carry probes, and the detector, through what containers do to sound."""

from __future__ import annotations

import audioop
import pytest

from avr_bridge.audio.resample import make_resampler
from avr_bridge.soak.load.sounds import FRAME_MS, LOUD, PCM_8K, LoudRun, Sound, level_of

PCM_24K = Sound("audio/pcm", 24_000)
ULAW = Sound("audio/pcmu", 8_000)
ALAW = Sound("audio/pcma", 8_000)
FRAME = FRAME_MS * 16
QUIET_FRAMES = 10


def spoken(*loud: bytes) -> bytes:
    """Quiet speech, PCM16 at 8 kHz, with loud frames in its middle."""
    quiet = PCM_8K.speech(0, QUIET_FRAMES * FRAME_MS)
    return quiet + b"".join(loud) + quiet


def counted(pcm: bytes, rate_hz: int, chunk_ms: float) -> tuple[int, int]:
    """Probes and barge-ins that the detector finds in sound cut so."""
    run, probes, barge_ins = LoudRun(rate_hz), 0, 0
    step = int(chunk_ms * rate_hz // 1000) * 2
    for at in range(0, len(pcm), step):
        piece = pcm[at : at + step]
        if level_of(piece) <= LOUD:
            run.quiet(chunk_ms)
        else:
            begins, burst = run.loud(piece)
            probes, barge_ins = probes + begins, barge_ins + burst
    return probes, barge_ins


@pytest.mark.parametrize("sound", [PCM_8K, PCM_24K, ULAW, ALAW])
def test_speech_is_quiet_and_tones_are_loud(sound: Sound) -> None:
    """In each encoding the levels lie far on both sides of the threshold, and lengths are exact."""
    speech = sound.speech(980, 100)
    assert len(speech) == 100 * sound.bytes_per_ms
    assert 100 < level_of(sound.decode(speech)) < LOUD / 10
    for tone in (sound.probe(), sound.burst()):
        assert len(tone) == FRAME_MS * sound.bytes_per_ms
        assert level_of(sound.decode(tone)) > 2 * LOUD


def test_speech_goes_on_where_it_was() -> None:
    """Pieces of the loop join without a seam, past its end too."""
    pieces = b"".join(PCM_8K.speech(at, 60) for at in range(0, 1200, 60))
    assert pieces == PCM_8K.speech(0, 1200)


@pytest.mark.parametrize("chunk_ms", [10, 20, 40, 60, 100])
@pytest.mark.parametrize("shift", [0, 7, 80, 159])
@pytest.mark.parametrize("codec", ["pcm", "ulaw", "fir", "audioop"])
def test_a_probe_is_one_probe_and_a_barge_in_one_barge_in(
    codec: str, shift: int, chunk_ms: int
) -> None:
    """However the sound was cut, delayed, coded and resampled on the way."""
    for loud, expected in (([PCM_8K.probe()], (1, 0)), ([PCM_8K.burst()] * 5, (1, 1))):
        pcm, rate_hz = bytes(2 * shift) + spoken(*loud), 8_000
        if codec == "ulaw":
            pcm = audioop.ulaw2lin(audioop.lin2ulaw(pcm, 2), 2)
        elif codec != "pcm":
            pcm, rate_hz = make_resampler(codec, 8_000, 24_000).process(pcm), 24_000
        assert counted(pcm, rate_hz, chunk_ms) == expected


@pytest.mark.parametrize("codec", ["fir", "audioop"])
def test_a_tone_at_24_khz_survives_the_way_down(codec: str) -> None:
    """The model's answer to a probe is loud when the caller hears it."""
    quiet = PCM_24K.speech(0, 100)
    resampler = make_resampler(codec, 24_000, 8_000)
    pcm = resampler.process(quiet + PCM_24K.probe() + quiet)
    assert level_of(pcm) > 2 * LOUD


def test_two_probes_half_a_second_apart_are_two() -> None:
    """A run ends when it has been quiet for a while."""
    quiet = PCM_8K.speech(0, 500)
    assert counted(spoken(PCM_8K.probe(), quiet, PCM_8K.probe()), 8_000, 20) == (2, 0)
