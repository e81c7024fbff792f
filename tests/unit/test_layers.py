"""Who may import whom. Folder names are the road of the sound; imports may not cut across it."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import pytest

import avr_bridge

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = Path(avr_bridge.__file__).parent
CHECKOUT = Path(__file__).parents[2]

EVERYTHING_BELOW_CLI = {
    "audio",
    "call",
    "caller",
    "checking",
    "config",
    "errors",
    "net",
    "server",
    "telemetry",
    "testing",
    "tools",
    "upstream",
}
MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "environment": set(),
    "config": {"environment", "errors"},
    "audio": {"errors"},
    "telemetry": {"errors", "config"},
    "net": set(),
    "caller": {"net", "audio", "telemetry", "config", "errors"},
    "upstream": {"net", "audio", "telemetry", "config", "errors"},
    "tools": {"errors", "config", "telemetry"},
    "call": {"caller", "upstream", "tools", "audio", "telemetry", "config", "errors"},
    "checking": {"call", "upstream", "tools", "audio", "config", "errors"},
    "server": {
        "call",
        "caller",
        "checking",
        "upstream",
        "tools",
        "net",
        "telemetry",
        "config",
        "errors",
    },
    "soak": {"telemetry", "config", "errors"},
    "cli": {
        "checking",
        "server",
        "soak",
        "testing",
        "tools",
        "telemetry",
        "config",
        "errors",
        "start",
        "(public)",
    },
    "testing": EVERYTHING_BELOW_CLI,
    "(public)": EVERYTHING_BELOW_CLI - {"testing"},
    "start": {"environment"},
    "(main)": {"cli", "start"},
}
"""Layer to the layers that it may import besides itself. What only the type checker imports counts
as well: a type is a dependency too."""

LAYER_OF_MODULE = {
    "avr_bridge": "(public)",
    "avr_bridge.__main__": "(main)",
    "avr_bridge.early_signals": "start",
    "avr_bridge.health": "start",
    "avr_bridge.explaining": "config",
    "avr_bridge.masking": "config",
    "avr_bridge.proxies": "config",
    "avr_bridge.sections": "config",
    "avr_bridge.model_section": "config",
    "avr_bridge.settings": "config",
}
"""Modules at the top whose layer has another name; `(public)` is the package's own `__init__`."""

QUART = (
    "server/",
    "caller/websocket.py",
    "caller/chan_websocket.py",
    "caller/http_stream.py",
)
"""Where Quart and what is beneath it may be known."""

ONLY_IN: dict[str, tuple[str, ...]] = {
    "quart": QUART,
    "quart_trio": QUART,
    "hypercorn": QUART,
    "werkzeug": QUART,
    "trio_websocket": ("upstream/dial.py", "testing/"),
    "prometheus_client": ("telemetry/metrics", "server/metrics.py"),
    "click": ("cli/",),
    "rich": ("cli/",),
    "picows": ("soak/load/",),
    "uvloop": ("soak/load/",),
    "asyncio": ("soak/load/",),
    "psutil": ("soak/",),
}
"""Packages that belong to one place, so that leaving them out, or replacing them, stays possible:
an embedding program's `run_call` never loads Quart."""

WITHOUT_TRIO = (
    "audio/",
    "caller/audiosocket_protocol.py",
    "caller/chan_protocol.py",
    "caller/metadata.py",
    "caller/protocol.py",
    "caller/transport.py",
    "config.py",
    "errors.py",
    "explaining.py",
    "masking.py",
    "proxies.py",
    "sections.py",
    "model_section.py",
    "net/frames.py",
    "server/token.py",
    "settings.py",
    "tools/manager_protocol.py",
    "upstream/commands.py",
    "upstream/answering.py",
    "upstream/closing.py",
    "upstream/conversation.py",
    "upstream/dialect.py",
    "upstream/dialects/",
    "upstream/endpoint.py",
    "upstream/error_codes.py",
    "upstream/events.py",
    "upstream/refusal.py",
    "upstream/welcome.py",
)
"""Protocol and arithmetic: no clock and no I/O, so tests need neither."""

DISTRIBUTION_OF = {"audioop": "audioop-lts", "environ": "environ-config"}
"""Imported names that differ from the name that is installed (beyond ``_`` for ``-``)."""


@attrs.frozen
class Import:
    """One module that another one imports."""

    path: str
    line: int
    module: str
    target: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line} imports {self.target}"


def imports_of_package() -> Iterator[Import]:
    """Every import in the package, wherever in a module it stands."""
    for file in sorted(PACKAGE.rglob("*.py")):
        yield from imports_of(file.relative_to(PACKAGE), file.read_text())


