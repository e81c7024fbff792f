"""`/metrics` of a running bridge: what a whole call leaves in it, and who may read it."""

from __future__ import annotations

import httpx2
import pytest
import trio

from avr_bridge.telemetry.journal import AnswerStarted, CallBegan, CallEnded, Moment
from avr_bridge.telemetry.metrics_text import CONTENT_TYPE
from avr_bridge.testing import CallTool, Say, Script, SimulatedRealtime, clip, read_wav
from avr_bridge.testing.caller import open_simulated_call
from tests.unit.metrics_seen import value, values
from tests.wire.conftest import Bridge, open_bridge

LIMIT_S = 30
QUESTION = read_wav(clip("question"))
TOKEN, OTHER = "a-secret-of-callers-1234", "a-secret-of-monitors-5678"


async def page(bridge: Bridge, path: str = "/metrics", **headers: str) -> httpx2.Response:
    async with httpx2.AsyncClient() as client:
        return await client.get(f"{bridge.http}{path}", headers=headers)


@pytest.mark.parametrize("transport", ["websocket", "http"])
async def test_a_call_leaves_its_numbers(transport: str) -> None:
    """A call with an answer and a tool: while it is up it is counted as such; when it has ended its
    end, its times and its tokens stand there, and nothing is up or waits."""
    script = Script(
        [
            [Say(QUESTION, 8000, "welcome")],
            [CallTool("no_such_tool", "{}")],
            [Say(QUESTION, 8000, "sorry")],
        ]
    )
    with trio.fail_after(LIMIT_S):
        async with open_bridge(SimulatedRealtime(script), model="gpt-realtime") as bridge:
            address = bridge.ws if transport == "websocket" else bridge.stream
            async with open_simulated_call(address) as call:
                await call.wait_heard_speech()
                text = (await page(bridge)).text
                assert value(text, "avr_bridge_calls") == 1
                assert value(text, "avr_bridge_calls_started_total", transport=transport) == 1
                await call.wait_quiet()
                call.say(QUESTION)
                await call.wait_said()
                await call.wait_heard_speech()
            (ended,) = await bridge.wait_ended()
            got = await page(bridge)
    assert got.status_code == 200
    assert got.headers["content-type"] == CONTENT_TYPE
    text = got.text
    assert value(text, "avr_bridge_calls") == 0
    assert value(text, "avr_bridge_calls_ended_total", reason=ended["reason"]) == 1
    assert value(text, "avr_bridge_session_setup_seconds_count", session="first") == 1
    assert value(text, "avr_bridge_first_audio_seconds_count") == 1
    assert value(text, "avr_bridge_turn_latency_seconds_count") == 1
    assert value(text, "avr_bridge_tool_seconds_count", tool="(unknown)", outcome="error") == 1
    assert value(text, "avr_bridge_call_duration_seconds_sum") == pytest.approx(
        ended["duration_s"], abs=0.01
    )
    tokens = ended["tokens"]
    counted = values(text, "avr_bridge_tokens_total", "of", "flow", "kind")
    assert counted["response", "out", "audio"] == tokens["audio_out"]
    assert counted["response", "in", "text"] == tokens["text_in"]
    cost = sum(values(text, "avr_bridge_cost_dollars_total", "of").values())
    assert cost == pytest.approx(ended["cost_usd"], abs=1e-5)
    assert 0 < cost < 0.1
    assert value(text, "avr_bridge_to_model_queue_seconds") == 0


@pytest.mark.parametrize(
    ("token", "metrics_token", "given", "status"),
    [
        (None, None, "", 200),
        (TOKEN, None, "", 401),
        (TOKEN, None, OTHER, 401),
        (TOKEN, None, TOKEN, 200),
        (TOKEN, OTHER, TOKEN, 401),
        (TOKEN, OTHER, OTHER, 200),
        (None, OTHER, "", 401),
        (None, OTHER, OTHER, 200),
    ],
)
async def test_who_may_read_it(
    token: str | None, metrics_token: str | None, given: str, status: int
) -> None:
    """With a secret set it is asked for, in a header or in the address; the one of the monitor
    places no calls, and that of callers reads no numbers beside it."""
    with trio.fail_after(LIMIT_S):
        async with open_bridge(token=token, metrics_token=metrics_token) as bridge:
            headers = {"Authorization": f"Bearer {given}"} if given else {}
            by_header = await page(bridge, **headers)
            by_query = await page(bridge, f"/metrics?token={given}")
            health = await page(bridge, "/healthz")
    assert by_header.status_code == by_query.status_code == status
    assert health.status_code == 200
    if status == 401:
        assert "avr_bridge" not in by_header.text
        assert by_header.headers["www-authenticate"] == "Bearer"


async def test_callers_without_the_secret_are_counted() -> None:
    """On both transports; the page itself refuses nobody a call."""
    with trio.fail_after(LIMIT_S):
        async with open_bridge(token=TOKEN, metrics_token=OTHER) as bridge:
            async with httpx2.AsyncClient() as client:
                assert (await client.post(bridge.stream)).status_code == 401
            await page(bridge)
            text = (await page(bridge, Authorization=f"Bearer {OTHER}")).text
    assert value(text, "avr_bridge_calls_refused_total", why="token") == 1
    assert value(text, "avr_bridge_calls_refused_total", why="limit") == 0


async def test_two_bridges_in_one_program() -> None:
    """Each has numbers of its own."""
    with trio.fail_after(LIMIT_S):
        async with (
            open_bridge() as first,
            open_bridge() as second,
            open_simulated_call(first.ws) as call,
        ):
            await call.wait_heard_speech()
            pages = [(await page(bridge)).text for bridge in (first, second)]
    assert [value(text, "avr_bridge_calls") for text in pages] == [1, 0]


@pytest.mark.parametrize("transport", ["websocket", "http"])
async def test_a_program_listens_to_all_calls(transport: str) -> None:
    """Listeners of `serve` are told of each call under its own id, from its beginning to its end,
    with how it came."""
    told: dict[str, list[Moment]] = {}

    def listen(uuid: str, moment: Moment) -> None:
        told.setdefault(uuid, []).append(moment)

    with trio.fail_after(LIMIT_S):
        async with open_bridge(listeners=[listen]) as bridge:
            address = bridge.ws if transport == "websocket" else bridge.stream
            for uuid in ("a", "b"):
                async with open_simulated_call(address, uuid=uuid) as call:
                    await call.wait_heard_speech()
            await bridge.wait_ended(2)
    assert told.keys() == {"a", "b"}
    for uuid, moments in told.items():
        began, ended = moments[0], moments[-1]
        assert isinstance(began, CallBegan)
        assert isinstance(ended, CallEnded)
        assert (began.uuid, began.transport) == (uuid, transport)
        assert (ended.summary.uuid, ended.summary.transport) == (uuid, transport)
        assert [one for one in moments if isinstance(one, AnswerStarted)]
