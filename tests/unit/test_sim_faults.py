"""How sessions of the simulated API begin, fail and end; in memory and in virtual time."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import trio

from avr_bridge.errors import UpstreamClosed, UpstreamRejected
from avr_bridge.testing.realtime import (
    Close,
    Drop,
    Emit,
    Fail,
    Hang,
    Raw,
    Say,
    Script,
    Silence,
    SimulatedRealtime,
    SimulatorOptions,
)
from tests.sim_client import URL, Client, connected, quiet, tone

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trio.testing import MockClock

    from avr_bridge.testing.realtime import Step, Turn

KEYED = SimulatorOptions(api_key="right")
SPOKEN = Say(tone(400), 24_000, "hello there")


async def test_a_wrong_key_is_refused_by_http(autojump_clock: MockClock) -> None:
    """No key and a wrong key: UpstreamRejected with 401, no session; the right one is let in."""
    server = SimulatedRealtime(options=KEYED)
    headers: list[tuple[str, str]]
    for headers in ([], [("Authorization", "Bearer wrong")], [("authorization", "right")]):
        with pytest.raises(UpstreamRejected, match="401"):
            async with server.dial(URL, headers):
                pytest.fail("let in")
    assert server.sessions == []
    async with server.dial(URL, [("Authorization", "Bearer right")]) as socket:
        await Client(socket).until("session.created")


async def test_a_wrong_key_may_be_refused_after_the_upgrade(autojump_clock: MockClock) -> None:
    """An error event, then close code 3000 with the error in its reason."""
    options = SimulatorOptions(api_key="right", key_check="close")
    async with SimulatedRealtime(options=options).dial(
        URL, [("Authorization", "Bearer wrong")]
    ) as socket:
        client = Client(socket)
        assert (await client.read())["error"]["code"] == "invalid_api_key"
        with pytest.raises(UpstreamClosed) as closed:
            await client.read()
    assert closed.value.code == 3000
    assert closed.value.reason == "invalid_request_error.invalid_api_key"


@pytest.mark.parametrize(
    ("url", "status"),
    [("ws://model.test/v1/live?model=m", 404), ("ws://model.test/v1/realtime", 400)],
)
async def test_wrong_addresses(autojump_clock: MockClock, url: str, status: int) -> None:
    """Another path is 404; no model is 400."""
    with pytest.raises(UpstreamRejected, match=str(status)):
        async with SimulatedRealtime().dial(url, []):
            pytest.fail("let in")


async def test_the_beta_dialect_is_closed_with_4000(autojump_clock: MockClock) -> None:
    """With the beta header the upgrade succeeds, then come the error and the close."""
    async with SimulatedRealtime().dial(URL, [("OpenAI-Beta", "realtime=v1")]) as socket:
        assert "beta_api_shape_disabled" in str(await socket.get_message())
        with pytest.raises(UpstreamClosed) as closed:
            await socket.get_message()
    assert closed.value.code == 4000


async def test_delays_at_the_start(autojump_clock: MockClock) -> None:
    """Connecting and session.created each take as long as the options say; or it never comes."""
    server = SimulatedRealtime(options=SimulatorOptions(connect_delay_s=3, created_delay_s=4))
    async with connected(server):
        assert trio.current_time() == pytest.approx(7)
    mute = SimulatedRealtime(options=SimulatorOptions(send_session_created=False))
    async with mute.dial(URL, []) as socket:
        with trio.move_on_after(100) as waiting:
            await socket.get_message()
    assert waiting.cancelled_caught


async def test_a_session_expires(autojump_clock: MockClock) -> None:
    """At session_s: session_expired, close 1001 with the API's reason; the end is recorded."""
    server = SimulatedRealtime(options=SimulatorOptions(session_s=3600))
    async with server.dial(URL, []) as socket:
        client = Client(socket)
        await client.until("session.created")
        error = json.loads(await socket.get_message())["error"]
        assert error["code"] == "session_expired"
        assert trio.current_time() == pytest.approx(3600)
        with pytest.raises(UpstreamClosed) as closed:
            await client.read()
        with pytest.raises(UpstreamClosed):
            await client.send("response.create")
    assert closed.value.code == 1001
    assert closed.value.reason == "Your session hit the maximum duration of 60 minutes."
    assert (server.sessions[0].close_code, server.open_sessions) == (1001, 0)


async def test_leaving_ends_the_session(autojump_clock: MockClock) -> None:
    """After the block: session over with 1000, everything that was sent has been received."""
    server = SimulatedRealtime(Script([[SPOKEN]], then=Silence()))
    async with connected(server) as client:
        assert server.open_sessions == 1
        await client.send("response.create")
        await client.send("session.update", session={"type": "realtime"})
    session = server.sessions[0]
    assert session.closed
    assert session.close_code == 1000
    assert [event["type"] for event in session.received] == ["response.create", "session.update"]
    assert server.faults == []


async def test_the_bodys_exception_comes_out_as_itself(autojump_clock: MockClock) -> None:
    """A ValueError in the block is a ValueError outside, and the session is over."""
    server = SimulatedRealtime()
    with pytest.raises(ValueError, match="mine"):
        async with connected(server):
            raise ValueError("mine")
    assert server.open_sessions == 0


async def test_cancelled_from_outside(autojump_clock: MockClock) -> None:
    """A cancelled block leaves no session, whoever waits in it."""
    server = SimulatedRealtime()
    with trio.move_on_after(5) as scope:
        async with connected(server) as client:
            await client.settle(1000)
    assert scope.cancelled_caught
    assert server.open_sessions == 0


