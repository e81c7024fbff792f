"""`check_neighbours`: what a call uses beside the model: tools, instructions, recordings, avr-ami,
Asterisk's manager, the receiver of its record.

Each in the way in which a call does it. Nothing is played, no tool runs, no record is posted, and
no call is hung up: avr-ami is asked about one that cannot exist.
"""

from __future__ import annotations

import uuid
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import attrs
import httpx2
import msgspec
import trio

from avr_bridge.audio.format import PCM16_8K
from avr_bridge.audio.sounds import waiting_sound
from avr_bridge.audio.wav import read_wav
from avr_bridge.call.instructions import settings_for_call
from avr_bridge.checking.steps import Step, Verdict
from avr_bridge.config import ToolsConfig
from avr_bridge.errors import ToolError
from avr_bridge.tools import ManagerClient, manager_of
from avr_bridge.tools.ami import DEFAULT_LIMIT_S, MAX_ANSWER_BYTES, NO_SUCH_CALL
from avr_bridge.tools.manager import RIGHTS
from avr_bridge.tools.web import ask

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from avr_bridge.call.instructions import CallSettings
    from avr_bridge.config import BridgeConfig, ModelConfig
    from avr_bridge.tools import Toolbox
    from avr_bridge.tools.web import Answer

__all__ = ["check_neighbours", "instructions_of"]

ATTEMPT_LIMIT_S = 10.0
"""As long as a record's own attempt may take."""

type Outcome = tuple[Verdict, str, str]
"""Verdict, words and advice."""


async def check_neighbours(config: BridgeConfig, toolbox: Toolbox) -> list[Step]:
    """Try all of them; each is one step.

    Args:
        config: All settings.
        toolbox: The tools, as they were loaded for it.
    """
    steps = [await _timed("instructions", partial(_instructions, config.model))]
    steps.append(await _timed("tools", partial(_tools, toolbox)))
    for name, path in _recordings(config):
        steps.append(await _timed(name, partial(_recording, path)))
    steps.append(await _timed("avr-ami", partial(_ami, config.tools)))
    if (manager := manager_of(config.tools)) is not None:
        steps.append(await _timed("manager", partial(_manager, manager)))
    if config.log.webhook:
        steps.append(await _timed("webhook", partial(_webhook, config.log.webhook)))
    return steps


async def instructions_of(config: ModelConfig) -> tuple[CallSettings, list[str]]:
    """What a call without metadata would get, and what failed on the way there, in words."""
    complaints = _Complaints()
    settings = await settings_for_call(config, str(uuid.uuid4()), {}, complaints)
    return settings, complaints.lines


