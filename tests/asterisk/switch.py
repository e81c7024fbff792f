"""One running Asterisk: configured, started, called in, stopped for certain.

Its root is a folder that `scripts/asterisk.py` made; everything that it writes is in a scratch
folder within, so that several run at once. The examples' files are its configuration, but for the
addresses; the callers are local channels that do in Asterisk's own words what a test says.
"""

from __future__ import annotations

import shutil
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from avr_bridge.audio.wav import read_wav
from avr_bridge.soak.child import Child, open_child
from avr_bridge.soak.container import free_port
from scripts.asterisk import ROOT, SCRATCH
from tests.asterisk.busy import watched

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence

HERE = Path(__file__).parent
EXAMPLES = HERE.parents[1] / "examples" / "asterisk"
START_S = 30
POLL_S = 0.05
LOG_LINES = 150
STARTED = "Asterisk Ready."
MANAGER_PORT = "port = 5038"


class Asterisk:
    """A running Asterisk; made by `open_asterisk`.

    Attributes:
        folder: Its scratch folder, as we see it.
        here: The same, as it sees it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.here = f"/{folder.relative_to(ROOT)}"
        self._placed = 0

    async def cli(self, command: str) -> str:
        """Run a command of its command line, and return what it says."""
        ran = await trio.run_process(
            [*self._program(), "-rx", command], capture_stdout=True, capture_stderr=True
        )
        return ran.stdout.decode()

    async def place(self, to: str) -> int:
        """Begin a call to an extension of the bridge's, such as ``5001@avr-audiosocket``.

        Returns:
            The number of its caller.
        """
        self._placed += 1
        # /n: not optimised away, so that the caller's leg is there to the end.
        await self.cli(f"channel originate Local/{to}/n extension {self._placed}@caller")
        return self._placed

    async def wait_over(self, caller: int = 1) -> None:
        """Wait until a caller has hung up, or was hung up on, and the recordings are whole."""
        done = self.folder / "done" / str(caller)
        while not done.exists():  # noqa: ASYNC110 - another process decides
            await trio.sleep(POLL_S)

    async def wait_idle(self) -> None:
        """Wait until there is no channel left."""
        while await self.channels():  # noqa: ASYNC110 - another process decides
            await trio.sleep(POLL_S)

    async def channels(self) -> int:
        """How many channels there are now."""
        return int((await self.cli("core show channels count")).split()[0])

    def heard(self, caller: int = 1) -> bytes:
        """What came to a caller's ear: PCM16 LE mono, 8 kHz, from when it was connected."""
        return read_wav(self.folder / "heard" / f"{caller}.wav")

    def said(self, caller: int = 1) -> bytes:
        """What a caller said, in step with what it heard."""
        return read_wav(self.folder / "said" / f"{caller}.wav")

    def log(self) -> str:
        """Its log so far."""
        file = self.folder / "log" / "log"
        return file.read_text(errors="replace") if file.exists() else ""

    def last_words(self) -> str:
        """The end of its log, without what it loaded."""
        _, started, calls = self.log().partition(STARTED)
        return "\n".join((calls if started else self.log()).splitlines()[-LOG_LINES:])

    def _program(self) -> list[str]:
        return ["chroot", str(ROOT), "asterisk", "-C", f"{self.here}/etc/asterisk.conf"]

    async def _wait_started(self, child: Child) -> None:
        while True:
            ran = await trio.run_process(
                [*self._program(), "-rx", "core waitfullybooted"],
                check=False,
                capture_stdout=True,
                capture_stderr=True,
            )
            if ran.returncode == 0:
                return
            if child.process.poll() is not None:
                raise RuntimeError(f"Asterisk did not start:\n{child.last_words()}")
            await trio.sleep(POLL_S)


@asynccontextmanager
async def open_asterisk(
    steps: Sequence[str],
    addresses: Mapping[str, str],
    sounds: Mapping[str, bytes],
) -> AsyncGenerator[Asterisk]:
    """Run an Asterisk. Behind the block it is gone, with its files; its log is printed.

    Args:
        steps: What each caller does when connected: applications of the dialplan, such as
            ``Wait(2)``. A sound is played as ``Playback(sounds/name)``.
        addresses: What stands in the examples' files, to what is to stand there instead.
        sounds: Recordings by name: PCM16 LE mono, 8 kHz.
    """
    # A short path: that of its socket has to fit into 108 bytes.
    folder = Path(tempfile.mkdtemp(prefix=SCRATCH, dir=ROOT / "tmp"))
    switch = Asterisk(folder)
    own_port = {MANAGER_PORT: f"port = {free_port()}"}
    try:
        _configure(switch, steps, own_port | dict(addresses), sounds)
        async with open_child([*switch._program(), "-f"]) as child:
            with trio.fail_after(START_S):
                await switch._wait_started(child)
            async with watched():
                yield switch
    finally:
        print(f"\n--- Asterisk:\n{switch.last_words()}")
        shutil.rmtree(folder)


def _configure(
    switch: Asterisk,
    steps: Sequence[str],
    addresses: Mapping[str, str],
    sounds: Mapping[str, bytes],
) -> None:
    for name in ("etc/fresh", "lib", "spool", "log", "heard", "said", "done", "sounds"):
        (switch.folder / name).mkdir(parents=True)
    (modules,) = ROOT.glob("usr/lib/*/asterisk/modules")
    words = {
        "here": switch.here,
        "modules": f"/{modules.relative_to(ROOT)}",
        "steps": "\n".join(f" same => n,{step}" for step in steps).replace(
            "sounds/", f"{switch.here}/sounds/"
        ),
    }
    for file in HERE.glob("*.conf"):
        text = file.read_text()
        filled = text.format(**words) if "{here}" in text else text
        (switch.folder / "etc" / file.name).write_text(filled)
    missing = set(addresses)
    for file in EXAMPLES.rglob("*.conf"):
        text = file.read_text()
        for shipped, ours in addresses.items():
            if shipped in text:
                missing.discard(shipped)
                text = text.replace(shipped, ours)
        (switch.folder / "etc" / file.relative_to(EXAMPLES)).write_text(text)
    assert not missing, f"not in the examples: {missing}"
    for name, pcm in sounds.items():
        (switch.folder / "sounds" / f"{name}.sln").write_bytes(pcm)
