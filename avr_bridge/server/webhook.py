"""`CallWebhook`: sends the record of each call to AVR_CALL_WEBHOOK when it is over.

Beside the calls: a call hands its record over and is done. What cannot be delivered is tried again
for a bounded time, waits in bounded memory, and is counted and logged when it is given up. What the
record is stands in `webhook_record.py`.
"""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

import attrs
import httpx2
import trio

from avr_bridge.errors import ToolError
from avr_bridge.server.webhook_record import CallRecord, CallRecords, headers_of
from avr_bridge.telemetry import SeldomLog, get_logger
from avr_bridge.tools.web import Answer, ask, prepare_tls

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from avr_bridge.config import Secret
    from avr_bridge.telemetry.metrics import RecordOutcome

__all__ = ["CallWebhook", "WebhookStatistics"]

ATTEMPT_LIMIT_S = 10.0
"""For one request and its answer. Receivers should take the record and think about it later."""

FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 60.0
"""Between attempts: doubled each time, less or more by half, so that the records of an outage do
not all come in the same moment."""

GIVE_UP_S = 600.0
"""From the call's end. A restart of the receiver takes less; a longer outage loses records, and the
line "call ended" in the log still has all but the transcript."""

AT_A_TIME = 4
"""Requests; with a receiver that takes 100 ms that is 40 calls a second."""

MOST_WAITING = 1000
"""Records, those that are being sent included; of one minute's talk each some 5 MB."""

MOST_WAITING_BYTES = 32 * 1024 * 1024

PASSING = frozenset({408, 425, 429})
"""Statuses below 500 after which another attempt may help."""


type Send = Callable[[Mapping[str, str], bytes], Awaitable[Answer]]
"""Posts a body with these headers; raises `ToolError` if there is no answer."""


@attrs.frozen
class WebhookStatistics:
    """How the records of this process have fared so far; `waiting` ones are still being tried."""

    delivered: int
    dropped: int
    waiting: int


class CallWebhook:
    """One process's. Hand `listen` to the calls, and `run` it beside them.

    Args:
        address: Where records are posted.
        secret: Signs them; None: no signature.
        send: Replaces the network.
        count: Told what became of each record.
    """

    def __init__(
        self,
        address: str,
        secret: Secret | None,
        send: Send | None = None,
        *,
        count: Callable[[RecordOutcome], None] = lambda _outcome: None,
    ) -> None:
        self.listen = CallRecords(self._take)
        self._address = httpx2.URL(address)
        self._secret = secret
        self._count = count
        self._send = send or self._send_by_http
        self._seldom = SeldomLog()
        self._waiting: dict[str, CallRecord] = {}
        self._waiting_bytes = 0
        self._delivered = 0
        self._dropped = 0
        self._give, self._given = trio.open_memory_channel[CallRecord](MOST_WAITING)
        self._limiter = trio.CapacityLimiter(AT_A_TIME)
        self._closing = trio.Event()
        self._none_left = trio.Event()
        prepare_tls()

    def statistics(self) -> WebhookStatistics:
        """Counts since the start."""
        return WebhookStatistics(self._delivered, self._dropped, len(self._waiting))

    async def run(self) -> None:
        """Deliver records until cancelled."""
        try:
            async with trio.open_nursery() as nursery:
                async for record in self._given:
                    nursery.start_soon(self._deliver, record)
        finally:
            for record in list(self._waiting.values()):
                self._drop(record, "the bridge has stopped")

    async def finish(self, until_s: float) -> None:
        """No more calls: try what is left once more at once, and wait for that until `until_s`."""
        self._closing.set()
        with trio.move_on_at(until_s):
            while self._waiting:
                await self._none_left.wait()
        await trio.lowlevel.checkpoint()

    def _take(self, record: CallRecord) -> None:
        """A call is over. Never waits."""
        full = len(self._waiting) >= MOST_WAITING
        if full or self._waiting_bytes + len(record.body) > MOST_WAITING_BYTES:
            self._drop(record, "too many records wait")
            return
        self._waiting[record.delivery] = record
        self._waiting_bytes += len(record.body)
        self._none_left = trio.Event()
        self._give.send_nowait(record)

    async def _deliver(self, record: CallRecord) -> None:
        give_up_s = trio.current_time() + GIVE_UP_S
        pause_s = FIRST_PAUSE_S
        while True:
            last = self._closing.is_set()
            failure, lasting = await self._post(record)
            if failure is None:
                self._delivered += 1
                self._count("delivered")
                self._forget(record)
                return
            wait_s = pause_s * random.uniform(0.5, 1.5)
            if lasting or last or trio.current_time() + wait_s > give_up_s:
                self._drop(record, failure)
                return
            self._seldom.warning("a call record could not be delivered yet", error=failure)
            with trio.move_on_after(wait_s):
                await self._closing.wait()
            pause_s = min(pause_s * 2, LONGEST_PAUSE_S)

    async def _post(self, record: CallRecord) -> tuple[str | None, bool]:
        """Send it once.

        Returns:
            What went wrong, in words, or None; and whether another attempt is of no use.
        """
        answer = None
        async with self._limiter:
            with trio.move_on_after(ATTEMPT_LIMIT_S):
                try:
                    headers = headers_of(record, self._secret, time.time())
                    answer = await self._send(headers, record.body)
                except ToolError as error:
                    return str(error), False
        if answer is None:
            return f"no answer within {ATTEMPT_LIMIT_S:g} s", False
        if answer.ok:
            return None, False
        lasting = answer.status < 500 and answer.status not in PASSING
        return f"it answered HTTP {answer.status}", lasting

    async def _send_by_http(self, headers: Mapping[str, str], body: bytes) -> Answer:
        return await ask(
            "POST",
            self._address,
            headers=headers,
            content=body,
            most_bytes=0,
            through_proxy=True,
        )

    def _drop(self, record: CallRecord, why: str) -> None:
        self._dropped += 1
        self._count("dropped")
        self._forget(record)
        log = get_logger()
        log.warning("a call record was not delivered", call=record.call, error=why)

    def _forget(self, record: CallRecord) -> None:
        if self._waiting.pop(record.delivery, None) is not None:
            self._waiting_bytes -= len(record.body)
        if not self._waiting:
            self._none_left.set()
