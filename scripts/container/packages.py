"""The locked packages: fetched by this machine's pip as it is set up here, and offered to the pip
of the build at an address of the loopback. So no setting of this machine has to go into a build.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import sys
import tempfile
import threading
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

from scripts.container.shell import Failed, Skipped, run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["check_processor", "fetch_wheels", "open_index"]

LOCKS = ("requirements.txt", "requirements-build.txt")
FETCH_S = 180


def fetch_wheels(checkout: Path, cache: Path) -> Path:
    """Fetch what the lock files name, unless it is there. Its folder.

    Raises:
        Skipped: It cannot be had.
    """
    locked = b"".join((checkout / lock).read_bytes() for lock in LOCKS)
    folder = cache / f"wheels-{hashlib.sha256(locked).hexdigest()[:12]}"
    if (folder / "complete").exists():
        return folder
    for lock in LOCKS:
        try:
            run(
                *(sys.executable, "-m", "pip", "download", "--quiet", "--require-hashes"),
                *("--only-binary", ":all:", "--dest", str(folder)),
                *("--requirement", str(checkout / lock)),
                limit_s=FETCH_S,
            )
        except Failed as failed:
            raise Skipped(f"the locked packages cannot be had: {failed}") from None
    (folder / "complete").touch()
    for former in cache.glob("wheels-*"):
        if former != folder:
            shutil.rmtree(former)
    return folder


def check_processor(checkout: Path, wheels: Path, machine: str) -> None:
    """Look whether all that the bridge needs is there for another processor; once for each lock.

    Raises:
        Failed: A package has no wheel for it, so that a build would need a compiler.
    """
    checked = wheels / f"complete-for-{machine}"
    if checked.exists():
        return
    platforms = [f"{tag}_{machine}" for tag in ("manylinux2014", "manylinux_2_28")]
    with tempfile.TemporaryDirectory(prefix="avr-bridge-wheels-") as folder:
        run(
            *(sys.executable, "-m", "pip", "download", "--quiet", "--require-hashes", "--no-deps"),
            *("--only-binary", ":all:", "--dest", folder, "--python-version", "3.13"),
            *(word for platform in platforms for word in ("--platform", platform)),
            *("--requirement", str(checkout / LOCKS[0])),
            limit_s=FETCH_S,
        )
    checked.touch()


@contextmanager
def open_index(wheels: Path) -> Iterator[str]:
    """Serve a folder of wheels as a package index until the block ends; yields its address.

    The port goes by the folder, where it is free: so a build that was done finds its layers again.
    """
    handler = partial(_Index, wheels)
    port = 20_000 + int(hashlib.sha256(wheels.name.encode()).hexdigest()[:4], 16) % 10_000
    try:
        server = ThreadingHTTPServer(("127.0.0.1", port), handler)
    except OSError:
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    with server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


class _Index(BaseHTTPRequestHandler):
    """``/name/`` lists a project's files; ``/name/file`` is one (PEP 503)."""

    def __init__(self, wheels: Path, *args: object) -> None:
        self._wheels = wheels
        super().__init__(*args)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        project, _, name = self.path.strip("/").partition("/")
        files = {
            path.name: path
            for path in self._wheels.glob("*.whl")
            if _normalised(path.name.partition("-")[0]) == project
        }
        if name in files:
            self._answer(files[name].read_bytes(), "application/octet-stream")
        elif files and not name:
            links = "".join(f'<a href="{each}">{each}</a>\n' for each in sorted(files))
            self._answer(f"<!DOCTYPE html>\n{links}".encode(), "text/html")
        else:
            self.send_error(404)

    def _answer(self, body: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Say nothing: pip tells what it does."""


def _normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
