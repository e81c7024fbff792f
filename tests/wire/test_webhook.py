"""AVR_CALL_WEBHOOK over sockets: the example's receiver behind a bridge that runs."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import httpx2
import pytest
import trio

from avr_bridge import (
    BridgeConfig,
    LogConfig,
    ModelConfig,
    Secret,
    ServerConfig,
    TalkConfig,
    __version__,
    serve,
)
from avr_bridge.server.webhook import CallWebhook, WebhookStatistics
from avr_bridge.server.webhook_record import CallRecord, headers_of
from avr_bridge.telemetry.journal import CallBegan, CallEnded
from avr_bridge.testing import SimulatedRealtime, open_simulated_call
from avr_bridge.tools.web import ask
from tests.unit.test_summary import ENDED
from tests.wire.test_tools_http import Service

if TYPE_CHECKING:
    from collections.abc import Iterator

CHECKOUT = Path(__file__).parents[2]
LIMIT_S = 40
SECRET = "planted-secret-0123456789abcdef"


@pytest.fixture(name="receiver")
def _receiver() -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The example, running; its address and its process."""
    with subprocess.Popen(
        [sys.executable, str(CHECKOUT / "examples" / "webhook_receiver.py"), "0"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "AVR_CALL_WEBHOOK_SECRET": SECRET},
    ) as process:
        try:
            assert process.stdout is not None
            found = re.search(r"http://\S+", process.stdout.readline())
            assert found is not None
            yield found.group(), process
        finally:
            process.terminate()


def settings(
    endpoint: str, webhook: str, secret: str = SECRET, drain_s: float = 0.0
) -> BridgeConfig:
    return BridgeConfig(
        model=ModelConfig(api_key=Secret("k"), endpoint=endpoint),
        server=ServerConfig("127.0.0.1", 0, drain_s=drain_s),
        talk=TalkConfig(fallback_file="off"),
        log=LogConfig(webhook=webhook, webhook_secret=Secret(secret)),
    )


