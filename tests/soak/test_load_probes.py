"""The answer to a probe, told from everything else that a caller may hear."""

from __future__ import annotations

import math
import time
from array import array
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import audioop
import pytest

import avr_bridge
from avr_bridge.audio.resample import make_resampler
from avr_bridge.audio.wav import read_wav
from avr_bridge.soak.load.caller import PROBE_LIMIT_S, Caller, Frame
from avr_bridge.soak.load.probes import NO_MORE_S, ProbeSeeker
from avr_bridge.soak.load.sounds import PCM_8K, Sound

if TYPE_CHECKING:
    from collections.abc import Iterator

PCM_24K = Sound("audio/pcm", 24_000)
CLIPS = sorted(Path(avr_bridge.__file__).parent.glob("*/clips/*.wav"))
QUIET_MS = 200


def tone(hz: float, ms: float, peak: int = 23_000) -> bytes:
    """At 8 kHz."""
    samples = (round(peak * math.sin(math.tau * hz * n / 8000)) for n in range(round(8 * ms)))
    return array("h", samples).tobytes()


def noise(ms: int) -> bytes:
    random = Random(7)
    return array("h", (random.randint(-23_000, 23_000) for _ in range(8 * ms))).tobytes()


def found(pcm: bytes, chunk_ms: float = 20) -> list[float]:
    """The moments, in ms of the sound, of the pieces in which answers began."""
    seeker, step = ProbeSeeker(), int(chunk_ms * 8) * 2
    pieces = range(0, len(pcm), step)
    heard = [seeker.hear(pcm[at : at + step], at / 16_000) for at in pieces]
    heard.append(seeker.settle(len(pcm) / 16_000 + 2 * NO_MORE_S))
    return [round(1000 * when_s, 3) for when_s in heard if when_s is not None]


@pytest.mark.parametrize("chunk_ms", [5, 10, 20, 40, 60, 100])
@pytest.mark.parametrize("shift", [0, 7, 80, 159])
@pytest.mark.parametrize("codec", ["pcm", "ulaw", "alaw", "fir", "audioop"])
def test_an_answer_is_one_however_it_was_cut_and_coded(
    codec: str, shift: int, chunk_ms: int
) -> None:
    """Found once, in the piece in which it begins."""
    sound = PCM_24K if codec in ("fir", "audioop") else PCM_8K
    quiet = sound.speech(0, QUIET_MS)
    pcm = bytes(2 * shift * sound.rate_hz // 8000) + quiet + sound.probe() + quiet
    match codec:
        case "ulaw":
            pcm = audioop.ulaw2lin(audioop.lin2ulaw(pcm, 2), 2)
        case "alaw":
            pcm = audioop.alaw2lin(audioop.lin2alaw(pcm, 2), 2)
        case "fir" | "audioop":
            pcm = make_resampler(codec, 24_000, 8_000).process(pcm)
    (began_ms,) = found(pcm, chunk_ms)
    tone_ms = QUIET_MS + shift / 8 + 2.5
    assert tone_ms - chunk_ms - 3 <= began_ms <= tone_ms + 3


def loud_speech() -> Iterator[tuple[str, bytes]]:
    """Every clip that ships, as loud as it can be without clipping, and with it."""
    for path in CLIPS:
        for gain in (1.0, 4.0):
            pcm = read_wav(path)
            loudest = audioop.max(pcm, 2)
            yield path.stem, audioop.mul(pcm, 2, gain * 32_000 / loudest)


def test_no_word_of_the_clips_is_an_answer() -> None:
    """Neither the fallback's words nor another model's: nothing of it is counted."""
    assert len(CLIPS) >= 9
    for name, pcm in loud_speech():
        for shift in range(0, 160, 40):
            assert found(pcm[2 * shift :]) == [], name


@pytest.mark.parametrize(
    "loud",
    [
        pytest.param(tone(1000, 200), id="a beep"),
        pytest.param(tone(1000, 25), id="too long"),
        pytest.param(tone(1000, 10), id="too short"),
        pytest.param(tone(1100, 15), id="another tone"),
        pytest.param(audioop.add(tone(941, 15, 11_000), tone(1336, 15, 11_000), 2), id="a key"),
        pytest.param(noise(15), id="a click"),
        pytest.param(tone(1000, 15) + bytes(16 * 20) + tone(1000, 15), id="two"),
        pytest.param(tone(400, 60) + PCM_8K.probe(), id="not alone"),
    ],
)
def test_other_loud_sound_is_none(loud: bytes) -> None:
    """Length, pitch, purity and quiet around it: each is needed."""
    quiet = PCM_8K.speech(0, QUIET_MS)
    assert found(quiet + loud + quiet) == []
    assert len(found(quiet + loud + quiet + PCM_8K.probe() + quiet)) == 1


def test_silence_behind_an_answer_is_quiet() -> None:
    """No sound follows at all: known half a second later, for what it was."""
    seeker, quiet = ProbeSeeker(), PCM_8K.speech(0, QUIET_MS)
    seeker.skip(quiet)
    assert seeker.hear(PCM_8K.probe(), 1.0) is None
    assert seeker.settle(1.0 + NO_MORE_S / 2) is None
    assert seeker.settle(1.0 + 1.01 * NO_MORE_S) == 1.0
    assert seeker.settle(9.0) is None


def test_a_caller_counts_its_probe_and_no_word(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loud speech while a probe is out: lost. Its tone: a round trip to the tone's first piece."""
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    told: list[float | None] = []
    caller = Caller(1, "steady", Random(1), lambda _, __, heard_s: told.append(heard_s), print)
    caller.up()
    (_, words), *_ = loud_speech()

    def until_probe() -> float:
        """Frame by frame; when it was sent."""
        while True:
            clock[0] += 0.02
            caller.sound(bytes(320))
            if caller.next_frame(clock[0]) is Frame.PROBE:
                return clock[0]

    def hear(sound: bytes) -> None:
        for at in range(0, len(sound), 320):
            clock[0] += 0.02
            caller.sound(sound[at : at + 320])
            caller.next_frame(clock[0])

    until_probe()
    hear(words[: int(16_000 * (PROBE_LIMIT_S + 0.1))])
    assert told == [None]
    sent_s = until_probe()
    hear(bytes(3 * 320) + PCM_8K.probe() + bytes(5 * 320))
    assert told[1:] == [pytest.approx(sent_s + 0.08)]
