"""AVR_TOKEN on real sockets: who has it is served, who has not is refused on both transports."""

from __future__ import annotations

from urllib.parse import quote

import httpx2
import pytest
import trio
import trio_websocket

from avr_bridge.testing import CallNotPlaced, open_simulated_call
from tests.wire.conftest import open_bridge

LIMIT_S = 20
TOKEN = "planted/shared+secret"


@pytest.mark.parametrize("transport", ["ws", "http"])
async def test_the_token_in_the_address(transport: str) -> None:
    """As avr-core's STS_URL may carry it. The call is served, and the token is no metadata."""
    with trio.fail_after(LIMIT_S):
        async with open_bridge(token=TOKEN) as bridge:
            url = bridge.ws if transport == "ws" else bridge.stream
            with_token = f"{url}?token={quote(TOKEN, safe='')}"
            async with open_simulated_call(with_token, query={"from": "1"}) as call:
                assert await call.wait_heard_speech()
            await bridge.wait_ended()
    (started,) = [line for line in bridge.log if line["event"] == "call started"]
    assert started["metadata_keys"] == ["from"]
    assert TOKEN not in str(bridge.log)


async def test_the_token_in_a_header() -> None:
    """The call is served on both transports."""
    headers = [("Authorization", f"Bearer {TOKEN}")]
    with trio.fail_after(LIMIT_S):
        async with open_bridge(token=TOKEN) as bridge:
            async with trio_websocket.open_websocket_url(
                bridge.ws, extra_headers=[(n.encode(), v.encode()) for n, v in headers]
            ) as ws:
                await ws.send_message('{"type": "init", "uuid": "u-1"}')
                assert '"audio"' in await ws.get_message()
            async with (
                httpx2.AsyncClient() as client,
                client.stream("POST", bridge.stream, headers=headers, content=b"") as answer,
            ):
                assert answer.status_code == 200
            await bridge.wait_ended(2)


@pytest.mark.parametrize("query", [{}, {"token": "planted/shared+secre"}, {"token": ""}])
async def test_without_it_no_call_begins(query: dict[str, str]) -> None:
    """401 before there is a WebSocket or a stream; the caller who streams on is hung up on; no
    session is opened; a log line for each transport, not for each, without what was given."""
    with trio.fail_after(LIMIT_S):
        async with open_bridge(token=TOKEN) as bridge:
            with pytest.raises(CallNotPlaced) as refused:
                async with open_simulated_call(bridge.ws, query=query):
                    pytest.fail("there is no call")
            assert refused.value.http_status == 401
            async with open_simulated_call(bridge.stream, query=query) as call:
                await call.wait_closed()
            assert call.report().close_code == 401
            async with httpx2.AsyncClient() as client:
                answer = await client.post(bridge.stream, params=query)
            assert answer.status_code == 401
            assert answer.headers["WWW-Authenticate"] == "Bearer"
    warnings = [line for line in bridge.log if line["log_level"] == "warning"]
    assert [line["transport"] for line in warnings] == ["websocket", "http"]
    assert "planted" not in str(bridge.log)
    assert bridge.simulator.sessions == []


async def test_the_health_page_needs_none() -> None:
    """Docker and Kubernetes ask it; it tells nothing that is secret."""
    with trio.fail_after(LIMIT_S):
        async with open_bridge(token=TOKEN) as bridge, httpx2.AsyncClient() as client:
            answer = await client.get(f"{bridge.http}/healthz")
    assert answer.status_code == 200
    assert "planted" not in answer.text