@pytest.mark.usefixtures("log")
async def test_the_examples_receiver_gets_the_record_of_a_call(
    receiver: tuple[str, subprocess.Popen[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Signed, and believed: a line with the call's id, its reason and what was said."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    address, process = receiver
    with trio.fail_after(LIMIT_S):
        async with trio.open_nursery() as nursery:
            endpoint = await nursery.start(SimulatedRealtime().serve)
            (http,) = await nursery.start(partial(serve, settings(endpoint, address)))
            async with open_simulated_call(http.replace("http:", "ws:"), uuid="u-1") as call:
                await call.wait_heard_speech()
                await trio.sleep(2)
            assert process.stdout is not None
            line = await trio.to_thread.run_sync(process.stdout.readline)
            counted = 'avr_bridge_call_records_total{outcome="delivered"} 1.0'
            async with httpx2.AsyncClient() as client:
                while True:
                    if counted in (await client.get(f"{http}/metrics")).text:
                        break
                    await trio.sleep(0.05)
            nursery.cancel_scope.cancel()
    assert re.fullmatch(r"u-1: caller_hung_up, \d+\.\d+ s, \d+ lines said\n", line)


async def test_the_examples_receiver_refuses_what_is_not_signed(
    receiver: tuple[str, subprocess.Popen[str]],
) -> None:
    """401 for another secret and for none; 204 for the right one."""
    record = CallRecord(
        "u-1",
        "d-1",
        json.dumps({"call": "u", "reason": "r", "duration_s": 1, "transcript": []}).encode(),
    )
    statuses = []
    with trio.fail_after(LIMIT_S):
        for secret in (Secret("another"), None, Secret(SECRET)):
            answer = await ask(
                "POST",
                httpx2.URL(receiver[0]),
                headers=headers_of(record, secret, time.time()),
                content=record.body,
                most_bytes=100,
                through_proxy=False,
            )
            statuses.append(answer.status)
    assert statuses == [401, 401, 204]


async def test_a_record_says_which_bridge_sent_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """With its version, for the receiver's log."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    service = Service()
    with trio.fail_after(LIMIT_S):
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        address = f"http://127.0.0.1:{listener.socket.getsockname()[1]}/calls"
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.serve_listeners, service.serve, [listener])
            webhook = CallWebhook(address, None)
            nursery.start_soon(webhook.run)
            webhook.listen("u-1", CallBegan(0.0, "u-1", {}, "websocket"))
            webhook.listen("u-1", CallEnded(1.0, ENDED))
            await webhook.finish(trio.current_time() + LIMIT_S)
            nursery.cancel_scope.cancel()
    assert webhook.statistics().delivered == 1
    assert f"user-agent: avr-bridge/{__version__}" in service.headers


async def test_a_yes_without_an_end_is_a_yes(log: list[dict[str, object]]) -> None:
    """The status says that the record is there; nobody waits for what comes behind it."""

    async def drip(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.receive_some()
            await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9000\r\n\r\n")
            await trio.sleep_forever()

    webhook = None
    with trio.fail_after(LIMIT_S):
        async with trio.open_nursery() as nursery:
            listeners = await nursery.start(partial(trio.serve_tcp, drip, 0, host="127.0.0.1"))
            address = f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
            webhook = CallWebhook(address, None)
            nursery.start_soon(webhook.run)
            webhook.listen("u-4", CallBegan(0.0, "u-4", {}, "websocket"))
            webhook.listen("u-4", CallEnded(1.0, ENDED))
            began_s = trio.current_time()
            await webhook.finish(began_s + LIMIT_S)
            assert trio.current_time() - began_s < 5
            nursery.cancel_scope.cancel()
    assert webhook.statistics() == WebhookStatistics(delivered=1, dropped=0, waiting=0)
    assert log == []


async def wait_for(event: str, log: list[dict[str, object]]) -> dict[str, object]:
    while True:
        for line in log:
            if line["event"] == event:
                return line
        await trio.sleep(0.02)


async def test_calls_that_are_cut_at_the_end_are_still_told(
    receiver: tuple[str, subprocess.Popen[str]],
    monkeypatch: pytest.MonkeyPatch,
    log: list[dict[str, object]],
) -> None:
    """The bridge stops with a call up: its record is delivered before it has ended."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    address, process = receiver
    stop = trio.Event()
    with trio.fail_after(LIMIT_S):
        async with trio.open_nursery() as nursery:
            endpoint = await nursery.start(SimulatedRealtime().serve)
            serving = partial(serve, settings(endpoint, address), shutdown=stop.wait)
            (http,) = await nursery.start(serving)
            async with open_simulated_call(http.replace("http:", "ws:"), uuid="u-2") as call:
                await call.wait_heard_speech()
                stop.set()
                await call.wait_closed()
            assert process.stdout is not None
            line = await trio.to_thread.run_sync(process.stdout.readline)
            nursery.cancel_scope.cancel()
    assert line.startswith("u-2: bridge_stopped, ")


async def test_a_receiver_that_hangs_does_not_hold_up_the_end(log: list[dict[str, object]]) -> None:
    """The bridge has ended within the time after the drain; what was lost has a line."""

    async def hang(stream: trio.SocketStream) -> None:
        async with stream:
            await trio.sleep_forever()

    stop, ended = trio.Event(), trio.Event()

    async def serve_to_the_end(
        config: BridgeConfig, task_status: trio.TaskStatus[list[str]]
    ) -> None:
        await serve(config, shutdown=stop.wait, task_status=task_status)
        ended.set()

    with trio.fail_after(LIMIT_S):
        async with trio.open_nursery() as nursery:
            endpoint = await nursery.start(SimulatedRealtime().serve)
            listeners = await nursery.start(partial(trio.serve_tcp, hang, 0, host="127.0.0.1"))
            address = f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
            (http,) = await nursery.start(serve_to_the_end, settings(endpoint, address))
            async with open_simulated_call(http.replace("http:", "ws:"), uuid="u-3") as call:
                await call.wait_heard_speech()
                stop.set()
                begun_s = trio.current_time()
                await call.wait_closed()
            await ended.wait()
            assert trio.current_time() - begun_s < 4
            nursery.cancel_scope.cancel()
    line = await wait_for("a call record was not delivered", log)
    assert line["call"] == "u-3"
