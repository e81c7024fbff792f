"""Records on their way to AVR_CALL_WEBHOOK, in virtual time: attempts, bounds, the end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio

from avr_bridge.errors import ToolError
from avr_bridge.server import webhook as module
from avr_bridge.server.webhook import (
    AT_A_TIME,
    ATTEMPT_LIMIT_S,
    GIVE_UP_S,
    MOST_WAITING,
    CallWebhook,
    WebhookStatistics,
)
from avr_bridge.telemetry.journal import CallBegan, CallEnded
from avr_bridge.testing import Silence, SimulatedRealtime
from avr_bridge.tools.web import Answer
from tests.call.conftest import config, place_call
from tests.unit.test_webhook_record import SUMMARY

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trio.testing import MockClock as Clock

OK, BUSY = Answer(204, ""), Answer(503, "")


@attrs.define(eq=False)
class Receiver:
    """Answers each request with the next of `answers`, and then with the last."""

    answers: list[Answer | None]
    asked_at_s: list[float] = attrs.field(factory=list)
    deliveries: list[str] = attrs.field(factory=list)
    open_now: int = 0
    most_open: int = 0
    takes_s: float = 0.0

    async def __call__(self, headers: Mapping[str, str], body: bytes) -> Answer:
        self.asked_at_s.append(trio.current_time())
        self.deliveries.append(headers["X-AVR-Delivery"])
        self.open_now += 1
        self.most_open = max(self.most_open, self.open_now)
        try:
            await trio.sleep(self.takes_s)
            answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        finally:
            self.open_now -= 1
        if answer is None:
            raise ToolError("the service could not be reached")
        return answer


def end_call(webhook: CallWebhook, call: str = "u-1") -> None:
    """One call, from its beginning to its end."""
    webhook.listen(call, CallBegan(0.0, call, {}, "websocket"))
    webhook.listen(call, CallEnded(1.0, attrs.evolve(SUMMARY, uuid=call)))


def to(receiver: Receiver) -> CallWebhook:
    return CallWebhook("http://receiver", None, receiver)


async def test_a_record_is_sent_once_where_it_is_taken(autojump_clock: Clock) -> None:
    """At once."""
    receiver = Receiver([OK])
    webhook = to(receiver)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(webhook.run)
        end_call(webhook)
        await trio.sleep(1000)
        nursery.cancel_scope.cancel()
    assert receiver.asked_at_s == [0.0]
    assert webhook.statistics() == WebhookStatistics(delivered=1, dropped=0, waiting=0)


async def test_what_may_pass_is_tried_again_ever_more_slowly(autojump_clock: Clock) -> None:
    """No connection, 5xx, 408, 429: the same delivery, after pauses that grow and are never equal
    for two records."""
    receiver = Receiver([None, BUSY, Answer(408, ""), Answer(429, ""), OK])
    webhook = to(receiver)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(webhook.run)
        end_call(webhook)
        await trio.sleep(100)
        nursery.cancel_scope.cancel()
    pauses = [b - a for a, b in zip(receiver.asked_at_s, receiver.asked_at_s[1:], strict=False)]
    for pause_s, middle_s in zip(pauses, (1, 2, 4, 8), strict=True):
        assert middle_s / 2 <= pause_s <= middle_s * 1.5
    assert len(set(receiver.deliveries)) == 1
    assert webhook.statistics().delivered == 1


@pytest.mark.parametrize("status", [301, 400, 401, 404, 410])
async def test_what_cannot_help_is_not_tried_again(
    status: int, autojump_clock: Clock, log: list[Any]
) -> None:
    """Counted and logged with the call's id."""
    receiver = Receiver([Answer(status, "")])
    webhook = to(receiver)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(webhook.run)
        end_call(webhook)
        await trio.sleep(1000)
        nursery.cancel_scope.cancel()
    assert len(receiver.asked_at_s) == 1
    assert webhook.statistics() == WebhookStatistics(delivered=0, dropped=1, waiting=0)
    (line,) = [line for line in log if line["event"] == "a call record was not delivered"]
    assert (line["call"], line["error"]) == ("u-1", f"it answered HTTP {status}")


