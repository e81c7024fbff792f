"""Faults of the model's side by pattern; in memory and in virtual time.

After each test the server has no open session and noted no bug, see `server_of`.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio

from avr_bridge.errors import UpstreamClosed, UpstreamRejected, UpstreamUnavailable
from avr_bridge.testing.faults import (
    CutAfter,
    CutAfterCommit,
    CutInAnswer,
    Freeze,
    HangConnect,
    ModelFaults,
    NoSession,
    NoUpdate,
    Refuse,
    RefuseAfterUpgrade,
    SessionLength,
    StallAfterTool,
    StopAnsweringPings,
    StopReading,
    Unreachable,
)
from avr_bridge.testing.realtime import CallTool, Say, Script, Silence, SimulatedRealtime
from tests.sim_client import PCM, URL, Client, connected, quiet, tone

if TYPE_CHECKING:
    from collections.abc import Generator

    from trio.testing import MockClock

    from avr_bridge.testing.faults import ModelFault
    from avr_bridge.testing.realtime import Behaviour

SPOKEN = Say(tone(2_000), 24_000, "We open at nine.")
SETTLED_S = 60


@contextmanager
def server_of(
    *pattern: ModelFault | None, behaviour: Behaviour | None = None
) -> Generator[SimulatedRealtime]:
    """A server with these faults; after the block nothing of it is left running."""
    server = SimulatedRealtime(behaviour, outages=ModelFaults(pattern))
    yield server
    assert server.open_sessions == 0
    assert server.faults == []


async def fail_to_dial(server: SimulatedRealtime, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        async with server.dial(URL):
            pytest.fail("let in")


async def closed_code(client: Client) -> int:
    """Read to the connection's end; its close code."""
    with pytest.raises(UpstreamClosed) as closed:
        await client.until("nothing that there is")
    return closed.value.code


def test_a_pattern_is_for_connections_in_order() -> None:
    """Entry n for connection n, then healthy, or what `rest` says."""
    refuse, reach = Refuse(503), Unreachable()
    assert [ModelFaults((refuse, None)).of(n) for n in (1, 2, 3)] == [refuse, None, None]
    assert [ModelFaults((None,), rest=reach).of(n) for n in (1, 2, 9)] == [None, reach, reach]


@pytest.mark.parametrize(
    "make",
    [
        lambda: Refuse(101),
        lambda: CutAfter(-1),
        lambda: CutAfter(1, close_code=42),
        lambda: CutInAnswer(0),
        lambda: CutAfterCommit(0),
        lambda: SessionLength(0),
    ],
)
def test_a_fault_that_cannot_be_is_refused(make: Any) -> None:
    """A slip in a test's pattern is a ValueError, not a fault that never happens."""
    with pytest.raises(ValueError, match="must be"):
        make()


async def test_connections_that_come_to_nothing(autojump_clock: MockClock) -> None:
    """Reset, refused and hanging ones fail in turn, each in its time; the fourth is healthy."""
    with server_of(Unreachable(), Refuse(503, 1), HangConnect()) as server:
        await fail_to_dial(server, UpstreamUnavailable, "unreachable")
        assert trio.current_time() == 0
        await trio.sleep(1)
        await fail_to_dial(server, UpstreamUnavailable, "HTTP 503")
        await fail_to_dial(server, UpstreamUnavailable, "within 10 s")
        assert trio.current_time() == pytest.approx(11)
        async with connected(server):
            pass
        assert server.dialled_at_s == pytest.approx([0, 1, 1, 11])
        assert [session.number for session in server.sessions] == [1]
        with trio.fail_after(1):
            await server.wait_dialled(4)


async def test_waiting_for_an_attempt(autojump_clock: MockClock) -> None:
    """`wait_dialled` wakes at the attempt, though no session comes of it."""
    with server_of(Unreachable()) as server:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.wait_dialled, 1)
            await trio.testing.wait_all_tasks_blocked()
            await fail_to_dial(server, UpstreamUnavailable, "unreachable")


