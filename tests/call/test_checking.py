"""What `avr-bridge check` finds about the model, in memory: each fault, its words, how long."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import trio

from avr_bridge import ModelConfig, Secret
from avr_bridge.checking import Step, Verdict, check_model
from avr_bridge.checking.session import ANSWER_LIMIT_S, SETUP_LIMIT_S
from avr_bridge.server.model_probe import AGAIN_S, EVERY_S, ModelProbe
from avr_bridge.testing import (
    Close,
    Emit,
    Fail,
    Hang,
    Say,
    Script,
    Silence,
    SimulatedRealtime,
    SimulatorOptions,
    clip,
    read_wav,
)
from avr_bridge.testing.faults import (
    CutAfter,
    HangConnect,
    ModelFaults,
    NoSession,
    NoUpdate,
    Refuse,
    RefuseAfterUpgrade,
    Unreachable,
)

if TYPE_CHECKING:
    from avr_bridge.testing.faults.model import ModelFault

KEY = "sk-planted-secret"
SENTENCE = Say(read_wav(clip("question")), 8000, "one two three")


def settings(**model: Any) -> ModelConfig:
    return ModelConfig(api_key=Secret(KEY), endpoint="ws://simulator/v1", **model)


def speaking(*steps: Any, **options: Any) -> SimulatedRealtime:
    return SimulatedRealtime(Script([list(steps)]), SimulatorOptions(**options))


def broken(fault: ModelFault) -> SimulatedRealtime:
    return SimulatedRealtime(Script([[SENTENCE]]), outages=ModelFaults((fault,)))


async def found(simulator: SimulatedRealtime, **model: Any) -> list[Step]:
    steps = await check_model(settings(**model), "Be brief.", answer=True, dial=simulator.dial)
    assert simulator.open_sessions == 0
    assert not simulator.faults
    return steps


async def test_a_good_model_passes_every_step(autojump_clock: object) -> None:
    """Connection, session, settings and answer, each with its time; the session is closed."""
    steps = await found(speaking(SENTENCE, first_audio_ms=150.0, updated_delay_s=0.25))
    assert [one.name for one in steps] == ["connection", "session", "settings", "answer"]
    assert {one.verdict for one in steps} == {Verdict.OK}
    assert "audio/pcmu both ways" in steps[2].words
    assert steps[2].took_ms == pytest.approx(250, abs=20)
    assert steps[3].words.startswith("first sound after ")


async def test_without_an_answer_nothing_is_generated(autojump_clock: object) -> None:
    """So it costs nothing: the server was asked for no response."""
    simulator = speaking(SENTENCE)
    steps = await check_model(settings(), "Be brief.", dial=simulator.dial)
    assert [one.name for one in steps] == ["connection", "session", "settings"]
    asked = [event["type"] for event in simulator.sessions[0].received]
    assert asked == ["session.update"]


async def test_the_session_is_that_of_a_call(autojump_clock: object) -> None:
    """Instructions, tools and voice are in it: what the server refuses of them is found."""
    simulator = speaking(SENTENCE)
    tool = {"type": "function", "name": "t", "description": "d", "parameters": {"type": "object"}}
    await check_model(settings(voice="marin"), "Be brief.", tools=[tool], dial=simulator.dial)
    (update,) = simulator.sessions[0].received
    assert update["session"]["instructions"] == "Be brief."
    assert update["session"]["tools"] == [tool]
    assert update["session"]["audio"]["output"]["voice"] == "marin"


QUOTA = b'{"error": {"code": "insufficient_quota", "message": "You exceeded your quota"}}'

FAULTS: dict[str, tuple[Any, str, str, str]] = {
    "wrong key, by HTTP": (
        partial(speaking, api_key="x"),
        "connection",
        "the key is not accepted",
        "OPENAI_API_KEY",
    ),
    "wrong key, after the upgrade": (
        partial(speaking, api_key="x", key_check="close"),
        "session",
        "the key is not accepted (Incorrect API key provided.)",
        "OPENAI_API_KEY",
    ),
    "a close alone": (
        partial(broken, CutAfter(0.0, 3000, "invalid_request_error.invalid_api_key")),
        "answer",
        "the key is not accepted",
        "OPENAI_API_KEY",
    ),
    "beta is not spoken": (
        partial(broken, RefuseAfterUpgrade("beta_api_shape_disabled", close_code=4000)),
        "session",
        "the server no longer speaks the beta protocol",
        "OPENAI_DIALECT=auto",
    ),
    "no access": (partial(broken, Refuse(403)), "connection", "may not use this", "region"),
    "wrong path": (
        partial(broken, Refuse(404)),
        "connection",
        "no Realtime API",
        "OPENAI_ENDPOINT",
    ),
    "outage": (partial(broken, Refuse(503)), "connection", "trouble of its own", "status page"),
    "rate limit": (partial(broken, Refuse(429)), "connection", "too many requests", "rate limit"),
    "unreachable": (partial(broken, Unreachable()), "connection", "no connection", "firewall"),
    "unknown model": (
        partial(speaking, Fail("model_not_found", "no such model", "invalid_request_error")),
        "answer",
        "the model is not known, or not open to this key (no such model)",
        "OPENAI_MODEL",
    ),
    "no quota": (
        partial(speaking, Fail("insufficient_quota", "You exceeded your current quota")),
        "answer",
        "the account has no quota left",
        "credit",
    ),
    "another failure": (
        partial(speaking, Fail("server_error", "Something went wrong")),
        "answer",
        "server_error (Something went wrong)",
        "the server's",
    ),
    "a fatal error in the answer": (
        partial(
            speaking,
            Emit({"type": "error", "error": {"type": "x", "code": "account_deactivated"}}),
            SENTENCE,
        ),
        "answer",
        "the account was switched off",
        "provider",
    ),
    "closed in the answer": (
        partial(speaking, Close(1011, "internal")),
        "answer",
        "the server closed the connection (closed with 1011 internal)",
        "status page",
    ),
    "an answer without sound": (
        lambda: SimulatedRealtime(Silence()),
        "answer",
        "an answer without sound",
        "OPENAI_MODEL",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_each_fault_is_told_in_words_with_what_to_do(
    fault: str, autojump_clock: object
) -> None:
    """The last step fails, those before it were good, and nothing is left open."""
    make, step, words, advice = FAULTS[fault]
    steps = await found(make())
    *before, last = steps
    assert {one.verdict for one in before} <= {Verdict.OK}
    assert (last.name, last.verdict) == (step, Verdict.FAILED)
    assert words in last.words
    assert advice in last.advice
    assert KEY not in str(steps)


@pytest.mark.parametrize(
    ("make", "step", "limit_s", "words"),
    [
        (partial(broken, HangConnect()), "connection", 10.0, "no connection within 10 s"),
        (partial(broken, NoSession()), "session", SETUP_LIMIT_S, "no session.created within 6 s"),
        (partial(broken, NoUpdate()), "settings", SETUP_LIMIT_S, "no session.updated within 6 s"),
        (partial(speaking, Hang()), "answer", ANSWER_LIMIT_S, "no whole answer within 15 s"),
    ],
)
async def test_what_never_comes_is_waited_for_that_long(
    make: Any, step: str, limit_s: float, words: str, autojump_clock: object
) -> None:
    """And no longer; the time is told."""
    *_, last = await found(make())
    assert (last.name, last.verdict) == (step, Verdict.FAILED)
    assert words in last.words
    assert last.took_ms == pytest.approx(limit_s * 1000, rel=0.1)


@pytest.mark.parametrize(
    ("g711", "step", "words"),
    [
        ("refused", "settings", "the server does not speak audio/pcmu: audio/pcm in"),
        ("ignored", "answer", "the model agreed to G.711 and sends PCM"),
    ],
)
async def test_a_format_that_is_not_honoured_is_a_warning(
    g711: Any, step: str, words: str, autojump_clock: object
) -> None:
    """Calls work all the same, since the bridge converts."""
    steps = await found(speaking(SENTENCE, g711=g711))
    (warned,) = [one for one in steps if one.verdict is not Verdict.OK]
    assert (warned.name, warned.verdict) == (step, Verdict.WARNING)
    assert words in warned.words
    assert "OPENAI_AUDIO_FORMAT=pcm" in warned.advice


async def test_a_slow_answer_is_a_warning(autojump_clock: object) -> None:
    """With what makes it faster."""
    *_, last = await found(speaking(SENTENCE, first_audio_ms=4000.0))
    assert last.verdict is Verdict.WARNING
    assert "OPENAI_REASONING_EFFORT" in last.advice


async def test_settings_that_the_server_refuses_are_named(autojump_clock: object) -> None:
    """The field is the server's, the setting ours."""
    *_, last = await found(speaking(SENTENCE), voice="nobody")
    assert (last.name, last.verdict) == ("settings", Verdict.FAILED)
    assert "session.audio.output.voice" in last.words
    assert last.advice == "Look at OPENAI_VOICE."


