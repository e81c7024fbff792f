"""Put a real Asterisk into a folder, for `tests/asterisk`: ``python scripts/asterisk.py``.

The folder is made once and kept in the user's cache; `tests/asterisk/switch.py` starts what is in
it. Debian's unstable release has an Asterisk with both media sockets; debootstrap fetches it, with
all that it needs, from the mirror that this machine's apt uses. Nothing is installed here, and
debootstrap itself comes out of its package if it has to.

Needs root, Debian's tools (apt, dpkg, wget), 800 MB and some minutes.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence

SUITE = "sid"
PACKAGES = ("asterisk", "asterisk-modules")
LIMIT_S = 900
"""For the whole of debootstrap: it took four minutes on a machine with two cores."""
LAST_LINES = 5

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "avr-bridge"
RECIPE = hashlib.sha256(" ".join((SUITE, *PACKAGES)).encode()).hexdigest()[:8]
ROOT = CACHE / f"asterisk-{SUITE}-{RECIPE}"
"""What the Asterisk takes for the root of its file system. It is whole if it is there at all."""

SCRATCH = "avr-"
"""How the folders of single runs begin, in its /tmp."""
OLD_S = 3600

DEBOOTSTRAP = "usr/sbin/debootstrap"
OWN_MOUNTS = ("unshare", "--mount")
"""debootstrap mounts /proc within the folder: so that it is gone with it, however it ends."""


class CannotBuild(Exception):
    """No Asterisk can be had on this machine; why, in words."""


def why_not() -> str | None:
    """What keeps tests from running the Asterisk; None if nothing does."""
    if os.geteuid() != 0:
        return "a real Asterisk runs in a folder of its own, and that (chroot) needs root"
    if not ROOT.is_dir():
        return "no Asterisk is here yet: make asterisk-test fetches one, in some minutes"
    return None


def build() -> None:
    """Make `ROOT` unless it is there. Two at once: the second waits for the first.

    Raises:
        CannotBuild: It cannot be made on this machine.
    """
    if os.geteuid() != 0:
        raise CannotBuild("a real Asterisk in a folder of its own needs root")
    for tool in ("apt-get", "dpkg-deb", "unshare", "wget"):
        if shutil.which(tool) is None:
            raise CannotBuild(f"{tool} is not installed")
    CACHE.mkdir(parents=True, exist_ok=True)
    with _alone() as lock:
        if ROOT.is_dir():
            _clear_away_old_runs()
            return
        work, tools = ROOT.with_name(f"{ROOT.name}.part"), CACHE / "asterisk-tools"
        for leftover in (work, tools):
            if leftover.exists():
                shutil.rmtree(leftover)
        tools.mkdir()
        _debootstrap(work, tools, lock)
        shutil.rmtree(tools)
        shutil.rmtree(work / "var/cache/apt", ignore_errors=True)
        shutil.rmtree(work / "var/lib/apt/lists", ignore_errors=True)
        work.rename(ROOT)


def _clear_away_old_runs() -> None:
    """What tests left that were killed."""
    for folder in (ROOT / "tmp").glob(f"{SCRATCH}*"):
        if time.time() - folder.stat().st_mtime > OLD_S:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _alone() -> Generator[int]:
    with (CACHE / "asterisk.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock.fileno()


def _debootstrap(work: Path, tools: Path, lock: int) -> None:
    found = shutil.which("debootstrap")
    env = dict(os.environ)
    if found is None:
        found = str(_unpacked(tools) / DEBOOTSTRAP)
        env["DEBOOTSTRAP_DIR"] = str(tools / "usr/share/debootstrap")
    if proxy := _apt_setting("Acquire::http::Proxy"):
        env.setdefault("http_proxy", proxy)
    command = [found, "--variant=minbase", f"--include={','.join(PACKAGES)}"]
    # It keeps the lock if we are killed: nobody clears the folder away beneath it.
    _run([*OWN_MOUNTS, *command, SUITE, str(work), _mirror(tools)], tools, env, keeps=(lock,))


def _unpacked(tools: Path) -> Path:
    """debootstrap, a shell script, out of its package."""
    lists = tools / "lists"
    (lists / "partial").mkdir(parents=True)
    own_lists = ("-o", f"Dir::State::Lists={lists}", "-o", "APT::Sandbox::User=root")
    try:
        _run(["apt-get", "download", "debootstrap"], tools)
    except CannotBuild:  # this machine's apt has no lists, or old ones: fresh ones, for us alone
        _run(["apt-get", *own_lists, "update"], tools)
        _run(["apt-get", *own_lists, "download", "debootstrap"], tools)
    (package,) = tools.glob("debootstrap_*.deb")
    _run(["dpkg-deb", "-x", str(package), str(tools)], tools)
    return tools


def _mirror(tools: Path) -> str:
    """The first of apt's sources that has the suite."""
    ran = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"],
        capture_output=True,
        text=True,
        check=False,
    )
    for uri in dict.fromkeys(ran.stdout.split()):
        release = tools / "InRelease"
        asked = [f"{uri.rstrip('/')}/dists/{SUITE}/InRelease", str(release)]
        try:
            _run(["/usr/lib/apt/apt-helper", "download-file", *asked], tools)
        except CannotBuild:
            continue
        if "\nOrigin: Debian\n" in release.read_text():
            return uri
    raise CannotBuild(f"none of apt's sources has Debian {SUITE}, or it cannot be reached")


def _apt_setting(name: str) -> str:
    ran = subprocess.run(
        ["apt-config", "dump", "--format", "%v", name], capture_output=True, text=True, check=False
    )
    return ran.stdout.strip()


def _run(
    command: Sequence[str],
    folder: Path,
    env: Mapping[str, str] | None = None,
    *,
    keeps: Sequence[int] = (),
) -> None:
    """Run a program to its end, in a process group that ends as a whole if it takes too long."""
    log = folder / "log"
    with log.open("w") as out:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=keeps,
        )
        try:
            code = process.wait(LIMIT_S)
        except BaseException as error:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if isinstance(error, subprocess.TimeoutExpired):
                raise CannotBuild(f"{command[0]} took longer than {LIMIT_S} s") from None
            raise
    if code != 0:
        said = log.read_text(errors="replace").strip().splitlines()[-LAST_LINES:]
        raise CannotBuild(f"{' '.join(command[:4])} failed:\n" + "\n".join(said))


def main() -> int:
    """Build it and say where it is; exit code 1 and the reason if it cannot be had."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what we started ends with us
    if not ROOT.is_dir() and os.geteuid() == 0:
        print("Fetching an Asterisk (once; about four minutes) ...", flush=True)
    try:
        build()
    except CannotBuild as error:
        print(f"no Asterisk can be had here: {error}", file=sys.stderr)
        return 1
    print(ROOT)
    return 0


if __name__ == "__main__":
    sys.exit(main())
