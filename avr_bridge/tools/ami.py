"""avr-ami, which hangs up and transfers calls in Asterisk.

Its contract (agentvoiceresponse/avr-ami): POST /hangup ``{uuid}`` and POST /transfer ``{uuid,
exten, context, priority}``; 200, 404 for a call that it does not know, 500 for trouble with
Asterisk, each with ``{"message": ...}``. When to act is decided by the call, not here.
"""

from __future__ import annotations

import uuid as uuids
from typing import Any

import httpx2
import msgspec
import trio

from avr_bridge.errors import ToolError
from avr_bridge.tools.web import Answer, ask, prepare_tls

__all__ = ["DEFAULT_LIMIT_S", "NO_SUCH_CALL", "AmiClient", "check_answer"]

DEFAULT_LIMIT_S = 5.0
"""avr-ami answers when Asterisk has, within milliseconds; the caller is waiting in silence. The
Node connectors have no limit but Ultravox's, which is 2 s for hanging up."""

NO_SUCH_CALL = str(uuids.UUID(int=0))
"""No call has it, so asking for its hangup does nothing, and the answer shows who answers."""

MAX_ANSWER_BYTES = 4096
MAX_MESSAGE_CHARS = 200


class AmiClient:
    """Call control for all calls; holds no connection between requests."""

    def __init__(self, url: str, limit_s: float = DEFAULT_LIMIT_S) -> None:
        self._base = url.rstrip("/")
        self._limit_s = limit_s
        prepare_tls()

    async def hang_up(self, uuid: str) -> None:
        """Hang up the call.

        Raises:
            ToolError: It could not be done; in words.
        """
        check_answer(await self._post("/hangup", {"uuid": uuid}))

    async def transfer(self, uuid: str, extension: str, context: str, priority: int) -> None:
        """Send the call to another extension of the dialplan.

        Raises:
            ToolError: It could not be done; in words.
        """
        body = {"uuid": uuid, "exten": extension, "context": context, "priority": priority}
        check_answer(await self._post("/transfer", body))

    async def check_reachable(self) -> None:
        """Ask avr-ami about a call that cannot exist.

        Raises:
            ToolError: Nobody answers, or avr-ami has trouble; in words.
        """
        answer = await self._post("/hangup", {"uuid": NO_SUCH_CALL})
        if answer.status != 404:
            check_answer(answer)

    async def _post(self, path: str, body: dict[str, Any]) -> Answer:
        with trio.move_on_after(self._limit_s):
            try:
                return await ask(
                    "POST",
                    httpx2.URL(self._base + path),
                    headers={},
                    body=body,
                    most_bytes=MAX_ANSWER_BYTES,
                    through_proxy=False,  # avr-ami is a neighbour of the bridge
                )
            except ToolError as error:
                raise ToolError(f"call control does not work: {error}") from error
        raise ToolError(f"call control gave no answer within {self._limit_s:g} seconds")


def check_answer(answer: Answer) -> None:
    """Return if avr-ami did what it was asked.

    Raises:
        ToolError: It did not; in words.
    """
    if answer.ok:
        return
    if answer.status == 404:
        raise ToolError("the call is not known to Asterisk")
    raise ToolError(f"call control answered {answer.status}{_message(answer.text)}")


def _message(text: str) -> str:
    try:
        found = msgspec.json.decode(text.encode(), type=dict[str, Any]).get("message")
    except msgspec.DecodeError:
        return ""
    return f": {found[:MAX_MESSAGE_CHARS]}" if isinstance(found, str) else ""
