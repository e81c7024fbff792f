"""AVR_MAX_TOKENS_PER_CALL and AVR_MAX_COST_PER_CALL: a goodbye, then the end. In virtual time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import pytest

from avr_bridge import BridgeConfig, ConfigError, EndReason, ModelConfig, create_app
from avr_bridge.caller.transport import AudioOut
from avr_bridge.telemetry.budget import price_faults
from avr_bridge.testing import (
    Fail,
    Hang,
    Say,
    Script,
    Silence,
    SimulatedAmi,
    SimulatedRealtime,
    SimulatorOptions,
)
from avr_bridge.upstream import wording
from tests.call.conftest import place_call
from tests.call.seen import conducted, texts, told

if TYPE_CHECKING:
    from pathlib import Path

    from trio.testing import MockClock as Clock

FAST = SimulatorOptions(speed=100)


def talkative(question: bytes, *more: Any) -> Script:
    """Says something twice, asked or not, and then goodbye."""
    said = [[Say(question, 8000, words)] for words in ("hello", "yes")]
    return Script([*said, *more, [Say(question, 8000, "goodbye")]], then=Silence())


async def test_tokens_that_are_used_up_end_the_call_with_a_goodbye(
    autojump_clock: Clock, question: bytes, log: list[Any]
) -> None:
    """The greeting is within the limit, the answer is not: it is heard whole, then the goodbye,
    then the call is hung up."""
    ami = SimulatedAmi()
    settings = conducted(max_tokens=400)
    async with place_call(SimulatedRealtime(talkative(question), FAST), settings, ami=ami) as call:
        call.caller.start()
        await call.caller.wait_for(AudioOut)
        await call.caller.be_silent(4)
        await call.caller.say(question)
        await call.caller.be_silent(20)
    assert texts(call.caller)[-2:] == ["yes", "goodbye"]
    assert told(call) == [wording.BUDGET_SPENT]
    assert call.summary is not None
    assert call.summary.end_reason is EndReason.BUDGET_REACHED
    assert call.summary.detail == "AVR_MAX_TOKENS_PER_CALL"
    assert [request.action for request in ami.requests] == ["hangup"]
    (line,) = [line for line in log if line["event"] == "budget reached"]
    assert line["tokens"] >= 400
    assert line["limit"] == "AVR_MAX_TOKENS_PER_CALL"


async def test_cost_that_is_used_up_ends_the_call(autojump_clock: Clock, question: bytes) -> None:
    """The same by the list of prices; the summary's own cost is above the limit."""
    settings = conducted(max_cost_usd=0.001)
    async with place_call(SimulatedRealtime(talkative(question), FAST), settings) as call:
        call.caller.start()
        await call.caller.be_silent(30)
    assert call.summary is not None
    assert call.summary.end_reason is EndReason.BUDGET_REACHED
    assert call.summary.detail == "AVR_MAX_COST_PER_CALL"
    assert call.summary.cost_usd is not None
    assert call.summary.cost_usd >= 0.001


@pytest.mark.parametrize("limits", [{}, {"max_tokens": 100_000, "max_cost_usd": 5.0}])
async def test_a_call_within_its_budget_is_left_alone(
    limits: dict[str, Any], autojump_clock: Clock, question: bytes
) -> None:
    """No limit, or one that is not reached."""
    settings = conducted(**limits)
    async with place_call(SimulatedRealtime(talkative(question), FAST), settings) as call:
        call.caller.start()
        await call.caller.be_silent(20)
    assert told(call) == []
    assert call.summary is not None
    assert call.summary.end_reason is EndReason.CALLER_HUNG_UP


async def test_an_answer_that_failed_cost_nothing(
    autojump_clock: Clock, question: bytes, log: list[Any]
) -> None:
    """It has no bill, and is no reason to say that something could not be counted."""
    script = Script(
        [[Fail("server_error", "oops")], [Say(question, 8000, "hello")]], then=Silence()
    )
    async with place_call(SimulatedRealtime(script, FAST), conducted(max_cost_usd=5.0)) as call:
        call.caller.start()
        await call.caller.be_silent(12)
    assert texts(call.caller) == ["hello"]
    assert [line for line in log if "the limit of cost" in line["event"]] == []


async def test_a_goodbye_that_does_not_come_prolongs_nothing(
    autojump_clock: Clock, question: bytes
) -> None:
    """The model hangs: the call ends at AVR_CALL_CONTROL_MAX_WAIT_S, with the same reason."""
    script = Script([[Say(question, 8000, "hello")], [Hang()]], then=Silence())
    settings = conducted(max_tokens=10, control_max_wait_s=4.0)
    async with place_call(SimulatedRealtime(script, FAST), settings) as call:
        call.caller.start()
        await call.caller.be_silent(30)
    assert call.summary is not None
    assert call.summary.end_reason is EndReason.BUDGET_REACHED
    assert call.ended_s < 3 + 4 + 4


async def test_a_long_answer_is_cut_for_the_goodbye(autojump_clock: Clock, question: bytes) -> None:
    """Half a minute of sound at hand: what fits into the wait is heard, then the goodbye."""
    long = Script([[Say(question * 12, 8000, "long")], [Say(question, 8000, "goodbye")]], Silence())
    settings = conducted(max_tokens=10, control_max_wait_s=5.0)
    async with place_call(SimulatedRealtime(long, FAST), settings) as call:
        call.caller.start()
        await call.caller.be_silent(60)
    assert texts(call.caller) == ["long [interrupted]", "goodbye"]
    assert call.summary is not None
    assert call.summary.end_reason is EndReason.BUDGET_REACHED
    assert call.ended_s < 5 + 5 + 4