def imports_of(path: Path, source: str) -> Iterator[Import]:
    """Every import of one module; `path` is relative to the package."""
    package = ("avr_bridge", *path.parent.parts)
    module = ".".join(package if path.stem == "__init__" else (*package, path.stem))
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(str(path), node.lineno, module, alias.name)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) + 1 - node.level] if node.level else ()
            base = ".".join((*above, *filter(None, [node.module])))
            for alias in node.names:
                # `from package import name`: the name may be a module, and then that is meant.
                named = f"{base}.{alias.name}"
                yield Import(str(path), node.lineno, module, named if is_module(named) else base)


def is_module(name: str) -> bool:
    """Whether the package has a module of this dotted name."""
    file = PACKAGE.parent.joinpath(*name.split("."))
    return name.startswith("avr_bridge.") and (file.with_suffix(".py").exists() or file.is_dir())


def layer_of(module: str) -> str:
    """The layer of one of our modules, by its dotted name."""
    return LAYER_OF_MODULE.get(module) or module.split(".")[1]


IMPORTS = list(imports_of_package())


def offences(imports: list[Import]) -> list[str]:
    """What `MAY_IMPORT` does not allow."""
    found = []
    for one in imports:
        if one.target.split(".")[0] != "avr_bridge":
            continue
        source, target = layer_of(one.module), layer_of(one.target)
        if source != target and target not in MAY_IMPORT.get(source, set()):
            found.append(f"{one}: {source} may not import {target}")
    return found


def test_every_layer_imports_only_what_stands_below_it() -> None:
    """The table holds for every import, type-checking ones and those inside functions too."""
    assert offences(IMPORTS) == []


def test_every_module_belongs_to_a_layer() -> None:
    """A new folder gets its row in the table before it gets its code."""
    assert {layer_of(one.module) for one in IMPORTS} <= set(MAY_IMPORT)


def test_the_table_has_no_way_round() -> None:
    """Layers have an order: nothing may reach itself through others."""
    below = {layer: set(allowed) for layer, allowed in MAY_IMPORT.items()}
    for through in below:
        for allowed in below.values():
            if through in allowed:
                allowed |= below[through]
    round_trips = {layer for layer, allowed in below.items() if layer in allowed}
    # The tools for tests may use all of a call, and serve themselves from each other.
    assert round_trips <= {"testing"}


def test_the_two_sides_of_a_call_do_not_know_each_other() -> None:
    """Neither in the table, nor by way of what both may import."""
    assert "upstream" not in MAY_IMPORT["caller"]
    assert "caller" not in MAY_IMPORT["upstream"]
    assert "testing" not in set().union(*(MAY_IMPORT[layer] for layer in ("call", "server")))


@pytest.mark.parametrize(
    ("path", "source", "offence"),
    [
        ("caller/x.py", "import avr_bridge.upstream.client", "caller may not import upstream"),
        ("caller/x.py", "from ..call import session", "caller may not import call"),
        (
            "audio/x.py",
            "def f():\n    from avr_bridge import config",
            "audio may not import config",
        ),
        ("server/x.py", "from avr_bridge.testing.wav import clip", "server may not import testing"),
        ("testing/a/x.py", "from ...cli import main", "testing may not import cli"),
        ("errors.py", "if TYPE_CHECKING:\n    import avr_bridge.config", "errors may not import"),
    ],
)
def test_an_import_that_cuts_across_is_found(path: str, source: str, offence: str) -> None:
    """The walk itself works: each way to write an import is seen."""
    (found,) = offences(list(imports_of(Path(path), source)))
    assert offence in found


@pytest.mark.parametrize("package", ONLY_IN)
def test_a_package_stays_in_its_place(package: str) -> None:
    """One place to change when it changes under us."""
    strays = [
        str(one)
        for one in IMPORTS
        if one.target.split(".")[0] == package and not one.path.startswith(ONLY_IN[package])
    ]
    assert strays == []


def test_protocol_and_arithmetic_know_no_trio() -> None:
    """The sans-IO modules stay so."""
    strays = [
        str(one)
        for one in IMPORTS
        if one.path.startswith(WITHOUT_TRIO)
        and one.target.split(".")[0] in {"trio", "quart", "quart_trio", "hypercorn", "time"}
    ]
    assert strays == []


def test_what_is_imported_is_declared() -> None:
    """Every foreign package is among our own dependencies, not just among theirs."""
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    lines = [*project["dependencies"], *project["optional-dependencies"]["soak"]]
    names = (re.match(r"[\w-]+", line) for line in lines)
    declared = {name[0] for name in names if name}
    foreign = {
        name: str(one)
        for one in IMPORTS
        if (name := one.target.split(".")[0]) not in sys.stdlib_module_names
        and name != "avr_bridge"
    }
    undeclared = {
        where
        for name, where in foreign.items()
        if DISTRIBUTION_OF.get(name, name.replace("_", "-")) not in declared
    }
    assert undeclared == set()
