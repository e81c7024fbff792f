"""A simulated avr-ami: takes hangups and transfers, remembers them, and fails as it is told.

On real sockets with `serve`, for `AmiClient` and programs that use avr-ami; in memory, under a
virtual clock, with its own `hang_up` and `transfer`, which stand in for those of an `AmiClient`.
No Asterisk is behind it: what a hangup does to a call is up to `on_done`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import attrs
import msgspec
import trio

from avr_bridge.errors import ToolError
from avr_bridge.testing.serving import serve_clients
from avr_bridge.testing.small_http import Answer, serve_requests
from avr_bridge.tools.ami import check_answer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["AmiFault", "AmiRequest", "SimulatedAmi"]

type AmiFault = Literal["unknown", "error", "hang", "drop"]

ACTIONS = ("hangup", "transfer")
TROUBLE = "Error communicating with Asterisk"


@attrs.frozen
class AmiRequest:
    """One request, as it came: ``hangup`` or ``transfer``, and its JSON body."""

    action: str
    body: dict[str, Any]

    @property
    def uuid(self) -> str:
        """The call that is meant."""
        return str(self.body.get("uuid", ""))


class SimulatedAmi:
    """avr-ami without Asterisk.

    Attributes:
        known: The calls that exist; a call that was hung up leaves. None: every call exists.
        faults: What becomes of the next requests, one each, in order; None does what is asked.
            ``unknown``: 404; ``error``: 500; ``hang``: no answer; ``drop``: connection closed.
        requests: Every request so far, those that failed too.
        on_done: Called with each request that was done.
    """

    def __init__(
        self,
        known: Iterable[str] | None = None,
        *,
        faults: Iterable[AmiFault | None] = (),
        on_done: Callable[[AmiRequest], None] | None = None,
    ) -> None:
        self.known = None if known is None else set(known)
        self.faults = list(faults)
        self.requests: list[AmiRequest] = []
        self.on_done = on_done
        self._news = trio.lowlevel.ParkingLot()

    async def serve(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serve until cancelled; reports the address for ``AMI_URL``."""
        await serve_clients(self._client, "http://{}", host, port, task_status)

    async def wait_requests(self, count: int = 1) -> None:
        """Wait until so many requests have come."""
        while len(self.requests) < count:
            await self._news.park()

    async def hang_up(self, uuid: str) -> None:
        """As `AmiClient.hang_up`, without a socket.

        Raises:
            ToolError: A fault, or an unknown call.
        """
        await self._in_memory("hangup", {"uuid": uuid})

    async def transfer(self, uuid: str, extension: str, context: str, priority: int) -> None:
        """As `AmiClient.transfer`, without a socket.

        Raises:
            ToolError: A fault, or an unknown call.
        """
        body = {"uuid": uuid, "exten": extension, "context": context, "priority": priority}
        await self._in_memory("transfer", body)

    async def _in_memory(self, action: str, body: dict[str, Any]) -> None:
        await trio.lowlevel.checkpoint()
        answer = await self._answer(AmiRequest(action, body))
        if answer is None:
            raise ToolError("call control does not work: the service gave no proper answer")
        check_answer(answer)

    async def _answer(self, request: AmiRequest) -> Answer | None:
        """What is answered; None closes the connection instead."""
        self.requests.append(request)
        self._news.unpark_all()
        fault = self.faults.pop(0) if self.faults else None
        if fault == "hang":
            await trio.sleep_forever()
        if fault == "drop":
            return None
        if fault == "error":
            return _message(500, TROUBLE)
        if fault == "unknown" or (self.known is not None and request.uuid not in self.known):
            return _message(404, f"Call with UUID {request.uuid} not found")
        if request.action == "hangup" and self.known is not None:
            self.known.discard(request.uuid)
        if self.on_done is not None:
            self.on_done(request)
        return _message(200, f"{request.action} done")

    async def _client(self, stream: trio.SocketStream) -> None:
        """One connection; clients may keep it for several requests."""
        await serve_requests(stream, self._answered)

    async def _answered(self, target: str, data: bytes) -> Answer | None:
        method, _, path = target.partition(" ")
        action = path.removeprefix("/")
        if method != "POST" or action not in ACTIONS:
            return _message(404, f"Cannot {method} {path}")
        try:
            body = msgspec.json.decode(data, type=dict[str, Any])
        except msgspec.DecodeError:
            return _message(400, "the body is no JSON object")
        return await self._answer(AmiRequest(action, body))


def _message(status: int, text: str) -> Answer:
    return Answer(status, msgspec.json.encode({"message": text}).decode())