async def test_who_speaks_gets_no_more_than_the_goodbye(
    autojump_clock: Clock, question: bytes
) -> None:
    """Speech into the last words does not call the end off."""
    ami = SimulatedAmi()
    script = Script([[Say(question, 8000, "hello")]], then=Silence())
    settings = conducted(max_tokens=10, control_max_wait_s=5.0)
    async with place_call(SimulatedRealtime(script, FAST), settings, ami=ami) as call:
        call.caller.start()
        await call.caller.be_silent(1)
        for _ in range(8):
            await call.caller.say(question)
            await call.caller.be_silent(1)
    assert call.summary is not None
    assert call.summary.end_reason is EndReason.BUDGET_REACHED
    assert call.ended_s < 1 + 5 + 5 + 2


async def test_call_control_that_fails_is_told_in_the_detail(
    autojump_clock: Clock, question: bytes
) -> None:
    """The call ends all the same."""
    ami = SimulatedAmi(faults=["error"])
    settings = conducted(max_tokens=10)
    async with place_call(SimulatedRealtime(talkative(question), FAST), settings, ami=ami) as call:
        call.caller.start()
        await call.caller.be_silent(30)
    assert call.summary is not None
    assert call.summary.end_reason is EndReason.BUDGET_REACHED
    assert call.summary.detail.startswith("AVR_MAX_TOKENS_PER_CALL; call control answered 500")


# A limit of cost without a price.


def priced(model: str, cost_usd: float, prices_file: str | None = None) -> BridgeConfig:
    config = conducted({"model": model}, max_cost_usd=cost_usd)
    log = attrs.evolve(config.log, prices_file=prices_file)  # type: ignore[misc]
    return attrs.evolve(config, log=log)


def test_a_limit_of_cost_needs_a_price(tmp_path: Path) -> None:
    """Refused at start, in words that say what helps; a list of one's own does."""
    assert price_faults(priced("gpt-realtime-2", 0.5)) == []
    assert price_faults(priced("my-deployment", 0.0)) == []
    (words,) = price_faults(priced("my-deployment", 0.5))
    assert words.startswith("AVR_MAX_COST_PER_CALL=0.5: no price is known for OPENAI_MODEL=my-depl")
    assert "AVR_PRICES_FILE" in words
    with pytest.raises(ConfigError, match="no price is known"):
        create_app(priced("my-deployment", 0.5))
    fields = ("text_in", "audio_in", "cached_text_in", "cached_audio_in", "text_out", "audio_out")
    own = "[[price]]\nmodels = ['my-*']\n" + "".join(f"{name} = 1.0\n" for name in fields)
    (tmp_path / "prices.toml").write_text(own)
    assert price_faults(priced("my-deployment", 0.5, str(tmp_path / "prices.toml"))) == []


def test_a_price_for_some_kinds_only_is_told_by_name(tmp_path: Path) -> None:
    """It would leave the cost of most answers unknown."""
    path = tmp_path / "some.toml"
    path.write_text('[[price]]\nmodels = ["m"]\ntext_in = 1\naudio_in = 1\ncached_text_in = 1\n')
    (words,) = price_faults(priced("m", 0.5, str(path)))
    assert "has no cached_audio_in, text_out, audio_out: expected all kinds" in words


@pytest.mark.parametrize(
    "there", [{"endpoint": "wss://api.x.ai/v1"}, {"dialect": "xai", "endpoint": "ws://h.test/v1"}]
)
def test_a_limit_of_cost_at_xai_is_refused(there: dict[str, Any]) -> None:
    """Whatever the model's name has for a price: xAI tells of no tokens that it could be counted
    by. Without the limit nothing is wrong."""
    limited, model = conducted(max_cost_usd=0.5), ModelConfig(model="gpt-realtime-2", **there)
    (words,) = price_faults(attrs.evolve(limited, model=model))
    assert words.startswith("AVR_MAX_COST_PER_CALL=0.5: xAI bills by the minute")
    assert "AVR_MAX_CALL_S" in words
    assert price_faults(BridgeConfig(model=model)) == []


@pytest.mark.parametrize("limit", [0.0, 0.5])
def test_a_list_of_prices_that_cannot_be_is_refused(limit: float) -> None:
    """With a limit of cost and without one."""
    settings = priced("gpt-realtime-2", limit, "/no/such.toml")
    with pytest.raises(ConfigError, match=r"AVR_PRICES_FILE=/no/such\.toml: No such file"):
        create_app(settings)


async def test_a_model_without_a_price_counts_nothing_and_says_so(
    autojump_clock: Clock, question: bytes, log: list[Any]
) -> None:
    """In a program of one's own: a warning, once; the call goes on."""
    settings = priced("my-deployment", 0.0001)
    async with place_call(SimulatedRealtime(talkative(question), FAST), settings) as call:
        call.caller.start()
        await call.caller.be_silent(5)
        await call.caller.say(question)
        await call.caller.be_silent(5)
    events = [line["event"] for line in log]
    assert events.count("the limit of cost counts without what has no price") == 1
    assert call.summary is not None
    assert call.summary.end_reason is EndReason.CALLER_HUNG_UP