@pytest.mark.parametrize(
    ("status", "error"),
    [(429, UpstreamUnavailable), (500, UpstreamUnavailable), (403, UpstreamRejected)],
)
async def test_a_refusal_is_sorted_as_by_the_real_dial(
    autojump_clock: MockClock, status: int, error: type[Exception]
) -> None:
    """Passing or permanent; of the body the error's name is told, and nothing else."""
    body = b'{"error": {"code": "so_sorry", "message": "words"}}'
    with server_of(Refuse(status, body=body)) as server:
        await fail_to_dial(server, error, rf"HTTP {status} \(so_sorry\)$")


async def test_a_used_up_quota_is_no_busy_server(autojump_clock: MockClock) -> None:
    """429 both; waiting helps against one of them."""
    body = b'{"error": {"code": "insufficient_quota", "message": "You exceeded your quota"}}'
    with server_of(Refuse(429, body=body)) as server:
        await fail_to_dial(server, UpstreamRejected, "insufficient_quota")


async def test_a_refusal_after_the_upgrade(autojump_clock: MockClock) -> None:
    """An error event with code and type, then a close whose reason is both."""
    fault = RefuseAfterUpgrade("slow_down", "server_error", 4000, "Later.")
    with server_of(fault) as server:
        async with server.dial(URL) as socket:
            client = Client(socket)
            error = (await client.read())["error"]
            assert (error["type"], error["code"]) == ("server_error", "slow_down")
            with pytest.raises(UpstreamClosed) as closed:
                await client.read()
    assert (closed.value.code, closed.value.reason) == (4000, "server_error.slow_down")


async def test_first_events_that_do_not_come(autojump_clock: MockClock) -> None:
    """No session.created on the first connection, no session.updated on the second, then both."""
    with server_of(NoSession(), NoUpdate()) as server:
        async with server.dial(URL) as socket:
            client = Client(socket)
            await client.settle(SETTLED_S)
            assert client.types == []
        async with connected(server) as client:
            await client.send("session.update", session={"type": "realtime"})
            await client.settle(SETTLED_S)
            assert client.types == ["session.created"]
        async with connected(server) as client:
            await client.update()


async def test_a_session_may_be_short(autojump_clock: MockClock) -> None:
    """One of 20 s says so in `expires_at`, before and after an update, and ends as an hour does."""
    with server_of(SessionLength(20)) as server:
        async with connected(server) as client:
            expires_at = client.events[0]["session"]["expires_at"]
            assert expires_at == pytest.approx(time.time() + 20, abs=2)
            assert (await client.update())["expires_at"] == expires_at
            assert (await client.until("error"))["error"]["code"] == "session_expired"
            assert trio.current_time() == pytest.approx(20)
            assert await closed_code(client) == 1001
        async with connected(server) as client:
            assert client.events[0]["session"]["expires_at"] > expires_at + 3_000
    assert server.sessions[0].close_reason == (
        "Your session hit the maximum duration of 60 minutes."
    )


@pytest.mark.parametrize("code", [None, 1001, 1011, 1012])
async def test_a_cut_after_a_time(autojump_clock: MockClock, code: int | None) -> None:
    """So many seconds after the first session.updated, once; the client sees the code, or 1006."""
    with server_of(CutAfter(3, code, "bye")) as server:
        async with connected(server) as client:
            await trio.sleep(7)
            await client.update()
            await trio.sleep(2)
            await client.update()
            seen = await closed_code(client)
            assert trio.current_time() == pytest.approx(10)
            assert seen == (code or 1006)
        async with connected(server) as client:
            await client.update()
            await client.settle(SETTLED_S)


