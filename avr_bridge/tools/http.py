"""A tool that is a web address: the arguments go there, the answer's text goes to the model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import attrs
import httpx2
import msgspec

from avr_bridge.errors import ToolError
from avr_bridge.tools.web import ask

if TYPE_CHECKING:
    from avr_bridge.tools.tool import CallContext

__all__ = ["HttpEndpoint"]

UUID_HEADER = "X-AVR-UUID"
MAX_ANSWER_BYTES = 64 * 1024
"""Above what the model is told, so that a cut shows; below what would weigh on other calls."""

MAX_ERROR_CHARS = 1000
_WITHOUT_BODY = ("GET", "DELETE")


@attrs.frozen
class HttpEndpoint:
    """Where and how a tool asks. Address and headers may hold credentials and are not shown."""

    method: str
    url: str = attrs.field(repr=False)
    headers: Mapping[str, str] = attrs.field(repr=False)

    async def act(self, arguments: dict[str, Any], context: CallContext) -> str:
        """Ask, with the arguments as JSON body, or as query where the method has no body.

        Raises:
            ToolError: There was no answer, or one with another status than 2xx.
        """
        url, body = httpx2.URL(self.url), None
        if self.method in _WITHOUT_BODY:
            url = url.copy_merge_params(_query(arguments))
        else:
            body = arguments
        answer = await ask(
            self.method,
            url,
            headers={**self.headers, UUID_HEADER: context.uuid},
            body=body,
            most_bytes=MAX_ANSWER_BYTES,
            through_proxy=True,
        )
        if answer.ok:
            return answer.text
        said = answer.text[:MAX_ERROR_CHARS].strip()
        raise ToolError(
            f"the service answered with HTTP status {answer.status}" + (f": {said}" if said else "")
        )


def _query(arguments: dict[str, Any]) -> dict[str, str | list[str]]:
    """Words as they are, numbers and truth as JSON writes them, a list as a repeated name."""
    query: dict[str, str | list[str]] = {}
    for name, value in arguments.items():
        if isinstance(value, list):
            query[name] = [_text(each) for each in value]
        elif value is not None:
            query[name] = _text(value)
    return query


def _text(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
