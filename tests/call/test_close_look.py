"""A call that is looked at closely: all of its lines, and none of what was said."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import structlog

from avr_bridge import BridgeConfig, LogConfig
from avr_bridge.call.instructions import CallSettings, settings_for_call
from avr_bridge.caller.transport import DtmfDigit
from avr_bridge.telemetry import configure_logging
from avr_bridge.testing import MemoryCaller, Say, SimulatedRealtime, Step, Turn
from tests.call.conftest import config, place_call

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trio.testing import MockClock as Clock


UUID = "00000000-0000-4000-8000-000000000007"


@pytest.fixture(name="log", autouse=True)
def _log() -> Iterator[None]:
    """In place of the folder's: these tests read what is written."""
    yield
    structlog.reset_defaults()


class Answers:
    """Speaks when spoken to."""

    def answer(self, turn: Turn) -> list[Step]:
        said = Say(turn.caller_audio, turn.caller_rate_hz, "a planted answer")
        return [said] if turn.caller_audio else []


async def lines_of(question: bytes, settings: BridgeConfig) -> list[dict[str, Any]]:
    """One call with a question, an answer and a key; its lines."""
    stream = io.StringIO()
    configure_logging(settings.log, stream)
    caller = MemoryCaller({"from": "planted"})
    async with place_call(SimulatedRealtime(Answers()), settings, caller):
        caller.start(UUID)
        await caller.be_silent(1)
        await caller.say(question)
        await caller.be_silent(6)
        caller.send(DtmfDigit("7"))
        await caller.be_silent(3)
    assert "planted" not in stream.getvalue()
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def logged(**log: Any) -> BridgeConfig:
    return attrs.evolve(config(), log=LogConfig("info", "json", **log))


async def test_a_call_that_is_named_has_a_line_for_each_moment(
    autojump_clock: Clock, question: bytes
) -> None:
    """With its times, and with lengths in place of words; each line names the call."""
    lines = await lines_of(question, logged(calls="*-*-*-*-*7"))
    assert {line.get("call") for line in lines} == {UUID}
    moments = [line["moment"] for line in lines if line["event"] == "moment"]
    for name in ("SessionReady", "SpeechStarted", "SpeechStopped", "AnswerStarted", "Transcript"):
        assert name in moments
    assert "KeyPressed" in moments
    (answer,) = [line for line in lines if line.get("role") == "agent"]
    assert answer["chars"] == len("a planted answer")
    (started,) = [line for line in lines if line.get("moment") == "AnswerStarted"]
    assert started["latency_ms"] > 0
    done = [line for line in lines if line.get("moment") == "ResponseDone"]
    assert done[-1]["usage"]["in"] > 0
    assert done[-1]["cost_usd"] > 0


@pytest.mark.parametrize("calls", [None, "another", "*8"])
async def test_any_other_call_has_its_two_lines(
    autojump_clock: Clock, question: bytes, calls: str | None
) -> None:
    """The beginning and the end."""
    lines = await lines_of(question, logged(calls=calls))
    assert [line["event"] for line in lines] == ["call started", "call ended"]


async def test_the_instructions_address_can_choose_a_call(
    autojump_clock: Clock, question: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From its answer on; the next call is not touched."""

    async def chosen(*given: Any) -> CallSettings:
        return attrs.evolve(await settings_for_call(*given), log_all=True)

    monkeypatch.setattr("avr_bridge.call.session.settings_for_call", chosen)
    lines = await lines_of(question, logged())
    assert "moment" in [line["event"] for line in lines]
    monkeypatch.undo()
    assert len(await lines_of(question, logged())) == 2