class _Complaints:
    """A logger that keeps its warnings."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def warning(self, event: str, **fields: Any) -> None:
        self.lines.append(": ".join([event, *map(str, fields.values())]))


async def _timed(name: str, work: Callable[[], Awaitable[Outcome]]) -> Step:
    begun_s = trio.current_time()
    verdict, words, advice = await work()
    return Step(name, verdict, words, (trio.current_time() - begun_s) * 1000, advice)


async def _instructions(config: ModelConfig) -> Outcome:
    settings, failed = await instructions_of(config)
    if config.instructions_url and config.instructions_file and not config.instructions:
        # The file counts when the address fails: try it as if it did.
        by_file = attrs.evolve(cast("Any", config), instructions_url=None)
        failed += (await instructions_of(by_file))[1]
    if failed:
        advice = "Look at OPENAI_URL_INSTRUCTIONS and OPENAI_FILE_INSTRUCTIONS."
        return Verdict.FAILED, "; ".join(failed), advice
    source = next(
        (
            name
            for name, value in (
                ("OPENAI_INSTRUCTIONS", config.instructions),
                ("OPENAI_URL_INSTRUCTIONS", config.instructions_url),
                ("OPENAI_FILE_INSTRUCTIONS", config.instructions_file),
            )
            if value
        ),
        "the built-in sentence",
    )
    return Verdict.OK, f"{len(settings.instructions)} characters from {source}", ""


async def _tools(toolbox: Toolbox) -> Outcome:
    await trio.lowlevel.checkpoint()
    names = ", ".join(tool.name for tool in toolbox.loaded)
    if toolbox.problems:
        words = "; ".join(toolbox.problems)
        return Verdict.FAILED, words, "`avr-bridge tools` lists them; --help tells of JavaScript."
    return Verdict.OK, names, ""


def _recordings(config: BridgeConfig) -> list[tuple[str, str]]:
    """Names and paths of those that are set."""
    found = [
        ("AVR_GREETING_FILE", config.talk.greeting_file),
        ("AVR_FALLBACK_FILE", config.talk.fallback_file),
        ("AVR_FAREWELL_FILE", config.server.farewell_file),
        ("AVR_TOOL_SOUND", config.talk.tool_sound),
    ]
    return [(name, path) for name, path in found if path and path != "off"]


async def _recording(path: str) -> Outcome:
    await trio.lowlevel.checkpoint()
    try:
        pcm = waiting_sound(path) if path == "typing" else read_wav(path)
    except (OSError, ValueError) as error:
        words = error.strerror if isinstance(error, OSError) else str(error)
        return Verdict.FAILED, words or type(error).__name__, "Give the path of a WAV file."
    if not pcm:
        return Verdict.FAILED, "it has no sound", "Give a WAV file with something in it."
    return Verdict.OK, f"{PCM16_8K.ms(len(pcm)) / 1000:.1f} s", ""


async def _ami(config: ToolsConfig) -> Outcome:
    advice = (
        "Look at AMI_URL, and whether avr-ami runs. Without it no call through avr-core can be "
        "hung up or moved."
    )
    # Beside avr-core alone there may be none, and nobody said that there is.
    missing = Verdict.WARNING if config.ami_url == ToolsConfig().ami_url else Verdict.FAILED
    answer = None
    with trio.move_on_after(DEFAULT_LIMIT_S):
        try:
            answer = await ask(
                "POST",
                httpx2.URL(config.ami_url.rstrip("/") + "/hangup"),
                headers={},
                body={"uuid": NO_SUCH_CALL},
                most_bytes=MAX_ANSWER_BYTES,
                through_proxy=False,
            )
        except ToolError as error:
            return missing, str(error), advice
    if answer is None:
        return missing, f"no answer within {DEFAULT_LIMIT_S:g} s", advice
    if answer.ok or (answer.status == 404 and _has_message(answer)):
        return Verdict.OK, "it answers", ""
    if answer.status >= 500:
        advice = "Look at avr-ami's own log: does it reach Asterisk's manager interface?"
    return Verdict.FAILED, f"it answered HTTP {answer.status}", advice


async def _manager(manager: ManagerClient) -> Outcome:
    try:
        denied = await manager.denied()
    except ToolError as error:
        advice = (
            "Look at AVR_MANAGER_ENDPOINT, AVR_MANAGER_USER and AVR_MANAGER_PASSWORD, and at "
            "Asterisk's manager.conf. Without it no call straight from Asterisk can be transferred."
        )
        return Verdict.FAILED, str(error), advice
    if denied:
        words = f"it lets us in, but its user may not use {', '.join(denied)}"
        advice = (
            f"Give the user {RIGHTS} in Asterisk's manager.conf, and then `manager reload`. "
            "Without it no call straight from Asterisk can be transferred."
        )
        return Verdict.FAILED, words, advice
    return Verdict.OK, "it lets us in, and we may do what we need", ""


async def _webhook(address: str) -> Outcome:
    """Whether anybody is there; what a record would be answered is not known without one."""
    advice = "Look at AVR_CALL_WEBHOOK. Calls do not wait for it; their records are lost."
    url = httpx2.URL(address)
    with trio.move_on_after(ATTEMPT_LIMIT_S):
        try:
            answer = await ask("HEAD", url, headers={}, most_bytes=0, through_proxy=True)
        except ToolError as error:
            return Verdict.FAILED, str(error), advice
        return Verdict.OK, f"somebody answers (HTTP {answer.status}); nothing was posted", ""
    return Verdict.FAILED, f"no answer within {ATTEMPT_LIMIT_S:g} s", advice


def _has_message(answer: Answer) -> bool:
    """Whether this is avr-ami's way to say that it knows no such call."""
    try:
        found = msgspec.json.decode(answer.text.encode(), type=dict[str, Any])
    except msgspec.DecodeError:
        return False
    return "not found" in str(found.get("message", ""))
