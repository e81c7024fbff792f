"""Tools of one's own, in Python: put a copy of this file into the directory of AVR_TOOLS_DIR.

Each public function with a docstring is a tool. Its hints become the JSON Schema, its docstring
the descriptions that the model reads. `avr-bridge tools` shows what was made of it.
"""

from __future__ import annotations

from datetime import date
from typing import Annotated, Literal

import trio

from avr_bridge.errors import ToolError
from avr_bridge.tools import CallContext, ControlRequest, ToolResult

OPENING_HOURS = {"shop": "9 to 18", "workshop": "7 to 16"}
ORDERS = {"A-1": {"state": "sent", "arrives": date(2030, 1, 31)}}


async def order_status(order: Annotated[str, "Order number, such as A-1."]) -> dict[str, object]:
    """Look up an order's state and the day of its arrival."""
    await trio.sleep(0.01)  # a request to the shop's system, with httpx2 for example
    if order not in ORDERS:
        raise ToolError("there is no order of that number; ask the caller to repeat it")
    return ORDERS[order]


def opening_hours(place: Literal["shop", "workshop"], call: CallContext) -> str:
    """Tell when we are open.

    Args:
        place: Which door the caller wants.
    """
    # Not async, so it runs in a thread and may block. `call` is not shown to the model.
    language = call.metadata.get("language", "en")
    word = {"en": "o'clock", "de": "Uhr"}.get(language, "")
    return f"{OPENING_HOURS[place]} {word}".strip()


async def fetch_a_person(urgent: bool = False) -> ToolResult:
    """Transfer the caller to a person. Tell the caller so in the same answer."""
    extension = "601" if urgent else "600"
    return ToolResult(
        "The call will be transferred when the caller has heard your last words.",
        ok=True,
        control=ControlRequest("transfer", extension, context="demo"),
    )
