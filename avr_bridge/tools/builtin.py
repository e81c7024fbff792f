"""`avr_hangup` and `avr_transfer`, with the names and parameters of avr-sts-openai.

They ask; they do not act. The call carries the request out with `AmiClient`, once the caller has
heard the goodbye, and not if the caller spoke again.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated

from msgspec import Meta

from avr_bridge.errors import ToolError
from avr_bridge.tools.signature import tool_of_function
from avr_bridge.tools.tool import ControlRequest, ToolResult

if TYPE_CHECKING:
    from avr_bridge.tools.tool import Tool

__all__ = ["BUILTIN_NAMES", "builtin_tools"]

SOURCE = "avr-bridge"
BUILTIN_NAMES = ("avr_hangup", "avr_transfer")

DIALPLAN_WORD = re.compile(r"[\w*#+.@-]{1,80}", re.ASCII)
"""What an extension or a context is made of; 80 is Asterisk's own limit. A caller may talk the
model into any text, and a line break would be a second command to Asterisk's manager interface."""


async def avr_hangup() -> ToolResult:
    """End the telephone call. Say goodbye to the caller in the same answer."""
    return ToolResult(
        "The call will be hung up when the caller has heard your goodbye.",
        ok=True,
        control=ControlRequest("hangup"),
    )


async def avr_transfer(
    transfer_extension: Annotated[str, "Extension to transfer the call to, such as 600."],
    transfer_context: Annotated[str, "Dialplan context of the extension."] = "demo",
    transfer_priority: Annotated[
        int, Meta(ge=1, le=1000, description="Priority in the dialplan.")
    ] = 1,
) -> ToolResult:
    """Transfer the telephone call to another extension. Tell the caller so in the same answer."""
    for name, word in (("extension", transfer_extension), ("context", transfer_context)):
        if not DIALPLAN_WORD.fullmatch(word):
            raise ToolError(f"that is no {name}: letters, digits and * # + . - _ @ are allowed")
    return ToolResult(
        "The call will be transferred when the caller has heard your last words.",
        ok=True,
        control=ControlRequest("transfer", transfer_extension, transfer_context, transfer_priority),
    )


def builtin_tools() -> list[Tool]:
    """Both, in the shape of any other tool."""
    return [
        tool_of_function("avr_hangup", avr_hangup, "builtin", SOURCE),
        tool_of_function("avr_transfer", avr_transfer, "builtin", SOURCE),
    ]
