"""``avr-bridge check``: will calls work with these settings? Tries it, and says what is wrong.

What is tried stands in `avr_bridge/checking/`. `avr-bridge explain` shows the settings themselves.
"""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any

import click
import trio

from avr_bridge.cli.output import say
from avr_bridge.cli.serve import EXIT_USAGE, config_of, config_or_exit
from avr_bridge.errors import ConfigError
from avr_bridge.telemetry import configure_logging

if TYPE_CHECKING:
    from avr_bridge.checking import Step
    from avr_bridge.config import BridgeConfig
    from avr_bridge.tools import Toolbox

__all__ = ["check"]

EXIT_MODEL = 1
EXIT_NEIGHBOURS = 3

MARKS = {"ok": "ok", "warning": "WARN", "failed": "FAIL"}


@click.command()
@click.option(
    "--answer/--no-answer",
    default=True,
    help="Whether to ask the model for one spoken sentence. Costs about 0.3 US cents; a used-up "
    "quota, an unknown model and a wrong audio format often show only so.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def check(answer: bool, as_json: bool) -> None:
    """Try the key, the model, and what is beside it, as a call would.

    Finds the model's name, connects (through the proxy), checks TLS, sets a session up with this
    bridge's settings, asks for one sentence, closes. Then: instructions, tools, recordings, and
    whether avr-ami answers. Says how long each step took, what is wrong, and what to do.

    Exit code 0 if calls will work, perhaps with warnings; 1 if the model cannot serve them; 2 if a
    setting cannot be; 3 if the model can and something beside it is wrong.
    """
    config = _json_config_or_exit() if as_json else config_or_exit(os.environ)
    mask = config.mask()
    configure_logging(config.log, mask=mask)
    model, neighbours = trio.run(_try_all, config, answer)
    code = _exit_code(model, neighbours)
    if as_json:
        shown: dict[str, Any] = {
            "exit_code": code,
            "warnings": [mask(one) for one in config.warnings],
            "model": [_plain(one) for one in model],
            "neighbours": [_plain(one) for one in neighbours],
        }
        # Words of servers and tools are masked in the whole text, however JSON escapes them.
        say(mask(json.dumps(shown, indent=2, ensure_ascii=False)))
    else:
        for warning in config.warnings:
            say(mask(f"WARN  settings: {warning}"))
        for one in (*model, *neighbours):
            say(mask(_line(one)))
            if one.advice:
                say(f"      -> {one.advice}")
        say(_verdict(code))
    sys.exit(code)


def _json_config_or_exit() -> BridgeConfig:
    """The settings; or their faults, where whoever reads the object finds them."""
    try:
        return config_of(os.environ)
    except ConfigError as error:
        shown = {"exit_code": EXIT_USAGE, "faults": list(error.faults)}
        say(json.dumps(shown, indent=2, ensure_ascii=False))
        sys.exit(EXIT_USAGE)


async def _try_all(config: BridgeConfig, answer: bool) -> tuple[list[Step], list[Step]]:
    from avr_bridge.checking import check_model, check_neighbours
    from avr_bridge.checking.neighbours import instructions_of
    from avr_bridge.tools import load_tools

    toolbox: Toolbox = load_tools(config.tools)
    settings, _ = await instructions_of(config.model)
    model = await check_model(
        config.model,
        settings.instructions,
        tools=toolbox.descriptions(),
        answer=answer,
    )
    return model, await check_neighbours(config, toolbox)


def _exit_code(model: list[Step], neighbours: list[Step]) -> int:
    if any(one.verdict.value == "failed" for one in model):
        return EXIT_MODEL
    if any(one.verdict.value == "failed" for one in neighbours):
        return EXIT_NEIGHBOURS
    return 0


def _plain(step: Step) -> dict[str, Any]:
    return {
        "name": step.name,
        "verdict": step.verdict.value,
        "words": step.words,
        "took_ms": round(step.took_ms, 1),
        "advice": step.advice,
    }


def _line(step: Step) -> str:
    mark = MARKS[step.verdict.value]
    return f"{mark:<5} {step.name}: {step.words}  ({step.took_ms:.0f} ms)"


def _verdict(code: int) -> str:
    if code == EXIT_MODEL:
        return "Calls will not work: the model cannot serve them."
    if code == EXIT_NEIGHBOURS:
        return "Calls will be answered, and something beside the model is wrong."
    return "Calls will work."
