"""`avr-bridge demo`, the first thing that anybody runs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import wave
from typing import TYPE_CHECKING

import audioop
import pytest
import structlog
import trio

from avr_bridge.cli.demo import run_scenario
from avr_bridge.cli.recording import KEY_MS, key_tone, write_call
from avr_bridge.cli.scenarios import SCENARIOS, BargeIn, Keypad, Tools, Transfer
from avr_bridge.testing import clip, likeness, read_wav, write_wav
from avr_bridge.testing.likeness import is_audible, speech_ms, tone_level_db

if TYPE_CHECKING:
    from pathlib import Path

    from avr_bridge.cli.scene import Scenario

LIMIT_S = 60

SHOWN = {
    "parrot": (
        "call placed",
        "agent speaks",
        "caller speaks",
        "caller: Hello, this is a test call.",
        "Summary",
        "lost frames",
        "The caller heard the reply.",
    ),
    "parrot --transport http": ("agent speaks", "alike", "The caller heard the reply."),
    "barge-in": (
        "caller interrupts",
        "the agent is interrupted",
        "the caller had heard",
        "the model is told to forget what comes after",
        "[interrupted]",
        "ms off",
        "agent: Hello, this is a test call.",
    ),
    "tools": (
        'the model calls opening_hours {"place": "shop"}',
        "the tool answers: 9 to 18",
        "agent: The shop is open from 9 to 18.",
    ),
    "dtmf": (
        "caller presses 1",
        "caller presses #",
        "the model is told: [The caller pressed 1 2 3 on the keypad]",
        "agent: You pressed one, two, three.",
    ),
    "transfer": (
        'the model calls avr_transfer {"transfer_extension": "600"}',
        "avr-ami is asked to transfer the call to 600",
        "Asterisk takes the caller away",
        "ms after the last word",
    ),
}
"""For each scenario, lines that a person sees."""

SAID_AND_REPLY = {
    "parrot": ("question", "question"),
    "barge-in": ("question", "question"),
    "tools": ("hours-question", "hours-answer"),
    "dtmf": (None, "keys-answer"),
    "transfer": ("transfer-question", "transfer-answer"),
}
"""The clips that a person hears on the left, from the caller, and on the right, from the agent."""


def channels(recording: Path) -> tuple[bytes, bytes]:
    """Caller and agent of a stereo file: 8 kHz, 16 bit."""
    with wave.open(str(recording)) as file:
        assert file.getparams()[:3] == (2, 2, 8_000)
        both = file.readframes(file.getnframes())
    return audioop.tomono(both, 2, 1, 0), audioop.tomono(both, 2, 0, 1)


def audible_frames(pcm: bytes) -> list[bool]:
    """20 ms each."""
    return [is_audible(pcm[at : at + 320]) for at in range(0, len(pcm) - 319, 320)]


def environment(**variables: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("OPENAI_", "AVR_", "PORT"))}
    return {**kept, **variables}


def run_demo(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "avr_bridge", "demo", *arguments],
        env=environment(**variables),
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )


async def test_each_scenario_is_played_and_heard(tmp_path: Path) -> None:
    """Without a key, all at once: exit 0, a live conversation in order of time, the proof, and a
    WAV of its own with what was said on the left and the reply on the right, each in its words.
    Settings of the user's that would change a script's course do not."""
    ran: dict[str, subprocess.CompletedProcess[bytes]] = {}

    async def play(scenario: str) -> None:
        ran[scenario] = await trio.run_process(
            [
                *(sys.executable, "-m", "avr_bridge", "demo", "--scenario", *scenario.split()),
                *(("--out", str(out(scenario))) if " " in scenario else ()),
            ],
            cwd=tmp_path,
            env=environment() if scenario.startswith("parrot") else environment(AVR_MAX_CALL_S="1"),
            capture_stdout=True,
            capture_stderr=True,
            check=False,
        )

    def out(scenario: str) -> Path:
        return tmp_path / f"heard-{scenario.replace(' ', '')}.wav"

    with trio.fail_after(LIMIT_S):
        async with trio.open_nursery() as nursery:
            for scenario in SHOWN:
                nursery.start_soon(play, scenario)
    for scenario, words in SHOWN.items():
        shown = ran[scenario].stdout.decode()
        assert ran[scenario].returncode == 0, shown + ran[scenario].stderr.decode()
        assert [line for line in words if line not in shown] == [], shown
        assert ran[scenario].stderr == b""
        times = [float(at) for at in re.findall(r"^ +([\d.]+) s  ", shown, re.M)]
        assert len(times) > 5
        assert times == sorted(times)
        caller, agent = channels(out(scenario))
        said, reply = SAID_AND_REPLY[scenario.split()[0]]
        assert likeness(read_wav(clip(reply)), agent).correlation > 0.7
        if said:
            assert likeness(read_wav(clip(said)), caller).correlation > 0.99
    caller, agent = channels(out("barge-in"))
    both = [c and a for c, a in zip(audible_frames(caller), audible_frames(agent), strict=False)]
    assert 0 < sum(both) < 1_000 / 20, "the agent falls silent when the caller speaks"
    caller, _ = channels(out("dtmf"))
    assert speech_ms(caller) == pytest.approx(len("123#") * KEY_MS, abs=len("123#") * 20)
    _, agent = channels(out("tools"))
    typing = agent[: round(likeness(read_wav(clip("hours-answer")), agent).offset_ms) * 16]
    assert speech_ms(typing) > 100


@pytest.mark.parametrize(
    ("key", "tones_hz"), [("1", (697, 1209)), ("#", (941, 1477)), ("A", (697, 1633))]
)
def test_keys_sound_as_on_a_telephone(key: str, tones_hz: tuple[int, int]) -> None:
    """The two tones of ITU-T Q.23, alike in level, and none of the others."""
    tone = key_tone(key)
    assert len(tone) == KEY_MS * 16
    for hz in (697, 770, 852, 941, 1209, 1336, 1477, 1633):
        assert (tone_level_db(tone, hz) > -25) == (hz in tones_hz), hz
    for wrong in ("", "12", "x"):
        with pytest.raises(ValueError, match="is no key"):
            key_tone(wrong)


def test_both_sides_of_a_call_run_on_one_time(tmp_path: Path) -> None:
    """Sides of unlike length are padded; a key at the very end is not lost, a loud one clipped."""
    write_call(tmp_path / "a.wav", b"\xff\x7f" * 800, b"\x01\x00" * 8, [(0.0, "1"), (500.0, "2")])
    caller, agent = channels(tmp_path / "a.wav")
    assert len(caller) == len(agent) == (500 + KEY_MS) * 16
    assert agent == b"\x01\x00" * 8 + bytes(len(agent) - 16)
    assert caller[500 * 16 :] == key_tone("2")
    assert audioop.max(caller, 2) == 32_767


class WithoutTheTool(Tools):
    """The directory has a tool, but not the one that the model calls."""

    source = 'def weather() -> str:\n    """Tell the weather."""\n    return "fine"\n'


SPOILT: dict[type[Scenario], tuple[dict[str, str], str]] = {
    BargeIn: ({"OPENAI_INTERRUPT_RESPONSE": "off"}, "no interruption came"),
    Transfer: ({"AVR_CALL_CONTROL_MAX_WAIT_S": "0"}, "not asked for when the goodbye had been"),
    WithoutTheTool: ({}, "the model did not get the opening hours"),
    Keypad: ({"AVR_DTMF_MAX_DIGITS": "1"}, "the model did not get the keys as one turn"),
}
"""Scenarios under circumstances in which what they show cannot happen, and what they then say."""


async def test_what_did_not_happen_is_a_failure() -> None:
    """Bridges that may not be interrupted, do not wait for the goodbye, have no such tool, or
    take each key for a turn: each scenario says what was missing."""
    failures: dict[type[Scenario], str] = {}

    async def play(kind: type[Scenario], settings: dict[str, str]) -> None:
        scenario = kind(None, lambda _: None)
        environ = {"AVR_HOST": "127.0.0.1", "PORT": "0", **settings}
        outcome = await run_scenario(environ, scenario, "ws", lambda _: None)
        assert not scenario.model.faults
        failures[kind] = scenario.failure(outcome) or "none"

    with structlog.testing.capture_logs(), trio.fail_after(LIMIT_S):
        async with trio.open_nursery() as nursery:
            for kind, (settings, _) in SPOILT.items():
                nursery.start_soon(play, kind, settings)
    for kind, (_, failure) in SPOILT.items():
        assert failure in failures[kind]


def test_a_model_that_refuses_is_not_heard(tmp_path: Path) -> None:
    """Nobody answers at the model's address: exit 1 and a reason, no traceback."""
    out = str(tmp_path / "heard.wav")
    ran = run_demo("--out", out, OPENAI_ENDPOINT="ws://127.0.0.1:1/v1", OPENAI_API_KEY="k")
    assert ran.returncode == 1
    assert "the model cannot be reached" in ran.stdout
    assert "Traceback" not in ran.stderr