async def test_a_polite_close_by_the_client(autojump_clock: MockClock) -> None:
    """aclose may be called twice; the session sees the code; the socket is dead afterwards."""
    server = SimulatedRealtime()
    async with connected(server) as client:
        await client.socket.aclose(1001, "bye")
        await client.socket.aclose()
        await server.sessions[0].wait_closed()
        with pytest.raises(UpstreamClosed):
            await client.read()
        with pytest.raises(UpstreamClosed):
            await client.send("response.create")
    assert (server.sessions[0].close_code, server.sessions[0].close_reason) == (1001, "bye")


@pytest.mark.parametrize(
    ("step", "code", "reason"),
    [(Close(1011, "server_error"), 1011, "server_error"), (Drop(), 1006, "")],
)
async def test_a_connection_that_ends_in_mid_answer(
    autojump_clock: MockClock, step: Step, code: int, reason: str
) -> None:
    """What was said before still arrives; then the close code; response.done never comes."""
    server = SimulatedRealtime(Script([[SPOKEN, step]]))
    async with connected(server) as client:
        await client.send("response.create")
        with pytest.raises(UpstreamClosed) as closed:
            await client.until("response.done")
        assert client.audio() == SPOKEN.pcm
    assert (closed.value.code, closed.value.reason) == (code, reason)
    assert server.sessions[0].close_code == code


async def test_a_failed_response(autojump_clock: MockClock) -> None:
    """response.done failed with the script's error, and the next response works."""
    script = Script([[SPOKEN, Fail("rate_limit_exceeded", "Slow down", "invalid_request_error")]])
    async with connected(SimulatedRealtime(script)) as client:
        await client.send("response.create")
        done = (await client.until("response.done"))["response"]
        assert done["status"] == "failed"
        assert done["status_details"]["error"] == {
            "type": "invalid_request_error",
            "code": "rate_limit_exceeded",
            "message": "Slow down",
        }
        await client.send("response.create")
        await client.until("response.done")


async def test_a_hanging_response_blocks_the_session(autojump_clock: MockClock) -> None:
    """Nothing after response.created, in spite of cancel, speech and time; no second response."""
    async with connected(SimulatedRealtime(Script([[Hang()]]))) as client:
        await client.send("response.create")
        await client.until("response.created")
        await client.send("response.cancel")
        await client.append(tone(300) + quiet(300))
        await client.settle(600)
        assert "response.done" not in client.types
        error = await client.refused("response.create")
        assert error["code"] == "conversation_already_has_active_response"


async def test_a_hanging_response_may_be_cancellable(autojump_clock: MockClock) -> None:
    """With the option, cancel ends it."""
    async with connected(SimulatedRealtime(Script([[Hang(cancellable=True)]]))) as client:
        await client.send("response.create")
        await client.until("response.created")
        await client.send("response.cancel")
        assert (await client.until("response.done"))["response"]["status"] == "cancelled"


async def test_raw_text_and_foreign_events_go_out_as_they_are(autojump_clock: MockClock) -> None:
    """Garbage is sent verbatim, an event of the script gets only an event id."""
    foreign = {"type": "response.something_new", "x": 1}
    script = Script([[Raw("{nonsense"), Emit(foreign)]])
    async with connected(SimulatedRealtime(script)) as client:
        await client.send("response.create")
        await client.until("response.created")
        assert await client.socket.get_message() == "{nonsense"
        event = json.loads(await client.socket.get_message())
        assert event.pop("event_id")
        assert event == foreign
        await client.until("response.done")


class Broken:
    """A behaviour with a bug."""

    def answer(self, turn: Turn) -> Sequence[Step]:
        raise LookupError("bug")


async def test_a_broken_behaviour_ends_its_session_only(autojump_clock: MockClock) -> None:
    """The client sees 1011, the exception is kept for the test, the server takes the next call."""
    server = SimulatedRealtime(Broken())
    async with connected(server) as client:
        await client.send("response.create")
        with pytest.raises(UpstreamClosed) as closed:
            await client.until("response.created")
    assert closed.value.code == 1011
    assert [type(fault) for fault in server.faults] == [LookupError]
    async with connected(server):
        pass


async def test_a_client_that_never_reads_stops_the_answer(autojump_clock: MockClock) -> None:
    """An endless answer to a deaf client waits; it does not pile up in memory."""
    endless = Say(tone(1_000) * 1_000, 24_000, "")
    server = SimulatedRealtime(Script([[endless]]), SimulatorOptions(speed=1_000.0))
    async with connected(server) as client:
        await client.send("response.create")
        await trio.sleep(3_000)
        assert server.sessions[0].sent_types.count("response.output_audio.delta") < 200
        await client.until("response.done")
        assert len(client.audio()) == len(endless.pcm)


async def test_sessions_do_not_mix(autojump_clock: MockClock) -> None:
    """Two clients at once each hear their own words; ids differ; waits find the right session."""
    server = SimulatedRealtime()
    said: dict[int, Any] = {}

    async def call(ms: int) -> None:
        async with connected(server) as client:
            await client.append(quiet(300) + tone(ms) + quiet(300))
            await client.until("response.done")
            said[ms] = client.audio()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(call, 300)
        session = await server.wait_session()
        nursery.start_soon(call, 900)
        await session.wait_sent("response.done")
    assert len(said[900]) - len(said[300]) == 48 * 600
    assert {session.number for session in server.sessions} == {1, 2}
