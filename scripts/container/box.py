"""Run what an image holds as a container engine would, with Linux's own tools.

Namespaces of its own for mounts, processes and host name; the root file system and everything else
that is mounted read-only; the image's user and environment, no new privileges. The network is the
machine's: programs meet on the loopback. Limits of memory and processor, and a filter of system
calls, are not set.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import attrs
import trio

from scripts.container.image import Image
from scripts.container.shell import Failed, find_program

__all__ = ["Box", "Running"]

REAP_S = 5.0

DEVICES = ("null", "zero", "full", "random", "urandom")

ENTER = """
mount --bind "$root" "$root"
{mounts}
mount -t proc -o nosuid,nodev,noexec proc "$root/proc"
mount -t tmpfs -o nosuid,noexec,mode=755,size=64k dev "$root/dev"
for name in {devices}; do
    touch "$root/dev/$name"
    mount --bind "/dev/$name" "$root/dev/$name"
done
mount -o remount,ro,nosuid,noexec "$root/dev"
mount -o remount,bind,ro "$root"
exec setpriv --no-new-privs \
    unshare --root="$root" --wd="$folder" --setgid="$gid" --setuid="$uid" -- "$@"
"""
"""As root, in new namespaces, before the image's program takes this process's place."""


@attrs.define(eq=False)
class Running:
    """A program that runs in a box.

    Attributes:
        process: The outermost one, which ends when the first process of the box has, with its
            exit code.
        first_pid: The first process of the box, as this machine counts.
    """

    process: trio.Process
    first_pid: int
    ids: tuple[str, str]

    async def run(
        self, *command: str, env: Mapping[str, str]
    ) -> subprocess.CompletedProcess[bytes]:
        """Run another program beside it, as ``docker exec`` and HEALTHCHECK do."""
        enter = [find_program("nsenter"), "--target", str(self.first_pid)]
        uid, gid = self.ids
        return await trio.run_process(
            [
                *(*enter, "--mount", "--pid", "--ipc", "--uts", "--root", "--wd"),
                *("--setgid", gid, "--setuid", uid, "--", *command),
            ],
            env=env,
            capture_stdout=True,
            capture_stderr=True,
            check=False,
        )


@attrs.frozen
class Box:
    """The files of an image and what it says of itself.

    Attributes:
        mounts: Folders of this machine by their place in the box; read-only.
    """

    root: Path
    image: Image
    mounts: Mapping[str, Path] = {}

    def env(self, settings: Mapping[str, str]) -> dict[str, str]:
        """The image's environment, with these settings."""
        return {"HOME": "/", **self.image.env, **settings}

    @asynccontextmanager
    async def run(self, settings: Mapping[str, str]) -> AsyncGenerator[Running]:
        """Run the image's command as the first process of its own; behind the block it is killed.

        So it is if we are killed ourselves. Its standard error is a pipe.
        """
        running = await self._start(settings)
        watcher = await trio.lowlevel.open_process(
            ["/bin/sh", "-c", 'read -r _; kill -KILL "$0"', str(running.first_pid)],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        try:
            yield running
        finally:
            watcher.kill()
            with suppress(ProcessLookupError):
                if running.process.poll() is None:
                    os.kill(running.first_pid, signal.SIGKILL)
            with trio.CancelScope(shield=True, deadline=trio.current_time() + REAP_S):
                await running.process.wait()
                await watcher.wait()
            assert watcher.stdin is not None
            await watcher.stdin.aclose()

    async def _start(self, settings: Mapping[str, str]) -> Running:
        uid, _, gid = self.image.user.partition(":")
        places = {"root": str(self.root), "folder": self.image.folder, "uid": uid, "gid": gid}
        given = "\n".join(f"{name}={shlex.quote(value)}" for name, value in places.items())
        mounts = "\n".join(
            f'mount --bind {shlex.quote(str(source))} "$root"{shlex.quote(target)}\n'
            f'mount -o remount,bind,ro "$root"{shlex.quote(target)}'
            for target, source in self.mounts.items()
        )
        script = given + ENTER.format(mounts=mounts, devices=" ".join(DEVICES))
        process = await trio.lowlevel.open_process(
            [
                *(find_program("unshare"), "--mount", "--pid", "--ipc", "--uts", "--fork"),
                *("--", "/bin/sh", "-euc", script, "box", *self.image.command),
            ],
            env=self.env(settings),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        return Running(process, await _only_child(process), (uid, gid))


async def _only_child(process: trio.Process) -> int:
    """The process that another one has forked."""
    children = trio.Path(f"/proc/{process.pid}/task/{process.pid}/children")
    while process.poll() is None:
        if found := (await children.read_text()).split():
            return int(found[0])
        await trio.sleep(0.005)
    raise Failed(f"unshare ended with exit code {process.returncode}")
