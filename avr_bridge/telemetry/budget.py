"""What one call may use: AVR_MAX_COST_PER_CALL and AVR_MAX_TOKENS_PER_CALL, counted.

What is done when a limit is reached is the conversation's. Cost is the estimate of `prices.py`;
what has no price cannot be counted, so a limit of cost needs a price to begin with.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from avr_bridge.telemetry.prices import load_prices, prices_file_fault
from avr_bridge.telemetry.usage import Usage

if TYPE_CHECKING:
    from avr_bridge.config import BridgeConfig, TalkConfig

__all__ = ["Budget", "price_faults"]

COST, TOKENS = "AVR_MAX_COST_PER_CALL", "AVR_MAX_TOKENS_PER_CALL"

ONE_OF_EACH = Usage(
    text_in=1, audio_in=1, cached_text_in=1, cached_audio_in=1, text_out=1, audio_out=1
)


class Budget:
    """One call's.

    Args:
        talk: The limits; 0 for none.

    Attributes:
        cost_usd: What is known of the cost so far.
        tokens: Of all responses so far, cached ones included.
        incomplete: Something had no price, so that `cost_usd` is too low.
    """

    def __init__(self, talk: TalkConfig) -> None:
        self._most_usd = talk.max_cost_usd
        self._most_tokens = talk.max_tokens
        self.cost_usd = 0.0
        self.tokens = 0
        self.incomplete = False

    def spend(self, cost_usd: float | None, tokens: int = 0) -> None:
        """Count a response, or a transcript; a cost of None is one that is not known."""
        self.tokens += tokens
        self.cost_usd += cost_usd or 0.0
        self.incomplete = self.incomplete or cost_usd is None

    @property
    def reached(self) -> str:
        """The setting whose limit is reached; "" if none is."""
        if self._most_usd and self.cost_usd >= self._most_usd:
            return COST
        return TOKENS if self._most_tokens and self.tokens >= self._most_tokens else ""

    @property
    def counts_cost(self) -> bool:
        """Whether there is a limit of cost."""
        return self._most_usd > 0


def price_faults(config: BridgeConfig) -> list[str]:
    """Why the list of prices, or a limit of cost, could not work, in the words of a bad setting.

    A limit that counts nothing would be found out by the bill.
    """
    path, most_usd = config.log.prices_file, config.talk.max_cost_usd
    if fault := prices_file_fault(path):
        return [fault]
    if not most_usd:
        return []
    if config.model.is_at_xai:
        return [
            f"{COST}={most_usd:g}: xAI bills by the minute and tells nothing of it: "
            "expected AVR_MAX_CALL_S in its place"
        ]
    model = config.model.model
    price = load_prices(path).of(model)
    if price is None:
        what = f"no price is known for OPENAI_MODEL={model}: expected one in AVR_PRICES_FILE"
    elif missing := price.missing(ONE_OF_EACH):
        what = f"the price of OPENAI_MODEL={model} has no {', '.join(missing)}: expected all kinds"
    else:
        return []
    return [f"{COST}={most_usd:g}: {what}, or {TOKENS} in place of the cost"]
