"""What one call is to be like: its prompt, and what the prompt's address says beside it.

The prompt comes from the setting, an address, a file, or is the built-in one, read anew for each
call. A source that fails is logged and the next one is used, so that a prompt service that is
down does not silence the telephone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any

import attrs
import httpx2
import msgspec
import trio
from msgspec import Meta

from avr_bridge.config import DEFAULT_INSTRUCTIONS, ModelConfig
from avr_bridge.errors import ToolError
from avr_bridge.tools.web import ask

__all__ = ["CallSettings", "settings_for_call"]

MOST_INSTRUCTIONS_CHARS = 64 * 1024
"""Some 16,000 tokens: half of what a Realtime session of 32,000 can remember at all."""

MOST_WELCOME_CHARS = 4096
"""Some five minutes of speech."""

MOST_ANSWER_BYTES = 512 * 1024
"""The longest instructions, each character written as six (``\\u0430``), and the rest. It is
decoded in one go, within a few ms, while other calls wait."""

FETCH_LIMIT_S = 3.0
"""The caller hears nothing meanwhile; the Node connector had no limit and hung."""

VOICE = r"^([A-Za-z0-9][A-Za-z0-9_. -]{0,63})?\Z"
"""What names of voices look like at every server that we know; blank: as configured. The API
refuses the whole session for a voice that it does not know, so a prompt or a page in its place must
not get that far."""

_UNREADABLE = (ValueError, RecursionError)
"""What comes of an answer that is no JSON, or of another shape."""


class _Unusable(ValueError):
    """An answer that is no settings of a call; in words, without its content."""


_OURS = (msgspec.DecodeError, ToolError, _Unusable)
"""What these say names a place in the answer, and nothing that stands there."""

_PLACEHOLDER = re.compile(r"\{([A-Za-z_][\w.-]*)\}")


@attrs.frozen
class CallSettings:
    """What holds for this call alone. None: as configured.

    Attributes:
        tools: Names of the tools to offer; None: all.
        metadata: The call's metadata, with what the address added.
        log_all: Whether every line of the call is logged, debug too.
    """

    instructions: str
    metadata: Mapping[str, str]
    voice: str | None = None
    welcome: str | None = None
    tools: tuple[str, ...] | None = None
    log_all: bool = False


class _Answer(msgspec.Struct):
    """What the address answers; fields that we do not know are ignored, as AVR's are."""

    system: Annotated[str, Meta(max_length=MOST_INSTRUCTIONS_CHARS)]
    voice: Annotated[str, Meta(pattern=VOICE)] | None = None
    welcome: Annotated[str, Meta(max_length=MOST_WELCOME_CHARS)] | None = None
    tools: list[str] | None = None
    metadata: dict[str, str] = {}
    log: Any = None  # a later addition: whoever had a field of that name goes on working


_answer_decoder = msgspec.json.Decoder(_Answer)


async def settings_for_call(
    config: ModelConfig, uuid: str, metadata: Mapping[str, str], log: Any
) -> CallSettings:
    """The first source that works: OPENAI_INSTRUCTIONS, its URL, its file, the built-in text.

    The URL is asked with the header ``X-AVR-UUID`` and the call's metadata as query (a name that
    the URL has itself stays the URL's), and must answer ``{"system": "..."}`` (the contract of
    avr-sts-openai); it may add ``voice``, ``welcome``, ``tools`` (names), ``metadata`` and
    ``log`` (``debug``). ``{name}`` in a prompt stands for a value of the metadata, which is only
    ever text; an unknown name stays as it is.
    """
    settings = await _first_source(config, uuid, metadata, log)
    values = settings.metadata
    return attrs.evolve(
        settings,
        instructions=_filled(settings.instructions, values),
        welcome=settings.welcome and _filled(settings.welcome, values),
    )


def _filled(text: str, values: Mapping[str, str]) -> str:
    return _PLACEHOLDER.sub(lambda found: values.get(found[1], found[0]), text)


async def _first_source(
    config: ModelConfig, uuid: str, metadata: Mapping[str, str], log: Any
) -> CallSettings:
    if config.instructions:
        return CallSettings(config.instructions, metadata)
    if config.instructions_url:
        try:
            answer = await _fetched(config.instructions_url, uuid, metadata)
        except (ToolError, httpx2.InvalidURL, trio.TooSlowError, *_UNREADABLE) as error:
            log.warning("instructions address failed", error=_words(error))
        else:
            return CallSettings(
                answer.system,
                {**metadata, **answer.metadata},
                answer.voice or None,
                answer.welcome or None,
                None if answer.tools is None else tuple(answer.tools),
                log_all=answer.log == "debug",
            )
    if config.instructions_file:
        try:
            text = (await trio.Path(config.instructions_file).read_text("utf-8")).strip()
        except (OSError, UnicodeDecodeError) as error:
            log.warning("instructions file failed", error=_words(error))
        else:
            if text:
                return CallSettings(text, metadata)
            log.warning("instructions file is empty")
    return CallSettings(DEFAULT_INSTRUCTIONS, metadata)


async def _fetched(url: str, uuid: str, metadata: Mapping[str, str]) -> _Answer:
    with trio.fail_after(FETCH_LIMIT_S):
        answer = await ask(
            "GET",
            _address(url, metadata),
            headers={"X-AVR-UUID": uuid, "Content-Type": "application/json"},
            most_bytes=MOST_ANSWER_BYTES + 1,
            through_proxy=True,
        )
    if not answer.ok:
        raise _Unusable(f"it answered with HTTP status {answer.status}")
    if len(answer.text) > MOST_ANSWER_BYTES:
        raise _Unusable(f"the answer is longer than {MOST_ANSWER_BYTES} bytes")
    found = _answer_decoder.decode(answer.text)
    if not found.system.strip():
        raise _Unusable("the answer has no text under 'system'")
    return found


def _words(error: Exception) -> str:
    """What was wrong, for the log; what others' exceptions say may hold the address."""
    match error:
        case trio.TooSlowError():
            return f"no answer within {FETCH_LIMIT_S:g} s"
        case OSError(strerror=str(words)):
            return words
        case UnicodeDecodeError():
            return "it is no UTF-8"
        case _:
            return str(error) if isinstance(error, _OURS) else type(error).__name__


def _address(url: str, metadata: Mapping[str, str]) -> httpx2.URL:
    """The configured address with the call's metadata as query, behind what it has of its own.

    A name that the address has is the operator's (a tenant, a key), and a caller cannot set it.
    """
    address = httpx2.URL(url)
    taken = {_plain(name) for name in address.params}
    free = {name: value for name, value in metadata.items() if _plain(name) not in taken}
    return address.copy_merge_params(free)


def _plain(name: str) -> str:
    """What some servers make of a name: PHP reads ``key[]`` and ``a.b`` as ``key`` and ``a_b``."""
    return re.sub(r"\W", "_", name.strip().partition("[")[0]).casefold()
