"""`ModelProbe`: does the model answer? Tried in the background, for ``/readyz``.

With AVR_READY_CHECKS_MODEL. A probe sets a session up and closes it, which costs no tokens; the
page tells what the last ones found and waits for none. Running calls and new ones are not touched:
only the load balancer, which asks ``/readyz``, looks for another bridge.
"""

from __future__ import annotations

import random
from functools import partial
from typing import TYPE_CHECKING

import trio

from avr_bridge.checking import Verdict, check_model
from avr_bridge.config import DEFAULT_INSTRUCTIONS
from avr_bridge.telemetry import get_logger

if TYPE_CHECKING:
    from avr_bridge.config import ModelConfig
    from avr_bridge.upstream.client import Dial

__all__ = ["ModelProbe"]

EVERY_S = 30.0
"""While it answers. A key that was revoked is noticed within half a minute; calls of one minute and
ten at a time open twenty sessions in that time."""

AGAIN_S = 5.0
"""While it does not."""

MOST_FAILURES = 2
"""In a row, before a bridge that was ready is so no longer: a single one is a hiccup of the
network, which all bridges would see at once."""

NOT_TRIED = "the model was not tried yet"


class ModelProbe:
    """One process's.

    Args:
        config: Address, key and session.
        dial: Replaces the network.

    Attributes:
        why_not: Why the model counts as one that does not answer; None if it does.
    """

    def __init__(self, config: ModelConfig, *, dial: Dial | None = None) -> None:
        self.why_not: str | None = NOT_TRIED
        self._try = partial(check_model, config, DEFAULT_INSTRUCTIONS, dial=dial)
        self._failures = 0

    async def run(self) -> None:
        """Probe until cancelled."""
        while True:
            await self.probe()
            pause_s = AGAIN_S if self._failures else EVERY_S
            # Several bridges that start together do not all ask together for ever.
            await trio.sleep(pause_s * random.uniform(0.8, 1.2))

    async def probe(self) -> None:
        """Try once, and remember what came of it."""
        last = (await self._try())[-1]
        before = self.why_not
        if last.verdict is not Verdict.FAILED:
            self._failures, self.why_not = 0, None
        else:
            self._failures += 1
            if self.why_not is not None or self._failures >= MOST_FAILURES:
                self.why_not = f"the model does not answer: {last.words}"
        if self.why_not is None and before is not None:
            get_logger().info("the model answers")
        elif self.why_not is not None and before in (None, NOT_TRIED):
            get_logger().warning("the model does not answer", step=last.name, error=last.words)