@pytest.mark.parametrize(("after_ms", "sent_ms"), [(0, 0), (1, 67), (300, 317), (348, 348)])
async def test_a_cut_in_an_answer(
    autojump_clock: MockClock, after_ms: float, sent_ms: float
) -> None:
    """In the second answer, with the delta that completes the time; the first is whole."""
    script = Script([[SPOKEN], [SPOKEN]])
    with server_of(CutInAnswer(2, after_ms), behaviour=script) as server:
        async with connected(server) as client:
            await client.update(audio={"output": {"format": PCM}})
            await client.send("response.create")
            await client.until("response.done")
            heard = len(client.audio())
            assert heard == len(SPOKEN.pcm)
            await client.send("response.create")
            assert await closed_code(client) == 1006
            assert len(client.audio()) - heard == sent_ms * 48
            assert client.types.count("response.created") == 2


async def test_an_answer_too_short_for_its_cut_is_whole(autojump_clock: MockClock) -> None:
    """With less sound than the fault asks for nothing happens, in this answer or in the next."""
    script = Script([[SPOKEN], [SPOKEN]])
    with server_of(CutInAnswer(1, 3_000), behaviour=script) as server:
        async with connected(server) as client:
            for _ in range(2):
                await client.send("response.create")
                await client.until("response.done")


async def test_a_cut_after_a_commit(autojump_clock: MockClock) -> None:
    """`committed` of the second turn is the last event; the behaviour answers that turn to the
    next connection."""
    script = Script([[SPOKEN], [SPOKEN]])
    with server_of(CutAfterCommit(2), behaviour=script) as server:
        async with connected(server) as client:
            await client.append(quiet(300) + tone(500) + quiet(300))
            await client.until("response.done")
            await client.append(quiet(300) + tone(500) + quiet(300))
            assert await closed_code(client) == 1006
            assert client.types[-1] == "input_audio_buffer.committed"
        assert len(script.turns) == 1
        async with connected(server) as client:
            await client.send("response.create")
            await client.until("response.done")
    script.assert_complete()


# --- pings


async def test_pings_are_answered(autojump_clock: MockClock) -> None:
    """At once, on a healthy connection; after its end, whoever ended it, UpstreamClosed."""
    with server_of(None, CutAfter(0, 1012)) as server:
        async with connected(server) as client:
            with trio.fail_after(1):
                await client.socket.ping()
            await client.socket.aclose()
            with pytest.raises(UpstreamClosed):
                await client.socket.ping()
        async with connected(server) as client:
            await client.update()
            await closed_code(client)
            with pytest.raises(UpstreamClosed) as closed:
                await client.socket.ping()
            assert closed.value.code == 1012


async def unanswered(client: Client) -> bool:
    with trio.move_on_after(SETTLED_S) as waiting:
        await client.socket.ping()
    return waiting.cancelled_caught


@pytest.mark.parametrize("fault", [StopAnsweringPings(5), StopReading(5), Freeze(5)])
async def test_pings_that_are_not_answered(autojump_clock: MockClock, fault: ModelFault) -> None:
    """Before the fault they are, from then on never; the end of the connection ends the wait."""
    with server_of(fault) as server:
        async with connected(server) as client:
            await client.update()
            await trio.sleep(4.9)
            assert not await unanswered(client)
            await trio.sleep(0.2)
            assert await unanswered(client)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(expect_closed_ping, client)
                await trio.testing.wait_all_tasks_blocked()
                with trio.move_on_after(1):
                    await client.socket.aclose()
        assert server.sessions[0].closed


async def expect_closed_ping(client: Client) -> None:
    with pytest.raises(UpstreamClosed):
        await client.socket.ping()


async def test_no_pongs_and_nothing_else(autojump_clock: MockClock) -> None:
    """Without pongs the session works on."""
    with server_of(StopAnsweringPings(), behaviour=Script([[SPOKEN]])) as server:
        async with connected(server) as client:
            await client.update()
            await trio.sleep(1)
            await client.send("response.create")
            await client.until("response.done")


