"""What the documentation says is true: its commands run, its links lead somewhere."""

from __future__ import annotations

import ast
import functools
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from avr_bridge.cli import COMMANDS
from avr_bridge.config import SECTIONS, settings_of
from avr_bridge.settings import OFF_WORDS, ON_WORDS
from scripts.settings_page import PAGE, page

CHECKOUT = Path(__file__).parents[2]
PAGES = sorted([*CHECKOUT.glob("*.md"), *CHECKOUT.glob("docs/*.md")])
LIMIT_S = 60
MAKE_TARGETS = set(re.findall(r"^([a-z-]+):", (CHECKOUT / "Makefile").read_text(), re.M))


def blocks(language: str) -> list[tuple[str, str]]:
    """Page and text of each fenced block of one language."""
    return [
        (page.name, block)
        for page in PAGES
        for block in re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.M | re.S)
    ]


def commands() -> list[str]:
    """Every command line in the pages' shell blocks, without leading assignments."""
    lines = [line.strip() for _, block in blocks("sh") for line in block.splitlines()]
    return [re.sub(r"^([A-Z_]+=\S+\s+)+", "", line) for line in lines if line]


def test_the_settings_page_is_the_codes() -> None:
    """`make docs` writes it; a setting without its line would be found here."""
    assert PAGE.read_text() == page()
    text = page()
    for kind in SECTIONS.values():
        for known in settings_of(kind):
            assert f"`{known.env}`" in text
            assert known.help.endswith(".")


def test_a_default_on_the_settings_page_can_be_set_so() -> None:
    """Each is a value that its setting takes, and means the same."""
    shown = dict(re.findall(r"^\| `(\w+)` \| `([^`]+)` \|", page(), re.M))
    known = [known for kind in SECTIONS.values() for known in settings_of(kind)]
    assert shown.keys() == {each.env for each in known if each.default is not None}
    for each in known:
        if each.default is not None:
            assert each.parse(shown[each.env]) == each.default, each.env
            assert shown[each.env] not in ("True", "False"), each.env


def test_what_the_settings_page_says_of_on_and_off_holds_for_each() -> None:
    """Those words and no others, in any case, for every setting that is said to be on or off."""
    (on, off) = re.findall(r"((?:`\w+`(?:, | and )?)+)\s+mean\s+(?:on|off)\b", page())
    words = [(word, True) for word in re.findall(r"\w+", on.replace(" and ", " "))]
    words += [(word, False) for word in re.findall(r"\w+", off.replace(" and ", " "))]
    assert len(words) == len(ON_WORDS + OFF_WORDS)
    known = [known for kind in SECTIONS.values() for known in settings_of(kind)]
    switches = [each for each in known if isinstance(each.default, bool)]
    assert switches == [each for each in known if each.expected == "on or off"]
    assert len(switches) > 3
    for each in switches:
        for word, meant in words:
            assert each.parse(word) is each.parse(word.upper()) is meant, each.env
        for other in ("2", "y", "enabled", "-1"):
            assert each.fault(other), each.env


@pytest.mark.parametrize("path", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(path: Path) -> None:
    """Every relative link names a file of the project."""
    for target in re.findall(r"\]\(([^)#]+)\)", path.read_text()):
        if "://" not in target:
            assert (path.parent / target).exists(), target


def test_every_command_is_one_that_exists() -> None:
    """Make targets, and subcommands with options that their help knows."""
    found = {"make": 0, "avr-bridge": 0}
    for line in commands():
        words = shlex.split(line)
        program = Path(words[0]).name
        if program == "make":
            found["make"] += 1
            targets = [word for word in words[1:] if "=" not in word]
            assert set(targets) <= MAKE_TARGETS, line
        elif program == "avr-bridge":
            found["avr-bridge"] += 1
            assert words[1] in COMMANDS, line
            options = {word.partition("=")[0] for word in words[2:] if word.startswith("--")}
            assert options <= _options(words[1]), line
    assert found["make"] >= 2
    assert found["avr-bridge"] >= 3


@functools.cache
def _options(command: str) -> set[str]:
    ran = subprocess.run(
        [sys.executable, "-m", "avr_bridge", command, "--help"],
        capture_output=True,
        text=True,
        check=True,
        timeout=LIMIT_S,
    )
    return set(re.findall(r"--[a-z-]+", ran.stdout))


@pytest.mark.parametrize(("name", "block"), blocks("python"))
def test_python_blocks_are_python(name: str, block: str) -> None:
    """They parse, top-level `await` allowed, and what they import from us exists."""
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT | ast.PyCF_ONLY_AST
    tree = compile(block, name, "exec", flags=flags)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("avr_bridge"):
            module = __import__(node.module or "", fromlist=[a.name for a in node.names])
            for alias in node.names:
                assert hasattr(module, alias.name), alias.name


def test_the_embedding_example_runs() -> None:
    """A whole call over a transport of its own, as the page says."""
    ran = _run_example("embed_in_trio_app.py")
    assert ran.returncode == 0, ran.stderr
    assert "caller_hung_up" in ran.stdout
    assert re.search(r"heard \d\.\d s; (0\.9\d|1\.00) alike", ran.stdout)


def test_the_server_example_runs() -> None:
    """It takes calls until a signal, then ends."""
    process = subprocess.Popen(
        [sys.executable, str(CHECKOUT / "examples" / "minimal_server.py")],
        env={**os.environ, "OPENAI_API_KEY": "k", "PORT": "0", "AVR_HOST": "127.0.0.1"},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    with process.stdout:
        assert "calls are taken at http://127.0.0.1:" in process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        assert process.wait(LIMIT_S) == 0


def _run_example(name: str) -> subprocess.CompletedProcess[str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("OPENAI_", "AVR_", "PORT"))}
    return subprocess.run(
        [sys.executable, str(CHECKOUT / "examples" / name)],
        env=kept,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )


def test_the_testing_kits_commands_run(tmp_path: Path) -> None:
    """The page's `simulate` and `call`, on free ports: a call that is heard on each transport."""
    environ = {**os.environ, "OPENAI_API_KEY": "", "AVR_HOST": "127.0.0.1", "PORT": "0"}
    start = [sys.executable, "-m", "avr_bridge"]
    with subprocess.Popen(
        [*start, "simulate", "--port", "0"], stdout=subprocess.PIPE, text=True, env=environ
    ) as model:
        assert model.stdout is not None
        endpoint = ""
        while not endpoint:
            found = re.search(r"OPENAI_ENDPOINT=(\S+)", model.stdout.readline())
            endpoint = found.group(1) if found else ""
        with subprocess.Popen(
            [*start, "serve"],
            stderr=subprocess.PIPE,
            text=True,
            env={**environ, "OPENAI_ENDPOINT": endpoint, "AVR_LOG_FORMAT": "json"},
        ) as bridge:
            assert bridge.stderr is not None
            found = re.search(r"http://127\.0\.0\.1:\d+", bridge.stderr.readline())
            assert found
            http = found.group()
            for url in (http.replace("http", "ws"), f"{http}/speech-to-speech-stream"):
                called = subprocess.run(
                    [*start, "call", url, "--out", str(tmp_path / "heard.wav")],
                    capture_output=True,
                    text=True,
                    timeout=LIMIT_S,
                    check=False,
                )
                assert called.returncode == 0, called.stdout + called.stderr
            bridge.terminate()
        model.terminate()
    assert bridge.returncode == 0
    assert model.returncode == 0