async def test_a_receiver_that_stays_away_is_given_up(
    autojump_clock: Clock, log: list[Any]
) -> None:
    """After ten minutes, with a line; and one line a minute at the most on the way there."""
    receiver = Receiver([None])
    webhook = to(receiver)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(webhook.run)
        end_call(webhook)
        await trio.sleep(GIVE_UP_S + 100)
        nursery.cancel_scope.cancel()
    assert receiver.asked_at_s[-1] <= GIVE_UP_S
    assert 10 <= len(receiver.asked_at_s) <= 30
    assert webhook.statistics() == WebhookStatistics(delivered=0, dropped=1, waiting=0)
    assert [line["event"] for line in log].count("a call record was not delivered") == 1


async def test_a_receiver_that_hangs_costs_one_attempt_at_a_time(autojump_clock: Clock) -> None:
    """Each ends by its limit; no more than four are open, whatever waits."""
    receiver = Receiver([OK], takes_s=3600.0)
    webhook = to(receiver)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(webhook.run)
        for number in range(20):
            end_call(webhook, f"u-{number}")
        await trio.sleep(5 * ATTEMPT_LIMIT_S + 1)
        assert receiver.most_open == AT_A_TIME
        assert len(receiver.asked_at_s) >= 5 * AT_A_TIME
        receiver.takes_s = 0.0
        await trio.sleep(GIVE_UP_S)
        nursery.cancel_scope.cancel()
    assert webhook.statistics() == WebhookStatistics(delivered=20, dropped=0, waiting=0)


async def test_no_more_than_so_many_wait(
    autojump_clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newest are dropped, by number and by size; the rest is delivered when the receiver is
    back."""
    receiver = Receiver([None] * (MOST_WAITING + 10) + [OK])
    webhook = to(receiver)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(webhook.run)
        for number in range(MOST_WAITING + 7):
            end_call(webhook, f"u-{number}")
        assert webhook.statistics() == WebhookStatistics(0, 7, MOST_WAITING)
        await trio.sleep(GIVE_UP_S)
        assert webhook.statistics() == WebhookStatistics(MOST_WAITING, 7, 0)
        monkeypatch.setattr(module, "MOST_WAITING_BYTES", 100)
        end_call(webhook)
        assert webhook.statistics().dropped == 8
        nursery.cancel_scope.cancel()


async def test_the_end_tries_once_more_and_waits_no_longer_than_it_may(
    autojump_clock: Clock, log: list[Any]
) -> None:
    """One record in its pause is tried at once; one whose receiver hangs is given up at the limit,
    with a line."""
    receiver = Receiver([None, OK])
    webhook = to(receiver)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(webhook.run)
        end_call(webhook, "u-1")
        await trio.sleep(0.1)
        await webhook.finish(trio.current_time() + 1.5)
        assert trio.current_time() == pytest.approx(0.1)
        assert webhook.statistics().delivered == 1
        receiver.takes_s = 3600.0
        end_call(webhook, "u-2")
        await webhook.finish(trio.current_time() + 1.5)
        assert trio.current_time() == pytest.approx(1.6)
        nursery.cancel_scope.cancel()
    assert webhook.statistics() == WebhookStatistics(delivered=1, dropped=1, waiting=0)
    (line,) = [line for line in log if line["event"] == "a call record was not delivered"]
    assert (line["call"], line["error"]) == ("u-2", "the bridge has stopped")


async def test_a_last_attempt_that_fails_is_the_last(autojump_clock: Clock) -> None:
    """At the end there are no more pauses."""
    receiver = Receiver([None])
    webhook = to(receiver)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(webhook.run)
        end_call(webhook)
        await trio.sleep(0.1)
        await webhook.finish(trio.current_time() + 60)
        assert trio.current_time() < 1
        assert webhook.statistics() == WebhookStatistics(delivered=0, dropped=1, waiting=0)
        nursery.cancel_scope.cancel()


async def test_a_call_waits_for_nothing_of_it(autojump_clock: Clock, question: bytes) -> None:
    """A receiver that hangs: the call is over when it is over, with its whole transcript told."""
    receiver = Receiver([OK], takes_s=3600.0)
    webhook = to(receiver)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(webhook.run)
        settings = config()
        async with place_call(
            SimulatedRealtime(Silence()), settings, listeners=[webhook.listen]
        ) as call:
            call.caller.start()
            await call.caller.say(question)
            await call.caller.be_silent(5)
            hung_up_s = trio.current_time()
        assert call.ended_s == pytest.approx(hung_up_s, abs=0.1)
        await trio.testing.wait_all_tasks_blocked()
        assert receiver.open_now == 1
        nursery.cancel_scope.cancel()