async def test_a_server_that_does_not_read(autojump_clock: MockClock) -> None:
    """A running answer is spoken to its end; the client's sends wait when the pipe is full;
    leaving takes a second and leaves nothing, also with a sender that waits."""
    with server_of(StopReading(1), behaviour=Script([[SPOKEN], [SPOKEN]])) as server:
        async with connected(server) as client:
            await client.update()
            await trio.sleep(0.9)
            await client.send("response.create")
            await client.until("response.done")
            assert len(client.audio()) == len(SPOKEN.pcm)
            sent = 0
            with trio.move_on_after(SETTLED_S) as waiting:
                for _ in range(200):
                    await client.send("response.create")
                    sent += 1
            assert waiting.cancelled_caught
            assert 64 <= sent <= 66
            assert server.sessions[0].received_of("response.create") == [
                {"type": "response.create"}
            ]
            async with trio.open_nursery() as nursery:
                nursery.start_soon(expect_closed_send, client)
                await trio.testing.wait_all_tasks_blocked()
                left_s = trio.current_time()
                with trio.move_on_after(5) as leaving:
                    await client.socket.aclose()
                assert leaving.cancelled_caught
        assert trio.current_time() == pytest.approx(left_s + 5)


async def expect_closed_send(client: Client) -> None:
    with pytest.raises(UpstreamClosed):
        await client.send("response.create")


@pytest.mark.parametrize("fault", [StopReading(), Freeze()])
async def test_leaving_a_server_that_does_not_answer_the_close(
    autojump_clock: MockClock, fault: ModelFault
) -> None:
    """Leaving the block takes the real dial's second, not more; a cancelled block takes none."""
    with server_of(fault, fault) as server:
        async with connected(server) as client:
            await client.update()
            await trio.sleep(1)
        assert trio.current_time() == pytest.approx(2)
        with trio.move_on_after(1):
            async with connected(server) as client:
                await client.update()
                await trio.sleep_forever()
        assert trio.current_time() == pytest.approx(3)


async def test_a_frozen_server(autojump_clock: MockClock) -> None:
    """In the middle of an answer all is quiet, though the connection stands; sends get lost."""
    with server_of(Freeze(1), behaviour=Script([[SPOKEN]])) as server:
        async with connected(server) as client:
            await client.update()
            await trio.sleep(0.8)
            await client.send("response.create")
            await client.settle(SETTLED_S)
            assert 0 < len(client.audio()) < len(SPOKEN.pcm)
            assert "response.done" not in client.types
            for _ in range(1_000):
                await client.send("input_audio_buffer.clear")
            await client.settle(1)
            assert client.types[-1] != "input_audio_buffer.cleared"
            assert server.sessions[0].received_of("input_audio_buffer.clear") == []


async def test_a_stall_after_a_tool(autojump_clock: MockClock) -> None:
    """A request after a tool's result has no effect at all; the next one is answered, and a
    request without a result is not concerned."""
    script = Script([[CallTool("look", "{}", "call_1")], [SPOKEN]], Silence())
    with server_of(StallAfterTool(), behaviour=script) as server:
        async with connected(server) as client:
            await client.send("response.create")
            await client.until("response.done")
            result = {"type": "function_call_output", "call_id": "call_1", "output": "7"}
            await client.send("conversation.item.create", item=result)
            await client.send("response.create")
            await client.settle(SETTLED_S)
            assert client.types.count("response.created") == 1
            await client.send("response.create")
            await client.until("response.done")
            assert script.turns[1].function_outputs == (("call_1", "7"),)


async def test_a_pattern_may_be_replaced(autojump_clock: MockClock) -> None:
    """A pattern that is replaced counts on for connections yet to come."""
    with server_of(None) as server:
        async with connected(server):
            pass
        server.outages = attrs.evolve(server.outages, rest=Refuse(500))
        await fail_to_dial(server, UpstreamUnavailable, "500")
