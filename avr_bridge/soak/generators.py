"""The generator's processes: started, told what to do, and read line by line.

The calls themselves are `load/`'s, in those processes. What comes is handed on as it is.
"""

from __future__ import annotations

import sys
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec
import trio

from avr_bridge.errors import AvrBridgeError
from avr_bridge.soak.child import Child, open_child
from avr_bridge.soak.results import CallRecord, Tick

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from avr_bridge.soak.layout import Layout
    from avr_bridge.soak.plan import SoakPlan

__all__ = ["COMMAND", "Done", "Generator", "GeneratorFailed", "Ready", "open_generators", "shares"]

COMMAND = (sys.executable, "-m", "avr_bridge.soak.load")
READY_S = 30.0
"""For a process to start and its stand-in to listen, on a machine that is busy."""
CHUNK_BYTES = 65_536
LONGEST_LINE_BYTES = 64_000_000
"""The record of a call of two days, with each round trip, has 4 MB."""


class GeneratorFailed(AvrBridgeError):
    """A generator process did not start, or ended before its time; in words."""


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """The first line: the stand-in listens, if there is one."""

    model_url: str | None


class Done(msgspec.Struct, frozen=True, tag="done"):
    """The last line."""


type Line = Ready | Tick | CallRecord | Done


class Generator:
    """One process. `open_generators` makes it and ends it."""

    def __init__(self, child: Child) -> None:
        assert child.process.stdin is not None
        assert child.process.stdout is not None
        self._child = child
        self._stdin, self._stdout = child.process.stdin, child.process.stdout
        self._decoder = msgspec.json.Decoder(type=Line)
        self._read = bytearray()

    async def tell(self, line: bytes) -> None:
        """Write a line. One that is gone hears nothing; that shows in `receive`."""
        try:
            await self._stdin.send_all(line + b"\n")
        except trio.BrokenResourceError:
            await trio.lowlevel.checkpoint()

    async def receive(self) -> Line:
        """The next line.

        Raises:
            GeneratorFailed: It ended without `done`, or wrote something else.
        """
        while True:
            end = self._read.find(b"\n")
            if end >= 0:
                line = bytes(self._read[:end])
                del self._read[: end + 1]
                await trio.lowlevel.checkpoint()
                return self._decode(line)
            chunk = await self._stdout.receive_some(CHUNK_BYTES)
            if not chunk or len(self._read) > LONGEST_LINE_BYTES:
                raise GeneratorFailed(await self._why_ended())
            self._read += chunk

    def _decode(self, line: bytes) -> Line:
        try:
            decoded: Line = self._decoder.decode(line)
            return decoded
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            shown = line[:200].decode(errors="replace")
            raise GeneratorFailed(f"the generator wrote {shown!r}: {error}") from error

    async def _why_ended(self) -> str:
        with trio.move_on_after(READY_S):
            await self._child.process.wait()
        code = self._child.process.returncode
        words = self._child.last_words() or "it said nothing"
        return f"a generator process ended before its time (exit code {code}): {words}"


@asynccontextmanager
async def open_generators(
    plan: SoakPlan, layout: Layout
) -> AsyncIterator[tuple[list[Generator], str | None]]:
    """Start the processes, and wait until they are ready; then also the stand-in's address.

    Raises:
        GeneratorFailed: One did not become ready.
    """
    async with AsyncExitStack() as stack:
        generators: list[Generator] = []
        model_url: str | None = None
        for number, share in enumerate(shares(plan, layout.generators)):
            core = layout.generator_cores[number]
            bound_to = frozenset() if core is None else frozenset({core})
            child = await stack.enter_async_context(open_child(COMMAND, cores=bound_to, piped=True))
            generator = Generator(child)
            if model_url is not None:  # all listen where the first does
                share = msgspec.structs.replace(share, model_port=urlsplit(model_url).port)
            await generator.tell(msgspec.json.encode(share))
            ready = await _wait_ready(generator)
            model_url = model_url or ready.model_url
            generators.append(generator)
        yield generators, model_url


async def _wait_ready(generator: Generator) -> Ready:
    with trio.move_on_after(READY_S):
        line = await generator.receive()
        if isinstance(line, Ready):
            return line
        raise GeneratorFailed(f"the generator began with {type(line).__name__}")
    raise GeneratorFailed(f"a generator process was not ready within {READY_S:g} s")


def shares(plan: SoakPlan, count: int) -> Sequence[SoakPlan]:
    """The plan, divided among `count` processes: together they do what it says."""
    least, over = divmod(plan.calls, count)
    return [
        msgspec.structs.replace(
            plan,
            calls=least + (number < over),
            ramp_per_s=plan.ramp_per_s / count,
            arrivals_per_s=plan.arrivals_per_s / count,
            seed=plan.seed + number * 1_000_003,
        )
        for number in range(count)
    ]
