"""The system prompt of one call: from the setting, an address, a file, or the built-in one.

Read anew for each call. A source that fails is logged and the next one is used, so that a
prompt service that is down does not silence the telephone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx2
import trio

from avr_bridge.config import DEFAULT_INSTRUCTIONS, ModelConfig

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["instructions_for_call"]

FETCH_LIMIT_S = 3.0
"""The caller hears nothing meanwhile; the Node connector had no limit and hung."""


async def instructions_for_call(
    config: ModelConfig, uuid: str, metadata: Mapping[str, str], log: Any
) -> str:
    """The first source that works: OPENAI_INSTRUCTIONS, its URL, its file, the built-in text.

    The URL is asked with the header ``X-AVR-UUID`` and the call's metadata as query, and must
    answer ``{"system": "..."}`` (the contract of avr-sts-openai).
    """
    if config.instructions:
        return config.instructions
    if config.instructions_url:
        try:
            return await _fetched(config.instructions_url, uuid, metadata)
        except (httpx2.HTTPError, trio.TooSlowError, ValueError) as error:
            log.warning("instructions address failed", error=type(error).__name__)
    if config.instructions_file:
        try:
            text = (await trio.Path(config.instructions_file).read_text("utf-8")).strip()
        except (OSError, UnicodeDecodeError) as error:
            log.warning("instructions file failed", error=type(error).__name__)
        else:
            if text:
                return text
            log.warning("instructions file is empty")
    return DEFAULT_INSTRUCTIONS


async def _fetched(url: str, uuid: str, metadata: Mapping[str, str]) -> str:
    headers = {"X-AVR-UUID": uuid, "Content-Type": "application/json"}
    with trio.fail_after(FETCH_LIMIT_S):
        async with httpx2.AsyncClient() as client:
            address = httpx2.URL(url).copy_merge_params(dict(metadata))
            answer = await client.get(address, headers=headers)
    answer.raise_for_status()
    body = answer.json()
    system = body.get("system") if isinstance(body, dict) else None
    if not isinstance(system, str) or not system.strip():
        raise ValueError("the answer has no text under 'system'")
    return system
