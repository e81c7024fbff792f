"""A Python function as a tool: its schema, its checks, and the files it may come from."""

from __future__ import annotations

import enum
import json
import sys
import textwrap
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
import pytest

from avr_bridge import ToolsConfig
from avr_bridge.tools import CallContext, Toolbox, load_tools
from avr_bridge.tools.signature import NotATool, tool_of_function

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CALL = CallContext("u-1", {"from": "600"})


class Size(enum.Enum):
    small = "s"
    large = "l"


async def every_hint(
    word: str,
    count: Annotated[int, "How many."],
    size: Size,
    *,
    weight: Annotated[float, msgspec.Meta(gt=0)] = 1.5,
    sure: bool = False,
    tags: list[str] = [],  # noqa: B006 - what users write
    more: dict[str, int] | None = None,
    door: Literal["front", "back"] = "front",
    call: CallContext,
) -> str:
    """Do this
    and that.

    Not for the model.

    Args:
        word: One word, which
            goes on here.
        count: Not used, the hint has its own.
        weight (float): In kilograms.

    Returns:
        word: not a parameter.
    """
    return f"{word} {count} {size.name} {weight} {sure} {tags} {more} {door} {call.uuid}"


def toolbox_of(*functions: Callable[..., Any]) -> Toolbox:
    return Toolbox([tool_of_function(f.__name__, f, "python", "here") for f in functions], 1.0)


def test_hints_and_docstring_become_the_schema() -> None:
    """Every kind of hint, descriptions from both places, no reference, and no `call`."""
    (described,) = toolbox_of(every_hint).descriptions()
    assert described == {
        "type": "function",
        "name": "every_hint",
        "description": "Do this and that.",
        "parameters": {
            "type": "object",
            "properties": {
                "word": {"type": "string", "description": "One word, which goes on here."},
                "count": {"type": "integer", "description": "How many."},
                "size": {"type": "string", "enum": ["l", "s"]},
                "weight": {
                    "type": "number",
                    "exclusiveMinimum": 0,
                    "description": "In kilograms.",
                    "default": 1.5,
                },
                "sure": {"type": "boolean", "default": False},
                "tags": {"type": "array", "items": {"type": "string"}, "default": []},
                "more": {
                    "anyOf": [
                        {"type": "object", "additionalProperties": {"type": "integer"}},
                        {"type": "null"},
                    ]
                },
                "door": {"type": "string", "enum": ["back", "front"], "default": "front"},
            },
            "required": ["word", "count", "size"],
            "additionalProperties": False,
        },
    }


async def test_arguments_arrive_as_the_hints_say() -> None:
    """Python's own defaults are used for what is left out; the call is filled in."""
    box = toolbox_of(every_hint)
    result = await box.run("every_hint", '{"word":"w","count":2,"size":"l","weight":2}', CALL)
    assert result.ok
    assert result.output == "w 2 large 2.0 False [] None front u-1"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ('{"count":1,"size":"s"}', "missing required field `word`"),
        ('{"word":"w","count":"1","size":"s"}', "Expected `int`, got `str` - at `$.count`"),
        ('{"word":"w","count":1,"size":"s","extra":1}', "unknown field `extra`"),
        ('{"word":"w","count":1,"size":"s","call":{}}', "unknown field `call`"),
        ('{"word":"w","count":1,"size":"xl"}', "Invalid enum value 'xl'"),
        ('{"word":"w","count":1,"size":"s","weight":0}', "> 0.0"),
        ("[]", "Expected `object`"),
        ("", "missing required field"),
        ('{"word":', "truncated"),
        ("\ud800", "malformed"),
        ("[" * 100_000, "Expected `object`"),
    ],
)
async def test_wrong_arguments_are_told_to_the_model(arguments: str, words: str) -> None:
    """The function is not called; the output names what is wrong."""
    result = await toolbox_of(every_hint).run("every_hint", arguments, CALL)
    assert not result.ok
    assert result.output.startswith("The tool every_hint failed: its arguments are not right")
    assert words in result.output


def no_hint(x) -> str:  # type: ignore[no-untyped-def]  # noqa: ANN001
    """Doc."""
    return str(x)


def star(*x: str) -> str:
    """Doc."""
    return str(x)


def positional(x: str, /) -> str:
    """Doc."""
    return x


def strange(x: complex) -> str:
    """Doc."""
    return str(x)


def unresolved(x: Nowhere) -> str:  # type: ignore[name-defined]  # noqa: F821
    """Doc."""
    return str(x)


async def yielding(x: str) -> Any:
    """Doc."""
    yield x


class Endless(msgspec.Struct):
    inner: list[Endless]


def recursive(x: Endless) -> str:
    """Doc."""
    return str(x)


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (no_hint, "x has no type hint"),
        (star, "x cannot be given by name"),
        (positional, "x cannot be given by name"),
        (strange, "cannot be described"),
        (unresolved, "Nowhere"),
        (yielding, "yields"),
        (recursive, "contains itself"),
    ],
)
def test_what_cannot_be_a_tool_says_why(function: Callable[..., Any], words: str) -> None:
    """One sentence for the author of the tool."""
    with pytest.raises(NotATool, match=words):
        tool_of_function("name", function, "python", "here")


