"""The container that is measured: our own bridge, started for the run, or one that runs already.

Starts it and asks whether it is healthy. What it costs is `subject.py`'s business.
"""

from __future__ import annotations

import os
import random
import socket
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import attrs
import httpx2
import trio

from avr_bridge.errors import AvrBridgeError
from avr_bridge.soak.child import open_child
from avr_bridge.telemetry.version import USER_AGENT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = [
    "Container",
    "ContainerFailed",
    "free_port",
    "open_own_bridge",
    "own_environ",
    "tasks_of",
    "wait_port",
]

START_S = 30.0
"""For our bridge to answer, on a machine that is busy."""
ASK_S = 5.0
"""For one answer of ``/healthz``."""
POLL_S = 0.1

PORTS = range(20_000, 32_000)
"""Below what Linux and others give to whoever asks for any port."""

TOOL = '''"""For a soak run: a tool that answers at once."""


def soak_lookup(order: str = "") -> str:
    """Look up the state of an order."""
    return "It is on its way."
'''
NOT_OURS = (
    "OPENAI_API_KEY_FILE",
    "OPENAI_URL_INSTRUCTIONS",
    "AVR_TOKEN",
    "AVR_TOKEN_FILE",
    "AVR_TOOLS_DIR",
)
"""Settings of the environment that a run of our own does without: secrets, and what would make
others take part in it."""


class ContainerFailed(AvrBridgeError):
    """The container did not start, or does not answer; in words."""


def _silent() -> str:
    return ""


@attrs.frozen
class Container:
    """What is measured.

    Attributes:
        pid: Of its process on this machine; None: not watched.
        last_words: The end of its log, where that is known; else empty.
    """

    pid: int | None = None
    last_words: Callable[[], str] = _silent


def free_port() -> int:
    """A port of the loopback that nobody listens on, and that no system hands out by itself.

    Between the question and the container's start the stand-in, or another program, takes a port
    of any number; with one of those, two of fifty runs found theirs taken.
    """
    while True:
        port = random.choice(PORTS)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def own_environ(
    environ: Mapping[str, str], *, port: int, model_url: str, tools: str, codec: str = "any"
) -> dict[str, str]:
    """The environment of our own bridge: the user's settings, but for its neighbours.

    Logs are kept to warnings unless AVR_LOG_LEVEL is set: a line for each call is not what is to
    be measured. Where the stand-in speaks PCM only it is not asked for anything else.
    """
    kept = {name: value for name, value in environ.items() if name not in NOT_OURS}
    return {
        **({"OPENAI_AUDIO_FORMAT": "pcm"} if codec == "pcm" else {}),
        "AVR_LOG_LEVEL": "warning",
        **kept,
        "OPENAI_API_KEY": "soak",
        "OPENAI_ENDPOINT": model_url,
        "AVR_HOST": "127.0.0.1",
        "PORT": str(port),
        "AVR_TOOLS_DIR": tools,
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
    }


@asynccontextmanager
async def open_own_bridge(
    model_url: str,
    port: int,
    *,
    cores: frozenset[int] = frozenset(),
    workers: int = 1,
    with_tool: bool = False,
    codec: str = "any",
) -> AsyncIterator[Container]:
    """Run ``avr-bridge serve`` on this port, with the stand-in as its model, until the body ends.

    Raises:
        ContainerFailed: It did not answer; with the end of its log.
    """
    with tempfile.TemporaryDirectory(prefix="avr-soak-") as folder:
        if with_tool:
            await trio.Path(folder, "soak_lookup.py").write_text(TOOL)
        command = (sys.executable, "-m", "avr_bridge", "serve", "--workers", str(workers))
        environ = own_environ(os.environ, port=port, model_url=model_url, tools=folder, codec=codec)
        async with open_child(command, cores=cores, env=environ) as child:
            with trio.move_on_after(START_S):
                while child.process.poll() is None:
                    if await _answers("127.0.0.1", port):
                        break
                    await trio.sleep(POLL_S)
            if child.process.poll() is not None or not await _answers("127.0.0.1", port):
                raise ContainerFailed(f"the bridge did not start:\n{child.last_words()}")
            yield Container(child.process.pid, child.last_words)


async def wait_port(url: str, limit_s: float) -> None:
    """Wait until the container of this address takes connections.

    Raises:
        ContainerFailed: It did not within `limit_s`.
    """
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or 80
    with trio.move_on_after(limit_s):
        while True:
            if await _answers(host, port):
                return
            await trio.sleep(POLL_S)
    raise ContainerFailed(f"{host}:{port} took no connection within {limit_s:g} s")


async def _answers(host: str, port: int) -> bool:
    try:
        stream = await trio.open_tcp_stream(host, port)
    except OSError:
        return False
    await trio.aclose_forcefully(stream)
    return True


async def tasks_of(url: str, headers: Mapping[str, str]) -> int | None:
    """The Trio tasks that the container's ``/healthz`` tells of; None: it does not."""
    parts = urlsplit(url)
    try:
        with trio.fail_after(ASK_S):
            async with httpx2.AsyncClient(trust_env=False) as client:
                answer = await client.get(
                    f"http://{parts.netloc}/healthz",
                    headers={"User-Agent": USER_AGENT, **headers},
                )
        told = answer.json()
    except (httpx2.HTTPError, trio.TooSlowError, ValueError):
        return None
    tasks = told.get("tasks") if isinstance(told, dict) else None
    return tasks if isinstance(tasks, int) and not isinstance(tasks, bool) else None
