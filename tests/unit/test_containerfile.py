"""The Containerfile says what the code says, and a build finds all that it copies.

What comes out of it is tried by `make container-test`, which builds it.
"""

from __future__ import annotations

import re
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

from avr_bridge import __version__
from avr_bridge.cli import COMMANDS
from avr_bridge.config import ServerConfig, ToolsConfig

CHECKOUT = Path(__file__).parents[2]
TEXT = re.sub(r"\\\n\s*", "", (CHECKOUT / "Containerfile").read_text())
FINAL = TEXT[TEXT.rindex("\nFROM ") :]
IGNORED = (CHECKOUT / ".dockerignore").read_text().splitlines()


def instruction(name: str) -> str:
    """The words of an instruction that the final stage has once."""
    (found,) = re.findall(rf"^{name} (.*)$", FINAL, re.M)
    return str(found)


def test_the_final_stage_agrees_with_the_code() -> None:
    """Version, port, folder of tools and commands; a number for a user, as Kubernetes needs it."""
    assert f"ARG VERSION={__version__}\n" in FINAL
    assert instruction("EXPOSE") == str(ServerConfig().port)
    assert instruction("STOPSIGNAL") == "SIGTERM"
    assert instruction("ENTRYPOINT") == '["avr-bridge"]'
    assert instruction("CMD") == '["serve"]'
    assert "serve" in COMMANDS
    assert re.fullmatch(r"[1-9]\d{3,}:[1-9]\d{3,}", instruction("USER"))
    assert ToolsConfig().directory in FINAL
    assert ToolsConfig().directory.startswith(f"{instruction('WORKDIR')}/")


def test_health_is_asked_by_a_command_that_exists() -> None:
    """And soon enough for avr-app, which gives a container 15 s."""
    options, command = instruction("HEALTHCHECK").split(" CMD ")
    assert command == '["avr-bridge", "health"]'
    assert "health" in COMMANDS
    seconds = {name: int(value) for name, value in re.findall(r"--([a-z-]+)=(\d+)s", options)}
    assert seconds["timeout"] < seconds["interval"] <= 7
    assert seconds["start-period"] <= 15


def test_both_stages_have_one_base_that_can_be_chosen() -> None:
    """Nothing of another image, and nothing that belongs to one processor."""
    stages = re.findall(r"^FROM (\S+)(?: AS (\w+))?$", TEXT, re.M)
    assert [base for base, _ in stages] == ["${BASE}", "${BASE}"]
    sources = set(re.findall(r"--from=(\w+)", TEXT))
    assert sources == {name for _, name in stages if name}
    assert not re.search(
        r"^ADD|https?:|amd64|x86|aarch64|curl |wget ", TEXT.partition("\n\nFROM")[2], re.M
    )


def test_only_locked_packages_are_installed() -> None:
    """Each install has a lock file with hashes, but for our own wheel, which brings nothing."""
    installs = re.findall(r"install (?!-r)(\S.*?)(?= &&|$)", TEXT, re.M)
    assert len(installs) == 3
    for words in installs:
        assert re.fullmatch(r"--require-hashes -r requirements(-build)?\.txt", words) or (
            words.startswith("--no-deps ") and words.endswith("/tmp/wheel/*.whl")
        )
    assert "PIP_ONLY_BINARY=:all:" in TEXT


def test_the_context_holds_what_is_copied_and_nothing_else() -> None:
    """`.dockerignore` keeps all out but that: a key in `.env` never gets in."""
    copied = {
        word
        for words in re.findall(r"^COPY (?!--from)(.*) \S+$", TEXT, re.M)
        for word in words.split()
    }
    first, *others = [line for line in IGNORED if line and not line.startswith("#")]
    assert first == "*"
    let_in = {line[1:] for line in others if line.startswith("!")}
    assert let_in == copied
    assert all((CHECKOUT / name).exists() for name in copied)
    kept_out = [line for line in others if not line.startswith("!")]
    for junk in ("avr_bridge/__pycache__", "avr_bridge/call/__pycache__"):
        assert any(fnmatch(junk, line) or fnmatch(f"/{junk}", line) for line in kept_out)


def test_where_it_cannot_be_tried_there_is_a_word_and_no_failure(tmp_path: Path) -> None:
    """`make container-test` without the programs that it needs."""
    ran = subprocess.run(
        [sys.executable, "-m", "scripts.container"],
        cwd=CHECKOUT,
        env={"PATH": str(tmp_path), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert re.fullmatch(r"container test: skipped: \S.*\n", ran.stdout)
    assert not list(tmp_path.iterdir())