@pytest.mark.parametrize("scenario", [name for name in SCENARIOS if name != "parrot"])
def test_a_real_model_plays_no_script(scenario: str) -> None:
    """With a key: exit 2 and what to do about it, before anything is started."""
    ran = run_demo("--scenario", scenario, OPENAI_API_KEY="k")
    assert ran.returncode == 2
    assert "unset OPENAI_API_KEY" in ran.stderr
    assert ran.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--scenario", "dtmf", "--transport", "http"), "needs --transport ws"),
        (("--scenario", "barge-in", "--transport", "http"), "needs --transport ws"),
        (("--scenario", "dtmf", "--wav", str(clip("question"))), "has no use for --wav"),
        (("--scenario", "opera"), "'opera' is not one of"),
    ],
)
def test_what_cannot_be_played_is_refused(arguments: tuple[str, ...], words: str) -> None:
    """The legacy stream carries neither keys nor interruptions; keys need no voice."""
    ran = run_demo(*arguments)
    assert ran.returncode == 2
    assert words in ran.stderr


def test_a_wav_without_speech_is_refused(tmp_path: Path) -> None:
    """It could never be heard back."""
    silent = tmp_path / "silent.wav"
    write_wav(silent, bytes(16_000))
    ran = run_demo("--wav", str(silent))
    assert ran.returncode == 2
    assert "no speech" in ran.stderr
