"""What other programs may rely on: names, types, and what an import costs."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

import avr_bridge

PACKAGE = Path(avr_bridge.__file__).parent
CHECKOUT = Path(__file__).parents[2]
MODULES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))
MOST_LINES = 400

PUBLIC = [
    "AudioConfig",
    "AvrBridgeError",
    "BridgeConfig",
    "CallFailed",
    "CallSummary",
    "CallerTransport",
    "ConfigError",
    "EndReason",
    "LogConfig",
    "ModelConfig",
    "Secret",
    "ServerConfig",
    "TalkConfig",
    "ToolsConfig",
    "create_app",
    "run_call",
    "serve",
]


def test_the_public_names_are_these() -> None:
    """A change here is a change for other programs: it belongs into the change log."""
    assert sorted(avr_bridge.__all__) == PUBLIC


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_name_resolves_and_explains_itself(name: str) -> None:
    """Each has a docstring of its own, not one that it inherited."""
    thing: Any = getattr(avr_bridge, name)
    assert thing.__name__ == name
    assert (thing.__doc__ or "").strip()
    if inspect.isclass(thing):
        assert not any(thing.__doc__ == base.__doc__ for base in thing.__mro__[1:])


def test_an_unknown_name_is_an_attribute_error() -> None:
    """The lazy names leave the ordinary ones as they are."""
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = avr_bridge.nothing


def modules_after(statement: str) -> set[str]:
    """The top-level packages that a fresh interpreter has loaded after `statement`."""
    done = subprocess.run(
        [sys.executable, "-c", f"{statement}\nimport sys\nprint(*sys.modules)"],
        cwd=CHECKOUT,
        check=True,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=60,
    )
    return {name.partition(".")[0] for name in done.stdout.split()}


def test_a_call_loads_no_server_and_no_command_line() -> None:
    """A Trio program with a transport of its own pays for `run_call` only."""
    loaded = modules_after("import avr_bridge; avr_bridge.run_call; avr_bridge.BridgeConfig")
    assert "trio" in loaded
    assert loaded.isdisjoint({"quart", "quart_trio", "hypercorn", "flask", "werkzeug"})
    assert loaded.isdisjoint({"click", "pytest", "prometheus_client"})


def test_the_server_is_loaded_when_it_is_asked_for() -> None:
    """The other half of the lazy names."""
    assert {"quart_trio", "hypercorn"} <= modules_after("from avr_bridge import serve")


def test_importing_touches_no_signal() -> None:
    """An embedding program's handlers are its own: whatever of the library it loads."""
    modules_after(
        "import signal\n"
        "before = [signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGINT)]\n"
        "from avr_bridge import *\n"
        "import avr_bridge.__main__, avr_bridge.cli.serve\n"
        "after = [signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGINT)]\n"
        "assert before == after"
    )


def test_the_command_line_heeds_signals_before_it_imports_anything() -> None:
    """What stands before the handlers are the package itself and a few modules of Python's own."""
    loaded = modules_after("import avr_bridge.__main__")
    assert loaded.isdisjoint({"attrs", "click", "trio", "numpy", "msgspec"})


def test_serving_loads_no_test_tools() -> None:
    """The container's command needs no simulator: each command loads its own module only."""
    modules_after(
        "from avr_bridge.cli import main\n"
        "assert main.get_command(None, 'serve')\n"
        "import sys\n"
        "assert not any(name.startswith('avr_bridge.testing') for name in sys.modules)"
    )


@pytest.mark.parametrize("module", MODULES)
def test_a_module_says_what_it_is_and_stays_short(module: str) -> None:
    """A docstring first, and no more than can be read at a sitting."""
    source = (PACKAGE / module).read_text()
    if source.strip():
        assert (ast.get_docstring(ast.parse(source)) or "").strip(), f"{module} has no docstring"
    assert len(source.splitlines()) <= MOST_LINES


def test_the_wheel_has_the_types_and_the_clips(tmp_path: Path) -> None:
    """What is installed is the whole package: `py.typed` and the sounds as well."""
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=CHECKOUT,
        check=True,
        capture_output=True,
        stdin=subprocess.DEVNULL,
        timeout=120,
    )
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert {"avr_bridge/py.typed", "avr_bridge/testing/clips/question.wav"} <= names
    clips = {f"avr_bridge/audio/clips/{name}" for name in ("fallback.wav", "farewell.wav")}
    assert clips <= names
    assert {f"avr_bridge/{module}" for module in MODULES} <= names
    assert not any(name.startswith(("tests/", "examples/")) for name in names)
