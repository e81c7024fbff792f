"""docs/console.md says what happens: its command that listens to the feed does so."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import msgspec
import pytest
import trio

from .test_console import LIMIT_S, open_console

PAGE = (Path(__file__).parents[2] / "docs" / "console.md").read_text()
FEED = PAGE.partition("\n## The feed\n")[2]
TYPES = re.findall(r"^\| `(\w+)` \|", FEED, re.M)


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
async def test_the_pages_curl_hears_the_feed() -> None:
    """The bridge's port put for the page's, nothing else: events with the types of the page's table
    come at once, not when curl's buffer is full."""
    (line,) = re.findall(r"^```sh\n(.*?)\n```", FEED, re.M | re.S)
    heard = b""
    with trio.fail_after(LIMIT_S):
        async with open_console() as bridge:
            command = shlex.split(line.replace(":6030/", f":{bridge.http.rpartition(':')[2]}/"))
            assert command[0] == "curl"
            process = await trio.lowlevel.open_process(
                command,
                env={**os.environ, "NO_PROXY": "localhost"},
                stdout=subprocess.PIPE,
            )
            assert process.stdout is not None
            try:
                async with process.stdout:
                    while heard.count(b"\n\n") < 3:  # when to come back, hello, pulse
                        piece = await process.stdout.receive_some()
                        assert piece, heard
                        heard += piece
            finally:
                process.kill()
            await process.wait()
    data = [one for one in heard.decode().split("\n") if one.startswith("data: ")]
    told = [msgspec.json.decode(one.removeprefix("data: "))["type"] for one in data]
    assert told == ["hello", "pulse"]
    assert set(told) < set(TYPES)
