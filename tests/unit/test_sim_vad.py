"""The simulator's hearing: pure, no clock."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avr_bridge.audio.format import ALAW_8K, PCM16_24K, ULAW_8K, AudioFormat
from avr_bridge.testing.realtime.listening import Ear, Heard, SpeechStarted, SpeechStopped
from avr_bridge.testing.realtime.refusal import Refusal
from avr_bridge.testing.realtime.speaking import encode
from tests.sim_client import quiet, tone

VAD = {
    "type": "server_vad",
    "threshold": 0.5,
    "prefix_padding_ms": 300,
    "silence_duration_ms": 500,
}
CALL = quiet(1000) + tone(800) + quiet(1000)


def hear(ear: Ear, data: bytes, piece_bytes: int) -> list[SpeechStarted | SpeechStopped]:
    edges: list[SpeechStarted | SpeechStopped] = []
    for at in range(0, len(data), piece_bytes):
        edges += ear.push(data[at : at + piece_bytes])[1]
    return edges


@pytest.mark.parametrize("wire", [PCM16_24K, ULAW_8K, ALAW_8K])
def test_edges_sit_where_the_speech_is(wire: AudioFormat) -> None:
    """Start is the onset less the prefix padding, end is the silence's end, in appended ms."""
    ear = Ear(wire, VAD)
    started, stopped = hear(ear, encode(CALL, 24_000, wire), 320)
    assert isinstance(started, SpeechStarted)
    assert isinstance(stopped, SpeechStopped)
    assert started.audio_start_ms == pytest.approx(700, abs=20)
    assert stopped.audio_end_ms == pytest.approx(2300, abs=30)
    assert stopped.heard.rate_hz == wire.rate_hz
    assert stopped.heard.ms == stopped.audio_end_ms - started.audio_start_ms
    kept_ms = len(stopped.heard.pcm) / 2 * 1000 / wire.rate_hz
    assert kept_ms == pytest.approx(300 + 800 + 100, abs=30)  # padding, speech, a short tail


@settings(deadline=None, max_examples=30)
@given(st.integers(20, 5000))
def test_the_size_of_appends_changes_nothing(piece_bytes: int) -> None:
    """Any chunking, odd bytes included, gives the same edges and the same turn."""
    assert hear(Ear(PCM16_24K, VAD), CALL, piece_bytes) == hear(Ear(PCM16_24K, VAD), CALL, 960)


def test_a_click_is_no_speech() -> None:
    """20 ms of noise opens no turn."""
    assert hear(Ear(PCM16_24K, VAD), quiet(500) + tone(20) + quiet(900), 960) == []


def test_the_threshold_decides_how_loud_speech_must_be() -> None:
    """The same soft tone is speech at 0.3 and nothing at 0.9."""
    soft = quiet(400) + tone(600, level=400) + quiet(900)
    assert len(hear(Ear(PCM16_24K, VAD | {"threshold": 0.3}), soft, 960)) == 2
    assert hear(Ear(PCM16_24K, VAD | {"threshold": 0.9}), soft, 960) == []


def test_speech_without_silence_never_stops() -> None:
    """If the audio stops with the speech, no end is found: the API needs the silence too."""
    assert len(hear(Ear(PCM16_24K, VAD), quiet(400) + tone(5000), 960)) == 1


def test_a_pause_shorter_than_the_limit_joins_both_halves() -> None:
    """400 ms of pause make one turn, 700 ms make two."""
    for pause_ms, turns in ((400, 1), (700, 2)):
        call = quiet(400) + tone(500) + quiet(pause_ms) + tone(500) + quiet(900)
        assert len(hear(Ear(PCM16_24K, VAD), call, 960)) == 2 * turns


def test_clear_forgets_an_onset_but_not_the_timeline() -> None:
    """After a clear in mid-speech the turn is gone, and positions still count all audio."""
    ear = Ear(PCM16_24K, VAD)
    assert len(hear(ear, quiet(500) + tone(300), 960)) == 1
    ear.clear()
    started, _ = hear(ear, quiet(1000) + tone(500) + quiet(800), 960)
    assert isinstance(started, SpeechStarted)
    assert started.audio_start_ms == pytest.approx(800 + 700, abs=20)


def test_manual_commit_takes_everything() -> None:
    """Without voice detection a commit returns exactly what was appended, and empties the ear."""
    ear = Ear(PCM16_24K, None)
    pcm = quiet(100) + tone(200)
    assert hear(ear, pcm, 700) == []
    assert ear.commit() == Heard(pcm, 24_000, 300.0)
    with pytest.raises(Refusal, match=r"only has 0\.00ms"):
        ear.commit()


def test_a_commit_needs_100_ms() -> None:
    """99 ms are refused and kept; one more millisecond makes a turn."""
    ear = Ear(PCM16_24K, None)
    ear.push(quiet(99))
    with pytest.raises(Refusal, match=r"only has 99\.00ms") as refused:
        ear.commit()
    assert refused.value.code == "input_audio_buffer_commit_empty"
    ear.push(quiet(1))
    assert ear.commit().ms == 100


def test_silence_for_an_hour_keeps_no_memory() -> None:
    """With voice detection, quiet audio is let go except for the padding."""
    ear = Ear(ULAW_8K, VAD)
    for _ in range(600):
        ear.push(ULAW_8K.silence(8000))
    assert ear.timeline_ms == 600_000
    assert len(ear._pcm) < 8000 * 2
