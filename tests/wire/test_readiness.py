"""`/readyz` with AVR_READY_CHECKS_MODEL: what a load balancer sees of a model that comes and
goes."""

from __future__ import annotations

from functools import partial

import httpx2
import pytest
import trio

from avr_bridge import BridgeConfig, ModelConfig, Secret, ServerConfig, serve
from avr_bridge.server import model_probe
from avr_bridge.testing import SimulatedRealtime, open_simulated_call
from avr_bridge.testing.faults import ModelFaults, Refuse

LIMIT_S = 30


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_probe, "EVERY_S", 0.2)
    monkeypatch.setattr(model_probe, "AGAIN_S", 0.1)


async def ask(http: str, path: str) -> tuple[int, str]:
    async with httpx2.AsyncClient() as client:
        answer = await client.get(http + path)
    return answer.status_code, answer.json()["status"]


async def wait_status(http: str, status: int) -> str:
    while True:
        found, words = await ask(http, "/readyz")
        if found == status:
            return words
        await trio.sleep(0.05)


def settings(endpoint: str, *, checks: bool) -> BridgeConfig:
    return BridgeConfig(
        model=ModelConfig(api_key=Secret("k"), endpoint=endpoint),
        server=ServerConfig("127.0.0.1", 0, ready_checks_model=checks, drain_s=0.0),
    )


@pytest.mark.usefixtures("log")
async def test_a_bridge_is_ready_as_long_as_the_model_answers() -> None:
    """503 with the reason while it does not; /healthz and running calls are not touched."""
    simulator = SimulatedRealtime(outages=ModelFaults(rest=Refuse(503)))
    with trio.fail_after(LIMIT_S):
        async with trio.open_nursery() as nursery:
            endpoint = await nursery.start(simulator.serve)
            (http,) = await nursery.start(partial(serve, settings(endpoint, checks=True)))
            words = "the model was not tried yet"
            while words == "the model was not tried yet":
                words = await wait_status(http, 503)
            assert words.startswith("the model does not answer: the server has trouble")
            simulator.outages = ModelFaults()
            assert await wait_status(http, 200) == "ready"
            async with open_simulated_call(http.replace("http:", "ws:")) as call:
                await call.wait_heard_speech()
                simulator.outages = ModelFaults(rest=Refuse(401))
                assert "the key is not accepted" in await wait_status(http, 503)
                assert await ask(http, "/healthz") == (200, "ok")
                assert call.report().close_code is None
            nursery.cancel_scope.cancel()


@pytest.mark.usefixtures("log")
async def test_without_the_setting_the_model_is_not_asked() -> None:
    """Ready, and no session was opened for it."""
    simulator = SimulatedRealtime()
    with trio.fail_after(LIMIT_S):
        async with trio.open_nursery() as nursery:
            endpoint = await nursery.start(simulator.serve)
            (http,) = await nursery.start(partial(serve, settings(endpoint, checks=False)))
            assert await ask(http, "/readyz") == (200, "ready")
            await trio.sleep(0.5)
            nursery.cancel_scope.cancel()
    assert simulator.sessions == []


@pytest.mark.usefixtures("log")
async def test_a_request_waits_for_no_probe() -> None:
    """A model that hangs makes the page say so, not hang."""

    async def hang(stream: trio.SocketStream) -> None:
        async with stream:
            await trio.sleep_forever()

    with trio.fail_after(LIMIT_S):
        async with trio.open_nursery() as nursery:
            listeners = await nursery.start(partial(trio.serve_tcp, hang, 0, host="127.0.0.1"))
            endpoint = f"ws://127.0.0.1:{listeners[0].socket.getsockname()[1]}/v1"
            (http,) = await nursery.start(partial(serve, settings(endpoint, checks=True)))
            begun_s = trio.current_time()
            asked = await ask(http, "/readyz")
            assert trio.current_time() - begun_s < 5
            assert asked == (503, "the model was not tried yet")
            nursery.cancel_scope.cancel()