def loaded_from(directory: Path, **files: str) -> Toolbox:
    for name, text in files.items():
        stem, _, suffix = name.rpartition("_")
        (directory / f"{stem}.{suffix}").write_text(textwrap.dedent(text))
    return load_tools(ToolsConfig(directory=str(directory)), {})


def names(box: Toolbox, kind: str = "python") -> list[str]:
    return [one.name for one in box.loaded if one.kind == kind]


async def test_a_files_public_functions_are_tools(tmp_path: Path) -> None:
    """Defined there, documented, not underscored; files of one directory may share code."""
    path_before = list(sys.path)
    box = loaded_from(
        tmp_path,
        _shared_py='''
            def helper():
                """Not a tool: its file begins with an underscore."""
                return "shared"
        ''',
        a_tool_py='''
            from __future__ import annotations
            from json import dumps
            from typing import TYPE_CHECKING
            from ._shared import helper
            if TYPE_CHECKING:
                from avr_bridge.tools import CallContext

            async def first(call: CallContext) -> str:
                """First."""
                return helper() + call.metadata["from"]

            def second(call: str) -> dict:
                """Second."""
                return {"call": call}

            def undocumented(): ...

            def _private():
                """Private."""

            class Thing:
                """No function."""
        ''',
    )
    assert box.problems == ()
    assert names(box) == ["first", "second"]
    assert box.loaded[2].source == f"{tmp_path}/a_tool.py:9"
    assert (await box.run("first", "", CALL)).output == "shared600"
    assert (await box.run("second", '{"call": "me"}', CALL)).output == '{"call":"me"}'
    assert sys.path == path_before


def test_bad_files_are_problems_and_the_good_ones_stay(tmp_path: Path) -> None:
    """No exception's text is repeated where it could hold anything but a name of the code."""
    box = loaded_from(
        tmp_path,
        a_py="import not_there_at_all",
        b_py="def x(:",
        c_py="raise ValueError('secret')",
        d_py="import sys; sys.exit(3)",
        e_py="x = 1",
        f_py='def avr_hangup():\n    """Mine."""',
        g_py='def good():\n    """Good."""\n\ndef bad(x):\n    """Bad."""',
        h_py='def good():\n    """Again."""',
        i_txt="nothing",
    )
    assert names(box) == ["good"]
    assert names(box, "builtin") == ["avr_hangup", "avr_transfer"]
    said = [problem.removeprefix(f"{tmp_path}/") for problem in box.problems]
    assert [problem[:4] for problem in said] == [f"{letter}.py" for letter in "abcdefgh"]
    assert "not_there_at_all" in said[0]
    assert "SyntaxError" in said[1]
    assert said[2] == "c.py: it cannot be loaded: ValueError (line 1)."
    assert "SystemExit" in said[3]
    assert "has no tool" in said[4]
    assert "avr_hangup is taken by the tool from avr-bridge" in said[5]
    assert "bad: its parameter x has no type hint" in said[6]
    assert f"good is taken by the tool from {tmp_path}/g.py:1" in said[7]
    assert "secret" not in "".join(said)


def test_javascript_tools_are_reported(tmp_path: Path) -> None:
    """Each with where to go; what Node keeps beside them is not taken for tool files."""
    box = loaded_from(
        tmp_path, weather_js="", avr_transfer_js="", more_mjs="", package_json="{}", x_ts=""
    )
    assert names(box) == []
    assert len(box.problems) == 4
    assert sum("docs/migration-from-js.md" in problem for problem in box.problems) == 3
    assert "avr_transfer is built into the bridge" in box.problems[0]


def test_a_directory_that_is_missing_or_none(tmp_path: Path) -> None:
    """Missing is usual; a file in its place is a mistake."""
    assert load_tools(ToolsConfig(directory=str(tmp_path / "none")), {}).problems == ()
    (tmp_path / "file").touch()
    (problem,) = load_tools(ToolsConfig(directory=str(tmp_path / "file")), {}).problems
    assert "cannot be read" in problem


def test_a_directory_is_read_anew(tmp_path: Path) -> None:
    """A second load sees what is there then, shared files too."""
    shared, tool = tmp_path / "_shared.py", tmp_path / "tool.py"
    tool.write_text('from ._shared import NAME\n\ndef t(x: str = NAME):\n    """T."""\n')
    seen = []
    for word in ("one", "longer"):
        shared.write_text(f"NAME = {word!r}\n")
        box = load_tools(ToolsConfig(directory=str(tmp_path)), {})
        seen.append(json.dumps(box.descriptions()))
    assert '"default": "one"' in seen[0]
    assert '"default": "longer"' in seen[1]
