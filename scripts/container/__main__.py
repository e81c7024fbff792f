"""``python -m scripts.container``: build, look, try out, report.

The exit code is 0 if the image is as it should be, or if the test cannot run here, in a line that
says why; 1 if something is wrong. `BASE` in the environment names a base image to be pulled, such
as `python:3.13-slim`; without it one is made.
"""

from __future__ import annotations

import fcntl
import os
import platform
import sys
import time
from functools import partial
from pathlib import Path

import attrs
import trio

from scripts.container.base import have_base
from scripts.container.box import Box
from scripts.container.checks import faults_of_files, faults_of_image
from scripts.container.docker import open_docker
from scripts.container.image import Buildah, Image
from scripts.container.packages import check_processor, fetch_wheels, open_index
from scripts.container.shell import Failed, Skipped, find_program, run
from scripts.container.stack import try_stack
from scripts.container.trial import Findings, try_out, try_with_workers

CHECKOUT = Path(__file__).parents[2]
NAME = "localhost/avr-bridge:test"
EXAMPLE = CHECKOUT / "examples" / "compose"
TOOLS = EXAMPLE / "tools"
ANY_USER = "12345:0"
"""As OpenShift starts containers: a number that no image knows, in the group of root."""
NEEDED = ("unshare", "nsenter", "setpriv", "mount")
OTHER_PROCESSORS = {"aarch64", "x86_64"} - {platform.machine()}
LARGEST = 5
STEP_CHARS = 80


def main() -> int:
    """The test. Its exit code."""
    try:
        _test()
    except Skipped as why:
        say(f"skipped: {why}")
    except Failed as why:
        say(f"FAILED: {why}")
        return 1
    return 0


def say(words: str) -> None:
    """One line of the report."""
    print(f"container test: {words}", flush=True)


def _test() -> None:
    _check_machine()
    cache = _cache()
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two at once would build into each other's storage
        buildah = Buildah(cache / "storage")
        buildah.tidy()
        base = _timed("base image", partial(_base, buildah))
        wheels = _timed("packages", partial(fetch_wheels, CHECKOUT, cache))
        for machine in OTHER_PROCESSORS:
            check_processor(CHECKOUT, wheels, machine)
        with open_index(wheels) as index:
            arguments = {"BASE": base, "PIP_INDEX_URL": index}
            _timed("build", partial(buildah.build, CHECKOUT, NAME, arguments))
        image = buildah.inspect(NAME)
        _report_size(image)
        with buildah.mounted(NAME) as root:
            if faults := [*faults_of_image(image, index)] or [*faults_of_files(root, image)]:
                raise Failed("\n  ".join(("the image", *faults)))
            box = Box(root, image, {"/usr/src/app/tools": TOOLS})
            tools = {path.stem for path in TOOLS.glob("*.py")}
            findings = _timed("calls", partial(trio.run, try_out, box, tools))
            other = attrs.evolve(box, image=attrs.evolve(image, user=ANY_USER))
            _timed("workers", partial(trio.run, try_with_workers, other))
        _report(image, findings)
        _timed("Compose example", partial(_try_stack, cache, buildah))
        say("passed")


def _try_stack(cache: Path, buildah: Buildah) -> None:
    """Where there is Docker. Without it all else has been tried."""
    try:
        with open_docker(cache / "docker") as docker:
            found = try_stack(docker, buildah, NAME, EXAMPLE)
    except Skipped as why:
        say(f"the Compose example was not started: {why}")
        return
    say(
        f"the Compose example on Docker: up after {found.up_after_s:.0f} s, stopped in "
        f"{found.stopped_after_s:.0f} s; a call through all of it: {found.alike:.4f} alike"
    )


def _base(buildah: Buildah) -> str:
    if name := os.environ.get("BASE"):
        buildah.fetch(name)
        return name
    return have_base(buildah)


def _check_machine() -> None:
    if sys.platform != "linux":
        raise Skipped("it needs Linux")
    if os.geteuid() != 0:
        raise Skipped("it needs root")
    for name in NEEDED:
        find_program(name)
    try:
        run(
            "unshare",
            "--mount",
            "--pid",
            "--fork",
            "mount",
            "-t",
            "tmpfs",
            "none",
            "/mnt",
            limit_s=10,
        )
    except Failed:
        raise Skipped("root may not mount here") from None


def _cache() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    folder = Path(home) / "avr-bridge" / "container-test"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _timed[T](what: str, act: partial[T]) -> T:
    since = time.monotonic()
    result = act()
    say(f"{what}: {time.monotonic() - since:.0f} s")
    return result


def _report_size(image: Image) -> None:
    say(f"size {image.size_bytes / 1e6:.0f} MB in {len(image.layers)} layers, not compressed")
    for layer in sorted(image.layers, key=lambda layer: -layer.size_bytes)[:LARGEST]:
        say(f"  {layer.size_bytes / 1e6:6.1f} MB  {layer.step[:STEP_CHARS]}")


def _report(image: Image, findings: Findings) -> None:
    say(f"wheels of all packages for {', '.join(OTHER_PROCESSORS)} too")
    say(f"user {image.user}, root file system read-only, all modules compiled")
    say(
        f"healthy after {findings.healthy_after_s:.1f} s; a health check takes "
        f"{findings.health_took_s:.2f} s; {findings.idle_mb:.0f} MB of memory without calls"
    )
    for transport, latency_ms in findings.answered_after_ms.items():
        say(f"a call over {transport}: heard itself, first sound after {latency_ms:.0f} ms")
    say(
        "SIGTERM during a call: it went on to its end; exit code 0, "
        f"{findings.ended_after_s:.1f} s after that"
    )
    say(f"two workers as user {ANY_USER}: healthy, called, and stopped in the same way")


if __name__ == "__main__":
    sys.exit(main())
