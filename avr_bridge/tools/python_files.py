"""Tools that are functions in a Python file of the user's.

A file is loaded as a module of a package that stands for its directory, so ``from ._shared import
x`` finds a file beside it. Nothing is put on `sys.path`. What a file does while it is loaded is
its own affair; what goes wrong with it is a problem to report, not the end of the bridge.
"""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import sys
import traceback
import types
from typing import TYPE_CHECKING, Any

from avr_bridge.tools.signature import NotATool, tool_of_function

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from avr_bridge.tools.tool import Tool

__all__ = ["package_for", "read_python_file"]

_TELLING = (ImportError, SyntaxError, NameError, AttributeError, KeyError)
"""What these say is a name in the code. What others say may be anything, a credential too."""


def package_for(directory: Path) -> str:
    """Make a package of a directory, anew if there was one; returns its name."""
    name = f"avr_tools_{hashlib.sha256(bytes(directory.resolve())).hexdigest()[:12]}"
    for known in [each for each in sys.modules if each.partition(".")[0] == name]:
        del sys.modules[known]
    package = types.ModuleType(name)
    package.__path__ = [str(directory)]
    sys.modules[name] = package
    return name


def read_python_file(path: Path, package: str) -> Iterator[Tool | NotATool]:
    """Every tool of a file, or why a function cannot be one.

    A tool is a public function with a docstring that is defined in this file.

    Raises:
        NotATool: The file as a whole cannot be loaded, or has no tool.
    """
    module = _loaded(path, package)
    functions = {
        name: value
        for name, value in vars(module).items()
        if inspect.isfunction(value)
        and value.__module__ == module.__name__
        and not name.startswith("_")
        and (value.__doc__ or "").strip()
    }
    if not functions:
        raise NotATool("it has no tool: a public function with type hints and a docstring")
    for name, function in functions.items():
        source = f"{path}:{inspect.unwrap(function).__code__.co_firstlineno}"
        try:
            yield tool_of_function(name, function, "python", source)
        except NotATool as error:
            yield NotATool(f"{name}: {error}")


def _loaded(path: Path, package: str) -> types.ModuleType:
    name = f"{package}.{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise NotATool("it cannot be loaded as Python")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise NotATool(f"it cannot be loaded: {_words(error, path)}") from error
    return module


def _words(error: BaseException, path: Path) -> str:
    said: Any = f": {error}" if isinstance(error, _TELLING) else ""
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename == str(path)
    ]
    return f"{type(error).__name__}{said}" + (f" (line {lines[-1]})" if lines else "")