# The probe of /readyz.


async def test_a_probe_says_whether_the_model_answers(autojump_clock: object, log: Any) -> None:
    """Not before it was tried; then for as long as it does, with one line for each change."""
    simulator = speaking(SENTENCE)
    probe = ModelProbe(settings(), dial=simulator.dial)
    said = [probe.why_not]
    for fault in (None, Unreachable(), Unreachable(), None):  # a single failure is a hiccup
        simulator.outages = ModelFaults(rest=fault)
        await probe.probe()
        said.append(probe.why_not)
    untried, well, once, twice, again = said
    assert untried == "the model was not tried yet"
    assert well is once is again is None
    assert str(twice).startswith("the model does not answer: no connection")
    events = [line["event"] for line in log if line["event"].startswith("the model ")]
    assert events == ["the model answers", "the model does not answer", "the model answers"]


async def test_a_bridge_whose_first_probe_fails_is_not_ready(autojump_clock: object) -> None:
    """There is nothing good to hold on to."""
    probe = ModelProbe(settings(), dial=broken(Unreachable()).dial)
    await probe.probe()
    assert str(probe.why_not).startswith("the model does not answer")


async def test_probes_are_few_and_cost_nothing(autojump_clock: object) -> None:
    """Ten minutes: one each half minute while it answers, each 5 s while not; no response ever."""
    simulator = speaking(SENTENCE)
    probe = ModelProbe(settings(), dial=simulator.dial)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(probe.run)
        await trio.sleep(600)
        probed = len(simulator.dialled_at_s)
        assert 600 / EVERY_S / 1.2 - 1 <= probed <= 600 / EVERY_S / 0.8 + 2
        asked = {event["type"] for one in simulator.sessions for event in one.received}
        assert asked == {"session.update"}
        simulator.outages = ModelFaults(rest=Unreachable())
        await trio.sleep(600)
        more = len(simulator.dialled_at_s) - probed
        assert 540 / AGAIN_S / 1.2 <= more <= 600 / AGAIN_S / 0.8 + 2
        nursery.cancel_scope.cancel()
    assert simulator.open_sessions == 0
